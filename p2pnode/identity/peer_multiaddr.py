"""Multiaddrs and peer ids together: /p2p/<id> at an address's end, and addresses through relays."""

from typing import NamedTuple

from p2pnode.errors import AddressError
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.transport_addr import transport_addr
from p2pnode.wire.multiaddr import (
    Code,
    Component,
    Multiaddr,
    components,
    concat,
    join_components,
    split_last_peer,
)
from p2pnode.wire.transport_name import TransportName


class CircuitAddr(NamedTuple):
    """The address of a peer behind a relay, taken apart."""

    relay: PeerId
    address: Multiaddr
    """Of the relay, without its /p2p."""
    peer_id: PeerId | None
    transport: TransportName
    """By which the relay is reached."""


def circuit_addr(address: Multiaddr) -> CircuitAddr | None:
    """Returns the parts of <a relay's address>/p2p/<relay>/p2p-circuit[/p2p/<peer>].

    None for any other address, also for one that leads through two relays.
    """
    parts = components(address)
    codes = [part.code for part in parts]
    if codes.count(Code.P2P_CIRCUIT) != 1:
        return None
    at = codes.index(Code.P2P_CIRCUIT)
    before, after = parts[:at], parts[at + 1 :]
    if len(after) > 1 or any(part.code != Code.P2P for part in after):
        return None
    if not before or before[-1].code != Code.P2P:
        return None
    relay_address = join_components(before[:-1])
    reached = transport_addr(relay_address)
    if reached is None or reached.peer_id is not None:
        return None
    peer_id = PeerId(after[0].value) if after else None
    return CircuitAddr(PeerId(before[-1].value), relay_address, peer_id, reached.transport)


def split_peer_id(address: Multiaddr) -> tuple[Multiaddr, PeerId | None]:
    """Returns the address without /p2p/<id> at its end, and that id, or None where there is none.

    For an address of a circuit this is the peer behind the relay, or None.
    """
    rest, multihash = split_last_peer(address)
    return rest, None if multihash is None else PeerId(multihash)


def with_peer_id(address: Multiaddr, peer_id: PeerId) -> Multiaddr:
    """Returns the address with /p2p/<id> at its end, unless it is there already.

    Raises AddressError where it ends with somebody else's id.
    """
    _, present = split_peer_id(address)
    if present == peer_id:
        return address
    if present is not None:
        raise AddressError(f"{address} already names a peer, and not {peer_id}")
    return concat(address, join_components([Component(Code.P2P, peer_id.multihash)]))
