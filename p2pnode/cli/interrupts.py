"""SIGINT, SIGTERM and SIGHUP as a request to end, from a command's first moment to its last.

Rule: a signal never raises where it happens to arrive, in the middle of an import or of somebody
else's clean-up; it is noted, and the command is ended where it can be.  Who is in a hurry repeats
it: the third signal has the system's own effect, and SIGQUIT has it at once.
"""

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

REQUESTS = ("SIGINT", "SIGTERM", "SIGHUP")
"""A terminal that is closed ends what runs in it; under nohup it does not."""
LEFT_IF_IGNORED = ("SIGHUP",)
AT_ONCE = ("SIGQUIT",)
"""Shells start what they put into the background with this one ignored."""
PATIENCE = 2  # signals; chosen: programs that pass signals on often deliver the same one twice


class Interrupted(Exception):
    """The command was told to end before it was done, and has failed by that."""

    def __init__(self) -> None:
        super().__init__("told to end before it was done")


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
        previous = {number: signal.getsignal(number) for number in _numbers(*REQUESTS, *AT_ONCE)}
        left = [n for n in _numbers(*LEFT_IF_IGNORED) if previous[n] is signal.SIG_IGN]
        for number in _numbers(*REQUESTS):
            if number not in left:
                signal.signal(number, self._handle)
        for number in _numbers(*AT_ONCE):
            signal.signal(number, signal.SIG_DFL)
        try:
            yield
        finally:
            self._count = 0
            for number, handler in previous.items():
                if handler is not None:  # not set by Python: cannot be set again
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


def _numbers(*names: str) -> list[signal.Signals]:
    """Returns those that the platform has: Windows lacks some."""
    return [signal.Signals[name] for name in names if name in signal.Signals.__members__]


INTERRUPTS = Interrupts()
