"""The endpoint: routes datagrams to connections, dials, and answers strangers.

One endpoint serves all sockets of a node.  It owns its connections, and is a DatagramMachine.

    connections    to look at
    command        to change one: what it then has to say is taken by the next drain
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import partial
from random import Random

from p2pnode.clock import Deadline, Instant, UnixTime, earliest
from p2pnode.deadlines import Deadlines
from p2pnode.entropy import Entropy
from p2pnode.errors import (
    ClosedByFault,
    DecodeError,
    DialError,
    LocalProtocolError,
    TransportError,
)
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import ConnectionHandle, Received, Transmit, Unreachable
from p2pnode.resources.account import MEMORY_STEP
from p2pnode.transports.commons import Commons
from p2pnode.transports.datagrams.id_table import IdTable
from p2pnode.transports.datagrams.turns import DataShape, Turns
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.events import (
    ConnectionClosed,
    DialFailed,
    TransportEvent,
)
from p2pnode.transports.memory import Memory
from p2pnode.transports.noise_udp.config import TransportConfig
from p2pnode.transports.noise_udp.connection import Connection, Opening
from p2pnode.transports.noise_udp.connection_logs import ConnectionLogs
from p2pnode.transports.noise_udp.dialing import Dialing
from p2pnode.transports.noise_udp.handshake import Credentials
from p2pnode.transports.noise_udp.incoming import Incoming
from p2pnode.transports.noise_udp.packet import (
    DATA,
    DATA_OVERHEAD,
    FIRST_BYTES,
    KEY_PHASE,
    MIN_INITIAL_SIZE,
    NAME,
    STATELESS_RESET,
    HandshakeType,
    data_destination,
    decode_initial_untrusted,
    decode_message_untrusted,
    decode_retry_untrusted,
    decode_stateless_reset_untrusted,
    decode_version_negotiation_untrusted,
)
from p2pnode.transports.noise_udp.parameters import TransportParameters, own_parameters
from p2pnode.transports.noise_udp.stateless_resets import StatelessResets
from p2pnode.transports.noise_udp.token import TokenIssuer
from p2pnode.transports.places import NoRoom
from p2pnode.transports.route import Route, route_of, transmit_of
from p2pnode.transports.work import HANDSHAKE_WORK, PACKET_WORK


class Endpoint:
    """All connections of a node, by this transport."""

    def __init__(
        self,
        credentials: Credentials,
        *,
        config: TransportConfig,
        secret: bytes,
        entropy: Entropy,
        rng: Random,
        now: Instant,
        unix_now: UnixTime,
        commons: Commons | None = None,
        serves: bool = True,
    ) -> None:
        """`secret` (32 bytes) makes tokens and stateless resets; kept on disk it outlives us.

        Without `commons` that it shares with other transports, it has its own.  Who begins a
        connection is heard only where it `serves`.
        """
        self.name = NAME
        self._credentials = credentials
        self._config = config
        self._tokens = TokenIssuer(secret)
        self._entropy = entropy
        self._token_offset = unix_now - now
        self._logs = ConnectionLogs(config, unix_now - now)
        self.commons = commons = commons or Commons()
        """With accounts and places."""
        self._faults = commons.faults
        self._serves = serves
        self._places = commons.places
        self._memory = Memory(commons.account, commons.places)
        self._incoming = Incoming(
            credentials=credentials,
            config=config,
            tokens=self._tokens,
            entropy=entropy,
            account=commons.account,
        )
        self._make = partial(
            Connection,
            config=config,
            reset_tokens=self._tokens.reset_token,
            entropy=entropy,
            rng=rng,
        )
        self._dials: dict[ConnectionHandle, Dialing] = {}
        self._dial_by_source: dict[int, ConnectionHandle] = {}
        self._connections: dict[ConnectionHandle, Connection] = {}
        self._ids = IdTable()
        self._dirty: dict[ConnectionHandle, None] = {}
        self._turns = Turns(
            self._connections,
            self._ids,
            self._dirty,
            self._handle_datagram,
            self.break_off,
            commons.account.memory,
            DataShape(DATA, KEY_PHASE, DATA_OVERHEAD),
        )
        self._deadlines = Deadlines[ConnectionHandle]()
        self._resets = StatelessResets(self._tokens)
        self._transmits: list[Transmit] = []
        self._events: list[TransportEvent] = []

    # commands

    def claims(self, first_byte: int) -> bool:
        return first_byte in FIRST_BYTES

    def dial(
        self,
        route: Route,
        expected: PeerId | None,
        now: Instant,
        *,
        token: bytes = b"",
        timeout: float | None = None,
    ) -> ConnectionHandle:
        """Begins a handshake and returns its handle, which becomes the connection's.

        Raises DialError where there are too many connections.
        """
        handle = self.commons.take_handle()
        refusal = self._places.add_outbound(handle)
        if refusal is not None:
            raise DialError(str(refusal))
        self._dials[handle] = dialing = Dialing(
            credentials=self._credentials,
            parameters=self._parameters(),
            aeads=self._config.aeads,
            route=route,
            expected=expected,
            token=token,
            timeout=self._config.handshake_timeout if timeout is None else timeout,
            entropy=self._entropy,
            now=now,
        )
        self._dial_by_source[dialing.source] = handle
        self._dirty[handle] = None
        return handle

    def cancel_dial(self, handle: ConnectionHandle) -> None:
        """Forgets a dial; does nothing where it is over."""
        if self._end_dial(handle):
            self._places.remove(handle)

    def command(self, handle: ConnectionHandle) -> Connection | None:
        """Returns a connection for the caller to command, at once; None where it is gone."""
        self.wake(handle)
        return self._connections.get(handle)

    @contextmanager
    def commanding(
        self, handle: ConnectionHandle, now: Instant
    ) -> Generator[Connection | None, None, None]:
        """Gives out a connection as `command` does; what goes wrong inside ends that one only."""
        try:
            yield self.command(handle)
        except LocalProtocolError:
            raise  # the caller's, who knows what for
        except Exception as error:
            self.break_off(handle, error, now)

    def break_off(self, handle: ConnectionHandle, error: Exception, now: Instant) -> None:
        """Ends a connection or a dial, and nothing else, for what went wrong as it was served.

        A violation of the peer's is told to it.  All else is a fault: see `Faults`.
        """
        connection = self._connections.get(handle)
        if connection is not None and isinstance(error, TransportError):
            connection.fail(error, now)
            return
        self._faults.take(error, handle)
        self.give_up(handle, error, now)

    def give_up(self, handle: ConnectionHandle, error: Exception, now: Instant) -> None:
        """Ends a connection or a dial for a fault that was told.  Nothing where it is gone."""
        reason = ClosedByFault(error)
        connection, dialing = self._connections.get(handle), self._dials.get(handle)
        if dialing is not None:
            self.cancel_dial(handle)
            self._events.append(TransportEvent(handle, DialFailed(dialing.route, reason)))
        elif connection is not None:
            self._transmits += connection.break_off(reason, now)
            self._dirty.pop(handle, None)
            self._forget(handle, connection)
            end = connection.take_end()
            if end is not None:
                self._events.append(TransportEvent(handle, ConnectionClosed(end)))

    def wake(self, handle: ConnectionHandle) -> None:
        """A connection was commanded by its holder, or one that is over was read of."""
        if handle in self._connections:
            self._dirty[handle] = None
        else:
            self._memory.settle(handle)

    @property
    def connections(self) -> dict[ConnectionHandle, Connection]:
        """Handles and connections, for reading only."""
        return self._connections

    @property
    def has_events(self) -> bool:
        """Whether `poll_events` is known to have something: asked after `poll_transmits`."""
        return bool(self._events)

    @property
    def is_active(self) -> bool:
        """False while it has nothing to do and nothing to wait for."""
        output = self._transmits or self._events
        return bool(
            self._connections or self._dials or self._dirty or self._turns.deadline or output
        )

    def handle_clock_changed(self, unix_now: UnixTime, now: Instant) -> None:
        """The wall clock was set: traces are dated by it, tokens are not."""
        self._logs.unix_offset = unix_now - now

    def close_all(self, reason: str, now: Instant) -> None:
        """Closes every connection; what tells the peers leaves with the next transmits."""
        for handle in list(self._dials):
            self.cancel_dial(handle)
        # Those through relays first: with its own connection a relay loses their circuits.
        for handle in sorted(
            self._connections, key=lambda h: self._connections[h].route.socket >= 0
        ):
            self._dirty.pop(handle, None)
            with self.commanding(handle, now) as connection:
                assert connection is not None
                connection.close(ErrorCode.SHUTDOWN, reason, now, is_application=False)

    # the machine

    def handle_received(self, batch: Sequence[Received], now: Instant) -> None:
        """Takes what sockets brought.  Untrusted; never raises."""
        self._turns.take(batch, now)
        self._drain(now)

    def handle_unreachable(self, reports: Sequence[Unreachable], now: Instant) -> None:
        """Takes what the system says of datagrams.  Only dials heed it; never raises."""
        for report in reports:
            for handle, dialing in self._dials.items():
                if dialing.on_unreachable_untrusted(report, now):
                    self._dirty[handle] = None
                    break
        self._drain(now)

    def handle_timeout(self, now: Instant) -> None:
        for handle in self._deadlines.take_due(now):
            self._dirty[handle] = None
            connection = self._connections.get(handle)
            if connection is not None:
                try:
                    connection.handle_timeout(now)
                except Exception as error:
                    self.break_off(handle, error, now)
        self._incoming.handle_timeout(now)
        if self._turns.deadline is not None:
            self._turns.handle_timeout(now)
        self._drain(now)

    def poll_transmits(self, now: Instant) -> list[Transmit]:
        """Returns what to send; ask again until it is empty."""
        if self._memory.too_full:
            for handle, reason in self._memory.take_excess():
                self._make_way(handle, reason, now)
        transmits, self._transmits = self._transmits, []
        for handle in list(self._dirty):
            connection = self._connections.get(handle)
            try:
                if connection is not None:
                    transmits += connection.poll_transmits(now)
                    if connection.has_more:
                        continue
                    # What a command since the last drain has caused, or it waits for a packet.
                    self._collect(handle, connection)
                    self._sync(handle, connection, now)
                elif handle in self._dials:
                    self._poll_dial(handle, transmits, now)
            except Exception as error:
                self.break_off(handle, error, now)
                continue
            del self._dirty[handle]
        return transmits

    def poll_events(self) -> list[TransportEvent]:
        """Returns the facts since the last call."""
        for handle in self._dirty:
            connection = self._connections.get(handle)
            if connection is not None:
                try:
                    self._collect(handle, connection)
                except Exception as error:
                    self.break_off(handle, error, connection.last_received)
                    break  # what has changed under the loop; the others are asked next time
        events, self._events = self._events, []
        return events

    def poll_timeout(self) -> Deadline | None:
        first, turn = self._deadlines.first(), self._turns.deadline
        return earliest(first, self._incoming.poll_timeout(), turn)

    def check(self) -> None:
        """Asserts, after a drain, that each connection's deadline and memory are what is known."""
        assert not self._dirty, f"{list(self._dirty)} were commanded, and not drained"
        for handle, connection in self._connections.items():
            assert connection.poll_timeout() == self._deadlines.of(handle), (
                f"the deadline of connection {handle} has moved"
            )
            self._memory.check(handle, connection)

    # logs, on request

    def poll_key_log(self) -> list[str]:
        """Returns the secrets of new connections, where the configuration asks for them."""
        return self._logs.poll_key_log()

    def poll_qlog(self) -> list[tuple[str, list[str]]]:
        """Returns (trace name, JSON texts) since the last call, where qlog is on."""
        return self._logs.poll_qlog(self._connections)

    # datagrams

    def _handle_datagram(self, received: Received, datagram: bytes, now: Instant) -> int:
        """Takes a datagram that is not a known connection's data; returns what work it was."""
        route = route_of(received)
        kind = datagram[0]
        try:
            if kind & ~KEY_PHASE == DATA:
                self._on_stray_data(datagram, route, now)
            elif kind == HandshakeType.INITIAL and self._serves:
                return self._on_initial(datagram, route, now)
            elif kind == HandshakeType.RESPONSE:
                return self._on_response(datagram, now)
            elif kind == HandshakeType.FINAL:
                return self._on_final(received, datagram, route, now)
            elif kind == HandshakeType.RETRY:
                retry = decode_retry_untrusted(datagram)
                dialing = self._find_dial(retry.destination)
                if dialing is not None:
                    dialing.on_retry_untrusted(retry, now)
            elif kind == HandshakeType.VERSION_NEGOTIATION:
                offer = decode_version_negotiation_untrusted(datagram)
                dialing = self._find_dial(offer.destination)
                if dialing is not None:
                    dialing.on_version_negotiation_untrusted(offer)
            elif kind == STATELESS_RESET:
                self._on_reset(datagram, now)
        except DecodeError:
            pass  # not for us, damaged or hostile: silence is the only safe answer
        except Exception as error:
            self._faults.take(error)
        return PACKET_WORK

    def _on_initial(self, datagram: bytes, route: Route, now: Instant) -> int:
        initial = decode_initial_untrusted(datagram)
        verdict = self._places.verdict(route, self.commons.has_streams)
        self._incoming.no_room = verdict if isinstance(verdict, NoRoom) else None
        answer = self._incoming.on_initial_untrusted(
            initial, len(datagram), route, self._parameters(), now, self._token_time(now)
        )
        if answer is not None and len(answer) <= MIN_INITIAL_SIZE:
            self._transmits.append(transmit_of(route, answer))
        is_message_2 = answer is not None and answer[0] == HandshakeType.RESPONSE
        return HANDSHAKE_WORK if is_message_2 else PACKET_WORK

    def _on_response(self, datagram: bytes, now: Instant) -> int:
        destination, message, _ = decode_message_untrusted(datagram)
        handle = self._dial_by_source.get(destination)
        if handle is None:
            return PACKET_WORK
        self._dirty[handle] = None
        opening = self._dials[handle].on_response_untrusted(message, now)
        if opening is not None:
            self._end_dial(handle)
            self._open(handle, opening, now)
        return HANDSHAKE_WORK

    def _on_final(self, received: Received, datagram: bytes, route: Route, now: Instant) -> int:
        destination, message, size = decode_message_untrusted(datagram)
        half_open = self._incoming.by_id.get(destination)
        handle = self._ids.handle_of.get(destination)
        if half_open is not None:
            opening = self._incoming.on_final_untrusted(
                half_open, message, route, now, self._token_time(now)
            )
            if opening is None:
                return HANDSHAKE_WORK
            handle = self.commons.take_handle()
            self._receive(handle, opening, now)
            for packet in self._incoming.finish(half_open):
                self._take_packet(handle, received, packet, now)
        if handle is not None and len(datagram) - size >= DATA_OVERHEAD:
            self._take_packet(handle, received, datagram[size:], now)
        return PACKET_WORK if half_open is None else HANDSHAKE_WORK

    def _take_packet(
        self, handle: ConnectionHandle, received: Received, packet: bytes, now: Instant
    ) -> None:
        """Gives a connection, where it is there still, a packet that did not come by itself."""
        with self.commanding(handle, now) as connection:
            if connection is not None:
                whole = received._replace(segment_size=len(packet), buffer=packet)
                connection.handle_received(whole, 0, now)

    def _on_stray_data(self, datagram: bytes, route: Route, now: Instant) -> None:
        """Data for a handshake that is not over, or for a connection that we have forgotten."""
        if len(datagram) < DATA_OVERHEAD:
            return
        destination = data_destination(datagram, 0)
        half_open = self._incoming.by_id.get(destination)
        if half_open is not None:
            self._incoming.keep_early(half_open, datagram, route)
            return
        if self._ids.is_retired(destination, now):
            return
        self._transmits += self._resets.answer(destination, route, now)

    def _on_reset(self, datagram: bytes, now: Instant) -> None:
        token = decode_stateless_reset_untrusted(datagram)
        handle = self._ids.of_token(token)
        if handle is not None:
            with self.commanding(handle, now) as connection:
                assert connection is not None
                connection.handle_reset(now)

    # connections

    def _receive(self, handle: ConnectionHandle, opening: Opening, now: Instant) -> None:
        """Somebody else has begun a connection, and has proved who it is."""
        verdict = self._places.verdict(opening.route, self.commons.has_streams, opening.peer_id)
        if isinstance(verdict, NoRoom):
            self._places.note(verdict.refusal)
            connection = self._make(opening, now=now, qlog=self._logs.begin(handle, opening, now))
            self._say_farewell(connection, str(verdict.refusal), now)
            return
        if verdict.instead_of is not None:
            self._make_way(verdict.instead_of, "this node needs the place for others", now)
        self._places.add_inbound(handle, verdict)
        self._open(handle, opening, now)

    def _open(self, handle: ConnectionHandle, opening: Opening, now: Instant) -> None:
        try:
            connection = self._make(opening, now=now, qlog=self._logs.begin(handle, opening, now))
        except Exception as error:
            self._faults.take(error)
            self._places.remove(handle)
            if opening.is_initiator:
                failed = DialFailed(opening.route, ClosedByFault(error))
                self._events.append(TransportEvent(handle, failed))
            return
        self._connections[handle] = self.commons.connections[handle] = connection
        self._memory.open(handle, connection)
        self._dirty[handle] = None
        self._sync(handle, connection, now)
        self._events.append(TransportEvent(handle, opening.fact()))

    def _drain(self, now: Instant) -> None:
        """Takes over what the touched connections report."""
        is_turn_over = not self._turns.is_busy
        for handle in list(self._dirty):
            connection = self._connections.get(handle)
            try:
                if connection is not None:
                    self._collect(handle, connection)
                    if is_turn_over:
                        connection.work.renew()
                elif handle in self._dials:
                    self._end_dial_that_failed(handle, now)
            except Exception as error:
                self.break_off(handle, error, now)

    def _end_dial_that_failed(self, handle: ConnectionHandle, now: Instant) -> None:
        failure = self._dials[handle].failure(now)
        if failure is not None:
            route = self._dials[handle].route
            self.cancel_dial(handle)
            self._events.append(TransportEvent(handle, DialFailed(route, failure)))

    def _collect(self, handle: ConnectionHandle, connection: Connection) -> None:
        held = connection.streams.held
        window = held.window  # `held.total`, without a call
        change = window.received - window.consumed + held.to_send + held.beside - held.drawn
        if change > MEMORY_STEP or change < -MEMORY_STEP:
            self._memory.draw(handle, connection)
        for event in connection.poll_events():
            self._events.append(TransportEvent(handle, event))

    def _sync(self, handle: ConnectionHandle, connection: Connection, now: Instant) -> None:
        """Brings the routing tables and the timer of a connection up to date."""
        local = connection.local_ids
        if local.added or local.removed or connection.remote_ids.tokens_changed:
            self._ids.update(handle, connection, now)
        if connection.is_forgotten:
            self._forget(handle, connection)
        else:
            self._deadlines.set(handle, connection.poll_timeout())

    def _forget(self, handle: ConnectionHandle, connection: Connection) -> None:
        """Nothing is known of it any more; what it had to tell was collected."""
        self._ids.forget(handle, connection)
        self._deadlines.set(handle, None)
        self._places.remove(handle)
        self._memory.close(handle, connection)
        del self._connections[handle], self.commons.connections[handle]
        connection.let_go()

    # details

    def _end_dial(self, handle: ConnectionHandle) -> bool:
        """The dial is over; what it was for may have become a connection of the same handle."""
        dialing = self._dials.pop(handle, None)
        if dialing is None:
            return False
        del self._dial_by_source[dialing.source]
        self._deadlines.set(handle, None)
        self._dirty.pop(handle, None)
        return True

    def _make_way(self, handle: ConnectionHandle, reason: str, now: Instant) -> None:
        """Has a connection end for others' sake, whichever transport's it is."""
        if handle in self._connections:
            self.turn_out(handle, reason, now)
        else:
            self.commons.leaving.append((handle, reason))

    def turn_out(self, handle: ConnectionHandle, reason: str, now: Instant) -> None:
        """Ends a connection for others' sake: it is told once, forgotten and freed at once."""
        with self.commanding(handle, now) as connection:
            if connection is None:
                self._memory.forsake(handle)
                return
            self._say_farewell(connection, reason, now)
            self._collect(handle, connection)
            self._dirty.pop(handle, None)
            connection.streams.forsake()
            self._forget(handle, connection)

    def _say_farewell(self, connection: Connection, reason: str, now: Instant) -> None:
        connection.close(ErrorCode.EXCESSIVE_LOAD, reason, now, is_application=False)
        self._transmits += connection.poll_transmits(now)
        self._ids.retire(connection, now)

    def _poll_dial(self, handle: ConnectionHandle, transmits: list[Transmit], now: Instant) -> None:
        dialing = self._dials[handle]
        packet = dialing.poll_packet(now)
        if packet is not None:
            transmits.append(transmit_of(dialing.route, packet))
        self._deadlines.set(handle, dialing.poll_timeout())

    def _find_dial(self, source: int) -> Dialing | None:
        handle = self._dial_by_source.get(source)
        if handle is None:
            return None
        self._dirty[handle] = None
        return self._dials[handle]

    def _parameters(self) -> TransportParameters:
        connection_id = int.from_bytes(self._entropy(8), "big")
        return own_parameters(self._config, connection_id, self._tokens.reset_token(connection_id))

    def _token_time(self, now: Instant) -> UnixTime:
        """The time by the wall clock as it was at the start: no jump makes a token older."""
        return UnixTime(now + self._token_offset)
