"""Which IP addresses strangers can reach, and which addresses belong to one owner.

The ranges are libp2p's (go-multiaddr net/private.go), so that two implementations agree on what
is worth telling.  Rule: everything that is not known to be public is not public.
"""

import enum
import ipaddress
from functools import lru_cache
from typing import TypeAlias

from p2pnode.errors import AddressError

IpAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


class IpScope(enum.Enum):
    """How far away an address means anything."""

    LOOPBACK = "loopback"
    PRIVATE = "private"
    PUBLIC = "public"
    UNROUTABLE = "unroutable"


def _networks(*texts: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


_PRIVATE_V4 = _networks(
    "10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"
)
_UNROUTABLE_V4 = _networks(
    "0.0.0.0/8",
    "192.0.0.0/26",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
)
_PRIVATE_V6 = _networks("fc00::/7", "fe80::/10")
_UNROUTABLE_V6 = _networks("ff00::/8", "2001:db8::/32")
_LIMITED_BROADCAST = ipaddress.IPv4Address("255.255.255.255")
_NAT64 = _networks("64:ff9b::/96", "64:ff9b:1::/48")
_PUBLIC_V6 = (*_networks("2000::/3"), *_NAT64)

PRIVATE_DNS_SUFFIXES = (
    ".localhost",
    ".local",
    ".test",
    ".invalid",
    ".home.arpa",
    ".in-addr.arpa",
    ".ip6.arpa",
)
"""Names that mean nothing outside one machine or network (RFC 6761, RFC 8375)."""

_CACHED_ADDRESSES = 1024  # entries; chosen: the addresses of a few hundred peers


@lru_cache(maxsize=_CACHED_ADDRESSES)
def parse_ip(text: str) -> IpAddress:
    """Returns the address.  Raises AddressError for what is none, and for one with a zone."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError as exc:
        raise AddressError(f"{text!r} is not an IP address") from exc
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        raise AddressError(f"{text!r} has a zone, which belongs beside the address")
    return address


@lru_cache(maxsize=_CACHED_ADDRESSES)
def ip_scope(ip: str) -> IpScope:
    """Returns how far `ip` reaches.  Raises AddressError where it is not an IP address."""
    address = parse_ip(ip)
    if address.is_loopback:
        return IpScope.LOOPBACK
    if isinstance(address, ipaddress.IPv4Address):
        if any(address in network for network in _PRIVATE_V4):
            return IpScope.PRIVATE
        if any(address in network for network in _UNROUTABLE_V4):
            return IpScope.UNROUTABLE
        return IpScope.PUBLIC
    if any(address in network for network in _PRIVATE_V6):
        return IpScope.PRIVATE
    if any(address in network for network in _UNROUTABLE_V6):
        return IpScope.UNROUTABLE
    if any(address in network for network in _PUBLIC_V6):
        return IpScope.PUBLIC
    return IpScope.UNROUTABLE


def dns_scope(name: str) -> IpScope:
    """Returns how far a DNS name may reach, judged by its suffix alone."""
    dotted = "." + name.rstrip(".").lower()
    return IpScope.PRIVATE if dotted.endswith(PRIVATE_DNS_SUFFIXES) else IpScope.PUBLIC


def is_nat64(ip: str) -> bool:
    """True for an IPv4 host as an IPv6-only network shows it (RFC 6052, RFC 8215)."""
    address = parse_ip(ip)
    return any(address in network for network in _NAT64)


def is_link_local(ip: str) -> bool:
    """True for an address that needs an interface beside it when it is IPv6."""
    return parse_ip(ip).is_link_local


def why_no_host(ip: str) -> str | None:
    """Returns what `ip` is where it is not the address of one host, in words after "is"."""
    address = parse_ip(ip)
    if address.is_multicast:
        return "a multicast address"
    if address == _LIMITED_BROADCAST:
        return "the broadcast address"
    if address.is_unspecified:
        return "no address of one machine"
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return f"the IPv4 address {address.ipv4_mapped} in IPv6 form"
    return None


def owner_group(ip: str, ipv6_prefix: int = 56) -> str:
    """Returns a key that is equal for addresses which one customer can take at will.

    An IPv4 address stands for itself, an IPv6 address for its /56 (what providers hand out, and
    what go-libp2p counts observers by).  Pass 64 where one link is meant, as for address tokens.
    """
    address = parse_ip(ip)
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.IPv6Network((address, ipv6_prefix), strict=False))
