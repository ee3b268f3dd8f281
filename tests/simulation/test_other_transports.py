"""Whole nodes among addresses of transports that they do not speak."""

import pytest

from p2pnode.identity.transport_addr import transport_multiaddr
from p2pnode.machine import SocketAddr
from p2pnode.netsim.nat_presets import home
from p2pnode.netsim.topology import PairParams, SiteParams, pair
from p2pnode.swarm.address_book import AddressSource
from p2pnode.swarm.events import ConnectionEstablished, DialFailed, DialSucceeded
from p2pnode.testbed.sim_node import SimNode
from p2pnode.wire.multiaddr import Multiaddr, parse_multiaddr
from tests.support.addresses import QUIC_V1, TCP


class Town:
    """A node at home, which knows a public one, which knows another one by many addresses."""

    def __init__(self, *, tells_a_good_one: bool = True) -> None:
        net = pair(1, PairParams(a=SiteParams(nat=home()), public_hosts=2))
        self.world = net.world
        self.asker, self.middle = SimNode(net.a), SimNode(net.public[0])
        self.wanted = SimNode(net.public[1])
        at = SocketAddr(self.wanted.host.ip, 4001)
        quic, tcp = transport_multiaddr(at, QUIC_V1), transport_multiaddr(at, TCP)
        relay = transport_multiaddr(SocketAddr(self.middle.host.ip, 4001), TCP)
        self.strange = (
            quic,
            tcp,
            parse_multiaddr(f"{tcp}/ws"),
            parse_multiaddr(f"{relay}/p2p/{self.middle.peer_id}/p2p-circuit"),
        )
        for address in self.strange:
            self.tell(address)
        if tells_a_good_one:
            self.tell(self.wanted.address())
        self.asker.connect(self.middle)
        self.world.run_for(5)

    def tell(self, address: Multiaddr) -> None:
        swarm, now = self.middle.swarm, self.world.now
        remember = swarm.remember_address
        wanted = self.wanted.peer_id
        self.middle.host.call(remember, wanted, address, AddressSource.SIGNED, now + 3600)


@pytest.mark.spec("SWARM-32")
def test_a_peer_is_found_among_addresses_that_nobody_here_dials() -> None:
    town = Town()
    town.asker.dial(town.wanted.peer_id)
    town.world.run_until(lambda: bool(town.asker.of(DialSucceeded)[1:]), 10)

    assert town.asker.connections_to(town.wanted) == 1
    known = town.asker.swarm.facts.known_addresses(town.wanted.peer_id, town.world.now)
    assert set(town.strange) <= set(known), "another one may dial them"


@pytest.mark.spec("SWARM-32")
def test_a_peer_is_not_tried_at_the_ports_of_other_transports() -> None:
    town = Town(tells_a_good_one=False)
    town.asker.dial(town.wanted.peer_id)
    town.world.run_until(lambda: bool(town.asker.of(DialFailed)), 30)

    assert town.wanted.of(ConnectionEstablished) == []
