"""A site: a host or some, the routers in front of them, and an access line.

    host eth0 -- lan home router wan -- lan carrier's router wan == the Internet

The outermost namespace has a TUN device, whose other side is the Internet.  A site without routers
has it in the host itself; two hosts or more share a bridge in the innermost router.
"""

import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

from p2pnode.testbed.access import AccessLink, Traffic
from p2pnode.testbed.addresses import HOST_INTERFACE, AddressPlan, SiteAddresses
from p2pnode.testbed.internet import Internet
from p2pnode.testbed.namespaces import BedError, Namespace
from p2pnode.testbed.nat_kinds import NatKind
from p2pnode.testbed.router_rules import BINDING_LIFETIME, INSIDE, OUTSIDE
from p2pnode.testbed.tun import open_tun

MAX_HOSTS = 200  # of a LAN

_FORWARDING = {"ipv4.ip_forward": 1}
_FORWARDING6 = {"ipv6.conf.all.forwarding": 1}
_NO_DAD = {"ipv6.conf.default.accept_dad": 0}
"""Without duplicate address detection a router asks for its neighbours at once, not in seconds."""
_UDP_LIFETIMES = ("netfilter.nf_conntrack_udp_timeout", "netfilter.nf_conntrack_udp_timeout_stream")


class SiteParams(NamedTuple):
    """What makes a site."""

    name: str
    kind: NatKind
    hosts: int
    access: AccessLink
    ipv6: bool
    lifetime: int | None


class Site:
    """A customer's network; every change is done when the method returns, or raises BedError."""

    def __init__(
        self,
        params: SiteParams,
        plan: AddressPlan,
        internet: Internet,
        new_namespace: Callable[[str], Namespace],
    ) -> None:
        name, kind, hosts = params.name, params.kind, params.hosts
        if not 1 <= hosts <= (MAX_HOSTS if kind.routers else 1):
            raise BedError(f"a site of kind {kind.name} cannot have {hosts} hosts")
        self.name, self.kind, self.access = name, kind, params.access
        self._params, self._plan, self._internet = params, plan, internet
        self._addresses = self._next_addresses()
        self._ports: range | None = None
        roles = [name] if hosts == 1 else [f"{name}-{i}" for i in range(hosts)]
        self.hosts = tuple(new_namespace(role) for role in roles)
        self.routers = tuple(new_namespace(f"{name}-router-{i}") for i in range(len(kind.routers)))
        """From the hosts outwards."""
        self._build()

    @property
    def host(self) -> Namespace:
        """The first one."""
        return self.hosts[0]

    @property
    def host_ips(self) -> tuple[str, ...]:
        """What the hosts themselves know."""
        return tuple(self._addresses.host(i) for i in range(len(self.hosts)))

    @property
    def public_ip(self) -> str:
        """Under which the Internet sees the first host."""
        return self._addresses.public_ip

    @property
    def public_ip6(self) -> str | None:
        """Of the first host."""
        return self._addresses.host6(0)

    def reboot_nat(self, ports: range | None = None) -> None:
        """Makes the routers forget everything, as when they are switched off and on.

        Routers that keep ports give the same ones again, unless they shall draw them from `ports`.
        """
        if not self.routers:
            raise BedError(f"site {self.name} has no router")
        self._ports = ports if ports is not None else self._ports
        self._set_rules()
        for router in self.routers:
            router.forget_connections()

    def change_address(self) -> None:
        """Gives the site another public prefix; the old one goes nowhere from now on.

        What was translated by the outermost router is forgotten, as the kernel itself does.
        """
        before, self._addresses = self._addresses, self._next_addresses()
        for namespace, interfaces, lines in self._settings(self._addresses):
            (old,) = [lines for other, _, lines in self._settings(before) if other is namespace]
            if lines != old:
                flush = [f"addr flush dev {name} scope global" for name in interfaces]
                namespace.ip(*flush, *lines)
        self._internet.set_prefixes(self.name, self._addresses.prefix.routes)
        if self.routers:
            self._set_rules()
            self.routers[-1].forget_connections()

    def cut(self) -> None:
        """Lets nothing through between the site and the Internet; interfaces stay up."""
        self._internet.set_up(self.name, up=False)

    def mend(self) -> None:
        self._internet.set_up(self.name, up=True)

    def set_access(self, access: AccessLink) -> None:
        """Changes the access line, for packets that are sent from now on."""
        self._internet.set_access(self.name, access)
        self.access = access

    def traffic(self) -> Traffic:
        """Returns what the Internet has seen of the site so far."""
        return self._internet.traffic(self.name)

    def _next_addresses(self) -> SiteAddresses:
        prefix = self._plan.next(ipv6=self._params.ipv6)
        return SiteAddresses(prefix, len(self.kind.routers), self.kind.is_translated)

    def _build(self) -> None:
        outermost = self.routers[-1] if self.routers else self.host
        tun = open_tun(outermost, OUTSIDE if self.routers else HOST_INTERFACE)
        try:
            if self._params.ipv6:
                for namespace in (*self.hosts, *self.routers):
                    namespace.set_sysctls(_NO_DAD)
            for namespace, interfaces, lines in self._settings(self._addresses):
                up = [f"link set {name} up" for name in interfaces]
                namespace.ip(*self._links(namespace), *up, *lines)
            self._set_rules()
            for router in self.routers:
                router.set_sysctls(self._router_sysctls())
        except BedError:
            os.close(tun)
            raise
        inodes = [namespace.inode for namespace in (*self.hosts, *self.routers)]
        routes = self._addresses.prefix.routes
        self._internet.add(self.name, tun, routes, self.access, inodes)

    def _links(self, namespace: Namespace) -> list[str]:
        """Returns what makes the inner links of a router; every link is made by its outer end."""
        if namespace in self.hosts:
            return []
        level = self.routers.index(namespace)
        if level > 0:
            return [_veth(INSIDE, OUTSIDE, self.routers[level - 1])]
        if len(self.hosts) == 1:
            return [_veth(INSIDE, HOST_INTERFACE, self.host)]
        lines = [f"link add {INSIDE} type bridge"]
        for i, host in enumerate(self.hosts):
            lines += [
                _veth(f"port{i}", HOST_INTERFACE, host),
                f"link set port{i} master {INSIDE} up",
            ]
        return lines

    def _settings(
        self, addresses: SiteAddresses
    ) -> Iterator[tuple[Namespace, list[str], list[str]]]:
        """Yields the namespaces from outside in, each with its interfaces, and with addresses and
        routes as commands of ip."""
        for level in reversed(range(len(self.routers))):
            yield self.routers[level], [INSIDE, OUTSIDE], addresses.router_settings(level)
        for i, host in enumerate(self.hosts):
            yield host, [HOST_INTERFACE], addresses.host_settings(i)

    def _set_rules(self) -> None:
        lifetime = self._params.lifetime or BINDING_LIFETIME
        for level, (router, rules) in enumerate(zip(self.routers, self.kind.routers, strict=True)):
            inner = self._addresses.inner(level)
            router.set_rules(rules.nftables(inner, lifetime=lifetime, ports=self._ports))

    def _router_sysctls(self) -> dict[str, int]:
        values = {**_FORWARDING, **(_FORWARDING6 if self._params.ipv6 else {})}
        if self._params.lifetime is not None:
            values.update(dict.fromkeys(_UDP_LIFETIMES, self._params.lifetime))
        return values


def _veth(name: str, peer: str, namespace: Namespace) -> str:
    return f"link add {name} type veth peer name {peer} netns {namespace.path}"
