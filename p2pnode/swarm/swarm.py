"""The swarm: one endpoint, the peers behind its connections, and the built-in protocols.

A DatagramMachine.  What is here is who is told what; the decisions are in the parts: `dialer`,
`connection_pool`, `address_book`, `own_addresses`, the streams in `stream_table`, the services.
"""

from collections.abc import Sequence
from random import Random
from typing import Final

from p2pnode.clock import Deadline, Instant, UnixTime, earliest
from p2pnode.entropy import Entropy
from p2pnode.errors import AddressError, DialError, LocalProtocolError, P2PNodeError
from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.peer_multiaddr import split_peer_id, udp_noise_addr, udp_noise_multiaddr
from p2pnode.identity.peer_record import next_seq, seal_peer_record
from p2pnode.machine import Received, SocketId, Transmit, UdpAddr
from p2pnode.protocols.identify import (
    IdentifyMessage,
    Observation,
    ObservedAddressBook,
)
from p2pnode.protocols.identify.address_filter import addrs_to_accept, addrs_to_send
from p2pnode.protocols.identify.observed_addresses import OBSERVATION_LIFETIME
from p2pnode.swarm import events
from p2pnode.swarm.address_book import AddressBook, AddressSource
from p2pnode.swarm.config import DEFAULT_MAX_STREAMS, SwarmConfig
from p2pnode.swarm.connection_pool import ConnectionPool
from p2pnode.swarm.dialer import Candidate, PeerDial
from p2pnode.swarm.events import SwarmEvent
from p2pnode.swarm.identify_service import IdentifyService
from p2pnode.swarm.own_addresses import OwnAddresses
from p2pnode.swarm.ping_service import PingService
from p2pnode.swarm.service import Peer, Service
from p2pnode.swarm.stream_table import StreamTable
from p2pnode.swarm.swarm_stream import SwarmStream
from p2pnode.transport import events as transport
from p2pnode.transport.connection import Connection
from p2pnode.transport.endpoint import Endpoint
from p2pnode.transport.error_code import ErrorCode
from p2pnode.transport.handshake import Credentials
from p2pnode.transport.route import Route
from p2pnode.transport.stream_events import (
    StreamFinished,
    StreamOpened,
    StreamReadable,
    StreamResetByPeer,
    StreamsAvailable,
    StreamStoppedByPeer,
    StreamWritable,
)
from p2pnode.wire.multiaddr import Multiaddr

MAX_TOKENS: Final = 256
"""Address tokens kept for later dials; chosen: the peers of a day"""
MAX_DIALS: Final = 256
"""Peers dialled at a time; chosen: more would be a scan"""
OBSERVATION_REFRESH: Final = OBSERVATION_LIFETIME / 3
"""seconds between two refreshes of what connected peers observed; chosen: one may come late"""


class Swarm:
    """The whole node, without I/O."""

    def __init__(
        self,
        identity: PrivateKey,
        *,
        config: SwarmConfig,
        secret: bytes,
        entropy: Entropy,
        rng: Random,
        now: Instant,
        unix_now: UnixTime,
    ) -> None:
        """`secret` (32 bytes, kept on disk) makes stateless resets work after a restart."""
        self._identity = identity
        self._config = config
        self._unix_offset = unix_now - now
        credentials = Credentials.create(identity, entropy)
        self.peer_id = credentials.peer_id
        self._endpoint = Endpoint(
            credentials,
            config=config.transport,
            secret=secret,
            entropy=entropy,
            rng=rng,
            now=now,
            unix_now=unix_now,
        )
        self.addresses = OwnAddresses()
        self.book = AddressBook()
        self.observed = ObservedAddressBook()
        self._refresh_at = now + OBSERVATION_REFRESH
        self.pool = ConnectionPool(self.peer_id)
        self._peers: dict[int, Peer] = {}
        self._dials: dict[int, PeerDial] = {}
        self._dial_of: dict[int, int] = {}
        """handshake handle -> dial id"""
        self._next_dial_id = 1
        self._tokens: dict[UdpAddr, bytes] = {}
        self._record_seq = 0
        self._record: tuple[tuple[Multiaddr, ...], bytes] | None = None
        self._ping = PingService(entropy)
        self._identify = IdentifyService(self._describe, config.identify_delay)
        services: tuple[Service, ...] = (self._identify, self._ping)
        self._services = services
        self.streams = StreamTable(self._endpoint, services)
        self._now = now
        self._events: list[SwarmEvent] = []

    # facts

    @property
    def connections(self) -> dict[int, Connection]:
        """Handles and connections, for reading only."""
        return self._endpoint.connections

    @property
    def protocols(self) -> tuple[str, ...]:
        """Everything that we answer to, built in or not."""
        built_in = [p for service in self._services for p in service.protocol_ids]
        return tuple(sorted((*built_in, *self.streams.handled)))

    def listen_addresses(self) -> tuple[Multiaddr, ...]:
        """Returns our addresses as others may dial them, without /p2p/."""
        return tuple(udp_noise_multiaddr(addr) for addr in self.addresses.listen_addresses())

    # commands

    def add_socket(
        self, socket: SocketId, local: UdpAddr, now: Instant, *, is_listening: bool = True
    ) -> None:
        """Tells of a socket of the driver's, and the address that it is bound to."""
        self.addresses.add_socket(socket, local, is_listening=is_listening)
        self._on_addresses_changed(now)

    def handle_interfaces_changed(self, addresses: tuple[str, ...], now: Instant) -> None:
        """Tells the machine's addresses.  After a change every path is validated anew."""
        if self.addresses.set_interfaces(addresses):
            for connection in self._endpoint.connections.values():
                connection.paths.forget_local_ips(addresses)
            self._on_addresses_changed(now)
            self.revalidate(now)

    def revalidate(self, now: Instant) -> None:
        """Validates every path at once: after a suspend, or when the network changed."""
        for handle in list(self._endpoint.connections):
            connection = self._endpoint.connection(handle)
            if connection is not None and not connection.is_closed:
                connection.paths.validate_all(now)
                connection.ping()

    def handle_protocol(
        self, protocol: str, now: Instant, max_streams: int = DEFAULT_MAX_STREAMS
    ) -> None:
        """Takes inbound streams for an application protocol from now on."""
        self.streams.handled[protocol] = max_streams
        self._identify.push_news(now)

    def unhandle_protocol(self, protocol: str, now: Instant) -> None:
        self.streams.handled.pop(protocol, None)
        self._identify.push_news(now)

    def dial(self, peer_id: PeerId | None, addresses: Sequence[Multiaddr], now: Instant) -> int:
        """Dials a peer at these addresses and at those that the book has; returns the dial's id.

        The answer is DialSucceeded or DialFailed.  A peer that is connected is not dialled again.
        Raises DialError where there is nothing to dial, AddressError for what cannot be used.
        """
        if peer_id is not None and (peer_id == self.peer_id):
            raise DialError("that is this node itself")
        if len(self._dials) >= MAX_DIALS:
            raise DialError("this node dials as many peers as it may already")
        dial_id = self._next_dial_id
        self._next_dial_id += 1
        known = None if peer_id is None else self.pool.best(peer_id)
        if known is not None and peer_id is not None:
            self._events.append(events.DialSucceeded(dial_id, known, peer_id))
            return dial_id
        candidates = [_candidate(address) for address in addresses]
        if peer_id is not None:
            if addresses:
                self.book.add(peer_id, _without_peer(addresses), AddressSource.USER, now)
            seen = {c.remote for c in candidates}
            for address in self.book.addresses(peer_id, now):
                parts = udp_noise_addr(address)
                if parts is not None and parts.kind in ("ip4", "ip6"):
                    candidate = _candidate(address)
                    if candidate.remote not in seen:
                        candidates.append(candidate)
        if not candidates:
            raise DialError("no address is known for that peer; give a full address")
        self._dials[dial_id] = PeerDial(dial_id, peer_id, candidates, now)
        self._start_dials(now)
        return dial_id

    def cancel_dial(self, dial_id: int) -> None:
        """Forgets a dial; nothing is reported."""
        dial = self._dials.pop(dial_id, None)
        if dial is not None:
            for handle in dial.handles:
                self._dial_of.pop(handle, None)
                self._endpoint.cancel_dial(handle)

    def open_stream(
        self, connection: int, protocols: Sequence[str], now: Instant
    ) -> SwarmStream | None:
        """Opens a stream for the first of the protocols that the peer speaks.

        With one protocol, data may be written at once: no round trip is spent on the negotiation.
        Returns None where the peer allows no more streams now; StreamsAvailable tells when it does.
        Raises ConnectionLost.
        """
        return self.streams.open(connection, protocols, now)

    def ping(self, connection: int, now: Instant) -> None:
        """Sends a ping; the answer is PongReceived or PingFailed."""
        requester = self._ping.ping(connection, now)
        if requester is None:
            return
        self._run_services(now)
        self.streams.pump_machine(connection, requester, now)
        self._run_services(now)

    def identify(self, connection: int, now: Instant) -> None:
        """Asks who the peer is, now; the answer is PeerIdentified or IdentifyFailed."""
        self._identify.identify(connection, now)
        self._run_services(now)

    def send_datagram(self, connection: int, data: bytes) -> bool:
        """Queues unreliable data; False where it cannot be queued now.  Raises as Connection's."""
        found = self._endpoint.connection(connection)
        return found is not None and found.send_datagram(data)

    def disconnect(self, connection: int, now: Instant, code: int = 0, reason: str = "") -> None:
        """Closes a connection and tells the peer why."""
        found = self._endpoint.connection(connection)
        if found is not None:
            found.close(code, reason, now)

    def close(self, now: Instant, reason: str = "the node is going away") -> None:
        """Closes everything; what tells the peers leaves with the next transmits."""
        for dial_id in list(self._dials):
            self.cancel_dial(dial_id)
        self._endpoint.close_all(reason, now)

    # the machine

    def handle_received(self, batch: Sequence[Received], now: Instant) -> None:
        self._endpoint.handle_received(batch, now)
        self._drain(now)

    def handle_timeout(self, now: Instant) -> None:
        self._endpoint.handle_timeout(now)
        self._drain(now)
        for service in self._services:
            service.handle_timeout(now)
        self.streams.handle_timeout(now)
        for handle in self.pool.drained(now):
            self._supplant(handle, now)
        if now >= self._refresh_at:
            self._refresh_observed(now)
        self._start_dials(now)
        self._run_services(now)

    def poll_transmits(self, now: Instant) -> list[Transmit]:
        return self._endpoint.poll_transmits(now)

    def poll_events(self) -> list[SwarmEvent]:
        """Returns the facts since the last call."""
        self._drain(self._now)
        found, self._events = self._events, []
        return found

    def poll_timeout(self) -> Deadline | None:
        return earliest(
            self._endpoint.poll_timeout(),
            self.streams.poll_timeout(),
            self.pool.poll_timeout(),
            Deadline(self._refresh_at, "observed addresses are refreshed") if self._peers else None,
            *(service.poll_timeout() for service in self._services),
            *(dial.poll_timeout() for dial in self._dials.values()),
        )

    def poll_key_log(self) -> list[str]:
        """Returns the secrets of new connections, where the configuration asks for them."""
        return self._endpoint.poll_key_log()

    def poll_qlog(self) -> list[tuple[str, list[str]]]:
        """Returns (trace name, JSON texts), where the configuration asks for them."""
        return self._endpoint.poll_qlog()

    # endpoint events

    def _drain(self, now: Instant) -> None:
        self._now = now
        found = self._endpoint.poll_events()
        while found:
            for handle, event in found:
                self._on_endpoint_event(handle, event, now)
            self._run_services(now)
            found = self._endpoint.poll_events()
        self._events += self.streams.poll_events()

    def _on_endpoint_event(
        self,
        handle: int,
        event: transport.Connected | transport.DialFailed | transport.ConnectionEvent,
        now: Instant,
    ) -> None:
        match event:
            case StreamReadable(stream_id) | StreamResetByPeer(stream_id):
                self.streams.on_readable(handle, stream_id, now)
            case StreamWritable(stream_id) | StreamStoppedByPeer(stream_id):
                self.streams.on_writable(handle, stream_id, now)
            case StreamOpened(stream_id):
                peer = self._peers.get(handle)
                if peer is not None:
                    self.streams.on_opened(peer, stream_id, now)
            case StreamFinished():
                self._close_if_drained(handle, now)
            case StreamsAvailable():
                self._events.append(events.StreamsAvailable(handle))
            case transport.Connected():
                self._on_connected(handle, event, now)
            case transport.DialFailed(route, reason):
                self._on_dial_failed(handle, route, reason, now)
            case transport.ConnectionClosed(reason):
                self._on_closed(handle, reason, now)
            case transport.AddressObserved(_, route, address):
                self._on_observed(handle, route, address, now)
            case transport.PathChanged(_, route, reason):
                self._on_path_changed(handle, route, reason)
            case transport.DatagramReceived(data):
                self._events.append(events.DatagramReceived(handle, data))
            case transport.TokenReceived(remote, token):
                self._tokens.pop(remote, None)
                self._tokens[remote] = token
                while len(self._tokens) > MAX_TOKENS:
                    del self._tokens[next(iter(self._tokens))]
            case (
                transport.HandshakeConfirmed()
                | transport.PathValidated()
                | transport.PathFailed()
                | transport.MaxDatagramSizeChanged()
            ):
                pass

    def _on_connected(self, handle: int, event: transport.Connected, now: Instant) -> None:
        peer = Peer(handle, event.peer_id, event.route)
        self._peers[handle] = peer
        loser = self.pool.add(event.peer_id, handle, event.is_initiator, now)
        self._events.append(
            events.ConnectionEstablished(handle, event.peer_id, event.is_initiator, event.route)
        )
        for service in self._services:
            service.on_connected(peer, now)
        dial = self._dials.get(self._dial_of.pop(handle, -1))
        if dial is not None:
            candidate = dial.take(handle)
            if candidate is not None:
                address = _without_peer((candidate.address,))
                self.book.add(event.peer_id, address, AddressSource.CONNECTED, now)
            self.cancel_dial(dial.dial_id)
            self._events.append(events.DialSucceeded(dial.dial_id, handle, event.peer_id))
        for other in list(self._dials.values()):
            if other.peer_id == event.peer_id:
                self._finish_by_other_connection(other, handle, event.peer_id)
        if loser is not None:
            self._close_if_drained(loser, now)

    def _finish_by_other_connection(self, dial: PeerDial, handle: int, peer_id: PeerId) -> None:
        """The peer has come to us, or another dial of it was faster."""
        del self._dials[dial.dial_id]
        for under_way in dial.handles:
            self._dial_of.pop(under_way, None)
            self._endpoint.cancel_dial(under_way)
        self._events.append(events.DialSucceeded(dial.dial_id, handle, peer_id))

    def _on_dial_failed(
        self, handle: int, route: Route, reason: P2PNodeError, now: Instant
    ) -> None:
        dial = self._dials.get(self._dial_of.pop(handle, -1))
        if dial is None:
            return
        dial.on_failure(handle, reason, now)
        self._start_dials(now)

    def _on_closed(self, handle: int, reason: P2PNodeError, now: Instant) -> None:
        peer = self._peers.pop(handle, None)
        if peer is None:
            return
        is_last = self.pool.remove(peer.peer_id, handle)
        self.streams.on_connection_closed(handle, now)
        for service in self._services:
            service.on_disconnected(peer, now)
        if is_last:
            self.observed.remove(peer.peer_id)
        self._events.append(events.ConnectionClosed(handle, peer.peer_id, reason, is_last))

    def _on_observed(self, handle: int, route: Route, address: UdpAddr, now: Instant) -> None:
        peer = self._peers.get(handle)
        if peer is None:
            return
        observer = None if route.is_relayed else route.remote
        observation = Observation(peer.peer_id, observer, route.socket, address)
        disposition = self.observed.update(observation, now)
        report = self.observed.report(route.socket, now)
        self._events.append(events.AddressObserved(peer.peer_id, address, disposition, report))

    def _refresh_observed(self, now: Instant) -> None:
        """A peer that sees another address says so at once: silence is the old word again."""
        self._refresh_at = now + OBSERVATION_REFRESH
        for peer_id in {peer.peer_id: None for peer in self._peers.values()}:
            self.observed.refresh(peer_id, now)

    def _on_path_changed(self, handle: int, route: Route, reason: str) -> None:
        peer = self._peers.get(handle)
        if peer is not None:
            self._peers[handle] = peer._replace(route=route)
            self._events.append(events.PathChanged(handle, peer.peer_id, route, reason))

    # dials

    def _start_dials(self, now: Instant) -> None:
        for dial in list(self._dials.values()):
            for candidate in dial.poll_start(now):
                self._start(dial, candidate, now)
            if dial.is_over:
                del self._dials[dial.dial_id]
                self._events.append(events.DialFailed(dial.dial_id, tuple(dial.attempts)))

    def _start(self, dial: PeerDial, candidate: Candidate, now: Instant) -> None:
        socket = self.addresses.socket_for(candidate.remote)
        if socket is None:
            dial.failed(candidate, DialError("no socket of this node reaches that address"), now)
            return
        route = Route(socket, None, candidate.remote)
        try:
            handle = self._endpoint.dial(
                route, dial.peer_id, now, token=self._tokens.get(candidate.remote, b"")
            )
        except DialError as error:
            dial.failed(candidate, error, now)
            return
        dial.started(handle, candidate)
        self._dial_of[handle] = dial.dial_id

    # services and ourselves

    def _run_services(self, now: Instant) -> None:
        for service in self._services:
            for command in service.poll_commands():
                self.streams.run(service, command, now)
            for event in service.poll_events():
                self._on_service_event(event, now)

    def _on_service_event(self, event: SwarmEvent, now: Instant) -> None:
        if isinstance(event, events.PeerIdentified):
            peer = self._peers.get(event.connection)
            if peer is not None:
                ip = None if peer.route.is_relayed else peer.route.remote.ip
                signed = event.info.signed_peer_record is not None
                source = AddressSource.SIGNED if signed else AddressSource.IDENTIFY
                accepted = addrs_to_accept(event.info.listen_addrs, ip)
                self.book.add(peer.peer_id, _without_peer(accepted), source, now)
        self._events.append(event)

    def _on_addresses_changed(self, now: Instant) -> None:
        self._record = None
        self._identify.push_news(now)
        self._events.append(events.ListenAddressesChanged(self.listen_addresses()))

    def _describe(self, peer: Peer) -> IdentifyMessage:
        """Returns what we say of ourselves to a peer."""
        route = peer.route
        told = addrs_to_send(self.listen_addresses(), None if route.is_relayed else route.remote.ip)
        return IdentifyMessage(
            public_key=self._identity.public_key,
            listen_addrs=told,
            protocols=self.protocols,
            observed_addr=None if route.is_relayed else udp_noise_multiaddr(route.remote),
            agent_version=self._config.agent_version,
            protocol_version=self._config.protocol_version,
            signed_peer_record=self._signed_record(told),
        )

    def _signed_record(self, told: tuple[Multiaddr, ...]) -> bytes:
        if self._record is None or self._record[0] != told:
            unix_now = UnixTime(self._now + self._unix_offset)
            self._record_seq = next_seq(unix_now, self._record_seq)
            envelope = seal_peer_record(self._identity, told, self._record_seq)
            self._record = told, envelope.encode()
        return self._record[1]

    # connections that are superfluous

    def _close_if_drained(self, handle: int, now: Instant) -> None:
        if handle in self.pool.draining and not self.streams.has_streams(handle):
            self._supplant(handle, now)

    def _supplant(self, handle: int, now: Instant) -> None:
        connection = self._endpoint.connection(handle)
        if connection is not None:
            connection.close(
                ErrorCode.SUPPLANTED, "another connection replaces this one", now,
                is_application=False,
            )  # fmt: skip


def _candidate(address: Multiaddr) -> Candidate:
    parts = udp_noise_addr(address)
    if parts is None:
        raise AddressError(f"{address} is not a noise-udp address (/ip4/…/udp/…/noise)")
    if parts.kind not in ("ip4", "ip6"):
        raise LocalProtocolError("names are resolved by the shell before a swarm dials")
    scope = int(parts.zone) if parts.zone.isdigit() else 0
    return Candidate(address, UdpAddr(parts.host, parts.port, scope))


def _without_peer(addresses: Sequence[Multiaddr]) -> tuple[Multiaddr, ...]:
    return tuple(split_peer_id(address)[0] for address in addresses)
