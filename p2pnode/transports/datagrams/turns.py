"""Hands datagrams to connections, by turns where there are more than can be read at once.

    within its turn        read at once, as everything is while nobody waits
    beyond it              waits; served by rounds, each connection some work (`Work.grant`)
    too much overhead      waits until that is paid for (`Work.is_held`), though nobody else does
    strangers' datagrams   the same by network, and a part of every turn is theirs

So a peer that sends little is read before those whose packets wait, however many these are
(specs/transport.md, Turns).  What waits has a deadline a moment later, so that the driver reads its
sockets in between.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from p2pnode.clock import Deadline, Instant
from p2pnode.errors import TransportError
from p2pnode.machine import ConnectionHandle, Received
from p2pnode.resources.account import Beside
from p2pnode.resources.ledger import Ledger
from p2pnode.resources.networks import Network
from p2pnode.transports.datagrams.id_table import IdTable
from p2pnode.transports.datagrams.served import Served
from p2pnode.transports.datagrams.waiting import Queue, Waiting
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.places import origin
from p2pnode.transports.route import route_of
from p2pnode.transports.work import PACKET_WORK, TURN_WORK, WAITING_TURN_WORK

MANY_READS: Final = 64
"""reads; more of several senders are read by turns from the first one on; chosen: a usual batch"""
MAX_WAITING_SIZE: Final = 8 * 1024 * 1024
"""bytes of all connections' packets that wait; chosen: twice a socket's own buffer"""
MAX_QUEUE_SIZE: Final = 1024 * 1024
"""bytes of one connection's packets that wait; chosen: a fast path's window"""
MAX_SLOWED_QUEUE_SIZE: Final = 64 * 1024
"""bytes, where a connection is beyond its budget; chosen: a hundred small packets"""
MAX_STRANGERS_SIZE: Final = 1024 * 1024
"""bytes of all strangers' datagrams that wait; chosen: some 600 handshakes"""
MAX_STRANGER_QUEUE_SIZE: Final = 64 * 1024
"""bytes of one network's; chosen: some 40 handshakes"""
MAX_STRANGER_QUEUES: Final = 1024
"""networks; chosen: more than MAX_STRANGERS_SIZE has datagrams for"""
STRANGERS_PART: Final = 4
"""One part in so many of a turn is for strangers first; chosen"""
PAUSE: Final = 1e-6
"""seconds between two turns; chosen: no time, but the driver reads its sockets in between"""

HOLD: Final = 0.05
"""seconds from one look at a connection that is held to the next; chosen: 20 looks a second"""


class DataShape(NamedTuple):
    """How data packets look: a first byte, and an id of 8 bytes behind it."""

    first_byte: int
    changing: int
    """Bits of the first byte that tell nothing."""
    min_size: int
    """bytes"""


TakeStranger = Callable[[Received, bytes, Instant], int]
"""Takes a datagram that is not a known connection's data; returns what work it was."""
BreakOff = Callable[[ConnectionHandle, Exception, Instant], object]
"""Ends a connection whose packet has met a fault of this program."""


class Turns:
    """The way of datagrams to connections.  Untrusted; nothing here raises."""

    __slots__ = (
        "_break_off",
        "_changing",
        "_connections",
        "_data",
        "_dirty",
        "_handle_of",
        "_memory",
        "_min_size",
        "_strangers",
        "_take_stranger",
        "_waiting",
        "deadline",
        "is_busy",
    )

    def __init__(
        self,
        connections: Mapping[ConnectionHandle, Served],
        ids: IdTable,
        dirty: dict[ConnectionHandle, None],
        take_stranger: TakeStranger,
        break_off: BreakOff,
        memory: Ledger[ConnectionHandle],
        shape: DataShape,
    ) -> None:
        """The tables are the endpoint's; connections that were served are marked in `dirty`.

        `shape` tells which datagrams may be a known connection's data.
        """
        self._data, self._changing, self._min_size = shape
        self._connections = connections
        self._handle_of = ids.handle_of
        self._dirty = dirty
        self._take_stranger = take_stranger
        self._break_off = break_off
        self._memory = memory
        self._waiting = Waiting[ConnectionHandle](MAX_WAITING_SIZE, 1 << 62)
        self._strangers = Waiting[Network](MAX_STRANGERS_SIZE, MAX_STRANGER_QUEUES)
        self.deadline: Deadline | None = None
        """When what waits has its next turn; None while nothing waits."""
        self.is_busy = False
        """Whether anything waits for others: what is held waits for itself."""

    @property
    def waiting_size(self) -> int:
        """bytes that wait, with what they cost besides"""
        return self._waiting.size + self._strangers.size

    def take(self, batch: Sequence[Received], now: Instant) -> None:
        """Takes what sockets brought: all of it, unless it is more than a turn's work."""
        left = TURN_WORK
        if self.is_busy:
            self._sort(batch, left, now)
            return
        if len(batch) > MANY_READS and any(read.remote != batch[0].remote for read in batch):
            self._sort(batch, 0, now)  # the last of them may be behind another one's flood
        else:
            left = self._sort(batch, left, now)
        if self._waiting.queues or self._strangers.queues:
            self._serve(left, now)

    def handle_timeout(self, now: Instant) -> None:
        """Does a turn's work, where anything waits."""
        if self.deadline is not None and now >= self.deadline.at:
            self._serve(WAITING_TURN_WORK, now)

    def _sort(self, batch: Sequence[Received], left: int, now: Instant) -> int:
        """Reads what may be read within `left` units, puts aside the rest; returns what is left.

        The hot path of receiving: a call a packet is too much here.
        """
        waiting, connections = self._waiting.queues, self._connections
        handle_of, data, changing = self._handle_of, self._data, self._changing
        min_size = self._min_size
        for received in batch:
            buffer = received.buffer
            position, total, step = 0, len(buffer), received.segment_size
            while position < total:
                if buffer[position] & ~changing == data and total - position >= min_size:
                    handle = handle_of.get(
                        int.from_bytes(buffer[position + 1 : position + 9], "big")
                    )
                    if handle is not None:
                        connection = connections[handle]
                        work = connection.work
                        before = work.spent
                        if left <= 0 or before >= work.limit or (waiting and handle in waiting):
                            self._put(handle, connection, _rest(received, position), now)
                            break
                        self._dirty[handle] = None
                        try:
                            position = connection.handle_received(received, position, now)
                        except Exception as error:
                            self._break_off(handle, error, now)
                            position += step - position % step
                        left -= work.spent - before
                        continue
                end = min(position - position % step + step, total)
                datagram = bytes(buffer[position:end])
                if left <= 0 or self._strangers.queues:
                    alone = received._replace(segment_size=end - position, buffer=datagram)
                    network = origin(route_of(received))[-1]
                    self._strangers.put(network, alone, MAX_STRANGER_QUEUE_SIZE, now)
                else:
                    left -= self._take_stranger(received, datagram, now)
                position = end
        return left

    def _put(
        self, handle: ConnectionHandle, connection: Served, received: Received, now: Instant
    ) -> None:
        work = connection.work
        bound = MAX_SLOWED_QUEUE_SIZE if work.is_overdrawn else MAX_QUEUE_SIZE
        dropped = self._waiting.put(handle, received, bound, now)
        work.on_waiting(len(received.buffer), dropped, now)

    def _serve(self, left: int, now: Instant) -> None:
        """Does `left` units of work for those that wait."""
        self._waiting.release(now)
        others_part = left - left // STRANGERS_PART
        left = others_part + self._serve_strangers(left - others_part, now)
        while left > 0 and self._waiting.queues:
            handle, queue = self._waiting.next()
            left = self._serve_connection(handle, queue, left, now)
        self._serve_strangers(left, now)
        self.is_busy = bool(self._waiting.queues or self._strangers.queues)
        if self.is_busy:
            self.deadline = Deadline(now + PAUSE, "packets wait for their turn")
        elif self._waiting.held:
            self.deadline = Deadline(self._waiting.held_until, "overhead has to be paid for")
        else:
            self.deadline = None
        self._memory.set_beside(Beside.WAITING, self.waiting_size)

    def _serve_connection(
        self, handle: ConnectionHandle, queue: Queue, left: int, now: Instant
    ) -> int:
        connection = self._connections.get(handle)
        if connection is None:
            self._waiting.drop(queue)
            return left
        work = connection.work
        dropped = self._waiting.drop_late(queue, now)
        if dropped:
            work.on_waiting(0, dropped, now)
        work.grant(connection.bytes_carried, now)
        if work.is_flooding:
            self._waiting.drop(queue)
            self._dirty[handle] = None
            reason = "more work than this connection's budget pays for, again and again"
            connection.fail(TransportError(ErrorCode.ENHANCE_YOUR_CALM, reason), now)
            return left
        if work.is_held:
            self._waiting.hold(handle, queue, now + HOLD)
            return left - PACKET_WORK
        before = work.spent
        while (
            queue.reads and work.spent < work.limit
        ):  # to its end, or the last one is always short
            self._sort((self._waiting.take(queue),), TURN_WORK, now)
        self._waiting.give_back(handle, queue)
        return left - (work.spent - before)

    def _serve_strangers(self, left: int, now: Instant) -> int:
        """One datagram of each network in turn."""
        strangers = self._strangers
        while left > 0 and strangers.queues:
            network, queue = strangers.next()
            strangers.drop_late(queue, now)
            received = strangers.take(queue) if queue.reads else None
            strangers.give_back(network, queue)
            if received is not None:
                left = self._read_stranger(received, left, now)
        return left

    def _read_stranger(self, received: Received, left: int, now: Instant) -> int:
        """Takes a stranger's datagram, which may have become a connection's while it waited."""
        datagram = bytes(received.buffer)
        is_data = datagram[0] & ~self._changing == self._data and len(datagram) >= self._min_size
        if is_data and int.from_bytes(datagram[1:9], "big") in self._handle_of:
            return self._sort((received,), left, now)
        return left - self._take_stranger(received, datagram, now)


def _rest(received: Received, position: int) -> Received:
    """Returns a read from the datagram at `position` on."""
    if not position:
        return received
    return received._replace(buffer=memoryview(received.buffer)[position:])
