"""Common networks in one line, made of the parts that one could also join by hand.

    Internet (router) --+-- host "relay"            public, one address of each family
                        +-- site "a"                NAT, firewall, LAN with hosts
                        +-- carrier "isp" --+-- site "b"      double NAT
                                            +-- site "c"

Public addresses are globally routable, for nodes rightly refuse to dial others; every site's LAN is
192.168.1.0/24, as at home.  With the default links any two hosts in different sites or on public
addresses are 50 ms of round trip apart.
"""

from dataclasses import dataclass

from p2pnode.netsim.firewall import Firewall, FirewallBehaviour
from p2pnode.netsim.host import Host, HostParams
from p2pnode.netsim.link import Link, LinkParams
from p2pnode.netsim.nat_behaviour import NatBehaviour
from p2pnode.netsim.nat_box import NatBox
from p2pnode.netsim.part import Port, TwoPort, chain, connect
from p2pnode.netsim.router import Router
from p2pnode.netsim.udp_block import BlockPolicy, UdpBlock
from p2pnode.netsim.world import World

ACCESS = LinkParams(delay=0.0125)
"""Seconds.  Chosen: two access links each way make 50 ms of round trip between any two hosts."""

CORE_HOPS = 8
"""Hops that the Internet costs.  Chosen: an opener with a TTL of 3 to 8 dies in its middle."""

FIRST_OCTETS = (*range(20, 100), *range(130, 150))
"""Of public IPv4 addresses; all of them are globally routable unicast."""

MAX_SITES = 4_000
"""Sites and public hosts of one realm.  Chosen: 100.64.0.0/10 has room for four times as many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteParams:
    """A customer's network; with the defaults one host on a public IPv4 address."""

    hosts: int = 1
    nat: NatBehaviour | None = None
    """None gives every host an address of the realm."""
    public_ips: int = 1
    """Addresses of the NAT box."""
    ipv4: bool = True
    ipv6: bool = False
    """Every host also gets a global IPv6 address, which no NAT translates."""
    firewall: FirewallBehaviour | None = None
    """Between the LAN and the NAT box; for both families unless it says otherwise."""
    block: BlockPolicy | None = None
    access: LinkParams = ACCESS
    """From the site to the realm, and back where `access_down` is not given."""
    access_down: LinkParams | None = None
    lan: LinkParams | None = None
    """Between each host and the LAN's switch; None for a cable without delay."""
    host: HostParams | None = None


@dataclass(frozen=True, slots=True)
class Site:
    """What was built for a site."""

    hosts: tuple[Host, ...]
    link: Link
    """The access link."""
    switch: Router
    nat: NatBox | None
    firewall: Firewall | None
    block: UdpBlock | None


class Realm:
    """An address space with a router in its middle: the Internet, or the inside of a carrier."""

    def __init__(
        self, world: World, name: str, *, hops: int = CORE_HOPS, parent: "Realm | None" = None
    ) -> None:
        self.world = world
        self.name = name
        self.router = Router(world, name, hops=hops)
        self._parent = parent
        self._uplink: Port | None = None
        self._next_ipv4 = 0
        self._next_ipv6 = 0

    def host(
        self,
        name: str,
        *,
        ipv6: bool = True,
        access: LinkParams = ACCESS,
        params: HostParams | None = None,
    ) -> Host:
        """Adds a host with an address of its own in each family and nothing in the way."""
        host = Host(self.world, name, params)
        link = Link(self.world, f"{name}-access", access)
        prefix = self._ipv4_prefix()
        addresses, routes = [f"{prefix}.1/24"], [f"{prefix}.0/24"]
        if ipv6:
            site = self._ipv6_prefix()
            addresses.append(f"{site}:1::1/64")
            routes.append(f"{site}::/48")
        port = self.router.port()
        chain(host.add_interface(*addresses), link, outer=port)
        self._announce(port, *routes)
        return host

    def site(self, name: str, params: SiteParams) -> Site:
        """Adds a customer's network; its hosts are `name`, or `name-0`, `name-1` and so on."""
        world = self.world
        switch = Router(world, f"{name}-lan", hops=0)
        link = Link(world, f"{name}-access", params.access, params.access_down)
        prefix = self._ipv4_prefix()
        firewall = nat = block = None
        parts: list[TwoPort] = []
        if params.block is not None:
            block = UdpBlock(world, f"{name}-block", params.block)
            parts.append(block)
        if params.firewall is not None:
            firewall = Firewall(world, f"{name}-firewall", params.firewall)
            parts.append(firewall)
        if params.nat is not None:
            public_ips = tuple(f"{prefix}.{i + 1}" for i in range(params.public_ips))
            nat = NatBox(world, f"{name}-nat", public_ips, params.nat)
            parts.append(nat)
        port = self.router.port()
        chain(switch.port("0.0.0.0/0", "::/0"), *parts, link, outer=port)
        ipv6_prefix = self._ipv6_prefix() if params.ipv6 else None
        routes = [f"{prefix}.0/24"] if params.ipv4 else []
        if ipv6_prefix is not None:
            routes.append(f"{ipv6_prefix}::/48")
        self._announce(port, *routes)
        lan = "192.168.1" if nat is not None else prefix
        hosts = [
            self._lan_host(name if params.hosts == 1 else f"{name}-{i}", params, switch, addresses)
            for i, addresses in enumerate(
                _addresses(params, lan, ipv6_prefix, i) for i in range(params.hosts)
            )
        ]
        return Site(tuple(hosts), link, switch, nat, firewall, block)

    def carrier(
        self, name: str, behaviour: NatBehaviour, *, public_ips: int = 1, hops: int = 1
    ) -> tuple["Realm", NatBox]:
        """Adds a carrier with a NAT of its own; sites of the realm it returns are behind two."""
        realm = Realm(self.world, name, hops=hops, parent=self)
        prefix = self._ipv4_prefix()
        ips = tuple(f"{prefix}.{i + 1}" for i in range(public_ips))
        nat = NatBox(self.world, f"{name}-nat", ips, behaviour)
        realm._uplink = self.router.port(f"{prefix}.0/24")
        chain(realm.router.port("0.0.0.0/0", "::/0"), nat, outer=realm._uplink)
        return realm, nat

    def _lan_host(
        self, name: str, params: SiteParams, switch: Router, addresses: list[str]
    ) -> Host:
        host = Host(self.world, name, params.host)
        interface = host.add_interface(*addresses)
        port = switch.port(*interface.addresses)
        if params.lan is None:
            connect(interface, port)
        else:
            chain(interface, Link(self.world, f"{name}-cable", params.lan), outer=port)
        return host

    def _announce(self, port: Port, *routes: str) -> None:
        """Routes the prefixes here, and IPv6 ones in the realms above too."""
        for route in routes:
            self.router.add_route(route, port)
            if ":" in route and self._parent is not None and self._uplink is not None:
                self._parent._announce(self._uplink, route)

    def _ipv4_prefix(self) -> str:
        """Returns a /24: on the Internet in /8s that differ, inside a carrier in 100.64.0.0/10."""
        n = self._next_ipv4
        self._next_ipv4 += 1
        if n >= MAX_SITES:
            raise self.world.error(f"more than {MAX_SITES} sites in {self.name}")
        if self._parent is not None:
            return f"100.{64 + n // 256}.{n % 256}"
        return f"{FIRST_OCTETS[n % len(FIRST_OCTETS)]}.{n // len(FIRST_OCTETS)}.0"

    def _ipv6_prefix(self) -> str:
        """Returns a /48, unique in the whole world, as text that another group may follow."""
        if self._parent is not None:
            return self._parent._ipv6_prefix()
        self._next_ipv6 += 1
        return f"2a00:{self._next_ipv6:x}:1"


def _addresses(params: SiteParams, lan: str, ipv6_prefix: str | None, i: int) -> list[str]:
    addresses = [f"{lan}.{i + 10}/24"] if params.ipv4 else []
    if ipv6_prefix is not None:
        addresses.append(f"{ipv6_prefix}:1::{i + 10:x}/64")
    return addresses


def internet(world: World, *, hops: int = CORE_HOPS) -> Realm:
    """Returns an empty Internet."""
    return Realm(world, "internet", hops=hops)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairParams:
    """Two sites and some public hosts; with the seed, all that a sweep has to remember."""

    a: SiteParams = SiteParams()
    b: SiteParams = SiteParams()
    carrier_a: NatBehaviour | None = None
    """A second NAT in front of site a."""
    carrier_b: NatBehaviour | None = None
    public_hosts: int = 1
    hops: int = CORE_HOPS


@dataclass(frozen=True, slots=True)
class Pair:
    """Two hosts that want to talk, and those that may help them."""

    world: World
    internet: Realm
    a: Host
    b: Host
    site_a: Site
    site_b: Site
    public: tuple[Host, ...]
    """Named s0, s1 and so on, each in a /8 of its own."""


def pair(seed: int | str, params: PairParams | None = None) -> Pair:
    """Returns two sites of one Internet; with the defaults two public hosts and a third one."""
    params = PairParams() if params is None else params
    world = World(seed)
    core = internet(world, hops=params.hops)
    public = tuple(core.host(f"s{i}") for i in range(params.public_hosts))
    realm_a = realm_b = core
    if params.carrier_a is not None:
        realm_a, _ = core.carrier("isp-a", params.carrier_a)
    if params.carrier_b is not None:
        realm_b, _ = core.carrier("isp-b", params.carrier_b)
    site_a, site_b = realm_a.site("a", params.a), realm_b.site("b", params.b)
    return Pair(world, core, site_a.hosts[0], site_b.hosts[0], site_a, site_b, public)


def nat_pair(
    seed: int | str, a: NatBehaviour, b: NatBehaviour, *, access: LinkParams = ACCESS
) -> Pair:
    """Returns two hosts, each behind a NAT box of its own, and two public hosts."""
    params = PairParams(
        a=SiteParams(nat=a, access=access), b=SiteParams(nat=b, access=access), public_hosts=2
    )
    return pair(seed, params)


def double_nat_pair(seed: int | str, inner: NatBehaviour, outer: NatBehaviour) -> Pair:
    """Returns two hosts, each behind a home router behind a carrier of its own."""
    site = SiteParams(nat=inner)
    return pair(seed, PairParams(a=site, b=site, carrier_a=outer, carrier_b=outer, public_hosts=2))


def ipv6_pair(seed: int | str, firewall: FirewallBehaviour | None = None) -> Pair:
    """Returns two hosts with IPv6 only, each behind a stateful firewall, and two public ones."""
    firewall = FirewallBehaviour() if firewall is None else firewall
    site = SiteParams(ipv4=False, ipv6=True, firewall=firewall)
    return pair(seed, PairParams(a=site, b=site, public_hosts=2))


@dataclass(frozen=True, slots=True)
class SharedNat:
    """Hosts of one site, and a public one."""

    world: World
    internet: Realm
    site: Site
    public: tuple[Host, ...]


def shared_nat(seed: int | str, behaviour: NatBehaviour, *, hosts: int = 2) -> SharedNat:
    """Returns hosts behind one NAT box, and two public ones."""
    world = World(seed)
    core = internet(world)
    public = (core.host("s0"), core.host("s1"))
    site = core.site("home", SiteParams(nat=behaviour, hosts=hosts))
    return SharedNat(world, core, site, public)


@dataclass(frozen=True, slots=True)
class Wire:
    """Two hosts on one link."""

    world: World
    a: Host
    b: Host
    link: Link


def wire(
    seed: int | str,
    params: LinkParams | None = None,
    back: LinkParams | None = None,
    *,
    mtu: int | None = None,
    host: HostParams | None = None,
) -> Wire:
    """Returns two hosts with both families on one link; `back` is for the way from b to a.

    The interfaces take what the link takes, unless `mtu` says otherwise.
    """
    params = LinkParams() if params is None else params
    world = World(seed)
    link = Link(world, "link", params, back)
    a, b = Host(world, "a", host), Host(world, "b", host)
    mtu = params.mtu if mtu is None else mtu
    at_a = a.add_interface("20.0.0.1/24", "2a00:1:1::1/64", "fe80::1/64", mtu=mtu)
    at_b = b.add_interface("20.0.0.2/24", "2a00:1:1::2/64", "fe80::2/64", mtu=mtu)
    chain(at_a, link, outer=at_b)
    return Wire(world, a, b, link)
