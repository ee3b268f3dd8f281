"""Faults of this program that were met while somebody was served: they cost that one, and no more.

What a peer does wrong, and what a caller may not ask for, has errors of its own (`errors.py`) and
is no fault.  This is the last resort behind all care, as for a handler of an application: who
shares a node with a connection that runs into a bug shall not go down with it.

Rule: whoever serves one connection or one stream catches what comes of it, hands it in here, and
ends that one.  A simulation wants to see a bug where it happens, so there it is raised.
"""

from collections import deque
from typing import Final, NamedTuple

from p2pnode.machine import ConnectionHandle

MAX_FAULTS: Final = 64
"""faults that wait to be told, beyond which the oldest goes; chosen: one would be too many"""


class Fault(NamedTuple):
    """What went wrong."""

    connection: ConnectionHandle | None
    """What has ended for it; None where it was no more than a datagram or one stream."""
    error: Exception
    """With its traceback."""


class Faults:
    """Those of a node, until they are told."""

    __slots__ = ("found", "is_raising")

    def __init__(self, *, is_raising: bool = True) -> None:
        """`is_raising`: nothing is isolated, as simulations and tests want it."""
        self.is_raising = is_raising
        self.found: deque[Fault] = deque(maxlen=MAX_FAULTS)

    def take(self, error: Exception, connection: ConnectionHandle | None = None) -> None:
        """Takes what was caught where `connection` alone was served.  Raises it where it is to."""
        if self.is_raising:
            raise error
        self.found.append(Fault(connection, error))

    def poll(self) -> list[Fault]:
        """Returns those since the last call, oldest first."""
        found = list(self.found)
        self.found.clear()
        return found
