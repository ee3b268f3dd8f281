"""The swarm as it may be read: what services look up, and what only its user asks for.

Everything is a value of the moment that it is asked for; nothing here changes the swarm.
"""

from typing import NamedTuple

from p2pnode.clock import Instant
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import ConnectionHandle
from p2pnode.protocols.autonat import Reachability, Verdict
from p2pnode.protocols.identify import SocketReport
from p2pnode.protocols.nat_behaviour import NatFacts
from p2pnode.protocols.nat_behaviour.why import Explanation, Path
from p2pnode.resources.account import Drops, ResourceUse
from p2pnode.resources.refusal import Resource, ScopeKind
from p2pnode.swarm.address_book import BookEntry
from p2pnode.swarm.counts import Counts
from p2pnode.swarm.dial_back_side import DialBackSide
from p2pnode.swarm.service_facts import ServiceFacts
from p2pnode.swarm.services.nat_behaviour import NatBehaviourReport
from p2pnode.swarm.services.registry import Services
from p2pnode.swarm.services.relay.server import Relaying
from p2pnode.swarm.state import SwarmState
from p2pnode.swarm.stream_table import StreamTable
from p2pnode.transports.muxed_connection import MuxedConnection
from p2pnode.transports.registry import Transports
from p2pnode.transports.route import Route
from p2pnode.wire.multiaddr import Multiaddr
from p2pnode.wire.transport_name import TransportName

__all__ = ["BookEntry", "ConnectionFacts", "Relaying", "Reservation", "SwarmFacts"]


class ConnectionFacts(NamedTuple):
    """A connection at one moment."""

    handle: ConnectionHandle
    peer_id: PeerId
    is_initiator: bool
    """Whether this node began its handshake."""
    route: Route
    """Where its data goes."""
    rtt: float | None
    """Smoothed round-trip time of the path in use, in seconds; None before the first sample."""
    streams: int
    """Open ones, both sides' and the built-in protocols' included."""
    transport: TransportName
    is_limited: bool
    """Whether a relay will end it after some bytes or some time."""
    is_closed: bool
    """One that is closed is remembered for a while, and went the way that it says."""


class Reservation(NamedTuple):
    """A relay that this node can be reached through."""

    relay: PeerId
    expires_at: Instant
    """Unless it is renewed."""
    clock_skew: float
    """Seconds that the relay's wall clock is ahead of ours, as far as is known."""


class SwarmFacts(ServiceFacts):
    """The one thing that a swarm's user reads."""

    def __init__(
        self,
        transports: Transports,
        dial_backs: DialBackSide,
        state: SwarmState,
        services: Services,
        streams: StreamTable,
    ) -> None:
        super().__init__(transports, dial_backs, state)
        self._services = services
        self._streams = streams
        self.counts = Counts(services, streams, state.byte_counts)

    @property
    def own_id(self) -> PeerId:
        return self._state.own_id

    # connections

    def handles(self, peer_id: PeerId) -> tuple[ConnectionHandle, ...]:
        """Returns the connections with a peer, the one to use first."""
        return tuple(pooled.handle for pooled in self._state.pool.peers().get(peer_id, ()))

    def connection(self, handle: ConnectionHandle) -> ConnectionFacts | None:
        """Returns what there is to know of a connection, or None where it is forgotten."""
        found = self._transports.connections.get(handle)
        return None if found is None else _connection_facts(handle, found)

    def connections(self) -> tuple[ConnectionFacts, ...]:
        """Returns all that are open."""
        return tuple(
            _connection_facts(handle, connection)
            for handle, connection in self._transports.connections.items()
            if not connection.is_closed
        )

    def why(self, peer_id: PeerId, now: Instant) -> Explanation:
        """Returns why packets to a peer go the way they go, as far as is known."""
        best = self.best(peer_id)
        peer = None if best is None else self.peer(best)
        path: Path | None = None
        if peer is not None:
            path = "relayed" if peer.route.is_relayed else "direct"
        return self._services.nat.explain(peer_id, path, self._state.attempts.of(peer_id), now)

    # peers

    def book_entries(self, peer_id: PeerId, now: Instant) -> tuple[BookEntry, ...]:
        """Returns what `known_addresses` does, with source and lifetime."""
        return self._state.book.entries(peer_id, now)

    def token(self, address: Multiaddr) -> bytes | None:
        """Returns the address token that a peer at `address` gave for the next dial."""
        return self._state.book.token(address)

    def nat_of(self, peer_id: PeerId) -> NatFacts | None:
        """Returns what a peer has said of its own NAT, or None where it has not."""
        return self._services.nat.theirs(peer_id)

    # this node

    def protocols(self) -> tuple[str, ...]:
        """Returns everything that this node answers to, built in or not."""
        return tuple(sorted((*self._services.offered_ids, *self._streams.handled)))

    def listen_addresses(self) -> tuple[Multiaddr, ...]:
        """Returns where this node listens, without /p2p/; peers elsewhere may not get there."""
        return self._state.addresses.listen_addresses()

    def advertised_addresses(self) -> tuple[Multiaddr, ...]:
        """Returns what others are told: confirmed, near and relayed addresses."""
        return self._state.description.advertised()

    def observed(self, now: Instant) -> tuple[SocketReport, ...]:
        """Returns where peers see this node, by socket."""
        return self._state.observed.snapshot(now)

    def reachability(self, now: Instant) -> Reachability:
        """Returns whether strangers reach this node."""
        return self._state.reachability.overall(now)

    def verdicts(self, now: Instant) -> tuple[tuple[Multiaddr, Verdict], ...]:
        """Returns the verdict on every address that this node might have, best ones first."""
        return self._state.reachability.verdicts(now)

    def nat_behaviour(self, now: Instant, *, ipv6: bool = False) -> NatBehaviourReport:
        """Returns what the evidence of this node's own connections amounts to."""
        return self._services.nat.behaviour(now, ipv6=ipv6)

    def own_nat(self, now: Instant) -> NatFacts:
        """Returns what peers are told of this node's NAT."""
        return self._services.nat.own_facts(now)

    def ips_to_avoid(self, now: Instant) -> tuple[str, ...]:
        """Returns whom this node must not contact now: strangers who are about to knock."""
        return self._services.autonat_client.ips_to_avoid(now)

    # relays

    def reservations(self) -> tuple[Reservation, ...]:
        """Returns the relays that hold a reservation for this node, the best first."""
        client = self._services.relay_client
        return tuple(
            Reservation(relay, expires_at, client.clock_skew(relay))
            for relay, expires_at in client.reservations()
        )

    def relayed_addresses(self) -> tuple[Multiaddr, ...]:
        """Returns this node's addresses through relays, its own /p2p at the end."""
        return self._services.relay_client.addresses()

    def relay_of(self, route: Route) -> PeerId | None:
        """Returns the relay of a circuit that stands."""
        return self._services.relay_client.relay_of(route)

    def circuits_to(self, peer_id: PeerId) -> tuple[Route, ...]:
        """Returns the circuits to a peer that this node asked for and that stand."""
        return self._services.relay_client.circuits_to(peer_id)

    def resources(self) -> list[ResourceUse]:
        """Returns how much of each resource others hold, and how often they were refused more."""
        return self._transports.account.uses()

    def refusals(self) -> dict[tuple[Resource, ScopeKind], int]:
        """Returns how often something was refused since the start, by what was full."""
        return dict(self._transports.account.refusals.counts)

    def early_drops(self) -> Drops:
        """Returns the packets that came before their connection, and found no room."""
        return self._transports.account.early_drops

    # this node as a relay

    def relaying(self) -> tuple[Relaying, ...]:
        """Returns how much was relayed for each peer, the most first."""
        return self._services.relay_server.relaying()

    def relayed_volume(self) -> int:
        """Returns the bytes that were relayed for others in this month."""
        return self._services.relay_server.volume.used

    def relayed_months(self) -> dict[str, int]:
        """Returns the bytes that were relayed by month, as 2026-11, as far as they are counted."""
        return self._services.relay_server.volume.months

    def is_relay_drained(self) -> bool:
        """Returns whether nothing is left to wait for after `Swarm.drain_relay`."""
        return self._services.relay_server.is_drained


def _connection_facts(handle: ConnectionHandle, connection: MuxedConnection) -> ConnectionFacts:
    return ConnectionFacts(
        handle,
        connection.peer_id,
        connection.is_initiator,
        connection.route,
        connection.rtt,
        len(connection.streams),
        connection.transport,
        connection.is_limited,
        connection.is_closed,
    )
