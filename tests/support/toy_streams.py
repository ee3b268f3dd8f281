"""Frames and streams of the toy transport: what a muxed connection has to offer, and no more."""

import enum
import struct
from collections.abc import Callable

from p2pnode.errors import StreamReset, StreamStopped, TransportError
from p2pnode.machine import Buffer
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.stream_events import (
    StreamEvent,
    StreamFinished,
    StreamOpened,
    StreamReadable,
    StreamResetByPeer,
    StreamsAvailable,
    StreamStoppedByPeer,
    StreamWritable,
)

HEADER = struct.Struct("!BIIH")
"""Kind, stream, number, size of what follows."""

WINDOW = 64 * 1024
"""Bytes of a stream that wait for its reader, and that its writer may have unsent, at most."""

MAX_PAYLOAD = 16 * 1024
MAX_STREAMS = 256
"""Streams that one side has open."""


class Kind(enum.IntEnum):
    HELLO = 0
    DATA = 1
    FIN = 2
    DONE = 3
    """The end of a stream has arrived."""
    CREDIT = 4
    RESET = 5
    STOP = 6
    CLOSE = 7
    PING = 8
    OPEN = 9


def frame(kind: Kind, stream_id: int = 0, number: int = 0, payload: bytes = b"") -> bytes:
    return HEADER.pack(kind, stream_id, number, len(payload)) + payload


def violation(reason: str) -> TransportError:
    return TransportError(ErrorCode.PROTOCOL_VIOLATION, reason)


class Ending:
    """Our direction of a stream."""

    def __init__(self) -> None:
        self.is_delivered = False
        self.reset_code: int | None = None
        self.stop_code: int | None = None

    @property
    def is_over(self) -> bool:
        return self.is_delivered or self.reset_code is not None


class ToyStream:
    def __init__(self) -> None:
        self.unread = bytearray()
        self.has_fin = False
        self.reset: int | None = None
        self.has_read_end = False
        self.is_stopped = False
        self.unsent = bytearray()
        self.room = WINDOW
        """What the peer has granted."""
        self.wants_fin = False
        self.was_cut_short = False
        self.ending = Ending()

    @property
    def is_over(self) -> bool:
        return (self.has_read_end or self.is_stopped) and self.ending.is_over


class Held:
    """Nobody accounts for a toy's memory."""

    def keep_above(self, count: int) -> None:
        del count


class ToyStreams:
    """The streams of one connection.  `tell` takes what happens to them."""

    def __init__(self, tell: Callable[[StreamEvent], None], *, is_initiator: bool) -> None:
        self.held = Held()
        self.is_left = False
        self.out = bytearray()
        """Frames that are to leave."""
        self._tell = tell
        self._streams: dict[int, ToyStream] = {}
        self._ended: dict[int, Ending] = {}
        self._own = 0 if is_initiator else 1
        self._next = self._own
        self._next_of_peer = 1 - self._own
        self._is_full = False

    # for the swarm

    @property
    def has_pending(self) -> bool:
        return bool(self.out)

    def __len__(self) -> int:
        return len(self._streams)

    def open(self) -> int | None:
        if self.is_left or sum(n % 2 == self._own for n in self._streams) >= MAX_STREAMS:
            self._is_full = True
            return None
        number, self._next = self._next, self._next + 2
        self._streams[number] = ToyStream()
        self.out += frame(Kind.OPEN, number)
        return number

    def read(self, stream_id: int, max_bytes: int) -> bytes:
        stream = self._streams.get(stream_id)
        if stream is None:
            return b""
        data = bytes(stream.unread[:max_bytes])
        del stream.unread[:max_bytes]
        if data and not self.is_left:
            self.out += frame(Kind.CREDIT, stream_id, len(data))
        elif stream.reset is not None and not data:
            stream.has_read_end = True
            self._forget_if_over(stream_id)
            raise StreamReset(stream.reset)
        if stream.has_fin and not stream.unread:
            stream.has_read_end = True
            self._forget_if_over(stream_id)
        return data

    def write(self, stream_id: int, data: Buffer) -> int:
        stream = self._writable(stream_id)
        taken = min(len(data), WINDOW - len(stream.unsent))
        stream.unsent += memoryview(data)[:taken]
        stream.was_cut_short = taken < len(data)
        return taken

    def finish(self, stream_id: int) -> None:
        self._writable(stream_id).wants_fin = True

    def reset(self, stream_id: int, code: int) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None and not stream.ending.is_over:
            self._give_up(stream_id, stream, code)
            self._forget_if_over(stream_id)

    def stop(self, stream_id: int, code: int) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None and not stream.is_stopped and not stream.has_fin:
            self.out += frame(Kind.STOP, stream_id, code)
        if stream is not None:
            stream.is_stopped = True
            stream.unread.clear()
            self._forget_if_over(stream_id)

    def at_eof(self, stream_id: int) -> bool:
        stream = self._streams.get(stream_id)
        return stream is None or (stream.has_fin and stream.has_read_end)

    def is_known(self, stream_id: int) -> bool:
        return stream_id in self._streams

    def sending(self, stream_id: int) -> Ending | None:
        stream = self._streams.get(stream_id)
        return self._ended.get(stream_id) if stream is None else stream.ending

    # for the connection

    def fill(self, size: int) -> None:
        """Makes frames of what was written, until there are so many bytes of them."""
        for stream_id, stream in self._streams.items():
            while stream.unsent and stream.room and len(self.out) < size:
                piece = bytes(stream.unsent[: min(MAX_PAYLOAD, stream.room)])
                del stream.unsent[: len(piece)]
                stream.room -= len(piece)
                self.out += frame(Kind.DATA, stream_id, 0, piece)
            if stream.was_cut_short and len(stream.unsent) <= WINDOW // 2:
                stream.was_cut_short = False
                self._tell(StreamWritable(stream_id))
            if stream.wants_fin and not stream.unsent and len(self.out) < size:
                stream.wants_fin = False
                self.out += frame(Kind.FIN, stream_id)

    def leave(self) -> None:
        """The connection is over."""
        self.is_left = True
        self.out.clear()

    def on_frame(self, kind: Kind, stream_id: int, number: int, payload: bytes) -> None:
        """Raises TransportError."""
        stream = self._of_peer(kind, stream_id)
        if stream is None:
            return
        match kind:
            case Kind.DATA:
                if stream.is_stopped:
                    return
                if stream.has_fin or len(stream.unread) + len(payload) > WINDOW:
                    raise violation("more than was granted")
                was_empty = not stream.unread
                stream.unread += payload
                if was_empty:
                    self._tell(StreamReadable(stream_id))
            case Kind.FIN:
                stream.has_fin = True
                self.out += frame(Kind.DONE, stream_id)
                if not stream.unread:
                    self._tell(StreamReadable(stream_id))
                if stream.is_stopped:
                    self._forget_if_over(stream_id)
            case Kind.DONE:
                stream.ending.is_delivered = True
                self._tell(StreamFinished(stream_id))
            case Kind.CREDIT:
                stream.room = min(stream.room + number, WINDOW)
            case Kind.RESET:
                stream.reset = number
                stream.unread.clear()
                self._tell(StreamResetByPeer(stream_id, number))
            case Kind.STOP:
                stream.ending.stop_code = number
                if not stream.ending.is_over:
                    self._give_up(stream_id, stream, number)
                self._tell(StreamStoppedByPeer(stream_id, number))
            case _:
                raise violation(f"{kind.name} is not of a stream")
        self._forget_if_over(stream_id)

    def _of_peer(self, kind: Kind, stream_id: int) -> ToyStream | None:
        """Returns the stream of a frame; None where it is over."""
        if stream_id in self._streams:
            return self._streams[stream_id]
        if stream_id < (self._next if stream_id % 2 == self._own else self._next_of_peer):
            return None
        if kind is not Kind.OPEN or stream_id != self._next_of_peer:
            raise violation(f"{kind.name} of no stream")
        if sum(n % 2 != self._own for n in self._streams) >= MAX_STREAMS:
            raise violation("too many streams")
        self._next_of_peer += 2
        self._streams[stream_id] = ToyStream()
        self._tell(StreamOpened(stream_id))
        return None

    def _writable(self, stream_id: int) -> ToyStream:
        stream = self._streams.get(stream_id)
        ending = self.sending(stream_id)
        if ending is not None and ending.stop_code is not None:
            raise StreamStopped(ending.stop_code)
        assert stream is not None, "nobody writes to a stream that is over"
        return stream

    def _give_up(self, stream_id: int, stream: ToyStream, code: int) -> None:
        stream.unsent.clear()
        stream.wants_fin = False
        stream.ending.reset_code = code
        self.out += frame(Kind.RESET, stream_id, code)

    def _forget_if_over(self, stream_id: int) -> None:
        stream = self._streams.get(stream_id)
        if stream is None or not stream.is_over:
            return
        del self._streams[stream_id]
        self._ended[stream_id] = stream.ending
        if len(self._ended) > MAX_STREAMS:
            del self._ended[next(iter(self._ended))]
        if self._is_full and stream_id % 2 == self._own:
            self._is_full = False
            self._tell(StreamsAvailable())
