"""The endpoint: routes datagrams to connections, dials, and answers strangers.

One endpoint serves all sockets of a node.  It owns its connections, and is a DatagramMachine.

    connections    to look at
    command        to change one: what it then has to say is taken by the next drain
"""

from collections.abc import Sequence
from random import Random
from typing import Final

from p2pnode.clock import Deadline, Instant, UnixTime, earliest
from p2pnode.entropy import Entropy
from p2pnode.errors import DecodeError, DialError
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import ConnectionHandle, Received, Transmit, Unreachable
from p2pnode.rate_limit import KeyedRateLimit
from p2pnode.resources.networks import Network
from p2pnode.transport.config import TransportConfig
from p2pnode.transport.connection import Connection, Opening
from p2pnode.transport.deadlines import Deadlines
from p2pnode.transport.dialing import Dialing
from p2pnode.transport.error_code import ErrorCode
from p2pnode.transport.events import (
    Connected,
    ConnectionEvent,
    DialFailed,
    EndpointEvent,
)
from p2pnode.transport.handshake import Credentials
from p2pnode.transport.incoming import Incoming
from p2pnode.transport.key_log import connection_name, key_log_lines
from p2pnode.transport.packet import (
    DATA,
    DATA_OVERHEAD,
    KEY_PHASE,
    MIN_INITIAL_SIZE,
    STATELESS_RESET,
    HandshakeType,
    data_destination,
    decode_initial_untrusted,
    decode_message_untrusted,
    decode_retry_untrusted,
    decode_stateless_reset_untrusted,
    decode_version_negotiation_untrusted,
    stateless_reset,
)
from p2pnode.transport.parameters import TransportParameters
from p2pnode.transport.places import NoRoom, Places, origin
from p2pnode.transport.qlog import Qlog
from p2pnode.transport.retired_ids import RetiredIds
from p2pnode.transport.route import Route, route_of
from p2pnode.transport.token import TokenIssuer

MAX_CONNECTIONS: Final = 4096
"""connections and dials; strangers are refused beyond; chosen: some 200 MB of state"""
MAX_RESETS: Final = 100
"""stateless resets that one network has at once, and a second after that, because anyone can
provoke them; chosen: a restart with a hundred peers behind one NAT is told within a second"""
FIRST_HANDLE: Final = ConnectionHandle(1)


class Endpoint:
    """All connections of a node."""

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
        max_connections: int = MAX_CONNECTIONS,
        first_handle: ConnectionHandle = FIRST_HANDLE,
    ) -> None:
        """`secret` (32 bytes) makes tokens and stateless resets; kept on disk it outlives us.

        Handles count from `first_handle` on, so that several endpoints' need not collide.
        """
        self._credentials = credentials
        self._config = config
        self._tokens = TokenIssuer(secret)
        self._entropy = entropy
        self._rng = rng
        self._unix_offset = self._token_offset = unix_now - now
        self._places = Places(max_connections)
        self._incoming = Incoming(
            credentials=credentials, config=config, tokens=self._tokens, entropy=entropy
        )
        self._dials: dict[ConnectionHandle, Dialing] = {}
        self._dial_by_source: dict[int, ConnectionHandle] = {}
        self._connections: dict[ConnectionHandle, Connection] = {}
        self._handle_of: dict[int, ConnectionHandle] = {}
        """our connection id -> handle"""
        self._handle_of_token: dict[bytes, ConnectionHandle] = {}
        self._tokens_of: dict[ConnectionHandle, list[bytes]] = {}
        self._next_handle = first_handle
        self._dirty: dict[ConnectionHandle, None] = {}
        self._deadlines = Deadlines[ConnectionHandle]()
        self._reset_rate = KeyedRateLimit[Network](MAX_RESETS, 1.0)
        self._retired_ids = RetiredIds()
        self._transmits: list[Transmit] = []
        self._key_log: list[str] = []
        self._qlogs: dict[ConnectionHandle, Qlog] = {}
        self._events: list[EndpointEvent] = []

    # commands

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
        if not self._places.can_dial:
            raise DialError("this node has as many connections as it takes")
        handle = self._take_handle()
        self._places.add_outbound(handle)
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

    def protect(self, handle: ConnectionHandle, *, is_protected: bool) -> None:
        """Says whether a connection that the peer began keeps its place whoever else comes."""
        self._places.protect(handle, is_protected=is_protected)

    def command(self, handle: ConnectionHandle) -> Connection | None:
        """Returns a connection for the caller to command, at once; None where it is gone."""
        self.wake(handle)
        return self._connections.get(handle)

    def wake(self, handle: ConnectionHandle) -> None:
        """A connection was commanded by who holds it; nothing where it is gone."""
        if handle in self._connections:
            self._dirty[handle] = None

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
        return bool(
            self._connections or self._dials or self._transmits or self._dirty or self._events
        )

    def handle_clock_changed(self, unix_now: UnixTime, now: Instant) -> None:
        """The wall clock was set: traces are dated by it, tokens are not."""
        self._unix_offset = unix_now - now

    def close_all(self, reason: str, now: Instant) -> None:
        """Closes every connection; what tells the peers leaves with the next transmits."""
        for handle in list(self._dials):
            self.cancel_dial(handle)
        # Those through relays first: with its own connection a relay loses their circuits.
        for handle in sorted(self._connections, key=self._is_direct):
            connection = self._connections[handle]
            connection.close(ErrorCode.SHUTDOWN, reason, now, is_application=False)
            self._dirty.pop(handle, None)
            self._dirty[handle] = None

    # the machine

    def handle_received(self, batch: Sequence[Received], now: Instant) -> None:
        """Takes what sockets brought.  Untrusted; never raises."""
        for received in batch:
            buffer = received.buffer
            position, total, step = 0, len(buffer), received.segment_size
            while position < total:
                if buffer[position] & ~KEY_PHASE == DATA and total - position >= DATA_OVERHEAD:
                    handle = self._handle_of.get(data_destination(buffer, position))
                    if handle is not None:
                        self._dirty[handle] = None
                        connection = self._connections[handle]
                        position = connection.handle_received(received, position, now)
                        continue
                end = min(position - position % step + step, total)
                self._handle_datagram(received, bytes(buffer[position:end]), now)
                position = end
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
                connection.handle_timeout(now)
        self._incoming.handle_timeout(now)
        self._drain(now)

    def poll_transmits(self, now: Instant) -> list[Transmit]:
        """Returns what to send; ask again until it is empty."""
        transmits, self._transmits = self._transmits, []
        for handle in list(self._dirty):
            connection = self._connections.get(handle)
            if connection is not None:
                transmits += connection.poll_transmits(now)
                if connection.has_more:
                    continue
                # What a command since the last drain has caused, or it waits for the next packet.
                self._collect(handle, connection)
                self._sync(handle, connection, now)
            elif handle in self._dials:
                self._poll_dial(handle, transmits, now)
            del self._dirty[handle]
        return transmits

    def poll_events(self) -> list[EndpointEvent]:
        """Returns the facts since the last call."""
        for handle in self._dirty:
            connection = self._connections.get(handle)
            if connection is not None:
                self._collect(handle, connection)
        events, self._events = self._events, []
        return events

    def poll_timeout(self) -> Deadline | None:
        return earliest(self._deadlines.first(), self._incoming.poll_timeout())

    def check(self) -> None:
        """Asserts, after a drain, that no connection wants to be asked or has another deadline.

        And that each holds what it accounts for.
        """
        assert not self._dirty, f"{list(self._dirty)} were commanded, and not drained"
        for handle, connection in self._connections.items():
            assert connection.poll_timeout() == self._deadlines.of(handle), (
                f"the deadline of connection {handle} has moved"
            )
            if not connection.is_closed:
                held, accounted = connection.count_held(), connection.held_bytes
                assert held == accounted, f"connection {handle} holds {held}, not {accounted}"

    # logs, on request

    def poll_key_log(self) -> list[str]:
        """Returns the secrets of new connections, where the configuration asks for them."""
        lines, self._key_log = self._key_log, []
        return lines

    def poll_qlog(self) -> list[tuple[str, list[str]]]:
        """Returns (trace name, JSON texts) since the last call, where qlog is on."""
        found = [(qlog.name, qlog.poll_lines()) for qlog in self._qlogs.values()]
        self._qlogs = {h: qlog for h, qlog in self._qlogs.items() if h in self._connections}
        return [(name, lines) for name, lines in found if lines]

    def _start_qlog(self, opening: Opening, now: Instant) -> Qlog | None:
        if not self._config.qlog:
            return None
        return Qlog(
            is_initiator=opening.is_initiator,
            title=connection_name(opening),
            now=now,
            unix_now=UnixTime(now + self._unix_offset),
        )

    # datagrams

    def _handle_datagram(self, received: Received, datagram: bytes, now: Instant) -> None:
        """Takes a datagram that is not a known connection's data."""
        route = route_of(received)
        kind = datagram[0]
        try:
            if kind & ~KEY_PHASE == DATA:
                self._on_stray_data(datagram, route, now)
            elif kind == HandshakeType.INITIAL:
                self._on_initial(datagram, route, now)
            elif kind == HandshakeType.RESPONSE:
                self._on_response(datagram, now)
            elif kind == HandshakeType.FINAL:
                self._on_final(received, datagram, route, now)
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
            return  # not for us, damaged or hostile: silence is the only safe answer

    def _on_initial(self, datagram: bytes, route: Route, now: Instant) -> None:
        initial = decode_initial_untrusted(datagram)
        self._incoming.refuses_strangers = isinstance(
            self._places.verdict(route, self._has_streams), NoRoom
        )
        answer = self._incoming.on_initial_untrusted(
            initial, len(datagram), route, self._parameters(), now, self._token_time(now)
        )
        if answer is not None and len(answer) <= MIN_INITIAL_SIZE:
            self._transmits.append(_datagram(route, answer))

    def _on_response(self, datagram: bytes, now: Instant) -> None:
        destination, message, _ = decode_message_untrusted(datagram)
        handle = self._dial_by_source.get(destination)
        if handle is None:
            return
        self._dirty[handle] = None
        opening = self._dials[handle].on_response_untrusted(message, now)
        if opening is not None:
            self._end_dial(handle)
            self._open(handle, opening, now)

    def _on_final(self, received: Received, datagram: bytes, route: Route, now: Instant) -> None:
        destination, message, size = decode_message_untrusted(datagram)
        half_open = self._incoming.by_id.get(destination)
        handle = self._handle_of.get(destination)
        if half_open is not None and self._make_room(route, now):
            opening = self._incoming.on_final_untrusted(
                half_open, message, route, now, self._token_time(now)
            )
            if opening is None:
                return
            handle = self._take_handle()
            self._places.add_inbound(handle, route)
            self._open(handle, opening, now)
            for packet in self._incoming.finish(half_open):
                early = received._replace(segment_size=len(packet), buffer=packet)
                self._connections[handle].handle_received(early, 0, now)
        if handle is not None and len(datagram) - size >= DATA_OVERHEAD:
            self._dirty[handle] = None
            rest = received._replace(segment_size=len(datagram) - size, buffer=datagram[size:])
            self._connections[handle].handle_received(rest, 0, now)

    def _on_stray_data(self, datagram: bytes, route: Route, now: Instant) -> None:
        """Data for a handshake that is not over, or for a connection that we have forgotten."""
        if len(datagram) < DATA_OVERHEAD:
            return
        destination = data_destination(datagram, 0)
        half_open = self._incoming.by_id.get(destination)
        if half_open is not None:
            self._incoming.keep_early(half_open, datagram, route)
            return
        if self._retired_ids.knows(destination, now):
            return
        # Any data packet is longer than a reset, and who forges its source uses up the source's.
        if self._reset_rate.take(origin(route)[-1], now):
            packet = stateless_reset(destination, self._tokens.reset_token(destination))
            self._transmits.append(_datagram(route, packet))

    def _on_reset(self, datagram: bytes, now: Instant) -> None:
        token = decode_stateless_reset_untrusted(datagram)
        handle = self._handle_of_token.get(token)
        if handle is not None:
            self._dirty[handle] = None
            self._connections[handle].handle_reset(now)

    # connections

    def _open(self, handle: ConnectionHandle, opening: Opening, now: Instant) -> None:
        connection = Connection(
            opening,
            config=self._config,
            reset_tokens=self._tokens.reset_token,
            entropy=self._entropy,
            rng=self._rng,
            now=now,
            qlog=self._start_qlog(opening, now),
        )
        if self._config.key_log:
            self._key_log += key_log_lines(opening)
        self._connections[handle] = connection
        if connection.qlog is not None:
            self._qlogs[handle] = connection.qlog
        self._dirty[handle] = None
        self._sync(handle, connection, now)
        allows_streams = opening.remote.initial_max_streams > 0
        fact = Connected(
            opening.peer_id,
            opening.is_initiator,
            opening.route,
            allows_streams,
            opening.handshake_time,
        )
        self._events.append(EndpointEvent(handle, fact))

    def _drain(self, now: Instant) -> None:
        """Takes over what the touched connections report."""
        for handle in list(self._dirty):
            connection = self._connections.get(handle)
            if connection is not None:
                self._collect(handle, connection)
            elif handle in self._dials:
                failure = self._dials[handle].failure(now)
                if failure is not None:
                    route = self._dials[handle].route
                    self.cancel_dial(handle)
                    self._events.append(EndpointEvent(handle, DialFailed(route, failure)))

    def _collect(self, handle: ConnectionHandle, connection: Connection) -> None:
        events: list[ConnectionEvent] = connection.poll_events()
        for event in events:
            self._events.append(EndpointEvent(handle, event))

    def _sync(self, handle: ConnectionHandle, connection: Connection, now: Instant) -> None:
        """Brings the routing tables and the timer of a connection up to date."""
        local, remote = connection.local_ids, connection.remote_ids
        if local.added or local.removed:
            for connection_id in local.added:
                self._handle_of[connection_id] = handle
            for connection_id in local.removed:
                self._handle_of.pop(connection_id, None)
                self._retired_ids.add(connection_id, now)
            local.added.clear()
            local.removed.clear()
        if remote.tokens_changed:
            self._forget_tokens(handle)
            self._tokens_of[handle] = remote.reset_tokens()
            for token in self._tokens_of[handle]:
                self._handle_of_token[token] = handle
            remote.tokens_changed = False
        if connection.is_forgotten:
            self._forget(handle, connection)
        else:
            self._deadlines.set(handle, connection.poll_timeout())

    def _forget(self, handle: ConnectionHandle, connection: Connection) -> None:
        for connection_id in connection.local_ids.path_of:
            self._handle_of.pop(connection_id, None)
        self._forget_tokens(handle)
        self._collect(handle, connection)
        self._deadlines.set(handle, None)
        self._places.remove(handle)
        del self._connections[handle]

    def _forget_tokens(self, handle: ConnectionHandle) -> None:
        for token in self._tokens_of.pop(handle, []):
            if self._handle_of_token.get(token) == handle:
                del self._handle_of_token[token]

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

    def _has_streams(self, handle: ConnectionHandle) -> bool:
        return len(self._connections[handle].streams) > 0

    def _make_room(self, route: Route, now: Instant) -> bool:
        """Returns whether there is a place for who has come over a route, now."""
        verdict = self._places.verdict(route, self._has_streams)
        if isinstance(verdict, NoRoom):
            return False
        if verdict.instead_of is not None:
            self._turn_out(verdict.instead_of, now)
        return True

    def _turn_out(self, handle: ConnectionHandle, now: Instant) -> None:
        """Ends a connection for another one's sake: it is told once, and forgotten at once."""
        connection = self._connections[handle]
        reason = "this node needs the place for others"
        connection.close(ErrorCode.EXCESSIVE_LOAD, reason, now, is_application=False)
        self._transmits += connection.poll_transmits(now)
        for connection_id in connection.local_ids.path_of:
            self._retired_ids.add(connection_id, now)
        self._dirty.pop(handle, None)
        self._forget(handle, connection)

    def _poll_dial(self, handle: ConnectionHandle, transmits: list[Transmit], now: Instant) -> None:
        dialing = self._dials[handle]
        packet = dialing.poll_packet(now)
        if packet is not None:
            transmits.append(_datagram(dialing.route, packet))
        self._deadlines.set(handle, dialing.poll_timeout())

    def _is_direct(self, handle: ConnectionHandle) -> bool:
        return not self._connections[handle].route.is_relayed

    def _find_dial(self, source: int) -> Dialing | None:
        handle = self._dial_by_source.get(source)
        if handle is None:
            return None
        self._dirty[handle] = None
        return self._dials[handle]

    def _parameters(self) -> TransportParameters:
        config = self._config
        connection_id = int.from_bytes(self._entropy(8), "big")
        return TransportParameters(
            connection_id=connection_id,
            reset_token=self._tokens.reset_token(connection_id),
            aeads=config.aeads,
            max_idle_timeout_ms=round(config.idle_timeout * 1000),
            max_udp_payload=config.max_udp_payload,
            initial_max_data=config.max_data,
            initial_max_stream_data=config.max_stream_data,
            initial_max_streams=config.max_streams,
            max_ack_delay_us=round(config.max_ack_delay * 1e6),
            max_datagram_frame=config.max_datagram_frame,
            initial_max_path_id=config.max_path_id,
        )

    def _take_handle(self) -> ConnectionHandle:
        handle = self._next_handle
        self._next_handle = ConnectionHandle(handle + 1)
        return handle

    def _token_time(self, now: Instant) -> UnixTime:
        """The time by the wall clock as it was at the start: no jump makes a token older."""
        return UnixTime(now + self._token_offset)


def _datagram(route: Route, packet: bytes) -> Transmit:
    return Transmit(route.socket, route.local_ip, route.remote, 0, None, len(packet), packet)
