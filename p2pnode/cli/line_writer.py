"""Writes lines in a thread of its own, so that nobody waits for whoever reads them.

A pipe that is not read, a terminal that is stopped and a disk that hangs hold their writers up; and
O_NONBLOCK is no way out, for it belongs to the open file, which others share.

Rule: what waits is bounded; beyond that the oldest lines are lost, and it is told how many.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

MAX_WAITING = 1 << 20
"""bytes of lines that wait to be written; chosen: 3,000 lines, more than a busy node has an hour"""
LAST_WORDS_PATIENCE = 1.0
"""seconds that somebody in a hurry waits for what is still to be written; chosen"""
CHECK_INTERVAL = 0.05  # seconds between two looks whether somebody is in a hurry; chosen


class Lines(NamedTuple):
    """What is written together or not at all."""

    number: int
    size: int
    """bytes"""
    write: Callable[[int], None]
    """Called in the thread with the number of lines that were lost before these.  Raises nothing;
    may take any time."""


class LineWriter:
    """Writes to one file, in the order in which it is given."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[Lines] = deque()
        self._waiting_size = 0
        self._lost = 0
        self._is_ending = False
        # Whoever cannot be written to shall not keep the process from its end.
        self._thread = threading.Thread(target=self._run, name="output", daemon=True)
        self._thread.start()

    def put(self, lines: Lines) -> None:
        """Never waits; from any thread."""
        with self._changed:
            self._waiting.append(lines)
            self._waiting_size += lines.size
            while self._waiting_size > MAX_WAITING and len(self._waiting) > 1:
                oldest = self._waiting.popleft()
                self._waiting_size -= oldest.size
                self._lost += oldest.number
            self._changed.notify()

    def finish(self, is_hurried: Callable[[], bool]) -> bool:
        """Waits until all is written, or for LAST_WORDS_PATIENCE where somebody is in a hurry.

        Returns whether all is written.  Nothing may be put any more.
        """
        with self._changed:
            self._is_ending = True
            self._changed.notify()
        patience = LAST_WORDS_PATIENCE
        while self._thread.is_alive() and patience > 0:
            self._thread.join(CHECK_INTERVAL)
            if is_hurried():
                patience -= CHECK_INTERVAL
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    if self._is_ending:
                        return
                    self._changed.wait()
                lines = self._waiting.popleft()
                self._waiting_size -= lines.size
                lost, self._lost = self._lost, 0
            lines.write(lost)
