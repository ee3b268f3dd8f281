"""The frames about streams that carry no data: credit, blocked, RESET_STREAM, STOP_SENDING.

The rule: what is queued is only which frame about which stream; its values are read when it is
written.  So a lost frame goes out again with current values, or not at all where it has become
pointless, and the queue holds at most one frame of a kind for each stream.
"""

from typing import Final

from p2pnode.clock import Instant
from p2pnode.transports.delivery.flow_control import (
    MAX_STREAM_GROWTH,
    MAX_STREAM_WINDOW,
    ReceiveWindow,
    SendCredit,
    StreamLimits,
)
from p2pnode.transports.delivery.frame import (
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
from p2pnode.transports.delivery.packet_builder import PacketBuilder
from p2pnode.transports.delivery.recv_stream import RecvState, RecvStream
from p2pnode.transports.delivery.send_stream import SendState, SendStream

CONNECTION_SHARE: Final = 1.5
"""The connection's window is at least this multiple of any stream's, as in quic-go."""


class StreamControl:
    """Owns the records of these frames.  It looks at the streams, and changes only their limits."""

    __slots__ = (
        "_credit",
        "_growth_left",
        "_limits",
        "_recv",
        "_send",
        "_stream_window",
        "_window",
        "pending",
    )

    def __init__(
        self,
        send: dict[int, SendStream],
        recv: dict[int, RecvStream],
        window: ReceiveWindow,
        credit: SendCredit,
        limits: StreamLimits,
        *,
        stream_window: int,
    ) -> None:
        """`stream_window` is the size of a stream's receive window at its start."""
        self._send = send
        self._recv = recv
        self._window = window
        self._credit = credit
        self._limits = limits
        self._stream_window = stream_window
        self._growth_left = MAX_STREAM_GROWTH
        """Bytes by which the streams' windows may still grow, all of them together."""
        self.pending: dict[tuple[int, int], None] = {}
        """(frame type, stream id or 0), in the order of writing."""

    def add(self, kind: FrameType, stream_id: int = 0) -> None:
        """Queues a frame; one that is queued already stays where it is."""
        self.pending[kind, stream_id] = None

    def write(self, builder: PacketBuilder, now: Instant, rtt: float) -> None:
        """Writes what fits, oldest first.  `rtt` in seconds tunes the windows; 0 means unknown."""
        for kind, stream_id in list(self.pending):
            if self._is_wanted(kind, stream_id):
                frame, value = self._encode(kind, stream_id, now, rtt)
                if not builder.add(frame, (self, kind, stream_id, value)):
                    return
            del self.pending[kind, stream_id]

    def on_window_gone(self, window: ReceiveWindow) -> None:
        """A stream is forgotten: others may grow by as much as it had."""
        self._growth_left += window.size - self._stream_window

    def on_acked(self, a: int, b: int, c: int) -> None:
        """A frame of type `a` about stream `b`, with value `c`, has arrived."""
        if a == FrameType.RESET_STREAM:
            stream = self._send.get(b)
            if stream is not None:
                stream.on_reset_acked()

    def on_lost(self, a: int, b: int, c: int) -> None:
        """Queues it again, unless a later one has said more or it has become pointless."""
        if self._is_wanted(a, b) and self._is_latest(a, b, c):
            self.pending[a, b] = None

    def _is_wanted(self, kind: int, stream_id: int) -> bool:
        """Whether the frame would tell the peer something."""
        match kind:
            case FrameType.DATA_BLOCKED:
                return self._credit.is_low
            case FrameType.STREAMS_BLOCKED:
                return self._limits.opened >= self._limits.local_limit
            case FrameType.MAX_STREAM_DATA | FrameType.STOP_SENDING:
                recv = self._recv.get(stream_id)
                if recv is None or recv.state is not RecvState.RECV:
                    return False
                return kind == FrameType.STOP_SENDING or recv.stop_code is None
            case FrameType.RESET_STREAM | FrameType.STREAM_DATA_BLOCKED:
                send = self._send.get(stream_id)
                if send is None:
                    return False
                if kind == FrameType.RESET_STREAM:
                    return send.state is SendState.RESET_SENT
                return send.is_blocked
            case _:
                return True

    def _is_latest(self, kind: int, stream_id: int, value: int) -> bool:
        match kind:
            case FrameType.MAX_DATA:
                return value == self._window.limit
            case FrameType.MAX_STREAM_DATA:
                return value == self._recv[stream_id].window.limit
            case FrameType.MAX_STREAMS:
                return value == self._limits.peer_limit
            case FrameType.STREAM_DATA_BLOCKED:
                return value == self._send[stream_id].max_data
            case FrameType.DATA_BLOCKED:
                return value == self._credit.limit
            case _:
                return True

    def _encode(self, kind: int, stream_id: int, now: Instant, rtt: float) -> tuple[bytes, int]:
        """Returns a frame that is wanted, and its value."""
        match kind:
            case FrameType.MAX_DATA:
                value = self._window.raise_limit(now, rtt)
                return MaxData(value).encode(), value
            case FrameType.MAX_STREAM_DATA:
                value = self._raise_stream_limit(self._recv[stream_id].window, now, rtt)
                return MaxStreamData(stream_id, value).encode(), value
            case FrameType.MAX_STREAMS:
                value = self._limits.raise_peer_limit()
                return MaxStreams(value).encode(), value
            case FrameType.STOP_SENDING:
                value = self._recv[stream_id].stop_code or 0
                return StopSending(stream_id, value).encode(), value
            case FrameType.RESET_STREAM:
                send = self._send[stream_id]
                value = send.reset_code or 0
                return ResetStream(stream_id, value, send.sent_size).encode(), value
            case FrameType.DATA_BLOCKED:
                value = self._credit.limit
                return DataBlocked(value).encode(), value
            case FrameType.STREAM_DATA_BLOCKED:
                value = self._send[stream_id].max_data
                return StreamDataBlocked(stream_id, value).encode(), value
            case _:
                assert kind == FrameType.STREAMS_BLOCKED, "not a frame about streams"
                value = self._limits.local_limit
                return StreamsBlocked(value).encode(), value

    def _raise_stream_limit(self, window: ReceiveWindow, now: Instant, rtt: float) -> int:
        """Returns the stream's new limit; its window grows within what all may grow together."""
        before = window.size
        window.maximum = min(MAX_STREAM_WINDOW, before + self._growth_left)
        value = window.raise_limit(now, rtt)
        self._growth_left -= window.size - before
        self._window.grow(int(window.size * CONNECTION_SHARE))
        return value
