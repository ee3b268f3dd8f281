"""The swarm: one endpoint, the peers behind its connections, and the built-in protocols.

A DatagramMachine.  What is here is who is told what; the decisions are in the parts: `dials`,
`connection_pool`, `address_book`, `own_addresses`, `self_description`, the streams in
`stream_table`, circuits that we are an end of in `circuits`, and the services.
"""

from collections.abc import Sequence
from random import Random
from typing import Literal

from p2pnode.bounded import Bounded
from p2pnode.clock import Deadline, Instant, UnixTime, earliest
from p2pnode.entropy import Entropy
from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.peer_multiaddr import udp_noise_multiaddr
from p2pnode.machine import Buffer, ConnectionHandle, Received, SocketId, Transmit, UdpAddr
from p2pnode.protocols.autonat import ContactLog, Evidence, Reachability
from p2pnode.protocols.identify import IdentifyInfo, IdentifyMessage, ObservedAddressBook
from p2pnode.protocols.identify.address_filter import addrs_to_accept
from p2pnode.protocols.nat_behaviour import NatRequest
from p2pnode.protocols.nat_behaviour.why import Explanation, PunchAttempt, PunchAttempts
from p2pnode.swarm import events
from p2pnode.swarm.address_book import AddressBook, AddressSource
from p2pnode.swarm.byte_counts import ByteCounts
from p2pnode.swarm.circuits import Circuits
from p2pnode.swarm.command_runner import ServiceCommands
from p2pnode.swarm.config import DEFAULT_MAX_STREAMS, SwarmConfig
from p2pnode.swarm.connection_pool import ConnectionPool
from p2pnode.swarm.connection_reports import ConnectionReports
from p2pnode.swarm.demultiplexer import demultiplex
from p2pnode.swarm.dial_back_endpoint import DialBackEndpoint
from p2pnode.swarm.dials import Dials, without_peer
from p2pnode.swarm.events import SwarmEvent
from p2pnode.swarm.facts import Facts
from p2pnode.swarm.inbound_streams import InboundLimit
from p2pnode.swarm.neighbourhood import Neighbourhood
from p2pnode.swarm.observations import Observations
from p2pnode.swarm.own_addresses import OwnAddresses
from p2pnode.swarm.relayed_paths import RelayedPaths
from p2pnode.swarm.self_description import SelfDescription
from p2pnode.swarm.services.calls import ServiceCalls
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
        self._calls = ServiceCalls()
        self._prober = DialBackEndpoint(
            config.transport,
            self._calls,
            secret=secret,
            entropy=entropy,
            rng=rng,
            now=now,
            unix_now=unix_now,
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
        self._settled_at = now
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
        self.streams = StreamTable(self._endpoint, self._calls, services.all)
        self._dials = self._make_dials()
        self._relayed_paths = RelayedPaths(
            self._endpoint,
            self.pool,
            self.book,
            self.addresses,
            services.relay_client,
            self._dials,
        )
        self._reports = self._make_reports()
        self._commands = ServiceCommands(
            self._endpoint,
            self._prober,
            self.streams,
            self._dials,
            self._relayed_paths,
            self.book,
            self.facts,
            services,
            self._calls,
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
            self._calls,
            circuits=self._circuits,
            contacts=self._contacts,
            neighbours=Neighbourhood(self.pool, self.book),
            observed=self.observed,
            alternate_ports=self._prober.ports,
            known_peers=self.book.peers,
            describe=self._describe,
            relay_addresses=self._description.relay_addresses,
            entropy=entropy,
            rng=rng,
            now=now,
            unix_now=unix_now,
        )

    def _make_dials(self) -> Dials:
        return Dials(
            self.peer_id,
            self._endpoint,
            self.addresses,
            self.book,
            request_circuit=self.services.relay_client.request,
            finder=self.services.routing,
            neighbours=lambda: list(self._peers.values()),
            quarantined_ips=self.services.autonat_client.quarantined_ips,
        )

    def _make_reports(self) -> ConnectionReports:
        return ConnectionReports(
            self._endpoint,
            self.facts,
            self.pool,
            self.streams,
            self._dials,
            self._relayed_paths,
            self._observations,
            self._calls,
            lambda event: self._events.append(event),
        )

    def _describe(self, peer: Peer, now: Instant) -> IdentifyMessage:
        message = self._description.message(peer, now)
        self._events += self._description.poll_events()
        return message

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

    # commands: each has taken effect, and whom it concerns was told, when it returns

    def add_socket(
        self, socket: SocketId, local: UdpAddr, now: Instant, *, is_listening: bool = True
    ) -> None:
        """Tells of a socket of the driver's, and the address that it is bound to."""
        self.addresses.add_socket(socket, local, is_listening=is_listening)
        self._on_addresses_changed(now)
        self._settle(now)

    def add_probe_socket(self, socket: SocketId, local: UdpAddr) -> None:
        """Tells of a socket for dial-backs, which is used for nothing else; causes nothing."""
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

    def handle_clock_changed(self, unix_now: UnixTime, now: Instant) -> None:
        """Tells that the wall clock was set, or `now` stood still; what has a lifetime keeps it."""
        for part in (self._endpoint, self._description, self.services):
            part.handle_clock_changed(unix_now, now)
        self._settle(now)

    def revalidate(self, now: Instant) -> None:
        """Validates every path at once: after a suspend, or when the network changed."""
        for handle in list(self._endpoint.connections):
            connection = self._endpoint.command(handle)
            if connection is not None and not connection.is_closed:
                connection.paths.validate_all(now)
                connection.ping()
        self._settle(now)

    def handle_protocol(
        self, protocol: str, now: Instant, max_streams: int = DEFAULT_MAX_STREAMS
    ) -> None:
        """Takes inbound streams for an application protocol from now on."""
        self.streams.handled[protocol] = InboundLimit(max_streams)
        self._push_protocols(now)
        self._settle(now)

    def unhandle_protocol(self, protocol: str, now: Instant) -> None:
        self.streams.handled.pop(protocol, None)
        self._push_protocols(now)
        self._settle(now)

    def dial(self, peer_id: PeerId | None, addresses: Sequence[Multiaddr], now: Instant) -> int:
        """Dials a peer at these addresses and at those that the book has; returns the dial's id.

        The answer is DialSucceeded or DialFailed.  A peer that is connected is not dialled again;
        one whose addresses nobody has told is looked for.
        Raises DialError where there is nothing to dial, AddressError for what cannot be used.
        """
        connected = None if peer_id is None else self.pool.best(peer_id)
        dial_id = self._dials.begin(peer_id, addresses, connected, now)
        self._settle(now)
        return dial_id

    def cancel_dial(self, dial_id: int, now: Instant) -> None:
        """Forgets a dial; nothing is reported."""
        self._dials.cancel(dial_id)
        self._settle(now)

    def open_stream(
        self, connection: ConnectionHandle, protocols: Sequence[str], now: Instant
    ) -> SwarmStream | None:
        """Opens a stream for the first of the protocols that the peer speaks.

        With one protocol, data may be written at once: no round trip is spent on the negotiation.
        What is written, read and ended on the stream itself is settled by the next drain.
        Returns None where the peer allows no more streams now; StreamsAvailable tells when it does.
        Raises ConnectionLost.
        """
        stream = self.streams.open(connection, protocols, now)
        self._settle_streams(now)
        return stream

    def release_stream(self, stream: SwarmStream, now: Instant) -> None:
        """The application is done with a stream: what it has written is still delivered."""
        self.streams.release(stream)
        self._settle_streams(now)

    def reset_stream(self, stream: SwarmStream, code: int, now: Instant) -> None:
        """The application gives a stream up in both directions."""
        self.streams.reset(stream, code)
        self._settle_streams(now)

    def ping(self, connection: ConnectionHandle, now: Instant) -> None:
        """Sends a ping; the answer is PongReceived or PingFailed."""
        self.services.ping.ping(connection, now)
        self._settle(now)

    def identify(self, connection: ConnectionHandle, now: Instant) -> None:
        """Asks who the peer is, now; the answer is PeerIdentified or IdentifyFailed."""
        self.services.identify.identify(connection, now)
        self._settle(now)

    def ask_nat(self, connection: ConnectionHandle, request: NatRequest, now: Instant) -> None:
        """Asks a peer about NATs; `nat_service.poll_answers` has what came of it."""
        self.nat_service.ask(connection, request, now)
        self._settle(now)

    def send_datagram(self, connection: ConnectionHandle, data: Buffer) -> bool:
        """Queues unreliable data; False where it cannot be queued now.  Raises as Connection's."""
        found = self._endpoint.command(connection)
        return found is not None and found.send_datagram(data)

    def remember_evidence(self, address: Multiaddr, piece: Evidence, now: Instant) -> None:
        """Takes evidence of an earlier run in this network that strangers reach an address."""
        self.autonat_client.remember(address, piece)
        self._settle(now)

    def remember_relay(
        self, relay_id: PeerId, network: str, rtt: float | None, now: Instant
    ) -> None:
        """Names a relay of an earlier run: it is asked again where relays are short."""
        self.relay_client.remember(relay_id, network, rtt, now)
        self._settle(now)

    def drain_relay(self, grace: float, now: Instant) -> None:
        """Relays nothing new, announces the end of all circuits, and ends them after `grace` s."""
        self.relay_server.drain(grace, now)
        self._settle(now)

    def disconnect(
        self, connection: ConnectionHandle, now: Instant, code: int = 0, reason: str = ""
    ) -> None:
        """Closes a connection and tells the peer why."""
        self._reports.disconnect(connection, now, code, reason)
        self._settle(now)

    def close(self, now: Instant, reason: str = "the node is going away") -> None:
        """Closes everything; what tells the peers leaves with the next transmits."""
        self._dials.cancel_all()
        self._prober.close(now)
        self._endpoint.close_all(reason, now)
        self._settle(now)

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
                self._calls.command(self.relay_server).handle_circuit_packets(others, now)
                # Before the rest of the batch, which may be the end of a circuit's connection.
                self._forwarded += self.relay_server.poll_transmits(now)
        for probe in probes:
            payload = bytes(probe.buffer[: probe.segment_size])
            if probe.socket in self._prober.sockets:
                self._calls.command(self.nat_service).on_knock(payload, probe.remote, now)
            else:
                client = self._calls.command(self.autonat_client)
                client.on_probe(payload, probe.remote, probe.socket, now)
        self._endpoint.handle_received(own, now)
        self._settle_streams(now)

    def handle_timeout(self, now: Instant) -> None:
        self._endpoint.handle_timeout(now)
        self._prober.handle_timeout(now)
        self._settle_streams(now)
        self._calls.handle_timeout(now)
        self.streams.handle_timeout(now)
        for handle in self.pool.drained(now):
            if self.streams.has_application_streams(handle):
                self.pool.spare(handle, now)
            else:
                self._reports.supplant(handle, now)
        if now >= self._observations.refresh_at:
            self._observations.refresh(tuple(p.peer_id for p in self._peers.values()), now)
        dial = self._dials.poll_timeout()
        if dial is not None and now >= dial.at:
            self._calls.stir()  # of another candidate a relay is asked, or others where it is
            self._dials.poll(now)
        self._settle_streams(now)

    def poll_transmits(self, now: Instant) -> list[Transmit]:
        """Settles what was done to streams since, and returns what may leave."""
        self._settle_streams(now)
        transmits = self._take_transmits(now)
        # Sending may tell something, to which somebody may have to say something.
        while not transmits and (self._endpoint.has_events or self._prober.has_results):
            self._settle_streams(now)
            transmits = self._take_transmits(now)
        return transmits

    def _take_transmits(self, now: Instant) -> list[Transmit]:
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
        if self.relay_server.has_circuits:
            transmits += self._calls.command(self.relay_server).poll_transmits(now)
        return transmits

    def poll_events(self) -> list[SwarmEvent]:
        """Returns the facts since the last call."""
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
            self._calls.poll_timeout(),
            self._dials.poll_timeout(),
        )

    def poll_key_log(self) -> list[str]:
        """Returns the secrets of new connections, where the configuration asks for them."""
        return self._endpoint.poll_key_log()

    def poll_qlog(self) -> list[tuple[str, list[str]]]:
        """Returns (trace name, JSON texts), where the configuration asks for them."""
        return self._endpoint.poll_qlog()

    def check(self) -> None:
        """Asserts, after a drain, that no part has something to say or a deadline unknown here."""
        assert not self._endpoint.poll_events(), "a connection has events"
        self._endpoint.check()
        self._calls.check()

    # what follows from what

    def _settle(self, now: Instant) -> None:
        """Ends whatever may have concerned a service."""
        self._calls.stir()
        self._settle_streams(now)

    def _settle_streams(self, now: Instant) -> None:
        """Tells whom it concerns what has happened until `now`, until nothing follows any more.

        Ends whatever concerned connections and their streams; each is paid for with every packet.
        """
        assert now >= self._settled_at, f"time went back from {self._settled_at} to {now}"
        self._settled_at = now
        is_settled = False
        while not is_settled:
            found = self._endpoint.poll_events()
            for handle, event in found:
                self._on_endpoint_event(handle, event, now)
            if self._prober.is_active:
                self._commands.take_dial_backs(now)
            has_run = self._run_services(now)
            is_settled = not (self._collect_dials(now) or has_run or found)
        self._events += self.streams.poll_events()

    # endpoint events

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
                self._reports.close_if_drained(handle, now)
            case StreamsAvailable():
                self._events.append(events.StreamsAvailable(handle))
            case transport.DatagramReceived(data):
                self._events.append(events.DatagramReceived(handle, data))
            case transport.MaxDatagramSizeChanged():
                pass
            case _:
                self._calls.stir()
                self._reports.on_event(handle, event, now)

    # services

    def _run_services(self, now: Instant) -> bool:
        """Does what services ask for; returns whether any did."""
        has_run = False
        while (service := self._calls.next_speaker()) is not None:
            has_run = True
            commands, found = service.poll_commands(), service.poll_events()
            for command in commands:
                self._commands.obey(service, command, now)
            for event in found:
                self._on_service_event(event, now)
        return has_run

    def _on_service_event(self, event: SwarmEvent, now: Instant) -> None:
        match event:
            case events.PeerIdentified(connection, info):
                peer = self._peers.get(connection)
                if peer is not None:
                    self._learn_from(peer, info, now)
                    self._calls.identified(peer, info, now)
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

        Returns whether there was anything, so that services may have something to do.
        """
        ended, found = self._dials.poll_ended(), self._dials.poll_events()
        for peer_id in ended:
            self._relayed_paths.release_idle(peer_id, now)
        for event in found:
            if isinstance(event, events.DialSucceeded):
                # Where two of its tries were answered at once, the pool has chosen.
                best = self.pool.best(event.peer_id)
                event = event if best is None else event._replace(connection=best)
            if isinstance(
                event, events.DialSucceeded | events.DialFailed
            ) and self._commands.is_for_service(event, now):
                continue
            self._events.append(event)
        return bool(ended or found)

    def _route_of(self, connection: ConnectionHandle) -> Route | None:
        peer = self._peers.get(connection)
        return None if peer is None else peer.route

    # ourselves

    def _on_addresses_changed(self, now: Instant) -> None:
        self._calls.addresses_changed(now)
        self._settle_relays(now)
        self._readvertise(now)

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
