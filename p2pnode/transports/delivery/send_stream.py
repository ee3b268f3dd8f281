"""The sending half of a stream: RFC 9000 section 3.1 (specs/streams.md, Sending).

    READY -> SEND -> DATA_SENT -> DATA_RECVD
      |        |         |
      +--------+---------+----> RESET_SENT -> RESET_RECVD

The rule: what is lost goes out again before what is new, and the end of the stream is treated as
one more byte behind the last, so that it is sent, lost and acknowledged like the others.
"""

from typing import Final

from p2pnode.errors import LocalProtocolError, StreamStopped
from p2pnode.machine import Buffer
from p2pnode.transports.delivery.held_bytes import HeldBytes
from p2pnode.transports.delivery.ranges import RangeSet
from p2pnode.transports.delivery.send_buffer import SendBuffer
from p2pnode.transports.delivery.stream_state import StreamEnum
from p2pnode.transports.delivery.varint import encode_varint
from p2pnode.wire.byte_view import byte_view

SEND_BUFFER_SIZE: Final = 4 * 1024 * 1024
"""bytes that were written and not acknowledged; chosen: 12 MB/s over 100 ms is 1.2 MB in flight,
400 MB/s over 1 ms is 0.4 MB, and as much again waits while the application is woken"""
MAX_TO_SEND: Final = 16 * 1024 * 1024
"""bytes of the same, of all streams of a connection, beyond which each has LITTLE_BUFFER; chosen:
four streams at their fullest"""
LITTLE_BUFFER: Final = 128 * 1024
"""bytes of the same, where little is to be held; chosen: 1.2 MB/s over 100 ms, and with 256 streams
a peer is still below its share of memory"""


class SendState(StreamEnum):
    READY = "ready"
    SEND = "send"
    DATA_SENT = "data sent"
    DATA_RECVD = "data received"
    RESET_SENT = "reset sent"
    RESET_RECVD = "reset received"


class SendInput(StreamEnum):
    SEND_DATA = "the first STREAM frame"
    SEND_FIN = "a STREAM frame with the end"
    SEND_RESET = "RESET_STREAM"
    ALL_ACKED = "every byte and the end were acknowledged"
    RESET_ACKED = "RESET_STREAM was acknowledged"


TRANSITIONS: Final[dict[tuple[SendState, SendInput], SendState]] = {
    (SendState.READY, SendInput.SEND_DATA): SendState.SEND,
    (SendState.READY, SendInput.SEND_RESET): SendState.RESET_SENT,
    (SendState.SEND, SendInput.SEND_FIN): SendState.DATA_SENT,
    (SendState.SEND, SendInput.SEND_RESET): SendState.RESET_SENT,
    (SendState.DATA_SENT, SendInput.ALL_ACKED): SendState.DATA_RECVD,
    (SendState.DATA_SENT, SendInput.SEND_RESET): SendState.RESET_SENT,
    (SendState.RESET_SENT, SendInput.RESET_ACKED): SendState.RESET_RECVD,
}
"""RFC 9000, figure 2."""

# one load instead of two on the hot path
_READY: Final = SendState.READY
_SEND: Final = SendState.SEND
_DATA_SENT: Final = SendState.DATA_SENT
_LIVE: Final = frozenset({SendState.READY, SendState.SEND, SendState.DATA_SENT})


class SendQueues:
    """Which streams want what; the streams of a connection enter themselves."""

    __slots__ = ("buffer_size", "fresh", "held", "repair", "settled")

    def __init__(self, held: HeldBytes, buffer_size: int = SEND_BUFFER_SIZE) -> None:
        self.held = held
        """Where the bytes of all of them are counted."""
        self.buffer_size = buffer_size
        """Bytes that each stream may keep, written and not acknowledged: see `size_now`."""
        self.fresh: dict[int, SendStream] = {}
        """Have bytes that were never sent and that the stream's limit allows."""
        self.repair: dict[int, SendStream] = {}
        """Have lost bytes, or only the end, to send: needs no credit."""
        self.settled: dict[int, SendStream] = {}
        """Have ended, or have room again after a write was short."""

    @property
    def size_now(self) -> int:
        """Bytes that each stream may keep as things are."""
        return self.buffer_size if self.held.to_send <= MAX_TO_SEND else LITTLE_BUFFER


class SendStream:
    """Bytes from the application until the peer has them.  It owns its STREAM frames' records."""

    __slots__ = (
        "_acked",
        "_base",
        "_buffer",
        "_is_short",
        "_lost",
        "_queues",
        "blocked_at",
        "final_size",
        "fresh_stop",
        "max_data",
        "next_offset",
        "prefix",
        "reset_code",
        "state",
        "stop_code",
        "stream_id",
    )

    def __init__(
        self,
        stream_id: int,
        max_data: int,
        queues: SendQueues,
    ) -> None:
        self.stream_id = stream_id
        self.state = _READY
        self.max_data = max_data
        """The peer's limit for this stream."""
        self.next_offset = 0
        """The first byte that was never queued for repair or sent; behind the end when that was."""
        self.fresh_stop = 0
        """Bytes from `next_offset` up to here are new and within `max_data`."""
        self.blocked_at = -1
        """The limit at which STREAM_DATA_BLOCKED was queued last; once a limit is enough."""
        self.final_size: int | None = None
        self.reset_code: int | None = None
        self.stop_code: int | None = None
        """Why the peer stopped us."""
        self.prefix = b"\x0c" + encode_varint(stream_id)
        """The start of a STREAM frame with an offset and neither length nor end."""
        self._queues = queues
        self._buffer = SendBuffer(queues.held)
        self._base = 0
        """Everything below is acknowledged."""
        self._acked: RangeSet | None = None
        self._lost: RangeSet | None = None
        self._is_short = False

    # for the application

    @property
    def is_delivered(self) -> bool:
        """Whether the peer has acknowledged everything, the end included."""
        return self.state is SendState.DATA_RECVD

    def write(self, data: Buffer) -> int:
        """Takes as much as there is room for and returns how much that was.

        Raises StreamStopped where the peer gave up, LocalProtocolError after finish or reset,
        TypeError for what is not bytes-like.
        """
        self._check_writable()
        if type(data) is not bytes:
            data = byte_view(data)
        buffer = self._buffer
        queues = self._queues
        limit = queues.buffer_size if queues.held.to_send <= MAX_TO_SEND else LITTLE_BUFFER
        room = limit - (buffer.end - self._base)
        size = len(data)
        if size > room:
            self._is_short = True
            size = max(0, room)
            data = memoryview(data)[:size]
        if size:
            buffer.append(data)
            self._refresh()
        return size

    def finish(self) -> None:
        """Ends the stream behind what was written; raises as `write` does."""
        self._check_writable()
        self.final_size = end = self._buffer.end
        self._is_short = False
        if self.next_offset == end:
            self._repair(end, end + 1)
            self.next_offset = end + 1

    def reset(self, code: int) -> bool:
        """Drops what is not delivered; returns whether a RESET_STREAM has become due."""
        if self.state not in _LIVE:
            return False
        size = self.sent_size
        self._advance(SendInput.SEND_RESET)
        self.reset_code = code
        self.final_size = self.next_offset = self.fresh_stop = size
        self._buffer.drop()
        self._buffer = SendBuffer(self._queues.held)
        self._acked = self._lost = None
        self._is_short = False
        self._queues.fresh.pop(self.stream_id, None)
        self._queues.repair.pop(self.stream_id, None)
        return True

    def forsake(self) -> None:
        """Drops what was not delivered, for good: nothing is asked of the stream after it."""
        self._buffer.drop()

    # from the peer

    def on_stop_sending(self, code: int) -> bool:
        """Resets with the same code (RFC 9000 section 3.5); returns as `reset` does."""
        if self.state in _LIVE:
            self.stop_code = code
        return self.reset(code)

    def on_max_stream_data(self, maximum: int) -> None:
        """Takes the peer's limit; a lower value is an older frame and means nothing."""
        if maximum > self.max_data:
            self.max_data = maximum
            if self.state in _LIVE:
                self._refresh()

    # for the packets

    @property
    def has_pending(self) -> bool:
        """Whether `take` has something, given credit."""
        return self._lost is not None or self.next_offset < self.fresh_stop

    @property
    def is_blocked(self) -> bool:
        """Whether bytes wait for a higher `max_data`."""
        return self._buffer.end > self.max_data and self.next_offset >= self.max_data

    @property
    def is_terminal(self) -> bool:
        return self.state is SendState.DATA_RECVD or self.state is SendState.RESET_RECVD

    @property
    def is_writable(self) -> bool:
        """Whether `write` would take something."""
        is_open = self.state in _LIVE and self.final_size is None
        return is_open and self._buffer.end - self._base < self._queues.size_now

    @property
    def sent_size(self) -> int:
        """The bytes that count against the connection's credit."""
        if self.final_size is None:
            return self.next_offset
        return min(self.next_offset, self.final_size)

    def peek(self, credit: int) -> tuple[int, int]:
        """Returns the offset and the size of what `take` would return without a limit."""
        if self._lost is not None:
            start, stop = self._lost[0]
            if self.final_size is not None:
                stop = min(stop, self.final_size)
            return start, stop - start
        return self.next_offset, min(self.fresh_stop - self.next_offset, credit)

    def take(self, room: int, credit: int) -> tuple[int, bytes, bool] | None:
        """Returns (offset, data, fin) of at most `room` bytes, or None where there is nothing.

        New bytes are at most `credit`; the caller then counts them.
        """
        if self._lost is not None:
            return self._take_lost(room)
        start = self.next_offset
        size = min(self.fresh_stop - start, room, credit)
        if size <= 0:
            return None
        return start, bytes(self.take_fresh(size)), self.next_offset > start + size

    def take_fresh(self, size: int) -> bytes | memoryview:
        """Returns the next new bytes; `size` > 0 is within `fresh_stop`.

        The end goes with the last of them: then `next_offset` is one more than their end.
        """
        start = self.next_offset
        self.next_offset = stop = start + size
        if self.state is _READY:
            self._advance(SendInput.SEND_DATA)
        if stop == self.fresh_stop:
            self._queues.fresh.pop(self.stream_id, None)
            if stop == self.final_size:
                self.next_offset = stop + 1
                self._advance(SendInput.SEND_FIN)
        return self._buffer.view(start, stop)

    def on_acked(self, a: int, b: int, c: int) -> None:
        """Takes the acknowledgement of a STREAM frame: bytes a..b-1, and the end if `c` is 1."""
        state = self.state
        if state is not _SEND and state is not _DATA_SENT:
            return
        start, stop = a, b + c
        if self._lost is not None:
            self._unlose(start, stop)
        base = self._base
        if stop <= base:
            return
        if start > base:
            if self._acked is None:
                self._acked = RangeSet()
            self._acked.add(start, stop)
            return
        if self._acked is not None:
            stop = self._absorb(stop)
        self._base = stop
        buffer = self._buffer
        buffer.free(stop)
        if self._is_short and (buffer.end - stop) * 2 <= self._queues.size_now:
            self._is_short = False
            self._queues.settled[self.stream_id] = self
        if self.final_size is not None and stop > self.final_size:
            self._advance(SendInput.ALL_ACKED)
            self._queues.settled[self.stream_id] = self

    def on_lost(self, a: int, b: int, c: int) -> None:
        """Queues what of a lost STREAM frame is not acknowledged by way of another."""
        state = self.state
        if state is not _SEND and state is not _DATA_SENT:
            return
        start, stop = max(a, self._base), b + c
        if start >= stop:
            return
        if self._acked is None:
            self._repair(start, stop)
            return
        for low, high in self._acked.gaps(start, stop):
            self._repair(low, high)

    def on_reset_acked(self) -> None:
        """The peer has our RESET_STREAM."""
        if self.state is SendState.RESET_SENT:
            self._advance(SendInput.RESET_ACKED)
            self._queues.settled[self.stream_id] = self

    def count_held(self) -> int:
        """Counts anew what is kept, in bytes."""
        return self._buffer.count_held()

    def _advance(self, event: SendInput) -> None:
        self.state = TRANSITIONS[self.state, event]

    def _check_writable(self) -> None:
        if self.stop_code is not None:
            raise StreamStopped(self.stop_code)
        if self.reset_code is not None:
            raise LocalProtocolError(f"stream {self.stream_id} was reset on this side")
        if self.final_size is not None:
            raise LocalProtocolError(f"stream {self.stream_id} was finished on this side")

    def _refresh(self) -> None:
        """Brings `fresh_stop` and the queue of fresh streams up to date."""
        self.fresh_stop = stop = min(self._buffer.end, self.max_data)
        if self.next_offset < stop:
            self._queues.fresh[self.stream_id] = self

    def _repair(self, start: int, stop: int) -> None:
        if self._lost is None:
            self._lost = RangeSet()
        self._lost.add(start, stop)
        self._queues.repair[self.stream_id] = self

    def _unlose(self, start: int, stop: int) -> None:
        assert self._lost is not None
        self._lost.remove(start, stop)
        if not len(self._lost):
            self._lost = None
            self._queues.repair.pop(self.stream_id, None)

    def _absorb(self, stop: int) -> int:
        """Returns how far the acknowledged bytes reach from below `stop`."""
        acked = self._acked
        assert acked is not None
        while len(acked) and acked[0][0] <= stop:
            stop = max(stop, acked[0][1])
            acked.drop_first()
        if not len(acked):
            self._acked = None
        return stop

    def _take_lost(self, room: int) -> tuple[int, bytes, bool] | None:
        assert self._lost is not None
        start, stop = self._lost[0]
        end = min(stop, start + room)
        is_last = False
        if self.final_size is not None and stop > self.final_size:
            end = min(end, self.final_size)
            is_last = end == self.final_size
        if start == end and not is_last:
            return None
        self._unlose(start, end + is_last)
        if self.state is _READY:
            self._advance(SendInput.SEND_DATA)
        if is_last and self.state is _SEND:
            self._advance(SendInput.SEND_FIN)
        return start, self._buffer.read(start, end) if end > start else b"", is_last
