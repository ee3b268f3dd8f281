"""Understands where a node is to listen: addresses of any transport that it speaks.

Rule: what cannot be listened on is one sentence, told before any socket is opened.
"""

import ipaddress
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from p2pnode.errors import AddressError
from p2pnode.identity.transport_addr import transport_addr, transport_multiaddr
from p2pnode.io.dial_target import zone_hint, zone_index
from p2pnode.io.interfaces import InterfaceAddress, read_interfaces
from p2pnode.machine import SocketAddr
from p2pnode.transports.makers import SPOKEN
from p2pnode.wire.ip_ranges import is_link_local, why_no_host
from p2pnode.wire.multiaddr import Multiaddr, parse_multiaddr
from p2pnode.wire.transport_name import Carrier, TransportName

WILDCARDS: Final = ("0.0.0.0", "::")  # noqa: S104 - a peer is there for everybody

_GIVE_ANOTHER = "give an address of this machine, or 0.0.0.0 or :: for all"
_MAX_PREFIX_WITH_BROADCAST = 30  # bits; RFC 3021: a /31 is two hosts and nothing else


class ListenAddress(NamedTuple):
    """Where to listen.  The transports over UDP share a socket, so none of them is named."""

    carrier: Carrier
    bind: SocketAddr


def listen_address(
    given: Multiaddr | str,
    interfaces: Callable[[], tuple[InterfaceAddress, ...]] = read_interfaces,
    spoken: tuple[TransportName, ...] = SPOKEN,
) -> ListenAddress:
    """Returns where to listen.  Raises AddressError for what is no such address.

    Systems take broadcast and multicast addresses, and packets for a whole network arrive there;
    but answers would leave from another address, and nobody could dial it.
    """
    address = parse_multiaddr(given) if isinstance(given, str) else given
    # callers may have no type checker
    if not isinstance(address, Multiaddr):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"an address is a multiaddr or its text, not {type(given).__name__}")
    parts = transport_addr(address)
    if parts is None or not parts.is_ip:
        anywhere = SocketAddr(WILDCARDS[0], 4001)
        examples = " or ".join(str(transport_multiaddr(anywhere, each)) for each in spoken)
        raise AddressError(f"cannot listen on {given}: not an address such as {examples}")
    if parts.transport not in spoken:
        raise AddressError(f"cannot listen on {given}: this node does not speak {parts.transport}")
    if parts.peer_id is not None:
        raise AddressError(
            f"cannot listen on {given}: leave out /p2p/{parts.peer_id}, for a node listens under "
            "the id of its own key"
        )
    if (reason := _why_not_ours(parts.host, has_zone=bool(parts.zone))) is not None:
        raise AddressError(f"cannot listen on {given}: {reason}")
    if _is_broadcast(parts.host, interfaces()):
        raise AddressError(
            f"cannot listen on {given}: {parts.host} is the broadcast address of a network; "
            f"{_GIVE_ANOTHER}"
        )
    zone = zone_index(parts.zone) if parts.zone else 0
    return ListenAddress(parts.transport.carrier, SocketAddr(parts.host, parts.port, zone))


def _why_not_ours(ip: str, *, has_zone: bool) -> str | None:
    """Returns why a machine cannot have this address, and what to do, or None where it can."""
    reason = None if ip in WILDCARDS else why_no_host(ip)
    if reason is not None:
        return f"{ip} is {reason}; {_GIVE_ANOTHER}"
    if ":" in ip and is_link_local(ip) and not has_zone:
        return zone_hint(ip)
    return None


def _is_broadcast(ip: str, interfaces: Iterable[InterfaceAddress]) -> bool:
    """True for the last address of a network of ours; RFC 3021 has none in one of two hosts."""
    own = [own for own in interfaces if ":" not in own.ip]
    if ":" in ip or any(ip == address.ip for address in own):
        return False
    wanted = ipaddress.IPv4Address(ip)
    networks = (
        ipaddress.IPv4Network((address.ip, address.prefix_length), strict=False)
        for address in own
        if address.prefix_length <= _MAX_PREFIX_WITH_BROADCAST
    )
    return any(wanted == network.broadcast_address for network in networks)
