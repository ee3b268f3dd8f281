"""What a whole node makes of the system's word that a packet did not leave or arrive."""

import pytest

from p2pnode.errors import DialError
from p2pnode.machine import Obstacle, Unreachable
from p2pnode.netsim.topology import wire
from p2pnode.swarm.events import ConnectionClosed, DialFailed
from p2pnode.testbed.sim_node import SimNode
from p2pnode.wire.multiaddr import parse_multiaddr


def dial_failure(node: SimNode, address: str) -> tuple[float, str]:
    """Returns when, seconds from now, and why a dial of an address fails."""
    world, began = node.host.world, node.host.world.now
    node.do(node.swarm.dial, None, [parse_multiaddr(address)], node.host.now)
    world.run_until(lambda: bool(node.of(DialFailed)), 30.0)
    (_, reason) = node.of(DialFailed)[-1].attempts[0]
    assert isinstance(reason, DialError)
    return world.now - began, str(reason)


@pytest.mark.spec("TRANSPORT-49", "NETSIM-9")
def test_no_route_is_told_at_once() -> None:
    net = wire(1)
    node = SimNode(net.a)
    for interface in net.a.interfaces:
        interface.is_up = False
    assert dial_failure(node, "/ip4/10.9.9.9/udp/4001/noise") == (
        0.0,
        "no route to 10.9.9.9 from this machine",
    )


@pytest.mark.spec("TRANSPORT-49", "NETSIM-9")
def test_a_network_of_too_small_packets_is_told_at_once() -> None:
    net = wire(1)
    for interface in net.a.interfaces:
        interface.mtu = 1000
    assert dial_failure(SimNode(net.a), "/ip4/20.0.0.2/udp/4001/noise") == (
        0.0,
        "this network does not carry packets of 1,228 bytes, which p2pnode needs",
    )


@pytest.mark.spec("TRANSPORT-49")
@pytest.mark.parametrize("is_local", [True, False])
@pytest.mark.parametrize("obstacle", Obstacle)
def test_a_connection_does_not_heed_what_is_said_of_its_packets(
    obstacle: Obstacle, is_local: bool
) -> None:
    net = wire(1)
    a, b = SimNode(net.a), SimNode(net.b)
    a.connect(b)
    (connection,) = a.swarm.facts.connections()
    socket, _, remote = connection.route
    packets = [record.packet.payload for record in net.world.trace.records]
    reports = [Unreachable(socket, remote, obstacle, is_local, data[:64]) for data in packets]
    assert reports
    a.do(a.swarm.handle_unreachable, reports, net.a.now)
    net.world.run_for(60.0)
    assert not a.of(ConnectionClosed)
    assert a.connections_to(b) == 1
