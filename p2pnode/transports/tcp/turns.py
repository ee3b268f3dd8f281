"""Whose bytes wait, and when they are read (specs/tcp.md, Work).

    within its turn    read at once, as everything is while nobody waits
    beyond it          waits, its link paused; served by rounds, each connection some work
    too much overhead  waits until time or data have paid for that (`Work.is_held`)
    strangers          the same, a message each, and a part of every turn is theirs

What waits has a deadline a moment later, so that the driver serves its links in between.
"""

from collections.abc import Callable
from typing import Final

from p2pnode.clock import Deadline, Instant
from p2pnode.errors import TransportError
from p2pnode.links import LinkCommand, PauseLink, ResumeLink
from p2pnode.machine import ConnectionHandle
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.tcp.connection import TcpConnection
from p2pnode.transports.tcp.opening import Opening
from p2pnode.transports.work import TURN_WORK, WAITING_TURN_WORK

PAUSE: Final = 1e-6
"""seconds between two turns; chosen: no time, but the driver serves its links in between"""
HOLD: Final = 0.05
"""seconds from one look at a connection that is held to the next; chosen: 20 looks a second"""
STRANGERS_PART: Final = 4
"""One part in so many of a turn is for strangers first; noise-udp's"""
MAX_STRANGERS_SIZE: Final = 1024 * 1024
"""bytes of all strangers that wait; chosen: thousands of handshakes, as noise-udp's"""

TakeStranger = Callable[[Opening, Instant], int]
"""Takes what waits of a link that is no connection yet; returns what work it was."""
BreakOff = Callable[[ConnectionHandle, Exception, Instant], object]
"""Ends what has met a fault of this program."""


class Turns:
    """Those of a transport whose bytes wait; their links are paused meanwhile."""

    __slots__ = (
        "_break_off",
        "_commands",
        "_held",
        "_left",
        "_queue",
        "_strangers",
        "_strangers_size",
        "_take_stranger",
        "deadline",
    )

    def __init__(
        self, commands: list[LinkCommand], take_stranger: TakeStranger, break_off: BreakOff
    ) -> None:
        """`commands` takes what is to be done to links."""
        self._commands = commands
        self._take_stranger = take_stranger
        self._break_off = break_off
        self._queue: dict[ConnectionHandle, TcpConnection] = {}
        """In the order of their turns."""
        self._held: dict[ConnectionHandle, tuple[TcpConnection, Instant]] = {}
        """With when they are looked at again; all are held equally long."""
        self._strangers: dict[ConnectionHandle, Opening] = {}
        """In the order of their turns."""
        self._strangers_size = 0
        self._left = TURN_WORK
        self.deadline: Deadline | None = None
        """When what waits has its next turn; None while nothing waits."""

    @property
    def is_busy(self) -> bool:
        """Whether anybody waits for others: who is held waits for itself."""
        return bool(self._queue or self._strangers)

    def begin(self) -> None:
        """Something came: so much is read of it at once."""
        self._left = 0 if self.is_busy else TURN_WORK

    def read_stranger(self, opening: Opening, data: bytes, now: Instant) -> bool:
        """Takes what a link brings that is no connection yet, or has it wait.

        False where too much waits already.
        """
        if opening.waiting:
            self._strangers_size += len(data)
            opening.waiting += data
        elif self._left > 0 or opening.is_initiator:
            opening.waiting = data
            self._left -= self._take_stranger(opening, now)
            return True
        else:
            self._strangers_size += len(data)
            self._strangers[opening.handle] = opening
            opening.waiting = data
            self._commands.append(PauseLink(opening.link))
            self._set_deadline(now)
        return self._strangers_size <= MAX_STRANGERS_SIZE

    def read(self, connection: TcpConnection, now: Instant) -> None:
        """Reads what a connection has got, or has it wait."""
        handle = connection.handle
        if handle in self._queue or handle in self._held:
            connection.wait()
            return
        work = connection.work
        if self._left > 0:
            before = work.spent
            connection.read(now)
            self._left -= work.spent - before
        else:
            connection.wait()
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
        strangers_part = WAITING_TURN_WORK // STRANGERS_PART
        left = WAITING_TURN_WORK - strangers_part + self._serve_strangers(strangers_part, now)
        while left > 0 and self._queue:
            handle = next(iter(self._queue))
            connection = self._queue.pop(handle)
            try:
                left -= self._serve(connection, now)
            except Exception as error:
                self._break_off(handle, error, now)
            served.append(connection)
        self._serve_strangers(left, now)
        self._set_deadline(now)
        return served

    def forget(self, handle: ConnectionHandle) -> None:
        """A connection, or what might have become one, has ended."""
        opening = self._strangers.pop(handle, None)
        if opening is not None:
            self._strangers_size -= len(opening.waiting)
        self._queue.pop(handle, None)
        self._held.pop(handle, None)
        if not (self.is_busy or self._held):
            self.deadline = None

    def _serve_strangers(self, left: int, now: Instant) -> int:
        """Takes what waits of strangers, up to `left` units; returns what is left of them."""
        while left > 0 and self._strangers:
            handle = next(iter(self._strangers))
            opening = self._strangers.pop(handle)
            self._strangers_size -= len(opening.waiting)
            self._commands.append(ResumeLink(opening.link))
            try:
                left -= self._take_stranger(opening, now)
            except Exception as error:
                self._break_off(handle, error, now)
        return left

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
        if self.is_busy:
            self.deadline = Deadline(now + PAUSE, "bytes of links wait for their turn")
        elif self._held:
            _, until = next(iter(self._held.values()))
            self.deadline = Deadline(until, "bytes of links are held")
        else:
            self.deadline = None
