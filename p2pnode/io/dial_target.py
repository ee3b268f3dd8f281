"""What an application gives to say whom it wants: an address, a peer id, or text of either."""

import ipaddress
import socket
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

from p2pnode.errors import AddressError
from p2pnode.identity.peer_id import MAX_PEER_ID_TEXT, PeerId
from p2pnode.identity.peer_multiaddr import split_peer_id
from p2pnode.wire.ip_ranges import is_link_local, why_no_host
from p2pnode.wire.multiaddr import (
    Code,
    Component,
    Multiaddr,
    components,
    join_components,
    parse_multiaddr,
)

TEXTS_KEPT: Final = 256
"""Texts whose meaning is kept: who opens many streams gives the same text each time."""

MAX_ZONE_INDEX: Final = (1 << 31) - 1
"""The highest number of an interface; Linux's, a signed 32-bit integer."""

Target: TypeAlias = str | Multiaddr | PeerId


class DialTarget(NamedTuple):
    """A target, understood.  At least one of the two is there."""

    peer_id: PeerId | None
    address: Multiaddr | None
    """Without /p2p/ at its end."""

    def __str__(self) -> str:
        return str(self.address if self.peer_id is None else self.peer_id)


def no_address_error(target: DialTarget) -> AddressError:
    """Returns what is wrong with a peer id alone, where a peer to begin with is wanted."""
    return AddressError(
        f"{target} is a peer id alone: a peer to begin with is given by its full address"
    )


def dial_target(target: Target) -> DialTarget:
    """Returns what was meant.  Raises AddressError, and TypeError for what is no target at all."""
    kinds = (str, Multiaddr, PeerId)  # callers may have no type checker
    if not isinstance(target, kinds):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(
            f"a target is a multiaddr or a peer id, or text of either, not {type(target).__name__}"
        )
    meant = _parse(target) if isinstance(target, str) else target
    if isinstance(meant, PeerId):
        return DialTarget(meant, None)
    parts = components(meant)
    if len(parts) == 1 and parts[0].code == Code.P2P:
        return DialTarget(PeerId(parts[0].value), None)
    address, peer_id = split_peer_id(meant)
    address = _with_zone_index(address)
    _check_first_hop(address)
    return DialTarget(peer_id, address)


def bootstrap_targets(addresses: Iterable[Target]) -> list[DialTarget]:
    """Returns what to dial.  Raises AddressError for what gives no address."""
    targets = [dial_target(address) for address in addresses]
    for target in targets:
        if target.address is None:
            raise no_address_error(target)
    return targets


@lru_cache(maxsize=TEXTS_KEPT)
def _parse(text: str) -> Multiaddr | PeerId:
    text = text.strip()
    if text.startswith("/"):
        return parse_multiaddr(text)
    try:
        return PeerId.parse(text)
    except AddressError as exc:
        raise AddressError(
            f"{text[:MAX_PEER_ID_TEXT]!r} is neither a multiaddr such as "
            "/ip4/192.0.2.1/udp/4001/noise nor a peer id"
        ) from exc


def _check_first_hop(address: Multiaddr) -> None:
    """Raises AddressError where no packet can be sent to the address's first host."""
    parts = components(address)
    has_zone = bool(parts) and parts[0].code == Code.IP6ZONE
    host = parts[has_zone : has_zone + 1]
    if not host or host[0].code not in (Code.IP4, Code.IP6):
        return
    ip = str(ipaddress.ip_address(host[0].value))
    if (reason := why_no_host(ip)) is not None:
        raise AddressError(f"cannot dial {address}: {ip} is {reason}; give the peer's own")
    if is_link_local(ip) and ":" in ip and not has_zone:
        raise AddressError(f"cannot dial {address}: {zone_hint(ip)}")
    port = parts[has_zone + 1 : has_zone + 2]
    if port and port[0] in (Component(Code.UDP, b"\0\0"), Component(Code.TCP, b"\0\0")):
        raise AddressError(f"cannot dial {address}: no peer has port 0; give the peer's own")


def zone_hint(ip: str) -> str:
    """Returns what is missing beside a link-local IPv6 address, and how to give it."""
    return (
        f"{ip} is link-local and means nothing without an interface: give it as "
        f"/ip6zone/INTERFACE/ip6/{ip}/…, with a name such as eth0"
    )


def _with_zone_index(address: Multiaddr) -> Multiaddr:
    """Replaces the name of an interface by its number, which is what sockets take."""
    parts = components(address)
    if not parts or parts[0].code != Code.IP6ZONE:
        return address
    index = zone_index(parts[0].value.decode())
    return join_components([Component(Code.IP6ZONE, str(index).encode()), *parts[1:]])


def zone_index(zone: str) -> int:
    """Returns the number of the interface that an IPv6 zone names.  Raises AddressError."""
    if zone.isascii() and zone.isdigit() and 0 < int(zone) <= MAX_ZONE_INDEX:
        return int(zone)
    try:
        return socket.if_nametoindex(zone)
    except OSError as exc:
        raise AddressError(f"this machine has no network interface {zone!r}") from exc
