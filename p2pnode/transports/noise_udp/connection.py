"""One connection: the composition of its parts (specs/transport.md, Connection).

The parts own their state and their frames; what is here is who gets which frame, which timer
belongs to whom, and the connection's end.  A connection exists from the moment that its keys do:
handshakes are the endpoint's.

Commands may be given at any time; what they cause leaves with the next `poll_transmits`.
"""

import contextlib
import math
from random import Random
from typing import Final, NamedTuple

from p2pnode.clock import Deadline, Instant
from p2pnode.entropy import Entropy
from p2pnode.errors import (
    ClosedByPeer,
    ClosedForViolation,
    ClosedLocally,
    ConnectionLost,
    IdleTimeout,
    LocalProtocolError,
    ResetByPeer,
    TransportError,
)
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import Buffer, Received, Transmit
from p2pnode.transports.datagrams.closing import CLOSE_PTOS, CloseEvent, CloseState, Closing
from p2pnode.transports.datagrams.control_frames import ControlFrames
from p2pnode.transports.datagrams.datagram_batch import DatagramBatch
from p2pnode.transports.datagrams.frame import (
    ConnectionClose,
    HandshakeDone,
    NewToken,
    PathChallenge,
    PathResponse,
    Ping,
)
from p2pnode.transports.delivery.frame import (
    Ack,
    DataBlocked,
    MaxData,
    MaxStreamData,
    MaxStreams,
    ResetStream,
    StopSending,
    StreamDataBlocked,
    StreamsBlocked,
)
from p2pnode.transports.delivery.loss_recovery import MAX_PTO_INTERVAL
from p2pnode.transports.delivery.stream_set import StreamSet
from p2pnode.transports.delivery.varint import varint_size
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.events import (
    Connected,
    ConnectionClosed,
    ConnectionEvent,
    DatagramReceived,
    MaxDatagramSizeChanged,
    TokenReceived,
)
from p2pnode.transports.noise_udp.aead import Aead
from p2pnode.transports.noise_udp.config import TransportConfig
from p2pnode.transports.noise_udp.connection_id import LocalIds, RemoteId, RemoteIds, ResetTokens
from p2pnode.transports.noise_udp.frame import (
    AckFrequency,
    Datagram,
    Frame,
    ImmediateAck,
    MaxPathId,
    NewConnectionId,
    ObservedAddress,
    PathAbandon,
    PathStatus,
    RetireConnectionId,
)
from p2pnode.transports.noise_udp.handshake import Secrets
from p2pnode.transports.noise_udp.key_schedule import KeySchedule
from p2pnode.transports.noise_udp.packet import DATA_OVERHEAD, NAME
from p2pnode.transports.noise_udp.packet_receiver import PacketReceiver
from p2pnode.transports.noise_udp.packet_sender import PacketSender
from p2pnode.transports.noise_udp.parameters import TransportParameters
from p2pnode.transports.noise_udp.path import Path
from p2pnode.transports.noise_udp.path_set import PathSet
from p2pnode.transports.noise_udp.qlog import Qlog
from p2pnode.transports.route import Route
from p2pnode.transports.work import CONTROL_FRAME_WORK, OBSERVATION_WORK, PACKET_WORK
from p2pnode.wire.byte_view import byte_view

MAX_DATAGRAM_EVENTS: Final = 1024
"""DATAGRAMs that wait for the application; more are dropped, as they are allowed to be"""
SILENCE_OFFSETS: Final = (1.0, 3.0, 7.0)
"""seconds after the last stream data at which a receiver asks whether the paths still live; chosen:
once where a sender pauses, and soon enough where a NAT has forgotten us"""
IDLE_PTOS: Final = 3
"""probe timeouts that the idle timeout is never shorter than (RFC 9000 section 10.1)"""


class Opening(NamedTuple):
    """What a handshake leaves to the connection that it makes."""

    is_initiator: bool
    peer_id: PeerId
    secrets: Secrets
    local: TransportParameters
    remote: TransportParameters
    route: Route
    final_packet: bytes
    """Message 3's packet, to be repeated until the peer confirms; empty for the responder."""
    token: bytes
    """An address token to give to the initiator; empty otherwise."""
    rtt: float | None
    """Seconds from our message to its answer, where the message was sent once only."""
    handshake_time: float
    """Seconds from the first message to the end of the handshake, as this side saw them."""

    def fact(self) -> Connected:
        """Returns what is told of the connection."""
        allows_streams = self.remote.initial_max_streams > 0
        return Connected(
            self.peer_id, self.is_initiator, self.route, allows_streams, self.handshake_time
        )


class Connection:
    """An encrypted connection with one authenticated peer."""

    def __init__(
        self,
        opening: Opening,
        *,
        config: TransportConfig,
        reset_tokens: ResetTokens,
        entropy: Entropy,
        rng: Random,
        now: Instant,
        qlog: Qlog | None = None,
    ) -> None:
        self.transport, self.is_limited, self.qlog = NAME, False, qlog
        local, remote = opening.local, opening.remote
        self.peer_id, self.is_initiator = opening.peer_id, opening.is_initiator
        self._config = config
        self._max_ack_delay = remote.max_ack_delay_us * 1e-6
        self._max_datagram_frame = remote.max_datagram_frame
        write, read = opening.secrets if opening.is_initiator else opening.secrets[::-1]
        aead = (local if opening.is_initiator else remote).aeads[0]
        self._keys = KeySchedule(Aead(aead), write, read)
        self.local_ids = LocalIds(local.connection_id, entropy, reset_tokens)
        self.remote_ids = RemoteIds(RemoteId(remote.connection_id, remote.reset_token))
        self.streams = StreamSet(opening.is_initiator, local, remote, now=now)
        self._control = ControlFrames(self.streams.held)
        self.paths = PathSet(
            is_initiator=opening.is_initiator,
            route=opening.route,
            local_ids=self.local_ids,
            remote_ids=self.remote_ids,
            control=self._control,
            config=config,
            remote_max_path_id=remote.initial_max_path_id,
            remote_max_udp_payload=remote.max_udp_payload,
            entropy=entropy,
            rng=rng,
            now=now,
        )
        self._sender = PacketSender(
            keys=self._keys,
            paths=self.paths,
            streams=self.streams,
            control=self._control,
            remote_ids=self.remote_ids,
            final_packet=opening.final_packet,
            qlog=qlog,
        )
        self._receiver = PacketReceiver(
            keys=self._keys,
            paths=self.paths,
            streams=self.streams,
            local_ids=self.local_ids,
            max_ack_delay=self._max_ack_delay,
            handler=self,
            qlog=qlog,
            now=now,
        )
        self.work = self._receiver.work
        self._closing = Closing()
        self._events: list[ConnectionEvent] = []
        self._datagram_events = 0
        self._reported_mtu = 0
        self._idle_timeout = _idle_timeout(config.idle_timeout, remote.max_idle_timeout_ms)
        self._idle_from = now
        self._data_at = now
        """When stream data came last."""
        self._data_received = 0
        self._silence_pings = len(SILENCE_OFFSETS)
        """How many of them were sent since; none is due before data has come."""
        self._ack_frequency_sequence = -1
        self._is_confirmed = not opening.is_initiator
        self.has_more = False
        """Whether the last `poll_transmits` stopped at its own limit."""
        if opening.rtt is not None:
            self.paths.active.rtt.update(opening.rtt, 0.0, 0.0, now)
        if opening.is_initiator:
            self._sender.ping(self.paths.active)
        else:
            self._control.push(HandshakeDone().encode())
            if opening.token:
                self._control.push(NewToken(opening.token).encode())

    # facts

    @property
    def is_closed(self) -> bool:
        """True once the connection is over for the application."""
        return not self._closing.is_open

    @property
    def is_forgotten(self) -> bool:
        """True once not even late packets need an answer."""
        return self._closing.state is CloseState.CLOSED

    @property
    def close_reason(self) -> ConnectionLost | None:
        return self._closing.reason

    @property
    def route(self) -> Route:
        """Where data goes now."""
        route = self.paths.active.route
        assert route is not None
        return route

    @property
    def rtt(self) -> float | None:
        """Smoothed round-trip time of the path in use, in seconds, or None before a sample."""
        rtt = self.paths.active.rtt
        return rtt.smoothed if rtt.has_sample else None

    @property
    def max_datagram_size(self) -> int:
        """Longest data that `send_datagram` takes now, in bytes; 0 where the peer takes none."""
        if not self._max_datagram_frame:
            return 0
        room = min(self.paths.active.mtu.current - DATA_OVERHEAD, self._max_datagram_frame)
        return max(0, room - 1 - varint_size(room))

    @property
    def last_received(self) -> Instant:
        """When something authentic came last, or when the connection was made."""
        return self._idle_from

    @property
    def bytes_carried(self) -> int:
        """Data of streams and DATAGRAMs so far, in both directions."""
        return self.streams.bytes_received + self.streams.bytes_sent + self.work.datagram_bytes

    @property
    def aead(self) -> str:
        return self._keys.aead.name

    @property
    def held_bytes(self) -> int:
        """What it holds for its peer: data received and unread, out of order, to be sent."""
        return self.streams.held.total

    def count_held(self) -> int:
        """Counts anew what `held_bytes` has to be, as long as the connection is open."""
        counted = sum(part.count_held() for part in (self.streams, self._control, self._sender))
        return counted + self.streams.held.above

    # commands; those of streams are `streams`' own

    def send_datagram(self, data: Buffer) -> bool:
        """Queues unreliable data; returns False where the queue is full.

        Raises LocalProtocolError where it is longer than `max_datagram_size`, TypeError where it is
        not bytes-like.
        """
        data = bytes(byte_view(data))
        if len(data) > self.max_datagram_size:
            raise LocalProtocolError("datagram longer than the path and the peer allow")
        if self.is_closed or not self._sender.add_datagram(data):
            return False
        self.work.datagram_bytes += len(data)
        return True

    def ping(self) -> None:
        """Asks for an acknowledgement on every validated path."""
        for path in self.paths.paths.values():
            self._sender.ping(path)

    def update_keys(self, now: Instant) -> bool:
        """Begins a key update; returns False where the last one is not over."""
        if not self._keys.can_update:
            return False
        self._receiver.enter_next_phase(now)
        return True

    def close(self, code: int, reason: str, now: Instant, *, is_application: bool = True) -> None:
        """Ends the connection and tells the peer.  Does nothing where it has ended."""
        frame = ConnectionClose(code, 0, reason, is_application)
        self._end(CloseEvent.LOCAL_CLOSE, ClosedLocally(), now, frame)

    def fail(self, error: TransportError, now: Instant) -> None:
        """Ends the connection for what the peer has done, and tells it."""
        # It outlives the connection, in events; the frames that it was raised through would keep
        # the connection with it, and all that this holds.
        error.__traceback__ = error.__context__ = None
        frame = ConnectionClose(error.code, error.frame_type, error.reason, False)
        self._end(CloseEvent.LOCAL_CLOSE, ClosedForViolation(error), now, frame)

    def break_off(self, reason: ConnectionLost, now: Instant) -> list[Transmit]:
        """Ends what its own parts may not be able to end any more, and for good.

        Returns what tells the peer, where they still can: else a stateless reset will.
        """
        frame = ConnectionClose(ErrorCode.INTERNAL_ERROR, 0, "internal error", False)
        self._closing.close(CloseEvent.LOCAL_CLOSE, reason, now, frame)
        with contextlib.suppress(Exception):
            return self.poll_transmits(now)
        return []

    def let_go(self) -> None:
        """It is forgotten: what it holds is freed at once, and not when cycles are collected."""
        self._receiver.let_go()
        self.paths.let_go()

    # the machine

    def handle_received(self, received: Received, start: int, now: Instant) -> int:
        """Takes datagrams from `start` on; returns the position behind those that were its own."""
        step = received.segment_size
        if not self._closing.is_open:
            self._closing.on_packet()
            return min(start - start % step + step, len(received.buffer))
        before = self._receiver.packets_received
        try:
            position = self._receiver.receive(received, start, now)
        except TransportError as error:
            self.fail(error, now)
            return len(received.buffer)
        if self._control.is_overrun:
            self._on_overrun(now)
            return len(received.buffer)
        if self._receiver.packets_received != before:
            self._idle_from = now
            if self.streams.opening_work:
                self.work.spent += self.streams.opening_work
                self.streams.opening_work = 0
            if self.streams.bytes_received != self._data_received:
                self._data_received = self.streams.bytes_received
                self._data_at = now
                self._silence_pings = 0
            if not self._is_confirmed:
                self._is_confirmed = True
                self._sender.confirm_handshake()
        return position

    def handle_reset(self, now: Instant) -> None:
        """The peer has proved that it knows nothing of this connection."""
        self._end(CloseEvent.SILENT, ResetByPeer(), now, None)

    def handle_timeout(self, now: Instant) -> None:
        """Does everything that is due."""
        self._closing.handle_timeout(now)
        if not self._closing.is_open:
            return
        if now >= self._idle_at():
            self._end(CloseEvent.SILENT, IdleTimeout(), now, None)
            return
        try:
            for path in list(self.paths.paths.values()):
                self._handle_path_timeout(path, now)
            self.paths.handle_timeout(now)
            if now >= self._silence_at():
                self._on_silence(now)
        except TransportError as error:
            self.fail(error, now)
        self._keys.handle_timeout(now)

    def poll_transmits(self, now: Instant) -> list[Transmit]:
        """Returns what to send; ask again until it is empty."""
        batch = DatagramBatch()
        if self._control.is_overrun:  # a command of ours was one frame too many for this peer
            self._on_overrun(now)
        if self._closing.is_open:
            if self._keys.wants_update:
                self._receiver.enter_next_phase(now)
            self.has_more = self._sender.send(batch, now)
        elif self._closing.is_send_due:
            self._closing.is_send_due = False
            assert self._closing.frame is not None
            self._sender.send_frame_alone(self._closing.frame.encode(), batch, now)
        return batch.finish()

    def poll_timeout(self) -> Deadline | None:
        """Returns when `handle_timeout` or `poll_transmits` has something to do.

        Asked after every drain, so it compares times and makes one Deadline.
        """
        if not self._closing.is_open:
            return self._closing.poll_timeout()
        at, why = self._idle_at(), "idle timeout"
        silence = self._silence_at()
        if silence < at:
            at, why = silence, "silence in the middle of a stream"
        keep_alive = self._config.keep_alive
        for path in self.paths.paths.values():
            if path.route is not None and path.last_sent + keep_alive < at:
                at, why = path.last_sent + keep_alive, "keep-alive"
            for deadline in path.deadlines():
                if deadline is not None and deadline.at < at:
                    at, why = deadline
        for deadline in (self._sender.poll_timeout(), self._keys.poll_timeout()):
            if deadline is not None and deadline.at < at:
                at, why = deadline
        return Deadline(at, why)

    def poll_events(self) -> list[ConnectionEvent]:
        """Returns the facts since the last call."""
        events = self._events
        events += self.streams.poll_events()
        if self.paths.events:
            events += self.paths.events
            self.paths.events = []
        mtu = self.paths.active.mtu.current
        if mtu != self._reported_mtu:
            self._reported_mtu = mtu
            events.append(MaxDatagramSizeChanged(self.max_datagram_size))
        self._events = []
        self._datagram_events = 0
        if self._closing.reason is None:
            return events
        # The end comes last: what came with it is told before, or nobody would read it.
        end = self.take_end()
        return [] if end is None else [*events, ConnectionClosed(end)]

    def take_end(self) -> ConnectionLost | None:
        """Returns why it has ended, once: whoever takes it tells it."""
        return self._closing.take_reason()

    # frames

    def handle_frame(self, frame: Frame, path: Path, route: Route, now: Instant) -> None:
        """Gives a frame to the part that it is for.  Raises TransportError."""
        match frame:
            case Ack():
                self._on_ack(frame, now)
            case Ping():
                pass
            case MaxData():
                self.streams.handle_max_data(frame)
            case MaxStreamData():
                self.streams.handle_max_stream_data(frame)
            case MaxStreams():
                self.streams.handle_max_streams(frame)
            case ResetStream():
                self.streams.handle_reset_stream(frame)
            case StopSending():
                self.streams.handle_stop_sending(frame)
            case DataBlocked() | StreamsBlocked():
                pass
            case StreamDataBlocked():
                self.streams.handle_stream_data_blocked(frame)
            case Datagram():
                self._on_datagram(frame)
            case PathChallenge():
                self.paths.on_challenge(frame, path, route)
            case PathResponse():
                self.paths.on_response(frame, path, now)
            case ObservedAddress():
                self.work.add_overhead(OBSERVATION_WORK)
                self.paths.on_observed_address(frame)
            case NewConnectionId():
                for retired in self.remote_ids.on_new(frame, self.paths.max_path_id):
                    self._control.push(retired.encode())
            case RetireConnectionId():
                self._on_retire(frame)
            case PathAbandon():
                self.paths.on_abandon(frame, now)
            case PathStatus():
                self.paths.on_status(frame, now)
            case MaxPathId():
                self.paths.on_max_path_id(frame)
            case AckFrequency():
                self._on_ack_frequency(frame)
            case ImmediateAck():
                path.acks.on_immediate_ack(now)
            case NewToken():
                self._on_new_token(frame)
            case HandshakeDone():
                if not self.is_initiator:
                    raise TransportError(
                        ErrorCode.PROTOCOL_VIOLATION, "HANDSHAKE_DONE from an initiator"
                    )
            case ConnectionClose():
                self._on_close(frame, now)

    def _on_ack(self, frame: Ack, now: Instant) -> None:
        path = self.paths.paths.get(frame.path_id)
        if path is None:
            return
        outcome = path.recovery.on_ack_received(frame, self._max_ack_delay, now)
        if not outcome.newly_acked:
            self.work.overhead += PACKET_WORK + CONTROL_FRAME_WORK
        if self.qlog is not None:
            self.qlog.packets_lost(now, path.path_id, outcome.lost)
            self.qlog.metrics(now, path)
        if outcome.newly_acked:
            path.probes_due = 0
            if outcome.newly_acked[-1].packet_number >= path.phase_start:
                self._keys.on_acked_in_phase()

    def _on_datagram(self, frame: Datagram) -> None:
        if len(frame.data) > self._config.max_datagram_frame:
            raise TransportError(ErrorCode.PROTOCOL_VIOLATION, "DATAGRAM longer than allowed")
        self.work.datagram_bytes += len(frame.data)
        if self._datagram_events < MAX_DATAGRAM_EVENTS:
            self._datagram_events += 1
            self._events.append(DatagramReceived(frame.data))

    def _on_retire(self, frame: RetireConnectionId) -> None:
        replacement = self.local_ids.on_retired(frame)
        if replacement is not None:
            self._control.push(replacement.encode())

    def _on_ack_frequency(self, frame: AckFrequency) -> None:
        if frame.sequence > self._ack_frequency_sequence:
            self._ack_frequency_sequence = frame.sequence
            self.paths.set_ack_frequency(frame.threshold, frame.max_ack_delay_us * 1e-6)

    def _on_new_token(self, frame: NewToken) -> None:
        if not self.is_initiator:
            raise TransportError(ErrorCode.PROTOCOL_VIOLATION, "NEW_TOKEN from an initiator")
        self._events.append(TokenReceived(self.route.remote, frame.token))

    def _on_close(self, frame: ConnectionClose, now: Instant) -> None:
        reason = ClosedByPeer(frame.code, frame.reason)
        self._end(CloseEvent.PEER_CLOSE, reason, now, None)

    # time and the end

    def _handle_path_timeout(self, path: Path, now: Instant) -> None:
        outcome = path.recovery.on_timeout(now)
        if self.qlog is not None:
            self.qlog.packets_lost(now, path.path_id, outcome.lost)
        if outcome.probes:
            path.probes_due = outcome.probes
            self._sender.repeat_final_packet()
        if path.route is not None and now >= path.last_sent + self._config.keep_alive:
            self._sender.ping(path)
            path.last_sent = now

    def _on_silence(self, now: Instant) -> None:
        if self.streams.is_receiving:
            while now >= self._silence_at():  # where the floor is above them, several are due
                self._silence_pings += 1
            self.ping()
        else:
            self._silence_pings = len(SILENCE_OFFSETS)

    def _silence_at(self) -> Instant:
        """Returns when to ask for a sign of life: a receiver sends nothing by itself.

        Where a NAT has forgotten this end, nothing arrives until it sends.
        """
        if self._silence_pings >= len(SILENCE_OFFSETS):
            return math.inf
        offset = SILENCE_OFFSETS[self._silence_pings]
        return self._data_at + max(offset, IDLE_PTOS * self._pto)

    @property
    def _pto(self) -> float:
        """Seconds, bounded: with late ACKs a peer makes its round trips as long as it likes."""
        return min(self.paths.active.pto(self._max_ack_delay), MAX_PTO_INTERVAL)

    def _idle_at(self) -> Instant:
        timeout = self._idle_timeout
        if timeout < IDLE_PTOS * MAX_PTO_INTERVAL:
            timeout = max(timeout, IDLE_PTOS * self._pto)
        return self._idle_from + timeout

    def _on_overrun(self, now: Instant) -> None:
        error = TransportError(ErrorCode.PROTOCOL_VIOLATION, "too many frames provoked")
        self.fail(error, now)

    def _end(
        self, event: CloseEvent, reason: ConnectionLost, now: Instant, frame: ConnectionClose | None
    ) -> None:
        until = now + CLOSE_PTOS * self._pto
        if self._closing.close(event, reason, until, frame):
            if self.qlog is not None:
                self.qlog.event(now, "connectivity:connection_closed", {"reason": str(reason)})
            self._sender.drop_datagrams()


def _idle_timeout(ours: float, theirs_ms: int) -> float:
    """Returns the shorter of the two that are set (RFC 9000 section 10.1)."""
    return min(ours, theirs_ms / 1000) if theirs_ms else ours
