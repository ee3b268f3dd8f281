"""All streams of a connection: who opens them, who gets which frame, when they are forgotten.

A stream id's lowest bit says who opened it (0 the initiator, 1 the responder); above it, and where
the transport has more kinds of streams (RFC 9000 section 2.1) above zeros for ours, ids count from
0 (specs/streams.md).  The rules: credit is returned when the application has done with
bytes, never on arrival; a stream is forgotten once both directions have ended and the application
knows it; frames for forgotten streams mean nothing.

Whoever lets go of a stream calls `reset` and `stop`: they do nothing where their direction has
ended.
"""

from typing import Protocol

from p2pnode.clock import Instant
from p2pnode.errors import LocalProtocolError, TransportError
from p2pnode.machine import Buffer
from p2pnode.transports.delivery.flow_control import (
    MAX_CONNECTION_WINDOW,
    MAX_STREAM_COUNT,
    ReceiveWindow,
    SendCredit,
    StreamLimits,
    reserve_of,
)
from p2pnode.transports.delivery.frame import (
    FrameType,
    MaxData,
    MaxStreamData,
    MaxStreams,
    ResetStream,
    StopSending,
    StreamDataBlocked,
)
from p2pnode.transports.delivery.held_bytes import STREAM_SIZE, HeldBytes
from p2pnode.transports.delivery.packet_builder import PacketBuilder
from p2pnode.transports.delivery.recv_stream import RecvState, RecvStream
from p2pnode.transports.delivery.send_stream import LITTLE_BUFFER, SEND_BUFFER_SIZE, SendStream
from p2pnode.transports.delivery.stream_control import StreamControl
from p2pnode.transports.delivery.stream_writer import StreamWriter
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
from p2pnode.transports.work import ANSWERS_WORK, FRAME_WORK, STREAM_WORK


class StreamParameters(Protocol):
    """The limits that one side announced in the handshake."""

    @property
    def initial_max_data(self) -> int: ...
    @property
    def initial_max_stream_data(self) -> int: ...
    @property
    def initial_max_streams(self) -> int: ...


class StreamSet:
    """Streams by id, each with its sending and its receiving half."""

    def __init__(
        self,
        is_initiator: bool,
        local: StreamParameters,
        remote: StreamParameters,
        now: Instant,
        kind_bits: int = 1,
    ) -> None:
        """`local` is what we allow the peer, `remote` what the peer allows us.

        `kind_bits` are an id's low bits that do not count; streams with other kinds than ours in
        them are not allowed to anybody.
        """
        self._kind_bits = kind_bits
        self._other_kinds = (1 << kind_bits) - 2
        self._opener = 0 if is_initiator else 1
        self._send: dict[int, SendStream] = {}
        self._recv: dict[int, RecvStream] = {}
        self._credit = SendCredit(remote.initial_max_data)
        window_size = local.initial_max_data
        self._window = ReceiveWindow(
            window_size, MAX_CONNECTION_WINDOW, now, reserve=reserve_of(window_size)
        )
        self.held = HeldBytes(self._window)
        """What the streams hold; other parts of the connection add what they do."""
        self._limits = StreamLimits(local.initial_max_streams)
        self._limits.raise_local_limit(remote.initial_max_streams)
        self._local_stream_window = local.initial_max_stream_data
        self._remote_stream_limit = remote.initial_max_stream_data
        self._control = StreamControl(
            self._send,
            self._recv,
            self._window,
            self._credit,
            self._limits,
            stream_window=local.initial_max_stream_data,
        )
        self._writer = StreamWriter(self._credit, self._control, self.held)
        self._settled = self._writer.queues.settled
        self._events: list[StreamEvent] = []
        self._now = now
        self.opening_work = 0
        """What the streams cost that the peer opened, until the connection has it counted."""
        self.overhead = 0
        """As `Work.overhead`, until the receiver has it counted; what pays for some is less."""
        self.is_left = False
        """Whether the connection is over, and only what has come may still be read."""
        self.bulk_chunk = self._writer.bulk_chunk
        """See `StreamWriter.bulk_chunk`; here without a call in between."""

    # facts

    @property
    def bytes_received(self) -> int:
        """New bytes of all streams so far, by flow control's count."""
        return self._window.received

    @property
    def bytes_sent(self) -> int:
        """New bytes of all streams so far, by flow control's count."""
        return self._credit.used

    @property
    def is_receiving(self) -> bool:
        """True while the peer has more to send on some stream.  Looks at all of them."""
        return any(recv.is_incomplete for recv in self._recv.values())

    def __len__(self) -> int:
        return len(self._recv)

    def sending(self, stream_id: int) -> SendStream:
        """Returns our half of a stream.  Raises LocalProtocolError where the stream is not open."""
        send = self._send.get(stream_id)
        if send is None:
            raise LocalProtocolError(f"stream {stream_id} is not open")
        return send

    def is_known(self, stream_id: int) -> bool:
        """False for a stream that was never opened, or that is forgotten."""
        return stream_id in self._recv

    def at_eof(self, stream_id: int) -> bool:
        """True once the peer's last byte was read; also for a forgotten stream."""
        recv = self._recv.get(stream_id)
        return recv is None or recv.at_eof

    @property
    def has_pending(self) -> bool:
        """Whether `write_frames` has something to write."""
        if self._settled:
            self._settle()
        return self._writer.has_pending

    def count_held(self) -> int:
        """Counts anew what the streams hold: their part of `held.total`.  Looks at all of them."""
        received = sum(recv.count_held() for recv in self._recv.values())
        to_send = sum(send.count_held() for send in self._send.values())
        return received + to_send + STREAM_SIZE * len(self)

    def poll_events(self) -> list[StreamEvent]:
        """Returns the facts since the last call, oldest first."""
        if self._settled:
            self._settle()
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
                self._control.add(FrameType.STREAMS_BLOCKED)
            return None
        stream_id = limits.opened << self._kind_bits | self._opener
        limits.opened += 1
        self.overhead -= ANSWERS_WORK
        self._add(stream_id)
        return stream_id

    def write(self, stream_id: int, data: Buffer) -> int:
        """Returns how much was taken; StreamWritable follows where that was not all.

        Raises StreamStopped where the peer gave up, LocalProtocolError after finish or reset.
        """
        send = self.sending(stream_id)
        taken = send.write(data)
        credit = self._credit
        if send.next_offset >= send.max_data or credit.used >= credit.bulk_limit:
            self._writer.note_blocked(send)
        return taken

    def finish(self, stream_id: int) -> None:
        """Ends our direction behind what was written; raises as `write` does."""
        self.sending(stream_id).finish()

    def reset(self, stream_id: int, code: int) -> None:
        """Gives up sending.  Does nothing where our direction has ended."""
        send = self._send.get(stream_id)
        if send is not None and send.reset(code):
            self._control.add(FrameType.RESET_STREAM, stream_id)

    def read(self, stream_id: int, max_bytes: int) -> bytes:
        """Returns the next bytes, b"" where there are none or the stream has ended.

        Raises StreamReset where the peer gave up (a forgotten stream reads as ended: the caller
        remembers), LocalProtocolError after `stop`.
        """
        recv = self._recv.get(stream_id)
        if recv is None:
            return b""
        try:
            data = recv.read(max_bytes)
        finally:
            if recv.is_terminal:
                self._forget_if_over(stream_id)
        if data:
            if recv.wants_credit:
                self._control.add(FrameType.MAX_STREAM_DATA, stream_id)
            self._return_credit(len(data))
        return data

    def stop(self, stream_id: int, code: int) -> None:
        """Gives up receiving.  Does nothing where the peer's direction has ended and was read."""
        recv = self._recv.get(stream_id)
        if recv is None:
            return
        before = recv.window.consumed
        if recv.stop(code):
            self._control.add(FrameType.STOP_SENDING, stream_id)
        self._return_credit(recv.window.consumed - before)
        self._forget_if_over(stream_id)

    # for the node's memory

    def hold_back(self, is_held_back: bool) -> None:
        """Says whether the peer is given little credit, and our side little room to write."""
        self._window.hold_back(is_held_back)
        queues = self._writer.queues
        queues.buffer_size = LITTLE_BUFFER if is_held_back else SEND_BUFFER_SIZE

    @property
    def unread(self) -> int:
        """bytes that the application may read now.  Looks at all streams."""
        return sum(recv.available for recv in self._recv.values())

    def leave(self) -> None:
        """The connection is over: frees what will not be delivered any more, either way."""
        self.is_left = True
        for recv in self._recv.values():
            recv.leave()
        for send in self._send.values():
            send.forsake()

    def forsake(self) -> None:
        """Frees the memory of all streams: the connection is gone, whoever still holds them."""
        for recv in self._recv.values():
            recv.forsake()
        for send in self._send.values():
            send.forsake()

    # from the peer

    def handle_stream(self, stream_id: int, offset: int, data: bytes, fin: bool) -> None:
        """Takes a STREAM frame.  The hot path of receiving.  Raises TransportError."""
        recv = self._recv.get(stream_id)
        if recv is None:
            if not self._exists(stream_id, FrameType.STREAM):
                self.overhead += FRAME_WORK
                return
            recv = self._recv[stream_id]
        available, state = recv.available, recv.state
        counted = recv.on_data(offset, data, fin)
        if counted:
            window = self._window
            window.received += counted
            if window.received > window.low_mark:
                self._on_low_credit(FrameType.STREAM)
            if recv.stop_code is not None:
                self._return_credit(counted)
        elif recv.state is state and recv.available == available:
            self.overhead += FRAME_WORK
        if recv.state is not state:
            if not recv.final_size and stream_id & 1 != self._opener:
                self.overhead += STREAM_WORK
            if recv.state is RecvState.DATA_RECVD:
                self._events.append(StreamReadable(stream_id))
                return
            self._forget_if_over(stream_id)
        if not available and recv.available:
            self._events.append(StreamReadable(stream_id))

    def handle_reset_stream(self, frame: ResetStream) -> None:
        """Raises TransportError."""
        stream_id = frame.stream_id
        if not self._exists(stream_id, FrameType.RESET_STREAM):
            return
        recv, window = self._recv[stream_id], self._window
        before, state = recv.window.consumed, recv.state
        window.received += recv.on_reset(frame.code, frame.final_size)
        if window.received > window.low_mark:
            self._on_low_credit(FrameType.RESET_STREAM)
        self._return_credit(recv.window.consumed - before)
        if recv.state is not state:
            is_our_wish = recv.stop_code is not None or self._send[stream_id].final_size is not None
            self._note_given_up(stream_id, not is_our_wish)
            if recv.state is RecvState.RESET_RECVD:
                self._events.append(StreamResetByPeer(stream_id, frame.code))
        self._forget_if_over(stream_id)

    def handle_stop_sending(self, frame: StopSending) -> None:
        """Our direction is reset with the peer's code.  Raises TransportError."""
        stream_id = frame.stream_id
        if self._exists(stream_id, FrameType.STOP_SENDING) and self._send[
            stream_id
        ].on_stop_sending(frame.code):
            self._control.add(FrameType.RESET_STREAM, stream_id)
            self._note_given_up(stream_id, self._recv[stream_id].reset_code is None)
            self._events.append(StreamStoppedByPeer(stream_id, frame.code))

    def handle_max_data(self, frame: MaxData) -> None:
        self._credit.raise_limit(frame.maximum)

    def handle_max_stream_data(self, frame: MaxStreamData) -> None:
        """Raises TransportError for a stream that does not exist yet."""
        if self._exists(frame.stream_id, FrameType.MAX_STREAM_DATA):
            self._send[frame.stream_id].on_max_stream_data(frame.maximum)

    def handle_max_streams(self, frame: MaxStreams) -> None:
        """Raises TransportError for a number that no id could have."""
        if frame.maximum > MAX_STREAM_COUNT:
            raise TransportError(
                ErrorCode.FRAME_ENCODING_ERROR, "too many streams allowed", FrameType.MAX_STREAMS
            )
        limits = self._limits
        was_refused = limits.blocked_at == limits.local_limit
        if limits.raise_local_limit(frame.maximum) and was_refused:
            self._events.append(StreamsAvailable())

    def handle_stream_data_blocked(self, frame: StreamDataBlocked) -> None:
        """Means nothing to us but that the stream exists.  Raises TransportError."""
        self._exists(frame.stream_id, FrameType.STREAM_DATA_BLOCKED)

    # for the packets

    def write_frames(self, builder: PacketBuilder, now: Instant, rtt: float) -> None:
        """See `StreamWriter.write_frames`.  `rtt` in seconds, 0 while it is not known."""
        self._now = now
        self._writer.write_frames(builder, now, rtt)

    # details

    def _add(self, stream_id: int) -> None:
        held = self.held
        held.beside += STREAM_SIZE
        self._send[stream_id] = SendStream(
            stream_id, self._remote_stream_limit, self._writer.queues
        )
        self._recv[stream_id] = RecvStream(stream_id, self._local_stream_window, held, self._now)

    def _exists(self, stream_id: int, frame_type: int) -> bool:
        """Opens what the peer opens, and all streams below it (RFC 9000 section 3.2).

        Returns False for a forgotten stream; raises TransportError.
        """
        if stream_id in self._recv:
            return True
        ordinal, limits = stream_id >> self._kind_bits, self._limits
        is_other_kind = stream_id & self._other_kinds
        if stream_id & 1 == self._opener:
            if ordinal < limits.opened and not is_other_kind:
                return False
            raise TransportError(
                ErrorCode.STREAM_STATE_ERROR,
                "a frame for a stream that we have not opened",
                frame_type,
            )
        if ordinal < limits.peer_opened and not is_other_kind:
            return False
        if ordinal >= limits.peer_limit or is_other_kind:
            raise TransportError(
                ErrorCode.STREAM_LIMIT_ERROR, "more streams than allowed", frame_type
            )
        while limits.peer_opened <= ordinal:
            opened = limits.peer_opened << self._kind_bits | (stream_id & 1)
            limits.peer_opened += 1
            self._add(opened)
            self.opening_work += STREAM_WORK
            self._events.append(StreamOpened(opened))
        self._note_stream_credit()
        return True

    def _note_given_up(self, stream_id: int, is_news: bool) -> None:
        """The peer gave up one direction; where it has opened the stream, perhaps for nothing.

        Not `is_news` where we have ended it before, or the peer has given up the other direction.
        Who has had an answer was served, and may close a stream as soon as it knows enough.
        """
        if is_news and stream_id & 1 != self._opener and not self._send[stream_id].sent_size:
            self.overhead += STREAM_WORK

    def _return_credit(self, count: int) -> None:
        """The application has done with bytes: the connection's credit comes back."""
        self._window.consumed += count
        if count and self._window.is_update_due:
            self._control.add(FrameType.MAX_DATA)

    def _on_low_credit(self, frame_type: int) -> None:
        """The peer has used half of the reserve.  Raises TransportError where it used up all."""
        if self._window.received > self._window.limit:
            raise TransportError(
                ErrorCode.FLOW_CONTROL_ERROR, "more data than the connection's limit", frame_type
            )
        if self._window.is_update_due:
            self._control.add(FrameType.MAX_DATA)

    def _note_stream_credit(self) -> None:
        if self._limits.is_update_due:
            self._control.add(FrameType.MAX_STREAMS)

    def _settle(self) -> None:
        """Reports and forgets what acknowledgements have brought to an end."""
        for stream_id, send in self._settled.items():
            if send.is_writable:
                self._events.append(StreamWritable(stream_id))
            elif send.is_terminal:
                if send.reset_code is None:
                    self._events.append(StreamFinished(stream_id))
                self._forget_if_over(stream_id)
        self._settled.clear()

    def _forget_if_over(self, stream_id: int) -> None:
        send, recv = self._send.get(stream_id), self._recv.get(stream_id)
        if send is None or recv is None or not (send.is_terminal and recv.is_terminal):
            return
        self._control.on_window_gone(recv.window)
        del self._send[stream_id], self._recv[stream_id]
        self.held.beside -= STREAM_SIZE
        if stream_id & 1 != self._opener:
            self._limits.peer_closed += 1
            self._note_stream_credit()
