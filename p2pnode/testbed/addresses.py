"""Which addresses the sites have; like those of `p2pnode.netsim.topology`.

Public ones are globally routable unicast, and each site has a /16 (IPv6: a /32) of its own, because
nodes count peers in one prefix as one.
"""

from typing import NamedTuple

from p2pnode.testbed.namespaces import BedError
from p2pnode.testbed.router_rules import INSIDE, OUTSIDE

FIRST_OCTETS = (*range(20, 100), *range(130, 150))
"""Of public IPv4 addresses."""

MAX_PREFIXES = len(FIRST_OCTETS) * 256

LAN = "192.168.1"
CARRIER = "100.64.0"
"""RFC 6598; between a home router and a carrier's"""

HOST_INTERFACE = "eth0"

FIRST_HOST = 10
"""of a LAN; its router is 1"""


class PublicPrefix(NamedTuple):
    """What a site has of the Internet."""

    ipv4: str
    """Three numbers."""
    ipv6: str | None
    """Three groups."""

    @property
    def routes(self) -> list[str]:
        return [f"{self.ipv4}.0/24", *([f"{self.ipv6}::/48"] if self.ipv6 else [])]


class AddressPlan:
    """Hands out prefixes, none of them twice."""

    def __init__(self) -> None:
        self._used = 0

    def next(self, *, ipv6: bool) -> PublicPrefix:
        if self._used >= MAX_PREFIXES:
            raise BedError(f"a test bed has no more than {MAX_PREFIXES} prefixes")
        n, self._used = self._used, self._used + 1
        ipv4 = f"{FIRST_OCTETS[n % len(FIRST_OCTETS)]}.{n // len(FIRST_OCTETS)}.0"
        return PublicPrefix(ipv4, f"2a00:{n + 1:x}:1" if ipv6 else None)


class SiteAddresses(NamedTuple):
    """All addresses of a site, by level: the hosts' network is level 0, and each router has one
    more level outside of it, the outermost of which is the Internet."""

    prefix: PublicPrefix
    routers: int
    is_translated: bool

    @property
    def public_ip(self) -> str:
        return f"{self.prefix.ipv4}.1" if self.is_translated else self.host(0)

    def host(self, number: int) -> str:
        if self.routers == 0:
            return f"{self.prefix.ipv4}.1"
        return f"{self._network(0)}.{FIRST_HOST + number}"

    def host6(self, number: int) -> str | None:
        return self._ip6(0, FIRST_HOST + number if self.routers else 1)

    def inner(self, level: int) -> str:
        """Returns who is on the inner side of a level: the first host, or a router."""
        return f"{self._network(level)}.{FIRST_HOST}"

    def host_settings(self, number: int) -> list[str]:
        """Returns commands of ip: addresses, then default routes."""
        lines = _add(HOST_INTERFACE, f"{self.host(number)}/24", self.host6(number))
        if self.routers == 0:
            return lines + self._into_the_internet(HOST_INTERFACE)
        return lines + self._defaults(0)

    def router_settings(self, level: int) -> list[str]:
        """Returns the same for a router, and its routes to the levels within."""
        lines = _add(INSIDE, f"{self._network(level)}.1/24", self._ip6(level, 1))
        for within in range(level):
            if self.prefix.ipv6 is not None:
                network, gateway = self._ip6(within, 0), self._ip6(level, FIRST_HOST)
                lines.append(f"route replace {network}/64 via {gateway}")
        if level + 1 < self.routers:
            outside = f"{self.inner(level + 1)}/24", self._ip6(level + 1, FIRST_HOST)
            return [*lines, *_add(OUTSIDE, *outside), *self._defaults(level + 1)]
        if self.is_translated:
            lines += _add(OUTSIDE, f"{self.public_ip}/24", None)
        return lines + self._into_the_internet(OUTSIDE)

    def _network(self, level: int) -> str:
        if not self.is_translated:
            return self.prefix.ipv4
        return LAN if level == 0 else CARRIER

    def _ip6(self, level: int, number: int) -> str | None:
        prefix = self.prefix.ipv6
        return f"{prefix}:{level + 1:x}::{number:x}" if prefix is not None else None

    def _defaults(self, level: int) -> list[str]:
        lines = [f"route replace default via {self._network(level)}.1"]
        if self.prefix.ipv6 is not None:
            lines.append(f"route replace ::/0 via {self._ip6(level, 1)}")
        return lines

    def _into_the_internet(self, interface: str) -> list[str]:
        lines = [f"route replace default dev {interface}"]
        if self.prefix.ipv6 is not None:
            lines.append(f"route replace ::/0 dev {interface}")
        return lines


def _add(interface: str, ipv4: str, ipv6: str | None) -> list[str]:
    lines = [f"addr add {ipv4} dev {interface}"]
    if ipv6 is not None:
        # Without duplicate address detection it can be used at once.
        lines.append(f"addr add {ipv6}/64 dev {interface} nodad")
    return lines
