"""The frames about streams that carry no data: credit, blocked, RESET_STREAM, STOP_SENDING.

The rule: what is queued is only which frame about which stream; its values are read when it is
written.  So a lost frame goes out again with current values, or not at all where it has become
pointless, and the queue holds at most one frame of a kind for each stream.
"""

from typing import Final

from p2pnode.clock import Instant
from p2pnode.transport.flow_control import ReceiveWindow, SendCredit, StreamLimits
from p2pnode.transport.frame import (
    DataBlocked,
    FrameType,
    MaxData,
    MaxStreamData,
    MaxStreams,
    ResetStream,
    StopSending,
    StreamDataBlocked,
    StreamsBlocked,
)
from p2pnode.transport.packet_builder import PacketBuilder
from p2pnode.transport.recv_stream import RecvState, RecvStream
from p2pnode.transport.send_stream import SendState, SendStream

CONNECTION_SHARE: Final = 1.5
"""The connection's window is at least this multiple of any stream's, as in quic-go."""


class StreamControl:
    """Owns the records of these frames.  It looks at the streams, and changes only their limits."""

    __slots__ = ("_credit", "_limits", "_recv", "_send", "_window", "pending")

    def __init__(
        self,
        send: dict[int, SendStream],
        recv: dict[int, RecvStream],
        window: ReceiveWindow,
        credit: SendCredit,
        limits: StreamLimits,
    ) -> None:
        self._send = send
        self._recv = recv
        self._window = window
        self._credit = credit
        self._limits = limits
        self.pending: dict[tuple[int, int], None] = {}
        """(frame type, stream id or 0), in the order of writing."""

    def add(self, kind: FrameType, stream_id: int = 0) -> None:
        """Queues a frame; one that is queued already stays where it is."""
        self.pending[kind, stream_id] = None

    def write(self, builder: PacketBuilder, now: Instant, rtt: float) -> None:
        """Writes what fits, oldest first.  `rtt` in seconds tunes the windows; 0 means unknown."""
        for kind, stream_id in list(self.pending):
            written = self._encode(kind, stream_id, now, rtt)
            if written is not None:
                frame, value = written
                if not builder.add(frame, (self, kind, stream_id, value)):
                    return
            del self.pending[kind, stream_id]

    def on_acked(self, a: int, b: int, c: int) -> None:
        """A frame of type `a` about stream `b`, with value `c`, has arrived."""
        if a == FrameType.RESET_STREAM:
            stream = self._send.get(b)
            if stream is not None:
                stream.on_reset_acked()

    def on_lost(self, a: int, b: int, c: int) -> None:
        """Queues it again, unless a later one has said more."""
        if self._is_current(a, b, c):
            self.pending[a, b] = None

    def _is_current(self, kind: int, stream_id: int, value: int) -> bool:
        match kind:
            case FrameType.MAX_DATA:
                return value == self._window.limit
            case FrameType.MAX_STREAM_DATA:
                stream = self._recv.get(stream_id)
                return stream is not None and value == stream.window.limit
            case FrameType.MAX_STREAMS:
                return value == self._limits.peer_limit
            case _:
                return True

    def _encode(
        self, kind: int, stream_id: int, now: Instant, rtt: float
    ) -> tuple[bytes, int] | None:
        """Returns the frame and its value, or None where it has become pointless."""
        match kind:
            case FrameType.MAX_DATA:
                limit = self._window.raise_limit(now, rtt)
                return MaxData(limit).encode(), limit
            case FrameType.MAX_STREAMS:
                limit = self._limits.raise_peer_limit()
                return MaxStreams(limit).encode(), limit
            case FrameType.DATA_BLOCKED:
                limit = self._credit.limit
                is_blocked = self._credit.available == 0
                return (DataBlocked(limit).encode(), limit) if is_blocked else None
            case FrameType.STREAMS_BLOCKED:
                limit = self._limits.local_limit
                is_blocked = self._limits.opened == limit
                return (StreamsBlocked(limit).encode(), limit) if is_blocked else None
            case FrameType.MAX_STREAM_DATA | FrameType.STOP_SENDING:
                recv = self._recv.get(stream_id)
                return None if recv is None else self._encode_for_sender(kind, recv, now, rtt)
            case _:
                send = self._send.get(stream_id)
                return None if send is None else self._encode_for_receiver(kind, send)

    def _encode_for_sender(
        self, kind: int, stream: RecvStream, now: Instant, rtt: float
    ) -> tuple[bytes, int] | None:
        if stream.state is not RecvState.RECV:
            return None
        if kind == FrameType.STOP_SENDING:
            assert stream.stop_code is not None
            return StopSending(stream.stream_id, stream.stop_code).encode(), stream.stop_code
        if stream.stop_code is not None:
            return None
        limit = stream.window.raise_limit(now, rtt)
        self._window.grow(int(stream.window.size * CONNECTION_SHARE))
        return MaxStreamData(stream.stream_id, limit).encode(), limit

    def _encode_for_receiver(self, kind: int, stream: SendStream) -> tuple[bytes, int] | None:
        if kind == FrameType.RESET_STREAM:
            if stream.state is not SendState.RESET_SENT:
                return None
            assert stream.reset_code is not None
            frame = ResetStream(stream.stream_id, stream.reset_code, stream.sent_size)
            return frame.encode(), stream.reset_code
        if not stream.is_blocked:
            return None
        return StreamDataBlocked(stream.stream_id, stream.max_data).encode(), stream.max_data
