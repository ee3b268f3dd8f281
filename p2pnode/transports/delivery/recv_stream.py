"""The receiving half of a stream: RFC 9000 section 3.2 (specs/streams.md, Receiving).

    RECV -> SIZE_KNOWN -> DATA_RECVD -> DATA_READ
      |         |
      +---------+-------> RESET_RECVD -> RESET_READ

The rule: bytes are handed over once, in order, as the chunks that they came in; at each offset what
came first counts.  A stream that the application has stopped drops everything on arrival, so that
nothing is missing once its size is known.
"""

from typing import Final

from p2pnode.clock import Instant
from p2pnode.errors import LocalProtocolError, StreamReset, TransportError
from p2pnode.transports.delivery.flow_control import MAX_STREAM_WINDOW, ReceiveWindow
from p2pnode.transports.delivery.frame import FrameType
from p2pnode.transports.delivery.held_bytes import HeldBytes
from p2pnode.transports.delivery.reassembly import (
    MAX_GAPS,
    SMALL_CHUNK,
    Chunk,
    Reassembly,
    append_chunk,
)
from p2pnode.transports.delivery.stream_state import StreamEnum
from p2pnode.transports.error_code import ErrorCode


class RecvState(StreamEnum):
    RECV = "receiving"
    SIZE_KNOWN = "size known"
    DATA_RECVD = "data received"
    DATA_READ = "data read"
    RESET_RECVD = "reset received"
    RESET_READ = "reset read"


class RecvInput(StreamEnum):
    RECV_FIN = "a STREAM frame with the end"
    ALL_DATA = "no byte is missing"
    RECV_RESET = "RESET_STREAM"
    READ_ALL = "the application has every byte"
    READ_RESET = "the application knows of the reset"


TRANSITIONS: Final[dict[tuple[RecvState, RecvInput], RecvState]] = {
    (RecvState.RECV, RecvInput.RECV_FIN): RecvState.SIZE_KNOWN,
    (RecvState.RECV, RecvInput.RECV_RESET): RecvState.RESET_RECVD,
    (RecvState.SIZE_KNOWN, RecvInput.ALL_DATA): RecvState.DATA_RECVD,
    (RecvState.SIZE_KNOWN, RecvInput.RECV_RESET): RecvState.RESET_RECVD,
    (RecvState.DATA_RECVD, RecvInput.READ_ALL): RecvState.DATA_READ,
    (RecvState.RESET_RECVD, RecvInput.READ_RESET): RecvState.RESET_READ,
}
"""RFC 9000, figure 3, without its optional transitions between DATA_RECVD and RESET_RECVD."""

_RECV: Final = RecvState.RECV


class RecvStream:
    """Bytes from the peer until the application has them."""

    __slots__ = (
        "_chunks",
        "_head",
        "_held",
        "_late",
        "_missing",
        "available",
        "final_size",
        "reset_code",
        "state",
        "stop_code",
        "stream_id",
        "window",
    )

    def __init__(
        self, stream_id: int, window_size: int, held: HeldBytes, now: Instant = 0.0
    ) -> None:
        """`held` is the connection's."""
        self.stream_id = stream_id
        self._held = held
        self.state = _RECV
        self.window = ReceiveWindow(window_size, MAX_STREAM_WINDOW, now)
        """`received` is the highest offset, `consumed` what was read or given up."""
        self.available = 0
        """Bytes that `read` can return now."""
        self.final_size: int | None = None
        self.reset_code: int | None = None
        self.stop_code: int | None = None
        self._chunks: list[Chunk] = []
        self._head = 0
        """How much of the first chunk was read: less than half of it, or it was cut."""
        self._late: Reassembly | None = None
        self._missing = 0
        """Bytes below the highest offset that have not come, as far as `held` knows of them."""

    # from the peer

    def on_data(self, offset: int, data: bytes, fin: bool) -> int:
        """Takes a STREAM frame and returns by how many bytes the highest offset has grown.

        Raises TransportError: FINAL_SIZE_ERROR, FLOW_CONTROL_ERROR; for tiny pieces
        PROTOCOL_VIOLATION.
        """
        window = self.window
        size = len(data)
        end = offset + size
        if (
            offset == window.received
            and size >= SMALL_CHUNK
            and end <= window.limit
            and not fin
            and self.state is _RECV
            and self._late is None
            and self.stop_code is None
        ):
            self._chunks.append(data)
            window.received = end
            self.available += size
            return size
        return self._on_unusual_data(offset, data, fin)

    def on_reset(self, code: int, final_size: int) -> int:
        """Takes RESET_STREAM and returns as `on_data` does; what was not read is dropped."""
        counted = self._count(final_size, True, FrameType.RESET_STREAM)
        if self.state is _RECV or self.state is RecvState.SIZE_KNOWN:
            self.reset_code = code
            self._advance(RecvInput.RECV_RESET)
            self._drop()
            if self.stop_code is not None:
                self._advance(RecvInput.READ_RESET)
        return counted

    # for the application

    @property
    def is_readable(self) -> bool:
        """Whether `read` would return bytes, or tell the end or the reset."""
        return self.available > 0 or self.at_eof or self.state is RecvState.RESET_RECVD

    @property
    def at_eof(self) -> bool:
        """Whether everything was read and nothing can follow."""
        if self.state is RecvState.DATA_RECVD:
            return self.available == 0
        return self.state is RecvState.DATA_READ

    @property
    def is_incomplete(self) -> bool:
        """True while the peer has more to send, as far as is known."""
        return self.state is _RECV or self.state is RecvState.SIZE_KNOWN

    @property
    def is_terminal(self) -> bool:
        return self.state is RecvState.DATA_READ or self.state is RecvState.RESET_READ

    def read(self, max_bytes: int) -> bytes:
        """Returns the next bytes, at most `max_bytes`, and b"" where there are none.

        Raises StreamReset where the peer gave up, LocalProtocolError after `stop`.
        """
        if self.reset_code is not None:
            if self.state is RecvState.RESET_RECVD:
                self._advance(RecvInput.READ_RESET)
            raise StreamReset(self.reset_code)
        if self.stop_code is not None:
            raise LocalProtocolError(f"stream {self.stream_id} was stopped on this side")
        data = self._read_all() if self.available <= max_bytes else self._read_some(max_bytes)
        self.window.consumed += len(data)
        if self.state is RecvState.DATA_RECVD and self.available == 0:
            self._advance(RecvInput.READ_ALL)
        return data

    def stop(self, code: int) -> bool:
        """Gives up reading; returns whether a STOP_SENDING has become due.

        Does nothing after the end was read or an earlier stop.
        """
        if self.stop_code is not None or self.is_terminal:
            return False
        self.stop_code = code
        self._drop()
        match self.state:
            case RecvState.RECV:
                return True
            case RecvState.SIZE_KNOWN:
                self._advance(RecvInput.ALL_DATA)
                self._advance(RecvInput.READ_ALL)
            case RecvState.DATA_RECVD:
                self._advance(RecvInput.READ_ALL)
            case RecvState.RESET_RECVD:
                self._advance(RecvInput.READ_RESET)
            case RecvState.DATA_READ | RecvState.RESET_READ:
                pass
        return False

    def leave(self) -> None:
        """Drops what has come out of order: nothing will fill the holes."""
        if self._late is not None:
            self._late.drop()
            self._late = None

    def forsake(self) -> None:
        """Drops what was not read, for good: neither bytes nor an end come after it."""
        if self.state is RecvState.DATA_RECVD and self.available:
            self.state = RecvState.SIZE_KNOWN  # or the stream would seem to have been read whole
        self._drop()

    @property
    def wants_credit(self) -> bool:
        """Whether a MAX_STREAM_DATA is due."""
        return self.state is _RECV and self.stop_code is None and self.window.is_update_due

    def count_held(self) -> int:
        """Counts anew what is kept, in bytes."""
        in_order = sum(map(len, self._chunks)) - self._head
        return in_order + (0 if self._late is None else self._late.count_held())

    def _advance(self, event: RecvInput) -> None:
        self.state = TRANSITIONS[self.state, event]

    def _count(self, end: int, is_final: bool, frame_type: int) -> int:
        """Checks the sizes, takes the final one and returns the growth of the highest offset."""
        window = self.window
        if self.final_size is not None:
            if end > self.final_size or (is_final and end != self.final_size):
                raise TransportError(
                    ErrorCode.FINAL_SIZE_ERROR, "a stream's final size has changed", frame_type
                )
            # nothing below the final size is new to the accounts: it was counted with the end
            return 0
        if is_final and end < window.received:
            raise TransportError(
                ErrorCode.FINAL_SIZE_ERROR, "a stream ends before what was received", frame_type
            )
        if end > window.limit:
            raise TransportError(
                ErrorCode.FLOW_CONTROL_ERROR, "more data than the stream's limit", frame_type
            )
        if is_final:
            self.final_size = end
        counted = max(0, end - window.received)
        window.received += counted
        return counted

    def _on_unusual_data(self, offset: int, data: bytes, fin: bool) -> int:
        in_order = self._in_order
        counted = self._count(offset + len(data), fin, FrameType.STREAM)
        if self.state is not _RECV and self.state is not RecvState.SIZE_KNOWN:
            return 0
        if fin and self.state is _RECV:
            self._advance(RecvInput.RECV_FIN)
        if self.stop_code is not None:
            self._drop()
            if self.state is RecvState.SIZE_KNOWN:
                self._advance(RecvInput.ALL_DATA)
                self._advance(RecvInput.READ_ALL)
            return counted
        is_early = offset > in_order
        if offset < in_order:
            data = data[in_order - offset :]
            offset = in_order
        if data:
            self._take(offset, data)
        if is_early or self._missing:
            self._note_missing()
        if self.state is RecvState.SIZE_KNOWN and self._in_order == self.final_size:
            self._advance(RecvInput.ALL_DATA)
        return counted

    @property
    def _in_order(self) -> int:
        return self.window.consumed + self.available

    def _take(self, offset: int, data: bytes) -> None:
        late = self._late
        if late is None:
            if offset == self._in_order:
                self.available += len(data)
                append_chunk(self._chunks, data)
                return
            late = self._late = Reassembly(self._held)
        late.add(offset, data)
        if self._held.runs > MAX_GAPS:
            raise TransportError(
                ErrorCode.PROTOCOL_VIOLATION, "streams with too many holes", FrameType.STREAM
            )
        for chunk in late.take_from(self._in_order):
            self.available += len(chunk)
            append_chunk(self._chunks, chunk)
        if not len(late):
            self._late = None

    def _note_missing(self) -> None:
        """Brings up to date what the holes take off from what is received and unread."""
        late = self._late
        size = 0 if late is None else late.size
        missing = self.window.received - self._in_order - size
        self._held.beside += self._missing - missing
        self._missing = missing

    def _read_all(self) -> bytes:
        chunks = self._chunks
        if not chunks:
            return b""
        if self._head:
            chunks[0] = chunks[0][self._head :]
            self._head = 0
        data = bytes(chunks[0]) if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self.available = 0
        return data

    def _read_some(self, size: int) -> bytes:
        """Returns exactly `size` bytes; more are available."""
        chunks = self._chunks
        end = self._head + size
        first = chunks[0]
        if end < len(first):
            data = first[self._head : end]
            self.available -= size
            self._set_head(end)
            return bytes(data)
        pieces = [first[self._head :]]
        count, rest = 1, end - len(first)
        while rest and rest >= len(chunks[count]):
            pieces.append(chunks[count])
            rest -= len(chunks[count])
            count += 1
        if rest:
            pieces.append(chunks[count][:rest])
        del chunks[:count]
        self.available -= size
        self._set_head(rest)
        return b"".join(pieces)

    def _set_head(self, head: int) -> None:
        """So much of the first chunk was read: kept whole while that is the lesser part of it."""
        chunks = self._chunks
        if head and head * 2 >= len(chunks[0]):
            chunks[0] = chunks[0][head:]
            head = 0
        self._head = head

    def _drop(self) -> None:
        """Gives up what was received and not read."""
        self.window.consumed = self.window.received
        self._chunks.clear()
        if self._late is not None:
            self._late.drop()
            self._late = None
        self._held.beside += self._missing
        self._missing = 0
        self.available = 0
        self._head = 0
