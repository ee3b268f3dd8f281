"""The swarm: one endpoint, the peers behind its connections, and the built-in protocols.

A DatagramMachine.  What is here is who is told what; the decisions are in the parts: `dials`,
`connection_pool`, `address_book`, `own_addresses`, `self_description`, the streams in
`stream_table`, circuits that we are an end of in `circuits`, and the services.
"""

from collections.abc import Sequence
from random import Random
from typing import Final, Literal

from p2pnode.bounded import Bounded
from p2pnode.clock import Deadline, Instant, UnixTime, earliest
from p2pnode.entropy import Entropy
from p2pnode.errors import DialError, P2PNodeError
from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.peer_multiaddr import udp_noise_multiaddr
from p2pnode.machine import Buffer, ConnectionHandle, Received, SocketId, Transmit, UdpAddr
from p2pnode.protocols.autonat import ContactLog, Reachability
from p2pnode.protocols.identify import IdentifyInfo, ObservedAddressBook
from p2pnode.protocols.identify.address_filter import addrs_to_accept
from p2pnode.protocols.nat_behaviour.why import Explanation, PunchAttempt, PunchAttempts
from p2pnode.swarm import events
from p2pnode.swarm.address_book import AddressBook, AddressSource
from p2pnode.swarm.byte_counts import ByteCounts
from p2pnode.swarm.circuits import Circuits
from p2pnode.swarm.command_runner import ServiceCommands
from p2pnode.swarm.config import DEFAULT_MAX_STREAMS, SwarmConfig
from p2pnode.swarm.connection_pool import ConnectionPool
from p2pnode.swarm.demultiplexer import demultiplex
from p2pnode.swarm.dial_back_endpoint import DialBackEndpoint
from p2pnode.swarm.dials import Dials, without_peer
from p2pnode.swarm.events import SwarmEvent
from p2pnode.swarm.facts import Facts
from p2pnode.swarm.neighbourhood import Neighbourhood
from p2pnode.swarm.observations import Observations
from p2pnode.swarm.own_addresses import OwnAddresses
from p2pnode.swarm.relayed_paths import RelayedPaths
from p2pnode.swarm.self_description import SelfDescription
from p2pnode.swarm.services.registry import Services
from p2pnode.swarm.services.relay.server import RelayMode
from p2pnode.swarm.services.service import (
    Peer,
)
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

MAX_VISITORS: Final = 64
"""connections of those who came for something of their own; the oldest goes; chosen: as many as
dial-backs may be under way"""


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
        self._prober = DialBackEndpoint(
            config.transport, secret=secret, entropy=entropy, rng=rng, now=now, unix_now=unix_now
        )
        self.addresses = OwnAddresses()
        self.book = AddressBook()
        self.observed = ObservedAddressBook()
        self._observations = Observations(self.observed, now)
        self.pool = ConnectionPool(self.peer_id)
        self.facts = Facts(self._endpoint, self.pool, self.book, self.addresses, self.observed)
        self._peers = self.facts.peers
        self._description = SelfDescription(identity, config, self.addresses, unix_now - now)
        self._circuits = Circuits(self._route_of)
        self._contacts = ContactLog()
        self._now = now
        self._events: list[SwarmEvent] = []
        self.services = services = self._make_services(
            identity, config, entropy=entropy, rng=rng, now=now, unix_now=unix_now
        )
        self.relay_client = services.relay_client
        self.relay_server = services.relay_server
        self.autonat_client = services.autonat_client
        self.nat_service = services.nat
        self.byte_counts = ByteCounts()
        self._attempts = PunchAttempts()
        self._forwarded: list[Transmit] = []
        """Packets of others' circuits that are to leave."""
        self.streams = StreamTable(self._endpoint, services.all)
        self._dials = Dials(
            self.peer_id,
            self._endpoint,
            self.addresses,
            self.book,
            request_circuit=services.relay_client.request,
            finder=services.routing,
            neighbours=lambda: list(self._peers.values()),
            quarantined_ips=services.autonat_client.quarantined_ips,
        )
        self._relayed_paths = RelayedPaths(
            self._endpoint,
            self.pool,
            self.book,
            self.addresses,
            services.relay_client,
            self._dials,
        )
        self._commands = ServiceCommands(
            self._endpoint,
            self._prober,
            self.streams,
            self._dials,
            self._relayed_paths,
            self.book,
            self.facts,
            services,
            self._readvertise,
        )
        self._renew_protocols()

    def _make_services(
        self,
        identity: PrivateKey,
        config: SwarmConfig,
        *,
        entropy: Entropy,
        rng: Random,
        now: Instant,
        unix_now: UnixTime,
    ) -> Services:
        return Services(
            identity,
            self.peer_id,
            config,
            self.facts,
            circuits=self._circuits,
            contacts=self._contacts,
            neighbours=Neighbourhood(self.pool, self.book),
            observed=self.observed,
            alternate_ports=self._prober.ports,
            known_peers=self.book.peers,
            describe=lambda peer: self._description.message(peer, self._now),
            relay_addresses=self._description.relay_addresses,
            entropy=entropy,
            rng=rng,
            now=now,
            unix_now=unix_now,
        )

    # facts

    @property
    def connections(self) -> dict[ConnectionHandle, Connection]:
        """Handles and connections, for reading only."""
        return self._endpoint.connections

    @property
    def protocols(self) -> tuple[str, ...]:
        """Everything that we answer to, built in or not."""
        return tuple(sorted((*self.services.offered_ids, *self.streams.handled)))

    @property
    def tokens(self) -> Bounded[UdpAddr, bytes]:
        """Address tokens that peers gave, by the peer's address; may be added to."""
        return self._dials.tokens

    def listen_addresses(self) -> tuple[Multiaddr, ...]:
        """Returns where this node listens, without /p2p/; who is elsewhere may not get there."""
        return tuple(udp_noise_multiaddr(addr) for addr in self.addresses.listen_addresses())

    def advertised_addresses(self) -> tuple[Multiaddr, ...]:
        """Returns what others are told: confirmed, near and relayed addresses."""
        return self._description.advertised()

    def why(self, peer_id: PeerId, now: Instant) -> Explanation:
        """Returns why packets to a peer go the way they go, as far as is known."""
        best = self.pool.best(peer_id)
        peer = None if best is None else self._peers.get(best)
        path: Literal["direct", "relayed"] | None = None
        if peer is not None:
            path = "relayed" if peer.route.is_relayed else "direct"
        silent_hosts = self.facts.udp_silence.silent_hosts(now)
        attempts = self._attempts.of(peer_id)
        return self.nat_service.explain(peer_id, path, attempts, silent_hosts, now)

    # commands

    def add_socket(
        self, socket: SocketId, local: UdpAddr, now: Instant, *, is_listening: bool = True
    ) -> None:
        """Tells of a socket of the driver's, and the address that it is bound to."""
        self.addresses.add_socket(socket, local, is_listening=is_listening)
        self._on_addresses_changed(now)

    def add_probe_socket(self, socket: SocketId, local: UdpAddr) -> None:
        """Tells of a socket for dial-backs, which is used for nothing else."""
        self._prober.add_socket(socket, local)

    def handle_interfaces_changed(self, addresses: tuple[str, ...], now: Instant) -> None:
        """Tells the machine's addresses.  After a change every path is validated anew."""
        if self.addresses.set_interfaces(addresses):
            for connection in self._endpoint.connections.values():
                connection.paths.forget_local_ips(addresses)
            self._observations.on_network_changed(self.addresses.sockets())
            self.facts.udp_silence.on_network_changed()
            self.autonat_client.on_network_changed(now)
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
        self._push_protocols(now)

    def unhandle_protocol(self, protocol: str, now: Instant) -> None:
        self.streams.handled.pop(protocol, None)
        self._push_protocols(now)

    def dial(self, peer_id: PeerId | None, addresses: Sequence[Multiaddr], now: Instant) -> int:
        """Dials a peer at these addresses and at those that the book has; returns the dial's id.

        The answer is DialSucceeded or DialFailed.  A peer that is connected is not dialled again;
        one whose addresses nobody has told is looked for.
        Raises DialError where there is nothing to dial, AddressError for what cannot be used.
        """
        connected = None if peer_id is None else self.pool.best(peer_id)
        dial_id = self._dials.begin(peer_id, addresses, connected, now)
        self.services.touch()
        self._run_services(now)
        return dial_id

    def cancel_dial(self, dial_id: int) -> None:
        """Forgets a dial; nothing is reported."""
        self._dials.cancel(dial_id)

    def open_stream(
        self, connection: ConnectionHandle, protocols: Sequence[str], now: Instant
    ) -> SwarmStream | None:
        """Opens a stream for the first of the protocols that the peer speaks.

        With one protocol, data may be written at once: no round trip is spent on the negotiation.
        Returns None where the peer allows no more streams now; StreamsAvailable tells when it does.
        Raises ConnectionLost.
        """
        return self.streams.open(connection, protocols, now)

    def ping(self, connection: ConnectionHandle, now: Instant) -> None:
        """Sends a ping; the answer is PongReceived or PingFailed."""
        requester = self.services.ping.ping(connection, now)
        if requester is None:
            return
        self._run_services(now)
        self.streams.pump_machine(connection, requester, now)
        self._run_services(now)

    def identify(self, connection: ConnectionHandle, now: Instant) -> None:
        """Asks who the peer is, now; the answer is PeerIdentified or IdentifyFailed."""
        self.services.identify.identify(connection, now)
        self._run_services(now)

    def send_datagram(self, connection: ConnectionHandle, data: Buffer) -> bool:
        """Queues unreliable data; False where it cannot be queued now.  Raises as Connection's."""
        found = self._endpoint.connection(connection)
        return found is not None and found.send_datagram(data)

    def disconnect(
        self, connection: ConnectionHandle, now: Instant, code: int = 0, reason: str = ""
    ) -> None:
        """Closes a connection and tells the peer why."""
        found = self._endpoint.connection(connection)
        if found is not None:
            found.close(code, reason, now)

    def close(self, now: Instant, reason: str = "the node is going away") -> None:
        """Closes everything; what tells the peers leaves with the next transmits."""
        self._dials.cancel_all()
        self._prober.close(now)
        self._endpoint.close_all(reason, now)

    # the machine

    def handle_received(self, batch: Sequence[Received], now: Instant) -> None:
        for received in batch:
            self._contacts.heard(received.remote.ip, now)
        self.facts.udp_silence.on_heard()
        own, circuits, probes = demultiplex(batch)
        self.byte_counts.received_directly += sum(len(received.buffer) for received in own)
        if self._prober.sockets:
            strangers = [r for r in own if r.socket in self._prober.sockets]
            if strangers:
                self._prober.handle_received(strangers, now)
                own = [r for r in own if r.socket not in self._prober.sockets]
        if circuits:
            ours, others = self._circuits.unwrap(circuits)
            self.byte_counts.received_relayed += sum(len(received.buffer) for received in ours)
            own = [*own, *ours]
            if others:
                self.relay_server.handle_circuit_packets(others, now)
                # Before the rest of the batch, which may be the end of a circuit's connection.
                self._forwarded += self.relay_server.poll_transmits(now)
        for probe in probes:
            payload = bytes(probe.buffer[: probe.segment_size])
            self.services.touch()
            if probe.socket in self._prober.sockets:
                self.nat_service.on_knock(payload, probe.remote, now)
            else:
                self.autonat_client.on_probe(payload, probe.remote, probe.socket, now)
        self._endpoint.handle_received(own, now)
        self._drain(now)

    def handle_timeout(self, now: Instant) -> None:
        self._endpoint.handle_timeout(now)
        self._prober.handle_timeout(now)
        self._drain(now)
        self.services.handle_timeout(now)
        self.streams.handle_timeout(now)
        for handle in self.pool.drained(now):
            if self.streams.has_application_streams(handle):
                self.pool.spare(handle, now)
            else:
                self._supplant(handle, now)
        if now >= self._observations.refresh_at:
            self._observations.refresh(tuple(p.peer_id for p in self._peers.values()), now)
        dial = self._dials.poll_timeout()
        if dial is not None and now >= dial.at:
            self.services.touch()
            self._dials.poll(now)
        self._run_services(now)

    def poll_transmits(self, now: Instant) -> list[Transmit]:
        transmits, self._forwarded = self._forwarded, []
        note, counts = self._contacts.note, self.byte_counts
        for transmit in self._endpoint.poll_transmits(now):
            if transmit.socket >= 0:
                note(transmit.remote.ip, now)
                counts.sent_directly += len(transmit.buffer)
                transmits.append(transmit)
            elif (wrapped := self._circuits.wrap(transmit)) is not None:
                counts.sent_relayed += len(transmit.buffer)
                transmits.append(wrapped)
        if transmits and not self.facts.udp_silence.is_over:
            self.facts.udp_silence.on_sent((transmit.remote.ip for transmit in transmits), now)
        if self._prober.is_active:
            transmits += self._prober.poll_transmits(now)
        transmits += self.relay_server.poll_transmits(now)
        return transmits

    def poll_events(self) -> list[SwarmEvent]:
        """Returns the facts since the last call."""
        self._drain(self._now)
        found, self._events = self._events, []
        return found

    def poll_timeout(self) -> Deadline | None:
        return earliest(
            self._endpoint.poll_timeout(),
            self._prober.poll_timeout(),
            self.streams.poll_timeout(),
            self.pool.poll_timeout(),
            Deadline(self._observations.refresh_at, "observed addresses are refreshed")
            if self._peers
            else None,
            self.services.poll_timeout(),
            self._dials.poll_timeout(),
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
        if self._prober.is_active:
            self._commands.take_dial_backs(now)
        self._run_services(now)
        while self._collect_dials(now):
            self._run_services(now)
        self._events += self.streams.poll_events()

    def _on_endpoint_event(
        self,
        handle: ConnectionHandle,
        event: transport.Connected | transport.DialFailed | transport.ConnectionEvent,
        now: Instant,
    ) -> None:
        match event:
            case StreamReadable(stream_id) | StreamResetByPeer(stream_id):
                self.streams.on_readable(handle, stream_id, now)
            case StreamWritable(stream_id) | StreamStoppedByPeer(stream_id):
                self.streams.on_writable(handle, stream_id, now)
            case StreamOpened(stream_id):
                peer = self.facts.peer(handle)
                if peer is not None:
                    self.streams.on_opened(peer, stream_id, now)
            case StreamFinished():
                self._close_if_drained(handle, now)
            case StreamsAvailable():
                self._events.append(events.StreamsAvailable(handle))
            case transport.DatagramReceived(data):
                self._events.append(events.DatagramReceived(handle, data))
            case transport.MaxDatagramSizeChanged():
                pass
            case _:
                self.services.touch()
                self._on_connection_event(handle, event, now)

    def _on_connection_event(
        self,
        handle: ConnectionHandle,
        event: transport.Connected | transport.DialFailed | transport.ConnectionEvent,
        now: Instant,
    ) -> None:
        """What is rare, and may be of interest to services."""
        match event:
            case transport.Connected():
                self._on_connected(handle, event, now)
            case transport.DialFailed(_, reason):
                self._dials.on_dial_failed(handle, reason, now)
            case transport.ConnectionClosed(reason):
                self._on_closed(handle, reason, now)
            case transport.AddressObserved(_, route, address):
                self._on_observed(handle, route, address, now)
            case transport.PathChanged(_, route, reason):
                self._on_path_changed(handle, route, reason, now)
            case transport.PathValidated(_, route):
                for service in self.services:
                    service.on_path_validated(handle, route, now)
                self._release_idle(handle, now)
            case transport.PathConfirmed(_, route):
                self._observe_again(handle, route, now)
            case transport.PathFailed():
                self._release_idle(handle, now)
            case transport.PathSuspected():
                self._relayed_paths.rescue(handle, now)
            case transport.TokenReceived(remote, token):
                peer = self._peers.get(handle)
                if peer is not None and not peer.route.is_relayed:  # else it is the relay's address
                    self._dials.keep_token(remote, token)
            case _:
                pass

    def _on_connected(
        self, handle: ConnectionHandle, event: transport.Connected, now: Instant
    ) -> None:
        peer = Peer(handle, event.peer_id, event.route, event.is_initiator)
        if not event.allows_streams:
            if event.is_initiator:
                reason = "the peer lets nobody open streams"
                self.disconnect(handle, now, reason=reason)
                self._dials.on_dial_failed(handle, DialError(reason), now)
            else:
                self._receive_visitor(peer, now)
            return
        self._peers[handle] = peer
        loser = self.pool.add(event.peer_id, handle, event.is_initiator, now)
        self._events.append(
            events.ConnectionEstablished(
                handle, event.peer_id, event.is_initiator, event.route, event.handshake_time
            )
        )
        for service in self.services:
            service.on_connected(peer, now)
        self._dials.on_connected(peer, now)
        if loser is not None:
            # Only who began it ends it at once: the other side may have seen the two the other
            # way round, and both would be gone.
            found = self._endpoint.connection(loser)
            if found is not None and found.is_initiator:
                self._close_if_drained(loser, now)

    def _receive_visitor(self, peer: Peer, now: Instant) -> None:
        visitors = self.facts.visitors
        visitors[peer.connection] = peer
        if len(visitors) > MAX_VISITORS:
            self.disconnect(next(iter(visitors)), now, reason="too many visitors")

    def _on_closed(self, handle: ConnectionHandle, reason: P2PNodeError, now: Instant) -> None:
        peer = self._peers.pop(handle, None)
        if peer is None:
            if self.facts.visitors.pop(handle, None) is not None:
                self.streams.on_connection_closed(handle, now)
            return
        is_last = self.pool.remove(peer.peer_id, handle)
        self._relayed_paths.release_idle(peer.peer_id, now)
        self.streams.on_connection_closed(handle, now)
        for service in self.services:
            service.on_disconnected(peer, now)
        self._observations.on_closed(handle, peer.peer_id, is_last=is_last)
        self._events.append(events.ConnectionClosed(handle, peer.peer_id, reason, is_last))

    def _release_idle(self, handle: ConnectionHandle, now: Instant) -> None:
        peer = self._peers.get(handle)
        if peer is not None:
            self._relayed_paths.release_idle(peer.peer_id, now)

    def _on_observed(
        self, handle: ConnectionHandle, route: Route, address: UdpAddr, now: Instant
    ) -> None:
        peer = self._peers.get(handle)
        if peer is None:
            return
        disposition, report = self._observations.on_observed(peer, route, address, now)
        self._events.append(events.AddressObserved(peer.peer_id, address, disposition, report))
        for service in self.services:
            service.on_observed(peer, now)

    def _observe_again(self, handle: ConnectionHandle, route: Route, now: Instant) -> None:
        """After a change of the network a path answers: what its peer saw holds, or it says so."""
        peer = self._peers.get(handle)
        if peer is None or not self._observations.on_confirmed(handle, route, now):
            return
        for service in self.services:
            service.on_observed(peer, now)

    def _on_path_changed(
        self, handle: ConnectionHandle, route: Route, reason: str, now: Instant
    ) -> None:
        peer = self._peers.get(handle)
        if peer is None:
            return
        self._peers[handle] = peer = peer._replace(route=route)
        self._events.append(events.PathChanged(handle, peer.peer_id, route, reason))
        for service in self.services:
            service.on_path_changed(peer, now)

    # services

    def _run_services(self, now: Instant) -> None:
        while touched := self.services.take_touched():
            for service in touched:
                commands, found = service.poll_commands(), service.poll_events()
                if commands or found:
                    self.services.touch()
                for command in commands:
                    self._commands.obey(service, command, now)
                for event in found:
                    self._on_service_event(event, now)

    def _on_service_event(self, event: SwarmEvent, now: Instant) -> None:
        match event:
            case events.PeerIdentified(connection, info):
                peer = self._peers.get(connection)
                if peer is not None:
                    self._learn_from(peer, info, now)
                    for service in self.services:
                        service.on_identified(peer, info, now)
            case events.PeerFound(peer_id, addresses):
                self.book.add(peer_id, addresses, AddressSource.HEARSAY, now)
                self._dials.on_found(peer_id, addresses, now)
            case events.PeerNotFound(peer_id, reason):
                self._dials.on_not_found(peer_id, reason, now)
            case events.ReachabilityChanged(reachability):
                is_public = reachability is Reachability.PUBLIC
                self.relay_server.set_public(is_public, now)
                self._settle_relays(now)
            case events.PunchEnded(connection, peer_id, number, strategy, is_direct, reason, _):
                attempt = PunchAttempt(now, number, strategy, is_direct, reason)
                self._attempts.add(peer_id, attempt)
                if not is_direct:
                    self._relayed_paths.ask_standby_relay(connection, peer_id, now)
            case _:
                pass
        self._events.append(event)

    def _learn_from(self, peer: Peer, info: IdentifyInfo, now: Instant) -> None:
        ip = peer.direct_ip
        signed = info.signed_peer_record is not None
        source = AddressSource.SIGNED if signed else AddressSource.IDENTIFY
        accepted = addrs_to_accept(info.listen_addrs, ip)
        self.book.add(peer.peer_id, without_peer(accepted), source, now)

    def _settle_relays(self, now: Instant) -> None:
        """Relays are for those who listen, and whom strangers do not reach directly."""
        is_public = self.autonat_client.overall(now) is Reachability.PUBLIC
        needs = bool(self.addresses.listening()) and not is_public
        if self.relay_server.mode is RelayMode.ALWAYS:
            needs = False
        self.relay_client.set_needs_relay(needs, now)

    def _collect_dials(self, now: Instant) -> bool:
        """Takes what became of dials: services' own are theirs, the others the user's.

        Returns whether a dial has ended, so that services may have something to do.
        """
        ended = self._dials.poll_ended()
        for peer_id in ended:
            self._relayed_paths.release_idle(peer_id, now)
        for event in self._dials.poll_events():
            if isinstance(event, events.DialSucceeded):
                # Where two of its tries were answered at once, the pool has chosen.
                best = self.pool.best(event.peer_id)
                event = event if best is None else event._replace(connection=best)
            if isinstance(
                event, events.DialSucceeded | events.DialFailed
            ) and self._commands.is_for_service(event, now):
                continue
            self._events.append(event)
        if ended:
            self.services.touch()
        return bool(ended)

    def _route_of(self, connection: ConnectionHandle) -> Route | None:
        peer = self._peers.get(connection)
        return None if peer is None else peer.route

    # ourselves

    def _on_addresses_changed(self, now: Instant) -> None:
        for service in self.services:
            service.on_addresses_changed(now)
        self._settle_relays(now)
        self._readvertise(now)
        self.services.touch()
        self._run_services(now)

    def _renew_protocols(self) -> None:
        self._description.protocols = self.protocols

    def _push_protocols(self, now: Instant) -> None:
        self._renew_protocols()
        self.services.identify.push_news(now)

    def _readvertise(self, now: Instant) -> None:
        """Our addresses or protocols have changed: those who know us should hear it."""
        self._description.confirmed = self.autonat_client.confirmed(now)
        self._description.relayed = self.relay_client.addresses()
        self._description.renew()
        self._push_protocols(now)
        self._events.append(events.ListenAddressesChanged(self.listen_addresses()))

    # connections that are superfluous

    def _close_if_drained(self, handle: ConnectionHandle, now: Instant) -> None:
        if handle in self.pool.draining and not self.streams.has_streams(handle):
            self._supplant(handle, now)

    def _supplant(self, handle: ConnectionHandle, now: Instant) -> None:
        connection = self._endpoint.connection(handle)
        if connection is not None:
            connection.close(
                ErrorCode.SUPPLANTED, "another connection replaces this one", now,
                is_application=False,
            )  # fmt: skip
