"""The collector of cyclic garbage, so that it does not keep a node from answering.

CPython looks through all old objects again whenever they have grown by a quarter.  A node with
hundreds of connections stands still for some tenths of a second then, and where others make it
hold more and more, every few seconds.  Next to nothing here needs the collector: what connections
held is freed with their last reference.

The rules: what imports have made is never looked through; the young are collected as always; the
old are, as often as CPython would, but for no more than one part in OLD_PART of the time.

CPython 3.14 collects the old in small steps and pays no heed to the third threshold.
"""

import gc
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

OLD: Final = 2
"""the number of the generation that has survived two collections"""
OLD_PART: Final = 200
"""One part in so many of the time may go into collecting the old; chosen: well below the one in a
hundred that a p99 of round trips shows"""
NEVER: Final = 1 << 30
"""collections of the generation before"""


class OldGarbage:
    """Says how soon the old may be collected again.  Called back by `gc`."""

    def __init__(
        self,
        thresholds: tuple[int, int, int],
        set_thresholds: Callable[[int, int, int], object],
        current_time: Callable[[], float],
    ) -> None:
        self._thresholds = thresholds
        self._set_thresholds = set_thresholds
        self._current_time = current_time
        self._began_at = 0.0
        self._not_before = 0.0
        self._rests = False

    def on_collection(self, phase: str, info: dict[str, int]) -> None:
        """A collection starts or stops, of `info["generation"]`."""
        is_old = info["generation"] == OLD
        if phase == "start":
            if is_old:
                self._began_at = self._current_time()
        elif is_old:
            now = self._current_time()
            self._not_before = now + (now - self._began_at) * (OLD_PART - 1)
            self._rests = True
            self._set_thresholds(*self._thresholds[:OLD], NEVER)
        elif self._rests and self._current_time() >= self._not_before:
            self._rests = False
            self._set_thresholds(*self._thresholds)


@contextmanager
def seldom_collected() -> Generator[None, None, None]:
    """Old garbage is collected seldom inside; see `gc.freeze` for what is there to stay."""
    thresholds = gc.get_threshold()
    old = OldGarbage(thresholds, gc.set_threshold, time.monotonic)
    gc.callbacks.append(old.on_collection)
    try:
        yield
    finally:
        gc.callbacks.remove(old.on_collection)
        gc.set_threshold(*thresholds)
        gc.unfreeze()
