"""All streams of a yamux session: who opens them, what becomes of frames, when they are forgotten.

The rules: credit is returned when the application has done with bytes, never on arrival; a stream
is forgotten once both directions have ended and the application knows it; frames for streams that
are not known mean nothing.

yamux has one kind of reset, for both directions, and no way to say that nobody reads.  So `reset`
ends both directions, `stop` reads on and drops (specs/yamux.md, Ending).
"""

from typing import Final

from p2pnode.clock import Instant
from p2pnode.errors import LocalProtocolError, TransportError
from p2pnode.machine import Buffer
from p2pnode.transports.delivery.flow_control import (
    MAX_STREAM_GROWTH,
    MAX_STREAM_WINDOW,
    ReceiveWindow,
)
from p2pnode.transports.delivery.held_bytes import STREAM_SIZE, HeldBytes
from p2pnode.transports.delivery.recv_stream import RecvState, RecvStream
from p2pnode.transports.delivery.send_stream import MAX_TO_SEND
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
from p2pnode.transports.stream_upgrade.yamux.frame import MAX_LENGTH, Flag
from p2pnode.transports.stream_upgrade.yamux.peer_ids import PeerIds
from p2pnode.transports.stream_upgrade.yamux.pings import Pings
from p2pnode.transports.stream_upgrade.yamux.send_half import (
    INITIAL_WINDOW,
    LITTLE_SEND_BUFFER,
    SEND_BUFFER_SIZE,
    SendHalf,
)
from p2pnode.transports.work import (
    ANSWERS_WORK,
    CONTROL_FRAME_WORK,
    STREAM_WORK,
    Work,
)
from p2pnode.wire.reset_code import StreamResetCode

MAX_STREAMS: Final = 256
"""streams of the peer's at a time; the figure of noise-udp, and go-yamux' accept backlog"""
MAX_UNACKNOWLEDGED: Final = 256
"""streams of ours that the peer has not acknowledged; yamux' backlog, which rust enforces"""
MAX_RESETS: Final = 1024
"""resets that wait to be sent, beyond which the session ends; chosen: four times the streams"""
STREAM_FRAMES: Final = 4
"""frames without data that a stream of the peer's needs, and that are no overhead: its beginning,
its end, the ping behind that, and credit"""
MAX_DROPPED: Final = 1024 * 1024
"""bytes of a stream that nobody reads, after which it is reset where our direction has arrived;
chosen: a request's body that was not worth reading, or four windows"""


class YamuxStreams:
    """Streams by id, each with its sending and its receiving half; see `MuxedStreams`."""

    def __init__(
        self, is_initiator: bool, pings: Pings, work: Work, *, max_streams: int, now: Instant
    ) -> None:
        self._parity = 1 if is_initiator else 0
        self._next_id = 1 if is_initiator else 2
        self._peer_ids = PeerIds(2 if is_initiator else 1)
        self._pings = pings
        self._work = work
        self._max_streams = max_streams
        self._send: dict[int, SendHalf] = {}
        self._recv: dict[int, RecvStream] = {}
        self._peer_count = 0
        """Streams of the peer's that are open."""
        self._unacknowledged: dict[int, None] = {}
        self._was_refused = False
        self._stopped_at: dict[int, int] = {}
        """What had been received of a stream when reading stopped."""
        self._window = ReceiveWindow(0, 0, now)
        """Of the session, which has no credit: it only counts."""
        self.held = HeldBytes(self._window)
        """What the streams hold; other parts of the connection add what they do."""
        self._buffer_size = SEND_BUFFER_SIZE
        self._growth_left = MAX_STREAM_GROWTH
        """Bytes by which the receive windows may still grow, all of them together."""
        self._is_held_back = False
        self._events: list[StreamEvent] = []
        self._ended_here: dict[int, None] = {}
        """Reset by us, and perhaps still read."""
        self._now = now
        self.bytes_sent = 0
        """Data of all streams so far."""
        self.is_left = False
        """Whether the session is over, and only what has come may still be read."""
        self.is_closing = False
        """Whether the peer takes no more streams."""
        self.fresh: dict[int, SendHalf] = {}
        """Have bytes that the peer's window allows, or only the end to send; in turn."""
        self.control: dict[int, int] = {}
        """Streams that have something to tell besides: these flags, or credit."""
        self.resets: dict[int, int] = {}
        """Codes of the resets that are due, by stream."""

    # facts

    @property
    def bytes_received(self) -> int:
        """Data of all streams so far."""
        return self._window.received

    def __len__(self) -> int:
        return len(self._recv)

    @property
    def has_pending(self) -> bool:
        """Whether there is a frame to send."""
        return bool(self.fresh or self.control or self.resets)

    @property
    def is_receiving(self) -> bool:
        """True while the peer has more to send on some stream.  Looks at all of them."""
        return any(recv.is_incomplete for recv in self._recv.values())

    @property
    def unread(self) -> int:
        """bytes that the application may read now.  Looks at all streams."""
        return sum(recv.available for recv in self._recv.values())

    def sending(self, stream_id: int) -> SendHalf:
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

    def count_held(self) -> int:
        """Counts anew what the streams hold: their part of `held.total`.  Looks at all of them."""
        received = sum(recv.count_held() for recv in self._recv.values())
        to_send = sum(send.count_held() for send in self._send.values())
        return received + to_send + STREAM_SIZE * len(self)

    def poll_events(self) -> list[StreamEvent]:
        """Returns the facts since the last call, oldest first."""
        for stream_id in self._ended_here:
            recv = self._recv.get(stream_id)
            if recv is not None and recv.state is RecvState.RESET_RECVD:
                self._events.append(StreamResetByPeer(stream_id, recv.reset_code or 0))
        self._ended_here.clear()
        events, self._events = self._events, []
        return events

    # for the application

    def open(self) -> int | None:
        """Opens a stream and returns its id, or None where the peer allows no more now.

        StreamsAvailable tells when to try again.
        """
        if self.is_left or self.is_closing or self._next_id > MAX_LENGTH:
            return None
        if len(self._unacknowledged) >= MAX_UNACKNOWLEDGED:
            self._was_refused = True
            return None
        stream_id = self._next_id
        self._next_id += 2
        self._unacknowledged[stream_id] = None
        self._work.overhead -= ANSWERS_WORK
        self._add(stream_id, Flag.SYN)
        return stream_id

    def write(self, stream_id: int, data: Buffer) -> int:
        """Returns how much was taken; StreamWritable follows where that was not all.

        Raises StreamStopped where the peer gave up, LocalProtocolError after finish or reset.
        """
        send = self.sending(stream_id)
        taken = send.write(data, self._buffer_size_now)
        self._refresh(send)
        return taken

    def finish(self, stream_id: int) -> None:
        """Ends our direction behind what was written; raises as `write` does."""
        send = self.sending(stream_id)
        send.finish()
        self._refresh(send)

    def reset(self, stream_id: int, code: int) -> None:
        """Gives up both directions.  Does nothing once our end was sent: the peer has it all."""
        send = self._send.get(stream_id)
        if send is not None and not send.is_ended and not self.is_left:
            self._give_up(send, code)

    def read(self, stream_id: int, max_bytes: int) -> bytes:
        """Returns the next bytes, b"" where there are none or the stream has ended.

        Raises StreamReset where either side gave up (a forgotten stream reads as ended: the caller
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
            self._window.consumed += len(data)
            self._note_credit(recv)
        return data

    def stop(self, stream_id: int, code: int) -> None:
        """Reads no more: what comes is dropped, and the peer is not told, unless it goes on long.

        Does nothing where the peer's direction has ended and was read.
        """
        recv = self._recv.get(stream_id)
        if recv is None:
            return
        before = recv.window.consumed
        if recv.stop(code):
            self._stopped_at[stream_id] = recv.window.received
            self._note_credit(recv)
        self._window.consumed += recv.window.consumed - before
        self._forget_if_over(stream_id)

    # for the node's memory

    def hold_back(self, is_held_back: bool) -> None:
        """Says whether the peer is given little credit, and our side little room to write."""
        self._is_held_back = is_held_back
        self._buffer_size = LITTLE_SEND_BUFFER if is_held_back else SEND_BUFFER_SIZE

    def leave(self) -> None:
        """The session is over: frees what will not be delivered any more."""
        self.is_left = True
        self.fresh.clear()
        self.control.clear()
        self.resets.clear()
        for send in self._send.values():
            send.forsake()

    def forsake(self) -> None:
        """Frees the memory of all streams: the connection is gone, whoever still holds them."""
        self.leave()
        for recv in self._recv.values():
            before = recv.window.consumed
            recv.forsake()
            self._window.consumed += recv.window.consumed - before

    # from the peer

    def handle_syn(self, stream_id: int, now: Instant) -> None:
        """The peer opens a stream, or is refused.  Raises TransportError."""
        if stream_id & 1 == self._parity:
            raise TransportError(ErrorCode.STREAM_STATE_ERROR, "a stream of the wrong parity")
        if not self._peer_ids.take(stream_id):
            raise TransportError(ErrorCode.STREAM_STATE_ERROR, "a stream was opened twice")
        if len(self.resets) >= MAX_RESETS:
            raise TransportError(ErrorCode.ENHANCE_YOUR_CALM, "streams are opened to be reset")
        self._now = now
        if self._peer_count >= self._max_streams:
            self._queue_reset(stream_id, StreamResetCode.RESOURCE_LIMIT)
            return
        self._work.spent += STREAM_WORK
        self._work.overhead -= STREAM_FRAMES * CONTROL_FRAME_WORK
        self._peer_count += 1
        self._add(stream_id, Flag.ACK)
        self._events.append(StreamOpened(stream_id))

    def handle_ack(self, stream_id: int) -> None:
        """The peer knows a stream, which any frame for it shows."""
        if stream_id in self._unacknowledged:
            self._acknowledge(stream_id)

    def receiving(self, stream_id: int, length: int) -> RecvStream | None:
        """Returns the half that takes a frame's data, None where nobody does.

        Raises TransportError where it would be more than the window allows.
        """
        recv = self._recv.get(stream_id)
        is_taken = recv is not None and recv.state not in _RESET
        room = recv.window.limit - recv.window.received if is_taken and recv else MAX_STREAM_WINDOW
        if length > room:
            raise TransportError(ErrorCode.FLOW_CONTROL_ERROR, "more data than a stream's window")
        return recv if is_taken else None

    def handle_data(self, recv: RecvStream, data: bytes, fin: bool) -> None:
        """Takes a part of a frame's data; `fin` with the last.  Raises TransportError."""
        if recv.state in _RESET:
            return
        stream_id, window = recv.stream_id, recv.window
        available, state, consumed = recv.available, recv.state, window.consumed
        self._window.received += recv.on_data(window.received, data, fin)
        if recv.stop_code is not None:
            self._window.consumed += window.consumed - consumed
            self._on_dropped(recv)
        if recv.state is not state:
            if not window.received:
                self._note_given_up(stream_id)
            if recv.state is RecvState.DATA_RECVD:
                self._events.append(StreamReadable(stream_id))
                return
            self._forget_if_over(stream_id)
        if not available and recv.available:
            self._events.append(StreamReadable(stream_id))

    def handle_window_update(self, stream_id: int, delta: int) -> None:
        """Raises TransportError where the window becomes larger than any."""
        send = self._send.get(stream_id)
        if send is None or send.is_ended or not delta:
            return
        send.limit += delta
        if send.limit - send.sent > MAX_LENGTH:
            raise TransportError(ErrorCode.FLOW_CONTROL_ERROR, "a stream's window overflows")
        self._refresh(send)

    def handle_reset(self, stream_id: int, code: int) -> None:
        """The peer gave up both directions."""
        send = self._send.get(stream_id)
        if send is None:
            return
        if not send.is_ended:
            self._note_given_up(stream_id)
        if self._end_receiving(self._recv[stream_id], code):
            self._events.append(StreamResetByPeer(stream_id, code))
        if send.on_reset(stop_code=code):
            self._events.append(StreamStoppedByPeer(stream_id, code))
        self.fresh.pop(stream_id, None)
        self.control.pop(stream_id, None)
        self._forget_if_over(stream_id)

    def handle_answer(self, send: SendHalf) -> None:
        """A ping behind the end of a stream was answered."""
        if send.on_answered():
            self._events.append(StreamFinished(send.stream_id))
            self._forget_if_over(send.stream_id)

    # for the frames

    def take_credit(self, stream_id: int, now: Instant, rtt: float) -> int:
        """Returns by how much the peer's window on a stream is to rise, once it was told."""
        recv = self._recv.get(stream_id)
        if recv is None or recv.state is not RecvState.RECV or not recv.window.is_update_due:
            return 0
        window = recv.window
        before, limit = window.size, window.limit
        if self._is_held_back:
            window.size = window.maximum = INITIAL_WINDOW
        else:
            window.maximum = min(MAX_STREAM_WINDOW, before + self._growth_left)
        delta = window.raise_limit(now, rtt if recv.stop_code is None else 0.0) - limit
        self._growth_left -= window.size - before
        return delta

    def on_taken(self, send: SendHalf, size: int) -> None:
        """Bytes of a stream are in a frame."""
        self.bytes_sent += size
        if send.is_short and send.waiting * 2 <= self._buffer_size_now:
            send.is_short = False
            self._events.append(StreamWritable(send.stream_id))

    def on_fin_sent(self, send: SendHalf) -> None:
        """The end of a stream is in a frame."""
        send.on_fin_sent()
        self._pings.note_end(send)

    # details

    @property
    def _buffer_size_now(self) -> int:
        if self.held.to_send <= MAX_TO_SEND:
            return self._buffer_size
        return LITTLE_SEND_BUFFER

    def _add(self, stream_id: int, flag: Flag) -> None:
        self.held.beside += STREAM_SIZE
        self._send[stream_id] = SendHalf(stream_id, self.held)
        self._recv[stream_id] = RecvStream(stream_id, INITIAL_WINDOW, self.held, self._now)
        self.control[stream_id] = flag

    def _refresh(self, send: SendHalf) -> None:
        if (send.sendable > 0 or send.is_fin_due) and not self.is_left:
            self.fresh[send.stream_id] = send

    def _note_credit(self, recv: RecvStream) -> None:
        if recv.state is RecvState.RECV and recv.window.is_update_due and not self.is_left:
            self.control.setdefault(recv.stream_id, 0)

    def _on_dropped(self, recv: RecvStream) -> None:
        """Data came that nobody reads."""
        stream_id = recv.stream_id
        if recv.state is not RecvState.RECV:
            return
        dropped = recv.window.received - self._stopped_at[stream_id]
        if dropped > MAX_DROPPED and self._send[stream_id].is_delivered:
            self._queue_reset(stream_id, recv.stop_code or 0)
            self._end_receiving(recv, recv.stop_code or 0)
            self._forget_if_over(stream_id)
        else:
            self._note_credit(recv)

    def _give_up(self, send: SendHalf, code: int) -> None:
        stream_id = send.stream_id
        send.on_reset(reset_code=code)
        self.fresh.pop(stream_id, None)
        if self.control.pop(stream_id, 0) & Flag.SYN:
            self._acknowledge(stream_id)  # the peer never hears of it
        else:
            self._queue_reset(stream_id, code)
        if self._end_receiving(self._recv[stream_id], code):
            self._ended_here[stream_id] = None
        self._forget_if_over(stream_id)

    def _note_given_up(self, stream_id: int) -> None:
        """The peer ended a stream with nothing, or gave it up: one of its own perhaps for nothing.

        Who has had an answer was served, and may close a stream as soon as it knows enough.
        """
        if stream_id & 1 != self._parity and not self._send[stream_id].sent:
            self._work.overhead += STREAM_WORK

    def _end_receiving(self, recv: RecvStream, code: int) -> bool:
        """Nothing more comes; returns whether the application is to be told."""
        before, was_incomplete = recv.window.consumed, recv.is_incomplete
        recv.on_reset(code, recv.window.received)
        self._window.consumed += recv.window.consumed - before
        return was_incomplete and recv.state is RecvState.RESET_RECVD

    def _queue_reset(self, stream_id: int, code: int) -> None:
        self.resets[stream_id] = (
            code if 0 <= code <= MAX_LENGTH else StreamResetCode.CODE_OUT_OF_RANGE
        )

    def _acknowledge(self, stream_id: int) -> None:
        if stream_id not in self._unacknowledged:
            return
        del self._unacknowledged[stream_id]
        if self._was_refused and not self.is_closing:
            self._was_refused = False
            self._events.append(StreamsAvailable())

    def _forget_if_over(self, stream_id: int) -> None:
        send, recv = self._send.get(stream_id), self._recv.get(stream_id)
        if send is None or recv is None or not (send.is_terminal and recv.is_terminal):
            return
        del self._send[stream_id], self._recv[stream_id]
        self._growth_left += recv.window.size - INITIAL_WINDOW
        self.held.beside -= STREAM_SIZE
        self.control.pop(stream_id, None)
        self._stopped_at.pop(stream_id, None)
        self._pings.forget(stream_id)
        if stream_id & 1 != self._parity:
            self._peer_count -= 1
        else:
            self._acknowledge(stream_id)


_RESET: Final = frozenset({RecvState.RESET_RECVD, RecvState.RESET_READ})
