"""One connection: the composition of its parts (specs/quic.md, Connection).

The parts own their state and their frames; what is here is who gets which frame, which timer
belongs to whom, and the connection's end.  It exists from the first Initial on, and is ready once
both ends are known to have completed the handshake.

Commands may be given at any time; what they cause leaves with the next `poll_transmits`.
"""

import contextlib
from random import Random
from typing import Final

from p2pnode.clock import Deadline, Instant
from p2pnode.entropy import Entropy
from p2pnode.errors import (
    ClosedByPeer,
    ClosedForViolation,
    ClosedLocally,
    ConnectionLost,
    DialTimeout,
    IdleTimeout,
    P2PNodeError,
    PeerIdMismatch,
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
)
from p2pnode.transports.delivery.frame import Ack
from p2pnode.transports.delivery.mtu_discovery import BASE_SIZE, MtuDiscovery
from p2pnode.transports.delivery.stream_set import StreamSet
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.events import Connected, ConnectionClosed, ConnectionEvent, TokenReceived
from p2pnode.transports.quic_v1.closing_frames import close_frames
from p2pnode.transports.quic_v1.config import QuicConfig
from p2pnode.transports.quic_v1.connection_id import LocalIds, RemoteIds
from p2pnode.transports.quic_v1.early_receiver import EarlyReceiver
from p2pnode.transports.quic_v1.early_sender import EarlySender
from p2pnode.transports.quic_v1.epoch import Epoch
from p2pnode.transports.quic_v1.frame import (
    Crypto,
    Frame,
    NewConnectionId,
    RetireConnectionId,
)
from p2pnode.transports.quic_v1.handshaking import Handshaking
from p2pnode.transports.quic_v1.key_phases import KeyPhases
from p2pnode.transports.quic_v1.moves import Moves
from p2pnode.transports.quic_v1.opening import NO_ANSWER, Opening
from p2pnode.transports.quic_v1.own_parameters import ID_KIND_BITS, StreamLimits
from p2pnode.transports.quic_v1.packet import (
    Packet,
    PacketType,
    split_datagram_untrusted,
)
from p2pnode.transports.quic_v1.packet_receiver import Arrival, PacketReceiver
from p2pnode.transports.quic_v1.packet_sender import PacketSender
from p2pnode.transports.quic_v1.packet_space import PacketSpace
from p2pnode.transports.quic_v1.path import Path
from p2pnode.transports.quic_v1.path_check import PathResponses
from p2pnode.transports.quic_v1.short_packet import CONNECTION_ID_SIZE
from p2pnode.transports.quic_v1.stream_frames import handle_stream_frame
from p2pnode.transports.quic_v1.timers import PREVIOUS_KEY_PTOS, Timers
from p2pnode.transports.quic_v1.token import QuicTokens
from p2pnode.transports.route import Route
from p2pnode.transports.work import CONTROL_FRAME_WORK, PACKET_WORK, Work
from p2pnode.wire.transport_name import TransportName

NAME: Final = TransportName.QUIC_V1


class Connection:
    """An encrypted connection with one peer, or the attempt at one."""

    def __init__(
        self,
        opening: Opening,
        *,
        config: QuicConfig,
        tokens: QuicTokens,
        entropy: Entropy,
        rng: Random,
        now: Instant,
    ) -> None:
        self.transport, self.is_limited, self.paths = NAME, False, None
        tls = opening.tls
        self.is_initiator = tls.is_client
        self._opening, self._config, self._tokens = opening, config, tokens
        self._entropy, self._rng = entropy, rng
        self._began_at = now
        self.deadline = now + opening.timeout
        """When the handshake has to be over."""
        self.failure: P2PNodeError | None = None
        """Why it fails, should nothing better come in time."""
        self.path = Path(
            opening.route,
            is_proven=opening.is_proven or tls.is_client,
            maximum_size=BASE_SIZE,
            ecn=config.ecn,
            now=now,
        )
        self.work = Work(now)
        self.local_ids = LocalIds(opening.source, entropy, tokens.reset_token)
        self.remote_ids = RemoteIds(opening.peer_source or opening.destination)
        self.handshaking = Handshaking(tls, self.path, rng)
        self.handshaking.token = opening.token
        self.handshaking.set_initial_keys(opening.destination)
        source = opening.source.to_bytes(CONNECTION_ID_SIZE, "big")
        self._early_sender = EarlySender(self.handshaking, self.path, source, self.remote_ids)
        self._receiver = PacketReceiver(
            self.local_ids, self, self.work, is_client=self.is_initiator
        )
        self._early = EarlyReceiver(
            self.handshaking, self._receiver, self.remote_ids, self.path, opening.peer_source
        )
        self._closing = Closing()
        self._events: list[ConnectionEvent] = []
        self._responses = PathResponses()
        self._timers = Timers(self.path, self.handshaking, config, now)
        self.has_more = False
        """Whether the last `poll_transmits` stopped at its own limit."""
        self.is_ready = False
        """Whether the peer's identity is proved, and the peer knows ours."""
        self.ready_time = 0.0
        """seconds from the first packet until then, as this side saw them"""
        # 1-RTT's, which come with the end of the handshake
        self._keys: KeyPhases | None = None
        self._space: PacketSpace | None = None
        self._sender: PacketSender | None = None
        self._streams: StreamSet | None = None
        self._control: ControlFrames | None = None
        self._moves: Moves | None = None
        if self.is_initiator:
            self.handshaking.start()

    # facts

    @property
    def peer_id(self) -> PeerId:
        peer_id = self.handshaking.tls.peer_id
        assert peer_id is not None, "the handshake is not complete"
        return peer_id

    @property
    def streams(self) -> StreamSet:
        assert self._streams is not None, "the handshake is not complete"
        return self._streams

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
        return self.path.route

    @property
    def rtt(self) -> float | None:
        """Smoothed round-trip time in seconds, or None before a sample."""
        rtt = self.path.rtt
        return rtt.smoothed if rtt.has_sample else None

    @property
    def last_received(self) -> Instant:
        """When something authentic came last, or when the connection was begun."""
        return self._timers.idle_from

    @property
    def packets_received(self) -> int:
        """Authentic ones."""
        return self._receiver.packets_received

    @property
    def bytes_carried(self) -> int:
        """Data of streams so far, in both directions."""
        streams = self._streams
        return 0 if streams is None else streams.bytes_received + streams.bytes_sent

    @property
    def held_bytes(self) -> int:
        """What it holds for its peer: data received and unread, out of order, to be sent."""
        return self.streams.held.total

    def count_held(self) -> int:
        """Counts anew what `held_bytes` has to be, as long as the connection is open."""
        assert self._control is not None
        streams = self.streams
        return streams.count_held() + self._control.count_held() + streams.held.above

    def connected(self) -> Connected:
        """Returns what is told of the connection once it is ready."""
        remote = self._timers.remote
        assert remote is not None
        return Connected(
            self.peer_id,
            self.is_initiator,
            self.route,
            remote.initial_max_streams_bidi > 0,
            self.ready_time,
        )

    # commands; those of streams are `streams`' own

    def send_datagram(self, data: Buffer) -> bool:
        """There are no unreliable data: returns False."""
        return False

    def ping(self) -> None:
        """Asks for an acknowledgement."""
        if self._space is not None:
            self._space.probes_due = max(self._space.probes_due, 1)

    def update_keys(self, now: Instant) -> bool:
        """Begins a key update; returns False where the last one is not over."""
        keys = self._keys
        if keys is None or not self.handshaking.is_confirmed or not keys.can_update:
            return False
        assert self._space is not None
        self.enter_next_phase(now, self._space.acks.largest + 1)
        return True

    def close(self, code: int, reason: str, now: Instant, *, is_application: bool = True) -> None:
        """Ends the connection and tells the peer.  Does nothing where it has ended."""
        frame = ConnectionClose(code, 0, reason, is_application)
        self._end(CloseEvent.LOCAL_CLOSE, ClosedLocally(), now, frame)

    def fail(self, error: TransportError, now: Instant) -> None:
        """Ends the connection for what the peer has done, and tells it."""
        # It outlives the connection, in events; the frames that it was raised through would keep
        # the connection with it, and all that this holds.
        error.__traceback__ = error.__context__ = error.__cause__ = None
        refusal = self.handshaking.tls.refusal
        if refusal is not None:
            refusal.__traceback__ = refusal.__context__ = refusal.__cause__ = None
            self.failure = refusal
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
        for space in self.handshaking.spaces.values():
            space.recovery.let_go()
        if self._space is not None:
            self._space.recovery.let_go()

    # the machine

    def handle_received(self, received: Received, start: int, now: Instant) -> int:
        """Takes 1-RTT datagrams from `start` on; returns the position behind its own."""
        step = received.segment_size
        behind = min(start - start % step + step, len(received.buffer))
        if not self._closing.is_open:
            self._closing.on_packet()
            return behind
        if self._keys is None:
            self.handle_datagram(bytes(received.buffer[start:behind]), received, now)
            return behind
        before = self._receiver.packets_received
        try:
            position = self._receiver.receive(received, start, self.path.route, now)
        except TransportError as error:
            self.fail(error, now)
            return len(received.buffer)
        if self._control is not None and self._control.is_overrun:
            self._on_overrun(now)
            return len(received.buffer)
        if self._receiver.packets_received != before:
            self._timers.idle_from = now
            streams = self._streams
            if streams is not None and streams.opening_work:
                self.work.spent += streams.opening_work
                streams.opening_work = 0
        return position

    def handle_datagram(self, datagram: bytes, received: Received, now: Instant) -> None:
        """Takes a datagram that begins with a packet of the handshake, or came before its end."""
        if not self._closing.is_open:
            self._closing.on_packet()
            return
        if (received.socket, received.remote) != self.path.route.key:
            return  # nobody moves before the handshake is confirmed (RFC 9000 section 9)
        if not self.path.is_proven:
            self.path.received += len(datagram)
        whole = received._replace(segment_size=len(datagram), buffer=datagram)
        try:
            for packet in split_datagram_untrusted(datagram, CONNECTION_ID_SIZE):
                self._take_packet(whole, packet, now)
            while (kept := self._early.take_kept()) is not None:
                self._take_packet(kept[0], kept[1], now)
        except TransportError as error:
            self.fail(error, now)

    def handle_reset(self, now: Instant) -> None:
        """The peer has proved that it knows nothing of this connection."""
        self._end(CloseEvent.SILENT, ResetByPeer(), now, None)

    def handle_version_negotiation(self, error: P2PNodeError, now: Instant) -> None:
        """Ends a dial to which nothing else has come: the peer speaks no version of ours."""
        if self.is_initiator and not self._receiver.packets_received:
            self.failure = error
            self._end(CloseEvent.SILENT, ClosedLocally(), now, None)

    def handle_timeout(self, now: Instant) -> None:
        """Does everything that is due."""
        self._closing.handle_timeout(now)
        if not self._closing.is_open:
            return
        if not self.is_ready and now >= self.deadline:
            self.failure = self.failure or DialTimeout(NO_ANSWER)
            self._end(CloseEvent.SILENT, IdleTimeout(), now, None)
            return
        if self.is_ready and now >= self._timers.idle_at():
            self._end(CloseEvent.SILENT, IdleTimeout(), now, None)
            return
        for space in self._timed_spaces():
            outcome = space.recovery.on_timeout(now)
            if outcome.probes:
                space.probes_due = outcome.probes
        if now >= self._timers.deadlock_at():
            self._timers.deadlocks += 1
            self.handshaking.probe()
        if self.is_ready and now >= self._timers.keep_alive_at():
            self.ping()
            self.path.last_sent = now
        if self._keys is not None:
            self._keys.handle_timeout(now)
        sender = self._sender
        if sender is not None and sender.check is not None and sender.check.has_failed(now):
            sender.check = None

    def poll_transmits(self, now: Instant) -> list[Transmit]:
        """Returns what to send; ask again until it is empty."""
        batch = DatagramBatch()
        if self._control is not None and self._control.is_overrun:
            self._on_overrun(now)
        self.has_more = False
        if self._closing.is_open:
            if not self.handshaking.is_over:
                self._early_sender.send(batch, now)
            if self._sender is not None:
                assert self._keys is not None
                if self._keys.wants_update:
                    self.update_keys(now)
                self.has_more = self._sender.send(batch, now)
        elif self._closing.is_send_due:
            self._closing.is_send_due = False
            assert self._closing.frame is not None
            self._send_close(self._closing.frame, batch, now)
        return batch.finish()

    def poll_timeout(self) -> Deadline | None:
        """Returns when `handle_timeout` or `poll_transmits` has something to do."""
        if not self._closing.is_open:
            return self._closing.poll_timeout()
        if self.is_ready:
            at, why = self._timers.idle_at(), "idle timeout"
            keep_alive = self._timers.keep_alive_at()
            if keep_alive < at:
                at, why = keep_alive, "keep-alive"
        else:
            at, why = self.deadline, "handshake timeout"
            deadlock = self._timers.deadlock_at()
            if deadlock < at:
                at, why = deadlock, "the server may not be able to send"
        for space in self._timed_spaces():
            deadline = space.recovery.poll_timeout()
            if deadline is not None and deadline.at < at:
                at, why = deadline
        if self._sender is not None:
            assert self._keys is not None
            for deadline in (*self._sender.deadlines(), self._keys.poll_timeout()):
                if deadline is not None and deadline.at < at:
                    at, why = deadline
        return Deadline(at, why)

    def poll_events(self) -> list[ConnectionEvent]:
        """Returns the facts since the last call; none before it is ready."""
        if self._streams is None:
            return []
        events = self._events
        events += self._streams.poll_events()
        self._events = []
        if self._closing.reason is None:
            return events
        # The end comes last: what came with it is told before, or nobody would read it.
        end = self.take_end()
        return [] if end is None else [*events, ConnectionClosed(end)]

    def take_end(self) -> ConnectionLost | None:
        """Returns why it has ended, once: whoever takes it tells it."""
        return self._closing.take_reason()

    # packets of the handshake

    def _take_packet(self, received: Received, packet: Packet, now: Instant) -> None:
        """Takes one packet of a datagram.  Raises TransportError."""
        if not self._closing.is_open:
            return
        if packet.kind is PacketType.SHORT and self._keys is not None:
            part = bytes(received.buffer[packet.start : packet.end])
            alone = received._replace(segment_size=len(part), buffer=part)
            self.handle_received(alone, 0, now)
        elif self._early.take(received, packet, now):
            self._timers.idle_from = now
            keys = self.handshaking.keys
            if keys is not None and self._keys is None:
                self._complete(keys, now)

    def _complete(self, keys: KeyPhases, now: Instant) -> None:
        """The handshake is complete on this side.  Raises TransportError."""
        opening, handshaking = self._opening, self.handshaking
        original = opening.destination if self.is_initiator else None
        remote = handshaking.remote_parameters(self._early.packet_ids(original))
        if self.peer_id == opening.own_id:
            self.failure = PeerIdMismatch("another peer", "this node itself")
            raise TransportError(ErrorCode.CONNECTION_REFUSED, "this is the node itself")
        path, config = self.path, self._config
        if config.pmtud:
            path.maximum_size = min(config.max_udp_payload, remote.max_udp_payload)
            path.mtu = MtuDiscovery(maximum=path.maximum_size)
        space = PacketSpace(
            Epoch.APPLICATION,
            path.rtt,
            path.controller,
            rng=self._rng,
            max_ack_delay=config.max_ack_delay,
            ecn=path.ecn,
            mtu=path.mtu,
        )
        streams = StreamSet(
            self.is_initiator,
            StreamLimits(opening.local),
            StreamLimits(remote),
            now,
            kind_bits=ID_KIND_BITS,
        )
        control = ControlFrames(streams.held)
        self._sender = PacketSender(
            keys=keys,
            path=path,
            space=space,
            streams=streams,
            control=control,
            remote_ids=self.remote_ids,
            responses=self._responses,
        )
        self._keys, self._space = keys, space
        self._streams, self._control = streams, control
        self._timers.remote = remote
        self._moves = Moves(self.path, space, self._sender, self.remote_ids, self._entropy)
        receiver = self._receiver
        receiver.keys, receiver.space, receiver.streams = keys, space, streams
        receiver.ack_delay_exponent = remote.ack_delay_exponent
        self.remote_ids.set_first_token(remote.reset_token)
        if self.remote_ids.current:
            for frame in self.local_ids.issue(remote.active_connection_id_limit):
                control.push(frame.encode())
        if not self.is_initiator:
            control.push(HandshakeDone().encode())
            token = self._tokens.address_token(path.route.remote, now)
            control.push(NewToken(token).encode())
            self._confirm(now)

    def _confirm(self, now: Instant) -> None:
        if not self.handshaking.is_confirmed:
            self.handshaking.confirm()
            self.is_ready = True
            self.ready_time = now - self._began_at

    # frames

    def handle_ack(self, ack: Ack, space: PacketSpace, now: Instant) -> None:
        """Takes an ACK.  Raises TransportError."""
        is_application = space is self._space
        max_ack_delay = self._timers.max_ack_delay if is_application else 0.0
        outcome = space.recovery.on_ack_received(ack, max_ack_delay, now)
        if not outcome.newly_acked:
            self.work.overhead += PACKET_WORK + CONTROL_FRAME_WORK
            return
        space.probes_due = 0
        if is_application:
            assert self._sender is not None
            assert self._keys is not None
            if outcome.newly_acked[-1].packet_number >= self._sender.phase_start:
                self._keys.on_acked_in_phase()

    def handle_frame(self, frame: Frame, epoch: Epoch, arrival: Arrival, now: Instant) -> None:
        """Gives a frame to the part that it is for.  Raises TransportError."""
        match frame:
            case Crypto():
                self._on_crypto(frame, epoch)
            case ConnectionClose():
                self._end(CloseEvent.PEER_CLOSE, ClosedByPeer(frame.code, frame.reason), now, None)
            case PathChallenge():
                is_here = arrival.route.key == self.path.route.key
                self._responses.add(arrival.route, frame.data, arrival.size, is_proven=is_here)
            case PathResponse():
                if self._moves is not None:
                    self._push(*self._moves.on_response(frame))
            case NewConnectionId():
                self._push(*self.remote_ids.on_new(frame))
            case RetireConnectionId():
                self.local_ids.on_retired(frame.sequence, arrival.destination)
                remote = self._timers.remote
                assert remote is not None
                self._push(*self.local_ids.issue(remote.active_connection_id_limit))
            case NewToken():
                self._events.append(TokenReceived(self.route.remote, frame.token))
            case HandshakeDone():
                self._confirm(now)
            case _:
                if self._streams is not None:
                    handle_stream_frame(self._streams, frame)

    def on_elsewhere(self, arrival: Arrival, now: Instant) -> None:
        """The peer's newest packet came from another address: it is asked whether it is there."""
        if self._moves is not None and not self.is_initiator:  # servers stay (RFC 9000 section 9)
            self._moves.on_elsewhere(arrival, now)

    def enter_next_phase(self, now: Instant, read_from: int) -> None:
        """Updates the keys, from the peer's packet with that number on, or by our own wish."""
        assert self._keys is not None
        assert self._space is not None
        assert self._sender is not None
        self._keys.advance(now, PREVIOUS_KEY_PTOS * self._timers.pto, read_from)
        self._sender.phase_start = self._space.next_number

    def _on_crypto(self, frame: Crypto, epoch: Epoch) -> None:
        if epoch is not Epoch.APPLICATION:
            self.handshaking.handle_crypto(epoch, frame.offset, frame.data)
            return
        assert self._space is not None
        found = self._space.crypto.handle(frame.offset, frame.data)
        if found:
            self.handshaking.tls.handle_crypto(epoch, found)

    def _push(self, *frames: NewConnectionId | RetireConnectionId) -> None:
        assert self._control is not None
        for frame in frames:
            self._control.push(frame.encode())

    # time and the end

    def _timed_spaces(self) -> list[PacketSpace]:
        """Returns those whose loss recovery has timers: 1-RTT's wait for the handshake's end."""
        handshaking = self.handshaking
        if handshaking.is_confirmed:
            assert self._space is not None
            return [self._space]
        return [space for space in handshaking.spaces.values() if not space.is_discarded]

    def _on_overrun(self, now: Instant) -> None:
        self.fail(TransportError(ErrorCode.PROTOCOL_VIOLATION, "too many frames provoked"), now)

    def _send_close(self, frame: ConnectionClose, batch: DatagramBatch, now: Instant) -> None:
        early, late = close_frames(frame)
        if not self.handshaking.is_over:
            self._early_sender.send_close(early.encode(), batch, now)
        if self._sender is not None:
            self._sender.send_frame_alone(late.encode(), batch, now)

    def _end(
        self, event: CloseEvent, reason: ConnectionLost, now: Instant, frame: ConnectionClose | None
    ) -> None:
        until = now + CLOSE_PTOS * self._timers.pto
        self._closing.close(event, reason, until, frame)
