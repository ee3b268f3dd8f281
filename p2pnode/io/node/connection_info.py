"""Which way the packets of a connection go, and how long they take."""

from typing import Literal, NamedTuple, TypeAlias

from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.transport_addr import transport_multiaddr
from p2pnode.machine import ConnectionHandle
from p2pnode.swarm.facts import SwarmFacts
from p2pnode.transports.route import Route
from p2pnode.wire.multiaddr import Multiaddr
from p2pnode.wire.transport_name import TransportName

PathKind: TypeAlias = Literal["direct", "relayed"]


class ConnectionInfo(NamedTuple):
    """A connection at one moment."""

    peer_id: PeerId
    path: PathKind
    via: Multiaddr
    """Where our packets go: the peer's address, or the relay's."""
    rtt: float | None
    """Smoothed round-trip time of the path in use, in seconds; None before the first sample."""
    streams: int
    """Open ones, both sides' and the built-in protocols' included."""
    transport: TransportName
    is_limited: bool
    """Whether a relay will end it after some bytes or some time: not for everything."""


def path_kind(route: Route) -> PathKind:
    """Returns whether a route leads through a relay."""
    return "relayed" if route.is_relayed else "direct"


def via(route: Route, transport: TransportName) -> Multiaddr:
    """Returns the address that packets of a route are sent to."""
    return transport_multiaddr(route.remote, transport)


def connection_info(facts: SwarmFacts, connection: ConnectionHandle) -> ConnectionInfo | None:
    """Returns what there is to know of a connection, or None where it is forgotten.

    A closed one is remembered for a while, and went the way that it says.
    """
    found = facts.connection(connection)
    if found is None:
        return None
    route, transport = found.route, found.transport
    return ConnectionInfo(
        found.peer_id,
        path_kind(route),
        via(route, transport),
        found.rtt,
        found.streams,
        transport,
        found.is_limited,
    )
