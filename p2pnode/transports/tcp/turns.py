"""Whose bytes wait, and when they are read (specs/tcp.md, Work).

    within its turn    read at once, as everything is while nobody waits
    beyond it          waits, its link paused; served by rounds, each connection some work
    too much overhead  waits until time or data have paid for that (`Work.is_held`)

What waits has a deadline a moment later, so that the driver serves its links in between.
"""

from typing import TYPE_CHECKING, Final

from p2pnode.clock import Deadline, Instant
from p2pnode.errors import TransportError
from p2pnode.links import LinkCommand, PauseLink, ResumeLink
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.tcp.connection import TcpConnection
from p2pnode.transports.work import TURN_WORK, WAITING_TURN_WORK

if TYPE_CHECKING:
    from p2pnode.machine import ConnectionHandle

PAUSE: Final = 1e-6
"""seconds between two turns; chosen: no time, but the driver serves its links in between"""
HOLD: Final = 0.05
"""seconds from one look at a connection that is held to the next; chosen: 20 looks a second"""


class Turns:
    """The connections of a transport whose bytes wait; their links are paused meanwhile."""

    __slots__ = ("_commands", "_held", "_left", "_queue", "deadline")

    def __init__(self, commands: list[LinkCommand]) -> None:
        """`commands` takes what is to be done to links."""
        self._commands = commands
        self._queue: dict[ConnectionHandle, TcpConnection] = {}
        """In the order of their turns."""
        self._held: dict[ConnectionHandle, tuple[TcpConnection, Instant]] = {}
        """With when they are looked at again; all are held equally long."""
        self._left = TURN_WORK
        self.deadline: Deadline | None = None
        """When what waits has its next turn; None while nothing waits."""

    @property
    def is_busy(self) -> bool:
        """Whether anybody waits for others: who is held waits for itself."""
        return bool(self._queue)

    def begin(self) -> None:
        """Something came: so much is read of it at once."""
        self._left = 0 if self._queue else TURN_WORK

    def read(self, connection: TcpConnection, now: Instant) -> None:
        """Reads what a connection has got, or has it wait."""
        handle = connection.handle
        if handle in self._queue or handle in self._held:
            return
        work = connection.work
        if self._left > 0:
            before = work.spent
            connection.read(now)
            self._left -= work.spent - before
        if connection.is_waiting:
            self._queue[handle] = connection
            self._commands.append(PauseLink(connection.link))
            self._set_deadline(now)

    def handle_timeout(self, now: Instant) -> list[TcpConnection]:
        """Does a turn's work, where anything waits; returns who was served."""
        if self.deadline is None or now < self.deadline.at:
            return []
        while self._held:
            handle, (connection, until) = next(iter(self._held.items()))
            if until > now:
                break
            del self._held[handle]
            self._queue[handle] = connection
        served = list[TcpConnection]()
        left = WAITING_TURN_WORK
        while left > 0 and self._queue:
            handle = next(iter(self._queue))
            connection = self._queue.pop(handle)
            left -= self._serve(connection, now)
            served.append(connection)
        self._set_deadline(now)
        return served

    def forget(self, connection: TcpConnection) -> None:
        """It has ended."""
        self._queue.pop(connection.handle, None)
        self._held.pop(connection.handle, None)
        if not self._queue and not self._held:
            self.deadline = None

    def _serve(self, connection: TcpConnection, now: Instant) -> int:
        """Gives a connection some work; returns how much of it was used."""
        work = connection.work
        work.grant(connection.carried, now)
        if work.is_flooding:
            connection.fail(
                TransportError(ErrorCode.ENHANCE_YOUR_CALM, "too much work for nothing")
            )
            return 0
        if work.is_held:
            self._held[connection.handle] = connection, now + HOLD
            return 0
        before = work.spent
        connection.read(now)
        if connection.is_waiting:
            self._queue[connection.handle] = connection
        elif not connection.is_closed:
            self._commands.append(ResumeLink(connection.link))
        return work.spent - before

    def _set_deadline(self, now: Instant) -> None:
        if self._queue:
            self.deadline = Deadline(now + PAUSE, "bytes of links wait for their turn")
        elif self._held:
            _, until = next(iter(self._held.values()))
            self.deadline = Deadline(until, "bytes of links are held")
        else:
            self.deadline = None
