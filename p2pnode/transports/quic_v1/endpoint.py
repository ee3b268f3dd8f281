"""The endpoint: routes datagrams to connections, dials, and answers strangers.

One endpoint serves all sockets of a node.  A connection is its own from the first Initial on, and
everybody's, in `commons.connections`, once it is ready.
"""

from collections.abc import Callable, Generator, Sequence
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
from p2pnode.transports.events import ConnectionClosed, DialFailed, TransportEvent
from p2pnode.transports.memory import Memory
from p2pnode.transports.places import NoRoom
from p2pnode.transports.quic_v1.certificate import TlsCredentials
from p2pnode.transports.quic_v1.config import QuicConfig
from p2pnode.transports.quic_v1.connection import NAME, Connection
from p2pnode.transports.quic_v1.dials import take_unreachable_untrusted, take_versions_untrusted
from p2pnode.transports.quic_v1.key_log import key_log_lines
from p2pnode.transports.quic_v1.opening import Opening
from p2pnode.transports.quic_v1.own_parameters import own_parameters
from p2pnode.transports.quic_v1.packet import (
    FIXED,
    LONG,
    MIN_INITIAL_SIZE,
    VERSION,
    Packet,
    PacketType,
    decode_invariants_untrusted,
    decode_packet_untrusted,
    encode_version_negotiation,
)
from p2pnode.transports.quic_v1.short_packet import CONNECTION_ID_SIZE, MIN_SHORT_SIZE
from p2pnode.transports.quic_v1.stateless_resets import StatelessResets, reset_token_of
from p2pnode.transports.quic_v1.strangers import Admitted, Strangers, original_of
from p2pnode.transports.quic_v1.tls_engine import TlsEngine
from p2pnode.transports.quic_v1.token import QuicTokens
from p2pnode.transports.route import Route, route_of, transmit_of
from p2pnode.transports.work import HANDSHAKE_WORK, PACKET_WORK

DATA_SHAPE = DataShape(FIXED, FIXED - 1, MIN_SHORT_SIZE)
"""1-RTT packets: under header protection all the low bits of their first byte change."""


class Endpoint:
    """All connections of a node, by this transport."""

    def __init__(
        self,
        credentials: TlsCredentials,
        *,
        config: QuicConfig,
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
        self._entropy = entropy
        self._unix_offset = unix_now - now
        self._tokens = QuicTokens(secret, unix_now - now)
        self.commons = commons = commons or Commons()
        """With accounts and places."""
        self._faults = commons.faults
        self._serves = serves
        self._places = commons.places
        self._memory = Memory(commons.account, commons.places)
        self._strangers = Strangers(commons.account, self._tokens, entropy, self._drop)
        self._make = partial(
            Connection, config=config, tokens=self._tokens, entropy=entropy, rng=rng
        )
        self._connections: dict[ConnectionHandle, Connection] = {}
        self._by_initial: dict[tuple[object, bytes], ConnectionHandle] = {}
        """(route, destination of the client's Initials) -> handle, of strangers' handshakes"""
        self._initial_of: dict[ConnectionHandle, tuple[object, bytes]] = {}
        self._ids = IdTable()
        self._dirty: dict[ConnectionHandle, None] = {}
        self._turns = Turns(
            self._connections,
            self._ids,
            self._dirty,
            self._handle_datagram,
            self.break_off,
            commons.account.memory,
            DATA_SHAPE,
        )
        self._deadlines = Deadlines[ConnectionHandle]()
        self._resets = StatelessResets(self._tokens, entropy)
        self._transmits: list[Transmit] = []
        self._events: list[TransportEvent] = []
        self._key_log: list[str] = []

    # commands

    def claims(self, first_byte: int) -> bool:
        """Long headers have the two top bits, short ones the second: RFC 9000 section 17."""
        return first_byte & FIXED != 0

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
        raw = self._entropy(CONNECTION_ID_SIZE)
        parameters = own_parameters(self._config, raw)
        tls = self._tls(parameters.encode(), expected, now, is_client=True)
        opening = Opening(
            tls=tls,
            local=parameters,
            route=route,
            source=int.from_bytes(raw, "big"),
            destination=self._entropy(CONNECTION_ID_SIZE),
            peer_source=b"",
            is_proven=True,
            own_id=self._credentials.peer_id,
            timeout=self._config.handshake_timeout if timeout is None else timeout,
            token=token,
        )
        self._add(handle, self._make(opening, now=now), now)
        return handle

    def cancel_dial(self, handle: ConnectionHandle) -> None:
        """Forgets a dial; does nothing where it is over."""
        connection = self._connections.get(handle)
        if connection is not None and self._is_dial(handle, connection):
            self._forget(handle, connection)

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
        connection = self._connections.get(handle)
        if connection is None:
            return
        reason = ClosedByFault(error)
        is_dial = self._is_dial(handle, connection)
        self._transmits += connection.break_off(reason, now)
        is_known = handle in self.commons.connections
        self._forget(handle, connection)
        if is_dial:
            self._events.append(TransportEvent(handle, DialFailed(connection.route, reason)))
        elif is_known and (end := connection.take_end()) is not None:
            self._events.append(TransportEvent(handle, ConnectionClosed(end)))

    def wake(self, handle: ConnectionHandle) -> None:
        """A connection was commanded by its holder, or one that is over was read of."""
        if handle in self._connections:
            self._dirty[handle] = None
        else:
            self._memory.settle(handle)

    @property
    def connections(self) -> dict[ConnectionHandle, Connection]:
        """Handles and connections, those in the middle of a handshake as well; for reading only."""
        return self._connections

    @property
    def has_events(self) -> bool:
        """Whether `poll_events` is known to have something: asked after `poll_transmits`."""
        return bool(self._events)

    @property
    def is_active(self) -> bool:
        """False while it has nothing to do and nothing to wait for."""
        output = self._transmits or self._events
        return bool(self._connections or self._dirty or self._turns.deadline or output)

    def handle_clock_changed(self, unix_now: UnixTime, now: Instant) -> None:
        """The wall clock was set: certificates are held against it, tokens are not."""
        self._unix_offset = unix_now - now

    def close_all(self, reason: str, now: Instant) -> None:
        """Closes every connection; what tells the peers leaves with the next transmits."""
        for handle, connection in list(self._connections.items()):
            if self._is_dial(handle, connection):
                self.cancel_dial(handle)
                continue
            self._dirty.pop(handle, None)
            with self.commanding(handle, now):
                connection.close(ErrorCode.SHUTDOWN, reason, now, is_application=False)

    def turn_out(self, handle: ConnectionHandle, reason: str, now: Instant) -> None:
        """Ends a connection for others' sake: it is told once, forgotten and freed at once."""
        with self.commanding(handle, now) as connection:
            if connection is None:
                self._memory.forsake(handle)
                return
            self._say_farewell(connection, reason, now)
            if handle in self.commons.connections:
                self._collect(handle, connection, now)
                connection.streams.forsake()
            elif self._is_dial(handle, connection):
                failed = DialFailed(connection.route, DialError(reason))
                self._events.append(TransportEvent(handle, failed))
            self._forget(handle, connection)

    # the machine

    def handle_received(self, batch: Sequence[Received], now: Instant) -> None:
        """Takes what sockets brought.  Untrusted; never raises."""
        self._turns.take(batch, now)
        self._drain(now)

    def handle_unreachable(self, reports: Sequence[Unreachable], now: Instant) -> None:
        """Takes what the system says of datagrams.  Only dials heed it; never raises."""
        for report in reports:
            for handle, connection in self._connections.items():
                if self._is_dial(handle, connection) and take_unreachable_untrusted(
                    connection, report, now
                ):
                    connection.handle_timeout(now)
                    self._dirty[handle] = None
                    break
        self._drain(now)

    def handle_timeout(self, now: Instant) -> None:
        for handle in self._deadlines.take_due(now):
            self._dirty[handle] = None
            self._serve(handle, lambda connection: connection.handle_timeout(now), now)
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
                    self._collect(handle, connection, now)
                    self._sync(handle, connection, now)
            except Exception as error:
                self.break_off(handle, error, now)
                continue
            self._dirty.pop(handle, None)
        return transmits

    def poll_events(self) -> list[TransportEvent]:
        """Returns the facts since the last call."""
        for handle in self._dirty:
            connection = self._connections.get(handle)
            if connection is not None:
                try:
                    self._collect(handle, connection, connection.last_received)
                except Exception as error:
                    self.break_off(handle, error, connection.last_received)
                    break  # what has changed under the loop; the others are asked next time
        events, self._events = self._events, []
        return events

    def poll_timeout(self) -> Deadline | None:
        return earliest(self._deadlines.first(), self._turns.deadline)

    def check(self) -> None:
        """Asserts, after a drain, that each connection's deadline and memory are what is known."""
        assert not self._dirty, f"{list(self._dirty)} were commanded, and not drained"
        for handle, connection in self._connections.items():
            assert connection.poll_timeout() == self._deadlines.of(handle), (
                f"the deadline of connection {handle} has moved"
            )
            if handle in self.commons.connections:
                self._memory.check(handle, connection)

    def poll_key_log(self) -> list[str]:
        """Returns the secrets of new connections, where the configuration asks for them."""
        lines, self._key_log = self._key_log, []
        return lines

    def poll_qlog(self) -> list[tuple[str, list[str]]]:
        """There are no traces of this transport."""
        return []

    # datagrams

    def _handle_datagram(self, received: Received, datagram: bytes, now: Instant) -> int:
        """Takes a datagram that is not a known connection's data; returns what work it was."""
        try:
            if datagram[0] & LONG:
                return self._on_long(received, datagram, now)
            self._on_stray_data(datagram, route_of(received), now)
        except DecodeError:
            pass  # not for us, damaged or hostile: silence is the only safe answer
        except Exception as error:
            self._faults.take(error)
        return PACKET_WORK

    def _on_long(self, received: Received, datagram: bytes, now: Instant) -> int:
        header = decode_invariants_untrusted(datagram)
        route, destination = route_of(received), header.destination
        handle = self._by_initial.get((route.key, destination))
        if handle is None and len(destination) == CONNECTION_ID_SIZE:
            handle = self._ids.handle_of.get(int.from_bytes(destination, "big"))
        connection = None if handle is None else self._connections.get(handle)
        if handle is not None and connection is not None:
            self._dirty[handle] = None
            if header.version == 0:
                if self._is_dial(handle, connection):
                    take_versions_untrusted(connection, datagram, header, now)
            else:
                self._serve(handle, lambda c: c.handle_datagram(datagram, received, now), now)
            return PACKET_WORK if connection.is_ready else HANDSHAKE_WORK
        if not self._serves or len(datagram) < MIN_INITIAL_SIZE or route.is_relayed:
            return PACKET_WORK
        if header.version != VERSION:
            if header.version:
                answer = encode_version_negotiation(header, self._entropy(1)[0])
                self._transmits.append(transmit_of(route, answer))
            return PACKET_WORK
        packet = decode_packet_untrusted(datagram, 0, CONNECTION_ID_SIZE)
        if packet.kind is PacketType.INITIAL and len(destination) >= CONNECTION_ID_SIZE:
            return self._on_initial(received, datagram, packet, route, now)
        return PACKET_WORK

    def _on_initial(
        self, received: Received, datagram: bytes, packet: Packet, route: Route, now: Instant
    ) -> int:
        verdict = self._places.verdict(route, self.commons.has_streams)
        judgement = self._strangers.judge_untrusted(packet, route, verdict, now)
        if not isinstance(judgement, Admitted):
            if judgement is not None:
                self._transmits.append(transmit_of(route, judgement))
            return PACKET_WORK
        proof = judgement.proof
        original, retry_source = original_of(packet, proof)
        raw = self._entropy(CONNECTION_ID_SIZE)
        source = int.from_bytes(raw, "big")
        parameters = own_parameters(
            self._config,
            raw,
            original_destination=original,
            retry_source=retry_source,
            reset_token=self._tokens.reset_token(source),
        )
        opening = Opening(
            tls=self._tls(parameters.encode(), None, now, is_client=False),
            local=parameters,
            route=route,
            source=source,
            destination=packet.destination,
            peer_source=packet.source,
            is_proven=proof is not None,
            own_id=self._credentials.peer_id,
            timeout=self._config.handshake_timeout,
        )
        connection = self._make(opening, now=now)
        connection.handle_datagram(datagram, received, now)
        has_room = bool(connection.packets_received) and (
            not judgement.needs_room or self.commons.account.end_newest_half_open()
        )
        if not has_room:
            connection.let_go()
            return HANDSHAKE_WORK
        handle = self.commons.take_handle()
        self._strangers.add(handle, route, is_proven=proof is not None)
        key = (route.key, packet.destination)
        self._by_initial[key], self._initial_of[handle] = handle, key
        self._add(handle, connection, now)
        return HANDSHAKE_WORK

    def _on_stray_data(self, datagram: bytes, route: Route, now: Instant) -> None:
        """A stateless reset, or data for a connection that we have forgotten."""
        token = reset_token_of(datagram)
        if token is None:
            return
        handle = self._ids.of_token(token)
        if handle is not None:
            self._serve(handle, lambda connection: connection.handle_reset(now), now)
            self._dirty[handle] = None
            return
        destination = int.from_bytes(datagram[1 : 1 + CONNECTION_ID_SIZE], "big")
        if self._serves and not self._ids.is_retired(destination, now):
            self._transmits += self._resets.answer(destination, len(datagram), route, now)

    # connections

    def _add(self, handle: ConnectionHandle, connection: Connection, now: Instant) -> None:
        self._connections[handle] = connection
        self._dirty[handle] = None
        self._sync(handle, connection, now)

    def _admit(self, handle: ConnectionHandle, connection: Connection, now: Instant) -> bool:
        """A handshake has succeeded; returns whether it has become a connection."""
        if self._config.key_log:
            self._key_log += key_log_lines(connection)
        if not connection.is_initiator:
            verdict = self._places.verdict(
                connection.route, self.commons.has_streams, connection.peer_id
            )
            if isinstance(verdict, NoRoom):
                self._places.note(verdict.refusal)
                self._say_farewell(connection, str(verdict.refusal), now)
                self._forget(handle, connection)
                return False
            if verdict.instead_of is not None:
                reason = "this node needs the place for others"
                self._make_way(verdict.instead_of, reason, now)
            self._places.add_inbound(handle, verdict)
            self._strangers.remove(handle)
        self.commons.connections[handle] = connection
        self._memory.open(handle, connection)
        self._events.append(TransportEvent(handle, connection.connected()))
        return True

    def _drain(self, now: Instant) -> None:
        """Takes over what the touched connections report."""
        is_turn_over = not self._turns.is_busy
        for handle in list(self._dirty):
            connection = self._connections.get(handle)
            try:
                if connection is not None:
                    self._collect(handle, connection, now)
                    if is_turn_over:
                        connection.work.renew()
            except Exception as error:
                self.break_off(handle, error, now)

    def _collect(self, handle: ConnectionHandle, connection: Connection, now: Instant) -> None:
        if handle not in self.commons.connections:
            if connection.is_ready and not connection.is_closed:
                if not self._admit(handle, connection, now):
                    return
            else:
                self._collect_failure(handle, connection)
                return
        held = connection.streams.held
        window = held.window  # `held.total`, without a call
        change = window.received - window.consumed + held.to_send + held.beside - held.drawn
        if change > MEMORY_STEP or change < -MEMORY_STEP:
            self._memory.draw(handle, connection)
        for event in connection.poll_events():
            self._events.append(TransportEvent(handle, event))

    def _collect_failure(self, handle: ConnectionHandle, connection: Connection) -> None:
        """Tells of a dial that has failed; its closed connection stays for late packets."""
        if connection.is_closed and connection.is_initiator:
            end = connection.take_end()
            if end is not None:
                self._places.remove(handle)
                reason = connection.failure or end
                self._events.append(TransportEvent(handle, DialFailed(connection.route, reason)))

    def _sync(self, handle: ConnectionHandle, connection: Connection, now: Instant) -> None:
        """Brings the routing tables and the timer of a connection up to date."""
        if self._connections.get(handle) is not connection:
            return
        local = connection.local_ids
        if local.added or local.removed or connection.remote_ids.tokens_changed:
            self._ids.update(handle, connection, now)
        if connection.is_forgotten:
            self._forget(handle, connection)
        else:
            self._deadlines.set(handle, connection.poll_timeout())

    def _drop(self, handle: ConnectionHandle) -> None:
        self._forget(handle, self._connections[handle])

    def _forget(self, handle: ConnectionHandle, connection: Connection) -> None:
        """Nothing is known of it any more; what it had to tell was collected."""
        self._ids.forget(handle, connection)
        self._deadlines.set(handle, None)
        self._dirty.pop(handle, None)
        self._places.remove(handle)
        self._strangers.remove(handle)
        key = self._initial_of.pop(handle, None)
        if key is not None:
            self._by_initial.pop(key, None)
        if self.commons.connections.pop(handle, None) is not None:
            self._memory.close(handle, connection)
        del self._connections[handle]
        connection.let_go()

    # details

    def _is_dial(self, handle: ConnectionHandle, connection: Connection) -> bool:
        """Whether it is one that has neither succeeded nor failed."""
        return (
            connection.is_initiator
            and handle not in self.commons.connections
            and not connection.is_closed
        )

    def _make_way(self, handle: ConnectionHandle, reason: str, now: Instant) -> None:
        """Has a connection end for others' sake, whichever transport's it is."""
        if handle in self._connections:
            self.turn_out(handle, reason, now)
        else:
            self.commons.leaving.append((handle, reason))

    def _say_farewell(self, connection: Connection, reason: str, now: Instant) -> None:
        connection.close(ErrorCode.EXCESSIVE_LOAD, reason, now, is_application=False)
        self._transmits += connection.poll_transmits(now)
        self._ids.retire(connection, now)

    def _serve(
        self, handle: ConnectionHandle, act: Callable[[Connection], object], now: Instant
    ) -> None:
        """Has a connection do something; what goes wrong ends that one only."""
        connection = self._connections.get(handle)
        if connection is None:
            return
        try:
            act(connection)
        except Exception as error:
            self.break_off(handle, error, now)

    def _tls(
        self, parameters: bytes, expected: PeerId | None, now: Instant, *, is_client: bool
    ) -> TlsEngine:
        return TlsEngine(
            self._credentials,
            is_client=is_client,
            parameters=parameters,
            expected=expected,
            unix_now=UnixTime(now + self._unix_offset),
            suites=self._config.suites,
        )
