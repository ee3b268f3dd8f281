"""Whole nodes on one machine, which reach each other at loopback addresses."""

import pytest

from p2pnode.netsim.host import Host
from p2pnode.netsim.part import connect
from p2pnode.netsim.router import Router
from p2pnode.netsim.world import World
from p2pnode.swarm import SwarmConfig
from p2pnode.swarm.config import RelayMode
from p2pnode.swarm.events import PathChanged
from p2pnode.swarm.services.routing import SAMPLE_DELAY
from p2pnode.testbed.sim_node import SimNode
from p2pnode.wire.ip_ranges import IpScope, ip_scope
from p2pnode.wire.multiaddr import Multiaddr, parse_multiaddr


class Machine:
    """A relay on loopback, and nodes that know it."""

    def __init__(self) -> None:
        self.time = World(1)
        self._lo = Router(self.time, "lo", hops=0)
        self.relay = SimNode(self._host(1), config=SwarmConfig(relay_mode=RelayMode.ALWAYS))

    def _host(self, number: int) -> Host:
        host = Host(self.time, f"n{number}")
        ip = f"127.0.1.{number}"
        connect(host.add_interface(f"{ip}/8"), self._lo.port(f"{ip}/32"))
        return host

    def start(self, number: int) -> SimNode:
        """Returns a node that has reserved with the relay."""
        node = SimNode(self._host(number))
        node.connect(self.relay)
        self.time.run_until(lambda: bool(node.swarm.facts.reservations()), 5)
        return node

    def through_relay(self) -> Multiaddr:
        relay = self.relay
        return parse_multiaddr(f"{relay.address()}/p2p/{relay.peer_id}/p2p-circuit")


def has_direct_path(node: SimNode, connection: int) -> bool:
    peer = node.swarm.facts.peer(connection)
    return peer is not None and ip_scope(peer.direct_ip or "0.0.0.0") is IpScope.LOOPBACK


@pytest.mark.spec("DCUTR-16")
@pytest.mark.parametrize("is_dialler_older", [True, False])
def test_who_learns_that_the_peer_is_on_this_machine_makes_the_path_direct(
    is_dialler_older: bool,
) -> None:
    machine = Machine()
    older = machine.start(2)
    # Its sample is over before the other one comes: it hears of it no more.
    machine.time.run_for(2 * SAMPLE_DELAY)
    newer = machine.start(3)
    dialler, target = (older, newer) if is_dialler_older else (newer, older)

    connection = dialler.connect(target.peer_id, machine.through_relay())
    was_direct = has_direct_path(dialler, connection)
    machine.time.run_until(lambda: has_direct_path(dialler, connection), 2 * SAMPLE_DELAY)

    assert not was_direct
    assert dialler.of(PathChanged)
