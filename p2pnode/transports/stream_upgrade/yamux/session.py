"""A yamux session: bytes of a link in, frames and events of streams out (specs/yamux.md).

    open --violation | no sign of life | GO_AWAY with an error | go_away | link lost--> over

The rule: what a frame says is done when its header is complete, and its data is handed over as it
comes, so that no more than a header is ever kept.
"""

from typing import TYPE_CHECKING

from p2pnode.clock import Deadline, Instant
from p2pnode.errors import (
    ClosedByPeer,
    ClosedForViolation,
    ClosedLocally,
    ConnectionLost,
    IdleTimeout,
    TransportError,
)
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.stream_events import StreamEvent
from p2pnode.transports.stream_upgrade.yamux.frame import (
    HEADER,
    HEADER_SIZE,
    SESSION_ID,
    VERSION,
    Flag,
    FrameType,
    GoAwayCode,
    Header,
    encode_header,
)
from p2pnode.transports.stream_upgrade.yamux.pings import Pings
from p2pnode.transports.stream_upgrade.yamux.streams import MAX_STREAMS, YamuxStreams
from p2pnode.transports.stream_upgrade.yamux.writer import FrameWriter
from p2pnode.transports.work import CONTROL_FRAME_WORK, Work

if TYPE_CHECKING:
    from p2pnode.transports.delivery.recv_stream import RecvStream


class YamuxSession:
    """One end.  Performs no I/O; after its end it takes and gives nothing but a last GO_AWAY."""

    def __init__(
        self,
        is_initiator: bool,
        *,
        now: Instant,
        max_streams: int = MAX_STREAMS,
        work: Work | None = None,
    ) -> None:
        """`max_streams` is how many the peer may have open; `work` is the connection's account."""
        self.work = Work() if work is None else work
        self._pings = Pings(now)
        self.streams = YamuxStreams(
            is_initiator, self._pings, self.work, max_streams=max_streams, now=now
        )
        self._writer = FrameWriter(self.streams, self._pings)
        self._partial = b""
        """The start of a header."""
        self._body = 0
        """Bytes of the current frame's data that have not come."""
        self._body_of: RecvStream | None = None
        """Who takes them; None where they are dropped."""
        self._ends_with_body = False
        """Whether the current frame has FIN."""
        self._last_words = b""
        self.failure: ConnectionLost | None = None
        """Why it is over: ClosedForViolation, ClosedByPeer, ClosedLocally, IdleTimeout; None before
        its end, and where the link was lost."""
        self.is_over = False

    # facts

    @property
    def rtt(self) -> float | None:
        """Smoothed round-trip time in seconds; None before the first answer to a ping."""
        return self._pings.rtt

    @property
    def last_received(self) -> Instant:
        return self._pings.last_received

    @property
    def has_output(self) -> bool:
        """Whether `poll_output` has something, given room for a frame."""
        return bool(self._last_words) if self.is_over else self._writer.has_output

    # input

    def handle_data(self, data: bytes, now: Instant) -> None:
        """Takes what came, cut anywhere.  Untrusted; never raises."""
        if self.is_over or not data:
            return
        self._pings.last_received = now
        try:
            self._take(data, now)
        except TransportError as violation:
            self._end(ClosedForViolation(violation), GoAwayCode.PROTOCOL_ERROR)

    def handle_timeout(self, now: Instant) -> None:
        """Pings a silent peer, and ends the session where that is not answered."""
        if not self.is_over and self._pings.is_overdue(now):
            self._end(IdleTimeout(), GoAwayCode.NORMAL)

    def on_link_lost(self) -> None:
        """The link brings and takes nothing more; what has come may still be read."""
        self._last_words = b""
        self.is_over = True
        self.streams.leave()

    def ping(self) -> None:
        """Asks the peer for a sign of life."""
        self._pings.is_wanted = True

    def go_away(self, code: GoAwayCode = GoAwayCode.NORMAL) -> None:
        """Ends the session, and tells the peer; what was not sent is lost."""
        if not self.is_over:
            self._end(ClosedLocally(), code)

    # output

    def poll_output(self, room: int, now: Instant) -> bytes:
        """Returns whole frames of at most `room` bytes together; b"" where there are none.

        A room of less than a header and a byte of data may never be enough.
        """
        if not self.is_over:
            return self._writer.write(room, now)
        if len(self._last_words) > room:
            return b""
        words, self._last_words = self._last_words, b""
        return words

    def poll_events(self) -> list[StreamEvent]:
        """Returns the facts since the last call, oldest first."""
        return self.streams.poll_events()

    def poll_timeout(self) -> Deadline | None:
        return None if self.is_over else self._pings.deadline

    # details

    def _end(self, failure: ConnectionLost, code: GoAwayCode) -> None:
        self.failure = failure
        self.is_over = True
        self._last_words = encode_header(FrameType.GO_AWAY, 0, SESSION_ID, code)
        self._partial = b""
        self._body_of = None
        self.streams.leave()

    def _take(self, data: bytes, now: Instant) -> None:
        position, size = 0, len(data)
        if self._partial:
            position = HEADER_SIZE - len(self._partial)
            self._partial += data[:position]
            if len(self._partial) < HEADER_SIZE:
                return
            header = Header._make(HEADER.unpack(self._partial))
            self._partial = b""
            self._on_header(header, now)
        while position < size and not self.is_over:
            if self._body:
                stop = min(size, position + self._body)
                self._on_body(data[position:stop])
                position = stop
            elif size - position < HEADER_SIZE:
                self._partial = data[position:]
                return
            else:
                self._on_header(Header._make(HEADER.unpack_from(data, position)), now)
                position += HEADER_SIZE

    def _on_body(self, part: bytes) -> None:
        self._body -= len(part)
        if self._body_of is not None:
            is_last = self._ends_with_body and not self._body
            self.streams.handle_data(self._body_of, part, is_last)

    def _on_header(self, header: Header, now: Instant) -> None:
        if header.version != VERSION:
            raise _violation("an unknown version")
        # Of any type: data pays for itself by its bytes, and has to where there are few.
        if header.frame_type == FrameType.DATA and header.length:
            self.work.spent += CONTROL_FRAME_WORK
        else:
            self.work.add_overhead(CONTROL_FRAME_WORK)
        match header.frame_type:
            case FrameType.DATA:
                self._on_data(header, now)
            case FrameType.WINDOW_UPDATE:
                self._on_window_update(header, now)
            case FrameType.PING:
                self._on_ping(header, now)
            case FrameType.GO_AWAY:
                self._on_go_away(header)
            case _:
                raise _violation("an unknown type of frame")

    def _on_data(self, header: Header, now: Instant) -> None:
        if header.stream_id == SESSION_ID:
            raise _violation("data for the session")
        flags, streams = header.flags, self.streams
        self._on_beginning(header, now)
        self._body = header.length
        recv = None if flags & Flag.RST else streams.receiving(header.stream_id, header.length)
        self._body_of = recv
        self._ends_with_body = bool(flags & Flag.FIN)
        if recv is not None and not header.length and self._ends_with_body:
            streams.handle_data(recv, b"", True)
        if flags & Flag.RST:
            streams.handle_reset(header.stream_id, 0)

    def _on_window_update(self, header: Header, now: Instant) -> None:
        stream_id, flags, streams = header.stream_id, header.flags, self.streams
        if stream_id == SESSION_ID:
            return
        self._on_beginning(header, now)
        if flags & Flag.RST:
            streams.handle_reset(stream_id, header.length)
            return
        streams.handle_window_update(stream_id, header.length)
        if flags & Flag.FIN:
            recv = streams.receiving(stream_id, 0)
            if recv is not None:
                streams.handle_data(recv, b"", True)

    def _on_beginning(self, header: Header, now: Instant) -> None:
        if header.flags & Flag.SYN:
            self.streams.handle_syn(header.stream_id, now)
        self.streams.handle_ack(header.stream_id)

    def _on_ping(self, header: Header, now: Instant) -> None:
        if header.stream_id != SESSION_ID:
            raise _violation("a ping for a stream")
        if header.flags & Flag.SYN:
            self._pings.on_request(header.length)
        elif header.flags & Flag.ACK:
            if self._pings.is_answer(header.length):
                self.work.overhead -= CONTROL_FRAME_WORK  # we asked for it
            for send in self._pings.on_answer(header.length, now):
                self.streams.handle_answer(send)

    def _on_go_away(self, header: Header) -> None:
        if header.stream_id != SESSION_ID:
            raise _violation("GO_AWAY for a stream")
        if header.length == GoAwayCode.NORMAL:
            self.streams.is_closing = True
            return
        self._end(ClosedByPeer(header.length, "GO_AWAY"), GoAwayCode.NORMAL)
        self._last_words = b""


def _violation(reason: str) -> TransportError:
    return TransportError(ErrorCode.PROTOCOL_VIOLATION, reason)
