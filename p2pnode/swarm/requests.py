"""What the swarm's own parts ask of services; `CommandRunner` passes it on.

Answers come as services' commands and events: `UseCircuit` or `CircuitFailed`, `PeerFound` or
`PeerNotFound`.
"""

from dataclasses import dataclass
from typing import TypeAlias

from p2pnode.identity.peer_id import PeerId
from p2pnode.transports.route import Route
from p2pnode.wire.multiaddr import Multiaddr


@dataclass(frozen=True, slots=True)
class FindPeer:
    """Ask other peers where one is."""

    peer_id: PeerId


@dataclass(frozen=True, slots=True)
class RequestCircuit:
    """Ask a relay for a circuit to a peer."""

    peer_id: PeerId
    relay: PeerId
    addresses: tuple[Multiaddr, ...] = ()
    """The relay's, beside those that the book has."""


@dataclass(frozen=True, slots=True)
class ReleaseCircuit:
    """Give back a circuit that nobody uses."""

    route: Route


ServiceRequest: TypeAlias = FindPeer | RequestCircuit | ReleaseCircuit
