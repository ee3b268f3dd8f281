"""The end of a connection (RFC 9000 section 10.2).

    OPEN --we close--> CLOSING --time--> CLOSED
      |
      `--peer closes--> DRAINING --time--> CLOSED

The rule: closing costs the peer at most one packet for every one of its own, ever more rarely;
draining sends nothing.
"""

import enum
from typing import Final

from p2pnode.clock import Deadline, Instant
from p2pnode.errors import ConnectionLost
from p2pnode.transports.datagrams.frame import ConnectionClose

CLOSE_PTOS: Final = 3
"""probe timeouts that a closed connection still knows its packets (RFC 9000 section 10.2)"""


class CloseState(enum.Enum):
    OPEN = enum.auto()
    CLOSING = enum.auto()
    DRAINING = enum.auto()
    CLOSED = enum.auto()


class CloseEvent(enum.Enum):
    LOCAL_CLOSE = enum.auto()
    PEER_CLOSE = enum.auto()
    SILENT = enum.auto()
    TIME = enum.auto()


TRANSITIONS: Final = {
    (CloseState.OPEN, CloseEvent.LOCAL_CLOSE): CloseState.CLOSING,
    (CloseState.OPEN, CloseEvent.PEER_CLOSE): CloseState.DRAINING,
    (CloseState.OPEN, CloseEvent.SILENT): CloseState.CLOSED,
    (CloseState.CLOSING, CloseEvent.TIME): CloseState.CLOSED,
    (CloseState.DRAINING, CloseEvent.TIME): CloseState.CLOSED,
}


class Closing:
    """Where a connection is between open and forgotten, and why."""

    __slots__ = ("_is_told", "_packets", "_until", "frame", "is_send_due", "reason", "state")

    def __init__(self) -> None:
        self.state = CloseState.OPEN
        self.reason: ConnectionLost | None = None
        self.frame: ConnectionClose | None = None
        self.is_send_due = False
        self._until: Instant = 0.0
        self._packets = 0
        self._is_told = False

    @property
    def is_open(self) -> bool:
        return self.state is CloseState.OPEN

    def close(
        self,
        event: CloseEvent,
        reason: ConnectionLost,
        until: Instant,
        frame: ConnectionClose | None,
    ) -> bool:
        """Ends an open connection; returns whether this call did."""
        state = TRANSITIONS.get((self.state, event))
        if state is None:
            return False
        self.state = state
        self.reason, self.frame, self._until = reason, frame, until
        self.is_send_due = state is CloseState.CLOSING and frame is not None
        return True

    def take_reason(self) -> ConnectionLost | None:
        """Returns why it ended, the first time that this is asked."""
        if self._is_told:
            return None
        self._is_told = self.reason is not None
        return self.reason

    def on_packet(self) -> None:
        """The peer has not heard yet: tells it again at its 1st, 2nd, 4th, 8th packet."""
        self._packets += 1
        if self.state is CloseState.CLOSING and self._packets & (self._packets - 1) == 0:
            self.is_send_due = True

    def poll_timeout(self) -> Deadline | None:
        if self.state in (CloseState.CLOSING, CloseState.DRAINING):
            return Deadline(self._until, "forget closed connection")
        return None

    def handle_timeout(self, now: Instant) -> None:
        if now >= self._until:
            self.state = TRANSITIONS.get((self.state, CloseEvent.TIME), self.state)
