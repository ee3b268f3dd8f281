"""Tests of how often old garbage is collected."""

import gc

from p2pnode.cli.garbage import NEVER, OLD, OLD_PART, OldGarbage, seldom_collected

USUAL = (700, 10, 10)


class Collector:
    """What `gc` does with its thresholds, and a clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.thresholds = USUAL
        self.old = OldGarbage(USUAL, self._set, lambda: self.now)

    def _set(self, *thresholds: int) -> None:
        self.thresholds = thresholds

    @property
    def may_collect_the_old(self) -> bool:
        return self.thresholds == USUAL

    def collect(self, generation: int, seconds: float) -> None:
        self.old.on_collection("start", {"generation": generation})
        self.now += seconds
        self.old.on_collection("stop", {"generation": generation})


def test_the_old_are_collected_for_a_small_part_of_the_time() -> None:
    collector = Collector()
    spent = 0.0
    while collector.now < 1000:
        if collector.may_collect_the_old:
            collector.collect(OLD, 0.3)
            spent += 0.3
        collector.now += 1.0
        collector.collect(1, 0.001)
    assert 0.5 * collector.now < spent * OLD_PART <= 1.1 * collector.now


def test_the_young_are_collected_as_ever_meanwhile() -> None:
    collector = Collector()
    collector.collect(OLD, 0.3)
    assert collector.thresholds == (*USUAL[:OLD], NEVER)
    collector.collect(0, 0.001)
    collector.collect(1, 0.001)
    assert not collector.may_collect_the_old


def test_the_interpreter_asks_while_it_lasts_and_has_its_thresholds_back() -> None:
    usual = gc.get_threshold()
    with seldom_collected():
        gc.collect()
        assert gc.get_threshold() == (*usual[:OLD], NEVER)
        gc.freeze()
    assert gc.get_threshold() == usual
    assert gc.get_freeze_count() == 0
    gc.collect()
    assert gc.get_threshold() == usual
