"""What an application gives to say whom it wants: an address, a peer id, or text of either."""

import socket
from typing import NamedTuple, TypeAlias

from p2pnode.errors import AddressError
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.peer_multiaddr import split_peer_id
from p2pnode.wire.multiaddr import (
    Code,
    Component,
    Multiaddr,
    components,
    join_components,
    parse_multiaddr,
)

Target: TypeAlias = str | Multiaddr | PeerId


class DialTarget(NamedTuple):
    """A target, understood.  At least one of the two is there."""

    peer_id: PeerId | None
    address: Multiaddr | None
    """Without /p2p/ at its end."""

    def __str__(self) -> str:
        return str(self.address if self.peer_id is None else self.peer_id)


def dial_target(target: Target) -> DialTarget:
    """Returns what was meant.  Raises AddressError."""
    if isinstance(target, PeerId):
        return DialTarget(target, None)
    if isinstance(target, str):
        if not target.startswith("/"):
            return DialTarget(PeerId.parse(target), None)
        target = parse_multiaddr(target)
    parts = components(target)
    if len(parts) == 1 and parts[0].code == Code.P2P:
        return DialTarget(PeerId(parts[0].value), None)
    address, peer_id = split_peer_id(target)
    return DialTarget(peer_id, _with_zone_index(address))


def _with_zone_index(address: Multiaddr) -> Multiaddr:
    """Replaces the name of an interface by its number, which is what sockets take."""
    parts = components(address)
    if not parts or parts[0].code != Code.IP6ZONE:
        return address
    index = zone_index(parts[0].value.decode())
    return join_components([Component(Code.IP6ZONE, str(index).encode()), *parts[1:]])


def zone_index(zone: str) -> int:
    """Returns the number of the interface that an IPv6 zone names.  Raises AddressError."""
    if zone.isdigit():
        return int(zone)
    try:
        return socket.if_nametoindex(zone)
    except OSError as exc:
        raise AddressError(f"this machine has no network interface {zone!r}") from exc
