"""p2pnode/netsim/firewall.py and udp_block.py"""

import pytest

from p2pnode.machine import SocketAddr
from p2pnode.netsim.firewall import FirewallBehaviour
from p2pnode.netsim.nat_behaviour import Dependence
from p2pnode.netsim.topology import Pair, PairParams, SiteParams, ipv6_pair, pair
from p2pnode.netsim.trace import Drop
from p2pnode.netsim.udp_block import BlockPolicy
from tests.unit.netsim.machines import Sender, sender, sources


class Net:
    """Host a behind a filter; two strangers outside, one of them with two sockets."""

    def __init__(
        self, firewall: FirewallBehaviour | None = None, block: BlockPolicy | None = None
    ) -> None:
        site = SiteParams(firewall=firewall, block=block)
        self.net: Pair = pair(1, PairParams(a=site, public_hosts=2))
        self.world = self.net.world
        self.a = self.net.a
        self.at_a, self.socket_a = sender(self.a, 4001)
        self.s0, self.s1 = self.net.public
        self.s0.bind(53)
        self.s0_other = self.s0.bind(2000)
        self.at_s0, self.s0_socket = sender(self.s0, 1000)
        self.at_s1, self.s1_socket = sender(self.s1, 1000)

    def out(self, port: int = 1000) -> None:
        self.a.call(self.at_a.send, self.socket_a, SocketAddr(self.s0.ip, port))
        self.world.run_for(0.1)

    def back(self) -> list[SocketAddr]:
        """Everybody sends to a; returns who got through."""
        before = len(self.a.events)
        to = SocketAddr(self.a.ip, 4001)
        self.s0.call(self.at_s0.send, self.s0_socket, to)
        self.s0.call(self.at_s0.send, self.s0_other, to)
        self.s1.call(self.at_s1.send, self.s1_socket, to)
        self.world.run_for(0.1)
        return sources(self.a)[before:]


@pytest.mark.parametrize(
    ("filtering", "passing"),
    [
        (Dependence.ENDPOINT_INDEPENDENT, 3),
        (Dependence.ADDRESS_DEPENDENT, 2),
        (Dependence.ADDRESS_AND_PORT_DEPENDENT, 1),
    ],
)
def test_a_firewall_lets_in_whom_its_filtering_allows(filtering: Dependence, passing: int) -> None:
    net = Net(FirewallBehaviour(filtering=filtering))

    assert net.back() == []
    net.out()

    assert len(net.back()) == passing


def test_an_open_firewall_lets_everybody_in() -> None:
    assert len(Net(FirewallBehaviour(filtering=None)).back()) == 3


def test_a_flow_ends_sooner_when_nobody_answers() -> None:
    net = Net(FirewallBehaviour(unreplied_timeout=30, stream_timeout=100))
    net.out()
    net.world.run_for(30)
    assert net.back() == []

    net.out()
    assert len(net.back()) == 1
    net.world.run_for(90)
    assert len(net.back()) == 1


@pytest.mark.parametrize("refreshes", [True, False])
def test_inbound_packets_refresh_a_flow_or_not(refreshes: bool) -> None:
    behaviour = FirewallBehaviour(
        unreplied_timeout=30, stream_timeout=30, inbound_refreshes=refreshes
    )
    net = Net(behaviour)
    net.out()
    net.world.run_for(20)
    net.back()
    net.world.run_for(20)

    assert len(net.back()) == refreshes


def test_a_reboot_forgets_every_flow() -> None:
    net = Net(FirewallBehaviour())
    net.out()
    assert net.net.site_a.firewall is not None

    net.net.site_a.firewall.reboot()

    assert net.back() == []
    assert net.world.trace.drop_count(Drop.FILTERED, "a-firewall") == 3


def test_a_firewall_may_filter_one_family_only() -> None:
    assert Net(FirewallBehaviour(ip_version=6)).back() != []
    assert Net(FirewallBehaviour(ip_version=4)).back() == []


def test_two_ipv6_hosts_punch_through_their_firewalls() -> None:
    net = ipv6_pair(1)
    socket_a, socket_b = net.a.bind(4001, "::"), net.b.bind(4002, "::")
    at_a, at_b = net.a.attach(lambda _: Sender()), net.b.attach(lambda _: Sender())

    net.a.call(at_a.send, socket_a, SocketAddr(net.b.ip, 4002))
    net.world.run_for(1)
    net.b.call(at_b.send, socket_b, SocketAddr(net.a.ip, 4001))
    net.world.run_for(1)
    net.a.call(at_a.send, socket_a, SocketAddr(net.b.ip, 4002))
    net.world.run_for(1)

    assert sources(net.a) == [SocketAddr(net.b.ip, 4002)]
    assert sources(net.b) == [SocketAddr(net.a.ip, 4001)]


def test_a_network_may_block_all_of_udp_in_both_directions() -> None:
    net = Net(block=BlockPolicy())
    net.out()

    assert net.back() == []
    assert net.world.trace.drop_count(Drop.BLOCKED, "a-block") == 4


def test_a_network_may_let_some_ports_pass() -> None:
    net = Net(block=BlockPolicy(allowed_ports=(53,)))
    net.out(53)
    net.out(1000)

    assert len(net.s0.events) == 1


def test_a_network_may_let_only_the_first_packets_of_a_flow_pass() -> None:
    net = Net(block=BlockPolicy(first_packets=2))
    for _ in range(5):
        net.out()
    net.out(2000)

    assert len(net.s0.events) == 3
    assert len(net.back()) == 2  # one more of the flow to port 2000, and the stranger's first
