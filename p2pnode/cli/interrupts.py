"""SIGINT and SIGTERM as a request to end, from the first moment of a command to its last.

Rule: a signal never raises where it happens to arrive, in the middle of an import or of somebody
else's clean-up; it is noted, and the command is ended where it can be.  Who is in a hurry repeats
it: the third signal has the system's own effect.
"""

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
PATIENCE = 2  # signals; chosen: programs that pass signals on often deliver the same one twice


class Interrupts:
    """What has been asked of this process.  Signals are the process's, so there is one."""

    def __init__(self) -> None:
        self._count = 0
        self._end: Callable[[], None] | None = None

    @property
    def has_come(self) -> bool:
        """True once the command has been asked to end."""
        return self._count > 0

    @contextmanager
    def taken(self) -> Generator[None, None, None]:
        """Takes the signals; outside of the main thread there are none to take."""
        self._count, self._end = 0, None
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = {number: signal.signal(number, self._handle) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    @contextmanager
    def ending_by(self, end: Callable[[], None]) -> Generator[None, None, None]:
        """Calls `end` on each signal, at once where one has come already.

        `end` is called from inside of a signal handler.
        """
        self._end = end
        if self._count:
            end()
        try:
            yield
        finally:
            self._end = None

    def _handle(self, number: int, _: FrameType | None) -> None:
        self._count += 1
        if self._end is not None:
            self._end()
        if self._count >= PATIENCE:
            signal.signal(number, signal.SIG_DFL)


INTERRUPTS = Interrupts()
