"""All streams of a connection: who may open them, what may be sent, and which one sends next.

A stream id's lowest bit says who opened it (0 the Noise initiator, 1 the responder); the rest counts
from 0 (specs/streams.md).  The rules: connection credit is returned when the application has done
with bytes, never on arrival; a stream is forgotten once both directions have ended and the
application knows; frames for forgotten streams mean nothing.
"""

from typing import Final, Protocol, TypeAlias

from p2pnode.clock import Instant
from p2pnode.errors import LocalProtocolError, TransportError
from p2pnode.machine import Buffer
from p2pnode.transport.error_code import ErrorCode
from p2pnode.transport.flow_control import (
    MAX_CONNECTION_WINDOW,
    MAX_STREAM_COUNT,
    ReceiveWindow,
    SendCredit,
    StreamLimits,
)
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
    stream_header,
)
from p2pnode.transport.packet_builder import FrameRecord, PacketBuilder
from p2pnode.transport.recv_stream import RecvStream
from p2pnode.transport.send_stream import SendQueues, SendStream
from p2pnode.transport.stream_events import (
    StreamEvent,
    StreamFinished,
    StreamOpened,
    StreamReadable,
    StreamResetByPeer,
    StreamsAvailable,
    StreamStoppedByPeer,
    StreamWritable,
)
from p2pnode.transport.varint import encode_varint, varint_size

QUANTUM: Final = 16 * 1024
"""bytes that one stream sends before the next gets its turn; chosen: a dozen packets"""
MIN_STREAM_ROOM: Final = 32
"""bytes; below this a STREAM frame is more header than data"""


class StreamParameters(Protocol):
    """The limits that one side announced."""

    @property
    def initial_max_data(self) -> int: ...
    @property
    def initial_max_stream_data(self) -> int: ...
    @property
    def initial_max_streams(self) -> int: ...


class Stream:
    """Both directions of one stream."""

    __slots__ = ("recv", "send", "was_readable")

    def __init__(self, send: SendStream, recv: RecvStream) -> None:
        self.send = send
        self.recv = recv
        self.was_readable = False


BulkChunk: TypeAlias = tuple[bytes, bytes, FrameRecord]
"""A STREAM frame's header, its data, and its record."""


class StreamSet:
    """Streams by id; owner of the records of all stream frames but STREAM."""

    def __init__(
        self, is_initiator: bool, local: StreamParameters, remote: StreamParameters, now: Instant
    ) -> None:
        """`local` is what we allow the peer, `remote` what the peer allows us."""
        self._opener = 0 if is_initiator else 1
        self._streams: dict[int, Stream] = {}
        self._queues = SendQueues()
        self._credit = SendCredit()
        self._credit.raise_limit(remote.initial_max_data)
        self._window = ReceiveWindow(local.initial_max_data, MAX_CONNECTION_WINDOW, now)
        self._limits = StreamLimits(local.initial_max_streams)
        self._limits.raise_local_limit(remote.initial_max_streams)
        self._local_stream_window = local.initial_max_stream_data
        self._remote_stream_limit = remote.initial_max_stream_data
        self._now = now
        self._due: dict[tuple[int, int], None] = {}
        """(frame type, stream id) of control frames to send; their values are the current ones."""
        self._sent_in_turn = 0
        self._events: list[StreamEvent] = []

    # facts

    def __len__(self) -> int:
        return len(self._streams)

    def is_known(self, stream_id: int) -> bool:
        """False for a stream that was never opened, or that is forgotten."""
        return stream_id in self._streams

    def at_eof(self, stream_id: int) -> bool:
        """True once the peer's last byte was read; also for a forgotten stream."""
        stream = self._streams.get(stream_id)
        return stream is None or stream.recv.at_eof

    @property
    def has_pending(self) -> bool:
        """Whether `write_frames` has something to write."""
        queues = self._queues
        return bool(self._due or queues.repair or (queues.fresh and self._credit.available > 0))

    def poll_events(self) -> list[StreamEvent]:
        """Returns the facts since the last call."""
        settled = self._queues.settled
        if settled:
            self._queues.settled = {}
            for stream_id, send in settled.items():
                if send.is_writable:
                    self._events.append(StreamWritable(stream_id))
                elif send.is_terminal:
                    if send.reset_code is None:
                        self._events.append(StreamFinished(stream_id))
                    self._forget_if_over(stream_id)
        events, self._events = self._events, []
        return events

    # for the application

    def open(self) -> int | None:
        """Opens a stream and returns its id, or None where the peer allows no more now.

        StreamsAvailable tells when to try again.
        """
        limits = self._limits
        if limits.opened >= limits.local_limit:
            if limits.blocked_at != limits.local_limit:
                limits.blocked_at = limits.local_limit
                self._due[FrameType.STREAMS_BLOCKED, 0] = None
            return None
        stream_id = limits.opened << 1 | self._opener
        limits.opened += 1
        self._add(stream_id)
        return stream_id

    def write(self, stream_id: int, data: Buffer) -> int:
        """Returns how much was taken; StreamWritable follows where that was not all.

        Raises StreamStopped where the peer gave up, LocalProtocolError after finish or reset.
        """
        return self._get(stream_id).send.write(data)

    def finish(self, stream_id: int) -> None:
        """Ends our direction behind what was written; raises as `write` does."""
        self._get(stream_id).send.finish()

    def reset(self, stream_id: int, code: int) -> None:
        """Gives up sending.  Does nothing where our direction has ended."""
        stream = self._streams.get(stream_id)
        if stream is not None and stream.send.reset(code):
            self._due[FrameType.RESET_STREAM, stream_id] = None

    def read(self, stream_id: int, max_bytes: int) -> bytes:
        """Returns the next bytes, b"" where there are none or the stream has ended.

        Raises StreamReset where the peer gave up, LocalProtocolError after `stop`.
        """
        stream = self._streams.get(stream_id)
        if stream is None:
            return b""
        recv = stream.recv
        try:
            data = recv.read(max_bytes)
        finally:
            if recv.is_terminal:
                self._forget_if_over(stream_id)
        if not recv.available:
            stream.was_readable = False
        if data:
            self._consume(stream_id, recv, len(data))
        return data

    def stop(self, stream_id: int, code: int) -> None:
        """Gives up receiving.  Does nothing where the peer's direction has ended."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        if stream.recv.stop(code):
            self._due[FrameType.STOP_SENDING, stream_id] = None
        self._consume(stream_id, stream.recv, stream.recv.unread)
        self._forget_if_over(stream_id)

    # from the peer

    def handle_stream(self, stream_id: int, offset: int, data: bytes, fin: bool) -> None:
        """Takes a STREAM frame.  Hot path.  Raises TransportError."""
        stream = self._streams.get(stream_id)
        if stream is None:
            stream = self._admit(stream_id)
            if stream is None:
                return
        recv = stream.recv
        self._count(recv.on_data(offset, data, fin), FrameType.STREAM)
        if recv.stop_code is not None:
            self._consume(stream_id, recv, recv.unread)
            self._forget_if_over(stream_id)
        elif not stream.was_readable and recv.is_readable:
            stream.was_readable = True
            self._events.append(StreamReadable(stream_id))

    def handle_reset_stream(self, frame: ResetStream) -> None:
        """Takes RESET_STREAM.  Raises TransportError."""
        stream = self._find(frame.stream_id)
        if stream is None:
            return
        recv = stream.recv
        was_reset = recv.reset_code is not None
        self._count(recv.on_reset(frame.code, frame.final_size), FrameType.RESET_STREAM)
        self._consume(frame.stream_id, recv, recv.unread if recv.reset_code is not None else 0)
        if recv.reset_code is not None and not was_reset and recv.stop_code is None:
            self._events.append(StreamResetByPeer(frame.stream_id, frame.code))
        self._forget_if_over(frame.stream_id)

    def handle_stop_sending(self, frame: StopSending) -> None:
        """Takes STOP_SENDING: our direction is reset.  Raises TransportError."""
        stream = self._find(frame.stream_id)
        if stream is not None and stream.send.on_stop_sending(frame.code):
            self._due[FrameType.RESET_STREAM, frame.stream_id] = None
            self._events.append(StreamStoppedByPeer(frame.stream_id, frame.code))

    def handle_max_data(self, frame: MaxData) -> None:
        self._credit.raise_limit(frame.maximum)

    def handle_max_stream_data(self, frame: MaxStreamData) -> None:
        """Raises TransportError for a stream that does not exist yet."""
        stream = self._find(frame.stream_id)
        if stream is not None:
            stream.send.on_max_stream_data(frame.maximum)

    def handle_max_streams(self, frame: MaxStreams) -> None:
        """Raises TransportError for a number that no id could have."""
        if frame.maximum > MAX_STREAM_COUNT:
            raise TransportError(
                ErrorCode.FRAME_ENCODING_ERROR, "too many streams allowed", FrameType.MAX_STREAMS
            )
        was_blocked = self._limits.blocked_at >= 0
        before = self._limits.local_limit
        self._limits.raise_local_limit(frame.maximum)
        if was_blocked and self._limits.local_limit > before:
            self._limits.blocked_at = -1
            self._events.append(StreamsAvailable())

    def handle_stream_data_blocked(self, frame: StreamDataBlocked) -> None:
        """Means nothing to us but that the stream exists.  Raises TransportError."""
        self._find(frame.stream_id)

    # for the packets

    def write_frames(self, builder: PacketBuilder, now: Instant, rtt: float) -> None:
        """Fills a packet: control frames, then what was lost, then new bytes in turns."""
        self._now = now
        self._note_blocked()
        for kind, stream_id in list(self._due):
            frame = self._control_frame(kind, stream_id, now, rtt)
            if frame is not None and not builder.add(frame, (self, kind, stream_id, 0)):
                return
            del self._due[kind, stream_id]
        queues = self._queues
        while queues.repair and builder.room >= MIN_STREAM_ROOM:
            if not self._write_stream(builder, next(iter(queues.repair.values()))):
                return
        while queues.fresh and builder.room >= MIN_STREAM_ROOM and self._credit.available > 0:
            send = next(iter(queues.fresh.values()))
            before = send.sent_size
            if not self._write_stream(builder, send):
                return
            self._take_turn(send, send.sent_size - before)

    def bulk_chunk(self, room: int) -> BulkChunk | None:
        """Returns a payload of exactly `room` bytes of the only stream that has anything to send.

        None where there is anything else to consider: then `write_frames` does.
        """
        queues = self._queues
        if len(queues.fresh) != 1 or queues.repair or self._due:
            return None
        send = next(iter(queues.fresh.values()))
        offset = send.next_offset
        head = send.prefix + encode_varint(offset)
        size = room - len(head)
        if size > send.fresh_stop - offset or size > self._credit.available:
            return None
        data = send.take_fresh(size)
        self._credit.used += size
        stop = offset + size
        if send.next_offset > stop:
            return b"\x0d" + head[1:], data, (send, offset, stop, 1)
        return head, data, (send, offset, stop, 0)

    def on_acked(self, a: int, b: int, c: int) -> None:
        """A control frame of type `a` for stream `b` has arrived."""
        if a == FrameType.RESET_STREAM:
            stream = self._streams.get(b)
            if stream is not None:
                stream.send.on_reset_acked()

    def on_lost(self, a: int, b: int, c: int) -> None:
        """A control frame was lost: sent again with what is true by then."""
        self._due[a, b] = None

    # details

    def _get(self, stream_id: int) -> Stream:
        stream = self._streams.get(stream_id)
        if stream is None:
            raise LocalProtocolError(f"stream {stream_id} is not open")
        return stream

    def _add(self, stream_id: int) -> Stream:
        send = SendStream(stream_id, self._remote_stream_limit, queues=self._queues)
        recv = RecvStream(stream_id, self._local_stream_window, self._now)
        stream = self._streams[stream_id] = Stream(send, recv)
        return stream

    def _find(self, stream_id: int) -> Stream | None:
        """Returns the stream that a frame is for, or None where it is forgotten."""
        return self._streams.get(stream_id) or self._admit(stream_id)

    def _admit(self, stream_id: int) -> Stream | None:
        """Opens what the peer opens; those below it exist then as well (RFC 9000 section 3.2)."""
        ordinal, limits = stream_id >> 1, self._limits
        if stream_id & 1 == self._opener:
            if ordinal >= limits.opened:
                raise TransportError(
                    ErrorCode.STREAM_STATE_ERROR, "frame for a stream that we have not opened"
                )
            return None
        if ordinal < limits.peer_opened:
            return None
        if ordinal >= limits.peer_limit:
            raise TransportError(ErrorCode.STREAM_LIMIT_ERROR, "more streams than allowed")
        while limits.peer_opened <= ordinal:
            opened = limits.peer_opened << 1 | (stream_id & 1)
            limits.peer_opened += 1
            self._add(opened)
            self._events.append(StreamOpened(opened))
        return self._streams[stream_id]

    def _count(self, counted: int, frame_type: int) -> None:
        if counted:
            window = self._window
            window.received += counted
            if window.received > window.limit:
                raise TransportError(
                    ErrorCode.FLOW_CONTROL_ERROR,
                    "more data than the connection's limit",
                    frame_type,
                )

    def _consume(self, stream_id: int, recv: RecvStream, size: int) -> None:
        """The application has done with bytes: both levels of credit come back."""
        recv.window.consume(size)
        if recv.wants_credit:
            self._due[FrameType.MAX_STREAM_DATA, stream_id] = None
        if self._window.consume(size):
            self._due[FrameType.MAX_DATA, 0] = None

    def _forget_if_over(self, stream_id: int) -> None:
        stream = self._streams.get(stream_id)
        if stream is None or not (stream.send.is_terminal and stream.recv.is_terminal):
            return
        del self._streams[stream_id]
        if stream_id & 1 != self._opener:
            self._limits.closed_by_peer += 1
            if self._limits.is_update_due:
                self._due[FrameType.MAX_STREAMS, 0] = None

    def _note_blocked(self) -> None:
        credit = self._credit
        if self._queues.fresh and credit.available <= 0 and credit.blocked_at != credit.limit:
            credit.blocked_at = credit.limit
            self._due[FrameType.DATA_BLOCKED, 0] = None

    def _control_frame(self, kind: int, stream_id: int, now: Instant, rtt: float) -> bytes | None:
        """Returns a control frame with its current value, or None where it has become pointless."""
        stream = self._streams.get(stream_id)
        match kind:
            case FrameType.MAX_DATA:
                return MaxData(self._window.raise_limit(now, rtt)).encode()
            case FrameType.MAX_STREAMS:
                return MaxStreams(self._limits.raise_peer_limit()).encode()
            case FrameType.DATA_BLOCKED:
                return DataBlocked(self._credit.limit).encode()
            case FrameType.STREAMS_BLOCKED:
                return StreamsBlocked(self._limits.local_limit).encode()
            case FrameType.MAX_STREAM_DATA if stream is not None:
                window = stream.recv.window
                if stream.recv.final_size is not None:
                    return None
                limit = window.raise_limit(now, rtt)
                self._window.grow(window.size + window.size // 2)
                return MaxStreamData(stream_id, limit).encode()
            case FrameType.RESET_STREAM if stream is not None:
                send = stream.send
                if send.reset_code is None or send.is_terminal:
                    return None
                return ResetStream(stream_id, send.reset_code, send.final_size or 0).encode()
            case FrameType.STOP_SENDING if stream is not None:
                recv = stream.recv
                if recv.stop_code is None or recv.is_terminal:
                    return None
                return StopSending(stream_id, recv.stop_code).encode()
            case _:
                return None

    def _write_stream(self, builder: PacketBuilder, send: SendStream) -> bool:
        """Writes one STREAM frame; returns False where none fits."""
        credit = self._credit.available
        offset, size = send.peek(credit)
        head = 1 + varint_size(send.stream_id) + (varint_size(offset) if offset else 0)
        fills = size >= builder.room - head
        room = builder.room - head - (0 if fills else varint_size(size))
        before = send.sent_size
        taken = send.take(room, credit) if room >= min(size, 1) else None
        if taken is None:
            return False
        offset, data, fin = taken
        self._credit.used += send.sent_size - before
        header = stream_header(send.stream_id, offset, fin, None if fills else len(data))
        builder.chunks += (header, data)
        builder.records.append((send, offset, offset + len(data), fin))
        builder.room -= len(header) + len(data)
        if fills:
            builder.room = 0
        builder.is_ack_eliciting = True
        return True

    def _take_turn(self, send: SendStream, size: int) -> None:
        """Puts the stream that has sent its share behind the others."""
        self._sent_in_turn += size
        fresh = self._queues.fresh
        if self._sent_in_turn >= QUANTUM or send.stream_id not in fresh:
            self._sent_in_turn = 0
            if fresh.pop(send.stream_id, None) is not None:
                fresh[send.stream_id] = send
