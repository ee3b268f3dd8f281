"""AutoNAT in whole nodes: never wrong, soon sure, and sure again after a change.

The study has a hundred seeds in its results; here are two, others than its own.
"""

import pytest

from p2pnode.protocols.autonat import Reachability
from simulations.reachability import (
    BLOCKED,
    LOSS,
    OPEN,
    PLACES,
    SHUT,
    Change,
    Scenario,
    run,
    run_change,
    summary,
    truth_of,
)

pytestmark = pytest.mark.slow

CONFIDENCE = 3.0
"""seconds; the aim without loss"""
CONFIDENCE_WITH_LOSS = 6.0
MOVED = 3.0
SILENT = 16 * 60.0
SEED = 1000


@pytest.mark.parametrize("loss", [0.0, LOSS])
@pytest.mark.parametrize("place", [place for place in PLACES if place != BLOCKED])
def test_the_verdict_is_right_and_soon(place: str, loss: float) -> None:
    result = run(Scenario(place, loss), SEED)
    assert not result.wrong, result
    assert result.verdict == result.truth == truth_of(place).value
    assert result.confident_s is not None
    assert result.confident_s <= (CONFIDENCE_WITH_LOSS if loss else CONFIDENCE)


def test_where_udp_is_blocked_nothing_is_known() -> None:
    result = run(Scenario(BLOCKED, 0.0), SEED)
    assert not result.wrong
    assert result.verdict == Reachability.UNKNOWN.value


@pytest.mark.parametrize(("before", "after"), [(OPEN, SHUT), (SHUT, OPEN)])
def test_a_node_that_moved_knows_its_new_place_as_soon(before: str, after: str) -> None:
    update = run_change(Change(before, after, "moved", 0.0), SEED)
    assert update.update_s is not None
    assert update.update_s <= MOVED


@pytest.mark.parametrize(("before", "after"), [(OPEN, SHUT), (SHUT, OPEN)])
def test_another_interface_with_the_same_public_address_is_asked_about_anew(
    before: str, after: str
) -> None:
    update = run_change(Change(before, after, "same address", 0.0), SEED)
    assert update.update_s is not None
    assert update.update_s <= MOVED


def test_a_silent_change_is_noticed_at_the_next_look() -> None:
    update = run_change(Change(OPEN, SHUT, "silent", 0.0), SEED)
    assert update.update_s is not None
    assert update.update_s <= SILENT


def test_the_summary_counts_what_was_false() -> None:
    right = run(Scenario(SHUT, 0.0), SEED)
    assert "| 0% | 0.00% (0 of 1) | - | 0.00% (0 of 1) |" in summary([right])
