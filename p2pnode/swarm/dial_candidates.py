"""Addresses as something to dial: directly, or through a relay."""

from collections.abc import Sequence

from p2pnode.errors import AddressError, LocalProtocolError
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.peer_multiaddr import circuit_addr, split_peer_id, with_peer_id
from p2pnode.identity.transport_addr import transport_addr
from p2pnode.protocols.relay import circuit_addrs
from p2pnode.swarm.dialer import DialCandidate, RelayedCandidate
from p2pnode.swarm.peer import Peer
from p2pnode.wire.multiaddr import Code, Component, Multiaddr, is_relayed, join_components
from p2pnode.wire.transport_name import TransportName


def without_peer(addresses: Sequence[Multiaddr]) -> tuple[Multiaddr, ...]:
    """Returns the addresses without /p2p/<id> at the end."""
    return tuple(split_peer_id(address)[0] for address in addresses)


def candidate_of(
    address: Multiaddr, transports: tuple[TransportName, ...]
) -> DialCandidate | RelayedCandidate:
    """Returns what a user gave as something to try.

    Raises AddressError, and LocalProtocolError for a name.
    """
    if is_relayed(address):
        relayed = circuit_addr(address)
        if relayed is None or relayed.transport not in transports:
            raise AddressError(
                f"{address} does not lead through a relay that this node can dial: "
                f"{_examples(transports, '/p2p/<relay>/p2p-circuit/p2p/<peer>')}"
            )
        return RelayedCandidate(address, relayed.relay, relayed.address)
    parts = transport_addr(address)
    if parts is None or parts.transport not in transports:
        raise AddressError(
            f"{address} is no address of a transport that this node dials: {_examples(transports)}"
        )
    remote = parts.socket_addr
    if remote is None:
        raise LocalProtocolError("names are resolved by the shell before a swarm dials")
    return DialCandidate(address, remote, parts.transport)


def _examples(transports: tuple[TransportName, ...], behind: str = "") -> str:
    return ", ".join(f"{name} ({name.example}{behind})" for name in transports)


def candidate_or_none(
    address: Multiaddr, transports: tuple[TransportName, ...]
) -> DialCandidate | RelayedCandidate | None:
    """Returns what others told as something to try, or None where it is nothing for us."""
    try:
        return candidate_of(address, transports)
    except (AddressError, LocalProtocolError):
        return None


def through(peer: Peer, wanted: PeerId) -> RelayedCandidate:
    """Returns the try to reach a peer through one that is connected."""
    relay_address = peer.address
    (address,) = circuit_addrs((with_peer_id(relay_address, peer.peer_id),), wanted)
    return RelayedCandidate(address, peer.peer_id, relay_address)


def peer_address(peer_id: PeerId) -> Multiaddr:
    """Returns a peer's id alone, as an address: /p2p/<id>."""
    return join_components([Component(Code.P2P, peer_id.multihash)])
