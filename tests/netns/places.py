"""The networks in which these tests take place.

Addresses look like those of the Internet, because a peer believes and tells only such ones to peers
there; they exist in our namespaces only.
"""

import json
import re
from typing import NamedTuple

from tests.support.namespaces import Namespace, Network, Port

PUBLIC_IP, PUBLIC_IP6 = "11.22.33.1", "2a00:1122:33::1"
OTHER_IP, OTHER_IP6 = "11.22.33.2", "2a00:1122:33::2"
NEXT_IP = "11.22.33.3"
"""Of a host of the pair that changes its address."""
ROUTER_IP, INSIDE_IP = "10.7.0.1", "10.7.0.2"
FAR_GATEWAY, FAR_IP = "11.22.55.1", "11.22.55.2"

FIRST_PORTS, SECOND_PORTS = range(20000, 20100), range(30000, 30100)
"""Where the NAT router has its mappings, one after the other."""

NARROW_MTU = 1400  # bytes; below Ethernet's, above the 1228 that a first packet needs
ETHERNET_HEADER_SIZE = 14  # bytes


class Pair(NamedTuple):
    """Two hosts."""

    public: Namespace
    other: Namespace

    def slow_down(self, megabits: int) -> None:
        """Limits what the other host sends to `megabits` a second."""
        self.other.tc("qdisc", "add", "dev", "eth0", *_shape(megabits))

    def bytes_sent(self) -> int:
        """How much the other host has sent."""
        return _sent(self.other, "eth0")["bytes"]


class NarrowPath(NamedTuple):
    """Two hosts, and the router where what the first one sends has to become narrow."""

    public: Namespace
    other: Namespace
    near: Namespace

    def too_big(self) -> int:
        """How many times the router would have said that a packet does not fit."""
        (counted,) = re.findall(r"counter packets (\d+)", self.near.list_rules())
        return int(counted)

    def mean_size(self) -> float:
        """Bytes of the packets that went through so far, without Ethernet's header."""
        sent = _sent(self.near, "narrow")
        return sent["bytes"] / sent["packets"] - ETHERNET_HEADER_SIZE


class Nat(NamedTuple):
    """A host behind a router that translates, and one that is in the Internet."""

    inside: Namespace
    router: Namespace
    public: Namespace

    def translate(self, ports: range) -> None:
        """Lets new mappings have these ports; those that stand are kept."""
        self.router.set_rules(f"""
            table ip nat {{
                chain postrouting {{
                    type nat hook postrouting priority srcnat
                    oifname "outside" meta l4proto udp masquerade to :{ports[0]}-{ports[-1]}
                }}
            }}""")

    def forget(self) -> None:
        """Drops all mappings, as when the router is switched off and on again."""
        self.router.ip("link", "set", "dev", "outside", "down")
        self.router.ip("link", "set", "dev", "outside", "up")

    def bytes_sent(self) -> int:
        """How much the router has sent into the Internet."""
        return _sent(self.router, "outside")["bytes"]


def make_pair(network: Network) -> Pair:
    """One link, IPv4 and IPv6."""
    pair = Pair(network.namespace("public"), network.namespace("other"))
    network.join(
        Port(pair.public, (f"{PUBLIC_IP}/24", f"{PUBLIC_IP6}/64")),
        Port(pair.other, (f"{OTHER_IP}/24", f"{OTHER_IP6}/64")),
    )
    return pair


def make_nat(network: Network, *, megabits: int) -> Nat:
    """A kernel's NAT between two links; what leaves it is slowed down to `megabits` a second."""
    names = ("inside", "router", "public")
    nat = Nat(*(network.namespace(name) for name in names))
    network.join(
        Port(nat.inside, (f"{INSIDE_IP}/24",)), Port(nat.router, (f"{ROUTER_IP}/24",), "inside")
    )
    network.join(
        Port(nat.router, (f"{OTHER_IP}/24",), "outside"), Port(nat.public, (f"{PUBLIC_IP}/24",))
    )
    nat.inside.add_route("default", ROUTER_IP)
    nat.router.forward()
    nat.translate(FIRST_PORTS)
    nat.router.tc("qdisc", "add", "dev", "outside", *_shape(megabits))
    return nat


def make_narrow_path(network: Network) -> NarrowPath:
    """Two routers with a narrow link between them, neither of which says so."""
    names = ("public", "near", "far", "other")
    public, near, far, other = (network.namespace(name) for name in names)
    network.join(Port(public, (f"{PUBLIC_IP}/24",)), Port(near, (f"{OTHER_IP}/24",), "hosts"))
    network.join(
        Port(near, ("11.22.44.1/24",), "narrow"),
        Port(far, ("11.22.44.2/24",), "narrow"),
        mtu=NARROW_MTU,
    )
    network.join(Port(far, (f"{FAR_GATEWAY}/24",), "hosts"), Port(other, (f"{FAR_IP}/24",)))
    public.add_route("default", OTHER_IP)
    other.add_route("default", FAR_GATEWAY)
    near.add_route("11.22.55.0/24", "11.22.44.2")
    far.add_route("11.22.33.0/24", "11.22.44.1")
    for router in (near, far):
        router.forward()
        router.set_rules("""
            table ip filter {
                chain output {
                    type filter hook output priority filter
                    meta l4proto icmp counter drop
                }
            }""")
    # Without offload, the link counts packets as they are and not batches of them.
    near.ip("link", "set", "dev", "narrow", "gso_max_segs", "1")
    return NarrowPath(public, other, near)


def change_address(host: Namespace, old: str, new: str) -> None:
    """Moves a host of the pair, as when another network is joined: the old address goes first."""
    host.ip("address", "del", f"{old}/24", "dev", "eth0")
    host.ip("address", "add", f"{new}/24", "dev", "eth0")


def _shape(megabits: int) -> tuple[str, ...]:
    return ("root", "tbf", "rate", f"{megabits}mbit", "burst", "64kb", "latency", "50ms")


def _sent(namespace: Namespace, name: str) -> dict[str, int]:
    found = json.loads(namespace.ip("-stats", "-json", "link", "show", "dev", name))
    sent: dict[str, int] = found[0]["stats64"]["tx"]
    return sent
