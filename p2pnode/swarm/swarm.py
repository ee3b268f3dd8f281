"""The swarm: its transports, the peers behind their connections, and the built-in protocols.

    commands     methods that take `now`; each has taken effect when it returns
    facts        `Swarm.facts`, the one thing that is read of it
    events       `poll_events`: what has happened

A DatagramMachine.  What is here is who is told what; the decisions are in the parts: `dials`,
`relayed_paths`, `own_news`, `connection_reports` and `service_reports`, the services, and what they
all know in `state`.
"""

import itertools
from collections.abc import Sequence
from random import Random
from typing import Final

from p2pnode.clock import Deadline, Instant, UnixTime, earliest
from p2pnode.entropy import Entropy
from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.peer_id import PeerId
from p2pnode.links import LinkCommand, LinkEvent
from p2pnode.machine import (
    Buffer,
    ConnectionHandle,
    Received,
    SocketAddr,
    SocketId,
    Transmit,
    Unreachable,
)
from p2pnode.protocols.autonat import Evidence
from p2pnode.protocols.nat_behaviour import NatRequest
from p2pnode.resources.account import Account
from p2pnode.swarm import events
from p2pnode.swarm.address_book import AddressSource
from p2pnode.swarm.command_runner import CommandRunner
from p2pnode.swarm.config import DEFAULT_MAX_STREAMS, SwarmConfig
from p2pnode.swarm.connection_reports import ConnectionReports
from p2pnode.swarm.datagram_side import DatagramSide
from p2pnode.swarm.dial_back_side import DialBackSide
from p2pnode.swarm.dials import Dials
from p2pnode.swarm.events import SwarmEvent
from p2pnode.swarm.facts import SwarmFacts
from p2pnode.swarm.inbound_streams import InboundLimit
from p2pnode.swarm.link_side import LinkSide
from p2pnode.swarm.observations import Observations
from p2pnode.swarm.own_news import OwnNews
from p2pnode.swarm.relayed_paths import RelayedPaths
from p2pnode.swarm.requests import ServiceRequest
from p2pnode.swarm.service_facts import ServiceFacts
from p2pnode.swarm.service_reports import ServiceReports
from p2pnode.swarm.services.calls import ServiceCalls
from p2pnode.swarm.services.registry import Services
from p2pnode.swarm.state import SwarmState
from p2pnode.swarm.stream_table import StreamTable
from p2pnode.swarm.swarm_stream import SwarmStream
from p2pnode.swarm.trimming import Trimming
from p2pnode.transports import events as transport
from p2pnode.transports.commons import Commons
from p2pnode.transports.faults import Faults
from p2pnode.transports.registry import Makers, make_transports
from p2pnode.transports.stream_events import (
    StreamFinished,
    StreamOpened,
    StreamReadable,
    StreamResetByPeer,
    StreamsAvailable,
    StreamStoppedByPeer,
    StreamWritable,
)
from p2pnode.wire.multiaddr import Multiaddr

REFUSAL_INTERVAL: Final = 10.0
"""seconds from one word of what was refused to the next; chosen: a flood is some lines a minute"""


class Swarm:
    """The whole node, without I/O."""

    def __init__(
        self,
        identity: PrivateKey,
        *,
        config: SwarmConfig,
        makers: Makers,
        entropy: Entropy,
        rng: Random,
        now: Instant,
        unix_now: UnixTime,
        isolates_faults: bool = False,
    ) -> None:
        """`makers` make the transports, for this node and for its dial-backs.

        With `isolates_faults` a bug that is met while one connection, stream or datagram is served
        costs that alone, and is an event (`Fault`); else it is raised where it happens.
        """
        self._faults = faults = Faults(is_raising=not isolates_faults)
        self.peer_id = PeerId.from_public_key(identity.public_key)
        self._transports = make_transports(
            makers,
            identity,
            Commons(Account(config.resources), faults=faults),
            now=now,
            unix_now=unix_now,
        )
        self._calls = calls = ServiceCalls(faults)
        self._dial_backs = DialBackSide(
            makers,
            calls,
            entropy=entropy,
            now=now,
            unix_now=unix_now,
            faults=faults,
            link_ids=self._transports.commons.link_ids,
        )
        self._state = SwarmState(
            identity, self.peer_id, config, self._transports.names, now=now, unix_now=unix_now
        )
        self._services = Services(
            identity,
            config,
            self._state,
            ServiceFacts(self._transports, self._dial_backs, self._state),
            calls,
            entropy=entropy,
            rng=rng,
            now=now,
            unix_now=unix_now,
        )
        self._streams = StreamTable(self._transports, calls, self._services.all, faults)
        self.facts = SwarmFacts(
            self._transports, self._dial_backs, self._state, self._services, self._streams
        )
        """What may be read of the swarm."""
        self._settled_at = now
        self._refusals = self._transports.account.refusals
        self._refusals_told_at = now - REFUSAL_INTERVAL
        self._events: list[SwarmEvent] = []
        self._join_parts(now)

    def _join_parts(self, now: Instant) -> None:
        """Makes the parts that hold little themselves, and act on those that do."""
        transports, state, calls = self._transports, self._state, self._calls
        tell = self._events.append
        requests = list[ServiceRequest]()
        self._observations = Observations(state.observed, now)
        self._trimming = Trimming(transports, state, self._services, transports.account.limits)
        self._dials = Dials(
            self.peer_id, transports, state.addresses, state.book, self.facts, requests
        )
        self._relayed_paths = RelayedPaths(
            transports, state.pool, state.book, state.addresses, self.facts, self._dials, requests
        )
        self._news = OwnNews(state, self.facts, self._services, calls, tell)
        self._connection_reports = ConnectionReports(
            transports,
            state,
            self._streams,
            self._dials,
            self._relayed_paths,
            self._observations,
            self._trimming,
            calls,
            tell,
        )
        self._datagram_side = DatagramSide(
            transports, self._dial_backs, state, self._services, calls, self._faults
        )
        self._link_side = LinkSide(transports, self._dial_backs, state)
        self._commands = CommandRunner(
            transports,
            self._dial_backs,
            self._streams,
            self._dials,
            self._relayed_paths,
            state.book,
            self.facts,
            self._services,
            calls,
            self._news.readvertise,
        )
        self._service_reports = ServiceReports(
            state,
            calls,
            requests,
            self._commands,
            self._dials,
            self._relayed_paths,
            self._connection_reports,
            self._news,
            tell,
        )

    # commands: each has taken effect, and whom it concerns was told, when it returns

    def add_socket(
        self, socket: SocketId, local: SocketAddr, now: Instant, *, is_listening: bool = True
    ) -> None:
        """Tells of a socket of the driver's, and the address that it is bound to."""
        self._state.addresses.add_socket(socket, local, is_listening=is_listening)
        self._news.on_addresses_changed(now)
        self._settle(now)

    def add_listener(self, listener: SocketId, local: SocketAddr, now: Instant) -> None:
        """Tells of a listener for links of the driver's, and the address that it is bound to."""
        self._state.addresses.add_listener(listener, local)
        self._news.on_addresses_changed(now)
        self._settle(now)

    def add_probe_socket(self, socket: SocketId, local: SocketAddr) -> None:
        """Tells of a socket for dial-backs, which is used for nothing else; causes nothing."""
        self._dial_backs.add_socket(socket, local)

    def handle_interfaces_changed(self, interfaces: tuple[str, ...], now: Instant) -> None:
        """Tells the machine's addresses.  After a change every path is validated anew."""
        addresses = self._state.addresses
        if addresses.set_interfaces(interfaces):
            for handle in list(self._transports.connections):
                with self._transports.commanding(handle, now) as connection:
                    if connection is not None and connection.paths is not None:
                        connection.paths.forget_local_ips(interfaces)
            seen = (*addresses.sockets(), *addresses.listeners())
            self._observations.on_network_changed(seen)
            self._state.udp_silence.on_network_changed()
            self._services.autonat_client.on_network_changed(now)
            self._news.on_addresses_changed(now)
            self.revalidate(now)

    def handle_clock_changed(self, unix_now: UnixTime, now: Instant) -> None:
        """Tells that the wall clock was set, or `now` stood still; what has a lifetime keeps it."""
        for part in (self._transports, self._state.description, self._services):
            part.handle_clock_changed(unix_now, now)
        self._settle(now)

    def revalidate(self, now: Instant) -> None:
        """Validates every path at once: after a suspend, or when the network changed."""
        for handle in list(self._transports.connections):
            with self._transports.commanding(handle, now) as connection:
                if connection is not None and not connection.is_closed:
                    if connection.paths is not None:
                        connection.paths.validate_all(now)
                    connection.ping()
        self._settle(now)

    def handle_protocol(
        self, protocol: str, now: Instant, max_streams: int = DEFAULT_MAX_STREAMS
    ) -> None:
        """Takes inbound streams for an application protocol from now on."""
        self._streams.handled[protocol] = InboundLimit(max_streams)
        self._news.on_protocols_changed(now)
        self._settle(now)

    def unhandle_protocol(self, protocol: str, now: Instant) -> None:
        self._streams.handled.pop(protocol, None)
        self._news.on_protocols_changed(now)
        self._settle(now)

    def dial(self, peer_id: PeerId | None, addresses: Sequence[Multiaddr], now: Instant) -> int:
        """Dials a peer at these addresses and at those that the book has; returns the dial's id.

        The answer is DialSucceeded or DialFailed.  A peer that is connected is not dialled again;
        one whose addresses nobody has told is looked for.
        Raises DialError where there is nothing to dial, AddressError for what cannot be used.
        """
        connected = None if peer_id is None else self.facts.best(peer_id)
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
        stream = self._streams.open(connection, protocols, now)
        self._settle_streams(now)
        return stream

    def release_stream(self, stream: SwarmStream, now: Instant) -> None:
        """The application is done with a stream: what it has written is still delivered."""
        self._streams.release(stream)
        self._settle_streams(now)

    def reset_stream(self, stream: SwarmStream, code: int, now: Instant) -> None:
        """The application gives a stream up in both directions."""
        self._streams.reset(stream, code)
        self._settle_streams(now)

    def ping(self, connection: ConnectionHandle, now: Instant) -> None:
        """Sends a ping; the answer is PongReceived or PingFailed."""
        self._services.ping.ping(connection, now)
        self._settle(now)

    def identify(self, connection: ConnectionHandle, now: Instant) -> None:
        """Asks who the peer is, now; the answer is PeerIdentified or IdentifyFailed."""
        self._services.identify.identify(connection, now)
        self._settle(now)

    def ask_nat(self, connection: ConnectionHandle, request: NatRequest, now: Instant) -> None:
        """Asks a peer about NATs; the answer is NatAnswered."""
        self._services.nat.ask(connection, request, now)
        self._settle(now)

    def send_datagram(self, connection: ConnectionHandle, data: Buffer) -> bool:
        """Queues unreliable data; False where it cannot be queued now.  Raises as Connection's."""
        found = self._transports.command(connection)
        return found is not None and found.send_datagram(data)

    def remember_address(
        self, peer_id: PeerId, address: Multiaddr, source: AddressSource, expires_at: Instant
    ) -> None:
        """Takes an address of an earlier run, with what is left of its time; causes nothing."""
        self._state.book.restore(peer_id, address, source, expires_at)

    def remember_token(self, address: Multiaddr, token: bytes) -> None:
        """Takes an address token that a peer there gave in an earlier run; causes nothing."""
        self._state.book.keep_token(address, token)

    def remember_evidence(self, address: Multiaddr, piece: Evidence, now: Instant) -> None:
        """Takes evidence of an earlier run in this network that strangers reach an address."""
        self._services.autonat_client.remember(address, piece)
        self._settle(now)

    def remember_relay(
        self, relay_id: PeerId, network: str, rtt: float | None, now: Instant
    ) -> None:
        """Names a relay of an earlier run: it is asked again where relays are short."""
        self._services.relay_client.remember(relay_id, network, rtt, now)
        self._settle(now)

    def drain_relay(self, grace: float, now: Instant) -> None:
        """Relays nothing new, announces the end of all circuits, and ends them after `grace` s."""
        self._services.relay_server.drain(grace, now)
        self._settle(now)

    def disconnect(
        self, connection: ConnectionHandle, now: Instant, code: int = 0, reason: str = ""
    ) -> None:
        """Closes a connection and tells the peer why."""
        self._connection_reports.disconnect(connection, now, code, reason)
        self._settle(now)

    def give_up(self, connection: ConnectionHandle, error: Exception, now: Instant) -> None:
        """Ends a connection for a bug that was met outside as it was served; see `__init__`."""
        self._faults.take(error, connection)
        self._settle(now)

    def close(self, now: Instant, reason: str = "the node is going away") -> None:
        """Closes everything; what tells the peers leaves with the next transmits."""
        self._dials.cancel_all()
        self._dial_backs.close(now)
        self._transports.close_all(reason, now)
        self._settle(now)

    def protect(self, peer_id: PeerId, *, is_protected: bool = True) -> None:
        """Says whether connections that a peer begins keep their places; causes nothing."""
        self._transports.account.protect(peer_id, is_protected=is_protected)

    def has_no_past(self) -> None:
        """This is the first run of this node: nobody was written to before it."""
        self._state.contacts.has_no_past()

    # the machine

    def handle_received(self, batch: Sequence[Received], now: Instant) -> None:
        self._datagram_side.handle(batch, now)
        self._settle_streams(now)

    def handle_unreachable(self, reports: Sequence[Unreachable], now: Instant) -> None:
        self._transports.handle_unreachable(reports, now)
        self._dial_backs.handle_unreachable(reports, now)
        self._settle_streams(now)

    def handle_link_events(self, events: Sequence[LinkEvent], now: Instant) -> None:
        self._link_side.handle(events, now)
        self._settle_streams(now)

    def poll_link_commands(self, now: Instant) -> Sequence[LinkCommand]:
        """Settles what was done to streams since, and returns what to do to links.

        Where nobody has any, and no dial of one, that is nothing, and left to `poll_transmits`.
        """
        if not (self._transports.has_links or self._dial_backs.is_active):
            return ()
        self._settle_streams(now)
        commands = self._link_side.poll(now)
        while not commands and (  # as `poll_transmits`
            self._transports.has_events
            or (self._dial_backs.is_active and self._dial_backs.has_results)
        ):
            self._settle_streams(now)
            commands = self._link_side.poll(now)
        return commands

    def handle_timeout(self, now: Instant) -> None:
        self._transports.handle_timeout(now)
        self._dial_backs.handle_timeout(now)
        self._settle_streams(now)
        self._calls.handle_timeout(now)
        self._streams.handle_timeout(now)
        for handle in self._state.pool.drained(now):
            if self._streams.has_application_streams(handle):
                self._state.pool.prolong(handle, now)
            else:
                self._connection_reports.supplant(handle, now)
        if now >= self._observations.refresh_at:
            self._observations.refresh(tuple(p.peer_id for p in self._state.peers.values()), now)
        dial = self._dials.poll_timeout()
        if dial is not None and now >= dial.at:
            self._calls.stir()  # of another candidate a relay is asked, or others where it is
            self._dials.poll(now)
        self._settle_streams(now)

    def poll_transmits(self, now: Instant) -> list[Transmit]:
        """Settles what was done to streams since, and returns what may leave."""
        self._settle_streams(now)
        transmits = self._datagram_side.poll(now)
        # Sending may tell something, to which somebody may have to say something.
        while not transmits and (
            self._transports.has_events
            or (self._dial_backs.is_active and self._dial_backs.has_results)
        ):
            self._settle_streams(now)
            transmits = self._datagram_side.poll(now)
        return transmits

    def poll_events(self) -> list[SwarmEvent]:
        """Returns the facts since the last call."""
        if not self._events:
            return []
        found = self._events.copy()
        self._events.clear()
        return found

    def poll_timeout(self) -> Deadline | None:
        return earliest(
            self._transports.poll_timeout(),
            self._dial_backs.poll_timeout(),
            self._streams.poll_timeout(),
            self._state.pool.poll_timeout(),
            Deadline(self._observations.refresh_at, "observed addresses are refreshed")
            if self._state.peers
            else None,
            self._calls.poll_timeout(),
            self._dials.poll_timeout(),
            Deadline(self._refusals_told_at + REFUSAL_INTERVAL, "what was refused is told")
            if self._refusals.news
            else None,
        )

    def poll_key_log(self) -> list[str]:
        """Returns the secrets of new connections, where the configuration asks for them."""
        return self._transports.poll_key_log()

    def poll_qlog(self) -> list[tuple[str, list[str]]]:
        """Returns (trace name, JSON texts), where the configuration asks for them."""
        return self._transports.poll_qlog()

    def check(self) -> None:
        """Asserts, after a drain, that no part has something to say or a deadline unknown here."""
        assert not self._transports.poll_events(), "a connection has events"
        self._transports.check()
        self._calls.check()
        self._streams.check()

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
            found = self._transports.poll_events()
            for handle, event in found:
                try:
                    self._on_transport_event(handle, event, now)
                except Exception as error:
                    self._faults.take(error, handle)
            if self._dial_backs.is_active:
                self._commands.take_dial_backs(now)
            is_settled = not (self._service_reports.run(now) or found)
            if self._faults.found:
                self._end_faulty(now)
                is_settled = False
        self._events += self._streams.poll_events()
        if self._refusals.news and now >= self._refusals_told_at + REFUSAL_INTERVAL:
            self._refusals_told_at = now
            self._events += itertools.starmap(events.ResourceRefused, self._refusals.take_news())
        if self._state.description.signed:
            self._events += self._state.description.poll_events()

    def _end_faulty(self, now: Instant) -> None:
        """What was served when a bug was met comes to an end, where it has not yet."""
        for handle, error in self._faults.poll():
            if handle is not None:
                self._transports.give_up(handle, error, now)
                self._dial_backs.give_up(handle, error, now)
            self._events.append(events.Fault(error))

    # events of transports

    def _on_transport_event(
        self,
        handle: ConnectionHandle,
        event: transport.Connected | transport.DialFailed | transport.ConnectionEvent,
        now: Instant,
    ) -> None:
        match event:
            case StreamReadable(stream_id) | StreamResetByPeer(stream_id):
                self._streams.on_readable(handle, stream_id, now)
            case StreamWritable(stream_id) | StreamStoppedByPeer(stream_id):
                self._streams.on_writable(handle, stream_id, now)
            case StreamOpened(stream_id):
                peer = self.facts.peer(handle)
                if peer is not None:
                    self._streams.on_opened(peer, stream_id, now)
            case StreamFinished():
                self._connection_reports.close_if_drained(handle, now)
            case StreamsAvailable():
                if handle in self._state.peers:
                    self._events.append(events.StreamsAvailable(handle))
            case transport.DatagramReceived(data):
                if handle in self._state.peers:
                    self._events.append(events.DatagramReceived(handle, data))
            case transport.MaxDatagramSizeChanged():
                pass
            case _:
                self._calls.stir()
                self._connection_reports.on_event(handle, event, now)
