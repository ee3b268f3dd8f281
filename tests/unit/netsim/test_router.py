"""p2pnode/netsim/router.py and part.py"""

import pytest

from p2pnode.machine import SocketAddr
from p2pnode.netsim.host import Host
from p2pnode.netsim.part import connect, unplug
from p2pnode.netsim.router import Router
from p2pnode.netsim.trace import Drop
from p2pnode.netsim.world import World
from tests.unit.netsim.machines import Sender, payloads, sender


class Net:
    """Three hosts around one router."""

    def __init__(self, hops: int = 1) -> None:
        self.world = World(1)
        self.router = Router(self.world, "router", hops=hops)
        self.hosts: list[Host] = []
        for i in range(3):
            host = Host(self.world, f"h{i}")
            connect(host.add_interface(f"20.0.{i}.1/24"), self.router.port(f"20.0.{i}.0/24"))
            self.hosts.append(host)
            sender(host, 1)

    def send(self, ip: str, ttl: int | None = None) -> None:
        socket = self.hosts[0].bind()
        machine = self.hosts[0].attach(lambda _: Sender())
        self.hosts[0].call(machine.send, socket, SocketAddr(ip, 1), ttl=ttl)
        self.world.run_for(1)


def test_a_packet_goes_where_its_prefix_lies() -> None:
    net = Net()

    net.send("20.0.1.1")

    assert [len(payloads(host)) for host in net.hosts] == [0, 1, 0]


def test_the_longest_prefix_wins_and_then_the_newest_route() -> None:
    net = Net()
    to_2 = net.router.port("0.0.0.0/0", "20.0.1.1/32")
    connect(net.hosts[2].add_interface("20.0.1.1/32"), to_2)

    net.send("20.0.1.1")
    net.router.remove_route("20.0.1.1/32")
    net.send("20.0.1.1")
    net.router.add_route("20.0.1.0/24", to_2)
    net.send("20.0.1.1")

    assert [len(payloads(host)) for host in net.hosts] == [0, 1, 2]


def test_a_packet_without_a_route_is_dropped() -> None:
    net = Net()

    net.send("99.0.0.1")

    assert net.world.trace.drops == {("router", Drop.NO_ROUTE): 1}


def test_a_packet_is_not_sent_back_where_it_came_from() -> None:
    net = Net()

    net.send("20.0.0.77")

    assert net.world.trace.drops == {("router", Drop.NO_ROUTE): 1}


@pytest.mark.parametrize(("hops", "ttl", "arrives"), [(1, 2, True), (1, 1, False), (8, 8, False)])
def test_the_hop_limit_runs_out(hops: int, ttl: int, arrives: bool) -> None:
    net = Net(hops)

    net.send("20.0.1.1", ttl)

    assert net.world.trace.drop_count(Drop.TTL_EXPIRED, "router") == (not arrives)
    assert len(payloads(net.hosts[1])) == arrives


def test_a_switch_costs_no_hop() -> None:
    net = Net(hops=0)

    net.send("20.0.1.1", ttl=1)

    assert len(payloads(net.hosts[1])) == 1


def test_link_local_addresses_pass_a_switch_and_no_router() -> None:
    for hops, dropped in ((0, 0), (1, 1)):
        net = Net(hops)
        connect(net.hosts[0].add_interface("fe80::1"), net.router.port("fe80::1/128"))
        connect(net.hosts[1].add_interface("fe80::2"), net.router.port("fe80::2/128"))
        net.hosts[1].bind(1, "::")
        socket = net.hosts[0].bind(0, "::")
        machine = net.hosts[0].attach(lambda _: Sender())

        net.hosts[0].call(machine.send, socket, SocketAddr("fe80::2", 1, scope_id=2))
        net.world.run_for(1)

        assert net.world.trace.drop_count(Drop.NO_ROUTE) == dropped


def test_a_pulled_plug_drops_packets() -> None:
    net = Net()
    unplug(net.hosts[0].interfaces[0])

    net.send("20.0.1.1")

    assert net.world.trace.drops == {("h0", Drop.UNPLUGGED): 1}
