"""The networks that an address counts for: what one customer, or one provider, can take at will.

An IPv4 address stands for itself.  An IPv6 address counts for its /64 (one link), its /56 (what
households get) and its /48 (what sites get) in turn, or each of 2^64 addresses would be somebody.
"""

import ipaddress
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

from p2pnode.wire.ip_ranges import IpScope, ip_scope

IPV6_PREFIXES: Final = (64, 56, 48)
"""bits, from the smallest network to the largest"""
_CACHED: Final = 4096  # entries; chosen: the addresses of as many connections


class Network(NamedTuple):
    """A prefix, as a key."""

    bits: int
    prefix: int
    is_ipv6: bool

    def __str__(self) -> str:
        if not self.is_ipv6:
            return str(ipaddress.IPv4Address(self.prefix))
        return f"{ipaddress.IPv6Address(self.prefix << (128 - self.bits))}/{self.bits}"


Networks: TypeAlias = tuple[Network, ...]
"""From the smallest to the largest."""


@lru_cache(maxsize=_CACHED)
def networks_of(ip: str) -> Networks:
    """Returns what an address counts for.  Raises ValueError where it is none."""
    address = ipaddress.ip_address(ip.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        mapped = address.ipv4_mapped
        if mapped is None:
            number = int(address)
            return tuple(Network(bits, number >> (128 - bits), True) for bits in IPV6_PREFIXES)
        address = mapped
    return (Network(32, int(address), False),)


@lru_cache(maxsize=_CACHED)
def is_local(ip: str) -> bool:
    """Whether only this machine or its own networks can be there, which are not strangers."""
    return ip_scope(ip.partition("%")[0]) in {IpScope.LOOPBACK, IpScope.PRIVATE}
