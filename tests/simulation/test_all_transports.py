"""Whole nodes with noise-udp and quic-v1 on one socket, and TCP beside them."""

import pytest

from p2pnode.identity.transport_addr import transport_multiaddr
from p2pnode.machine import SocketAddr
from p2pnode.netsim import nat_presets as nats
from p2pnode.netsim.topology import PairParams, SiteParams, pair
from p2pnode.swarm.events import (
    AddressObserved,
    ConnectionEstablished,
    PeerPathChanged,
    PongReceived,
)
from p2pnode.testbed.sim_node import PORT, SimNode
from p2pnode.wire.multiaddr import Multiaddr
from p2pnode.wire.transport_name import TransportName
from tests.support.addresses import NOISE_UDP, QUIC_V1, TCP
from tests.support.all_node import AllNode
from tests.support.swarm_worlds import RELAY

EACH = [NOISE_UDP, QUIC_V1, TCP]
each_transport = pytest.mark.parametrize("name", EACH)


def at(node: SimNode, name: TransportName, port: int = PORT) -> Multiaddr:
    return transport_multiaddr(SocketAddr(node.host.ip, port), name)


class Town:
    """A client at home, behind a NAT, and public servers."""

    def __init__(self, servers: int = 2) -> None:
        net = pair(1, PairParams(a=SiteParams(nat=nats.home()), public_hosts=servers))
        self.net, self.world = net, net.world
        self.client = AllNode(net.a)
        self.servers = [AllNode(host) for host in net.public]

    @property
    def outside(self) -> str:
        assert self.net.site_a.nat is not None
        return self.net.site_a.nat.public_ips[0]


@pytest.mark.spec("SWARM-33", "TRANSPORTS-8")
@each_transport
def test_one_port_is_dialled_by_each_transport(name: TransportName) -> None:
    town = Town(servers=1)
    (server,) = town.servers
    connection = town.client.connect(server, at(server, name))
    town.client.do(town.client.swarm.ping, connection, town.world.now)
    town.world.run_for(2)
    assert [each.transport for each in town.client.of(ConnectionEstablished)] == [name]
    assert len(town.client.of(PongReceived)) == 1


@pytest.mark.spec("SWARM-35")
@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_best_transport_of_those_that_a_peer_has_is_taken(count: int) -> None:
    town = Town(servers=1)
    (server,) = town.servers
    names = EACH[-count:]
    town.client.connect(server, *(at(server, name) for name in reversed(names)))
    assert town.client.of(ConnectionEstablished)[0].transport is names[0]


@pytest.mark.spec("SWARM-37")
def test_the_worst_one_is_replaced_in_use_by_each_better_one() -> None:
    town = Town(servers=1)
    (server,) = town.servers
    town.client.connect(server, at(server, TCP))
    for name in (QUIC_V1, NOISE_UDP):
        town.client.dial(server, at(server, name), check=False)
        town.world.run_for(3)
    for node in (town.client, server):
        assert [each.transport for each in node.of(PeerPathChanged)] == [QUIC_V1, NOISE_UDP]
    handles = town.client.swarm.facts.handles(server.peer_id)
    assert len(handles) == 3


@pytest.mark.spec("IDENTIFY-18", "SWARM-34")
@pytest.mark.parametrize("name", [NOISE_UDP, QUIC_V1])
def test_where_a_peer_sees_the_socket_by_either_transport_both_are_found(
    name: TransportName,
) -> None:
    town = Town()
    for server in town.servers:
        town.client.connect(server, at(server, name))
    town.world.run_for(3)
    facts, now = town.client.swarm.facts, town.world.now
    assert {each.transport for each in town.client.of(AddressObserved)} == {name}
    (report,) = facts.observed(now)
    (seen,) = report.addresses
    assert seen.address.ip == town.outside
    assert seen.observers == len(town.servers)
    found = [address for address, _ in facts.verdicts(now)]
    port = seen.address.port
    for other in (NOISE_UDP, QUIC_V1):
        assert transport_multiaddr(SocketAddr(town.outside, port), other) in found


@pytest.mark.spec("SWARM-17", "SWARM-34", "SWARM-39")
def test_a_node_listens_by_all_and_tells_nothing_public_that_nobody_has_reached() -> None:
    town = Town()
    for server in town.servers:
        town.client.connect(server, at(server, QUIC_V1))
    town.world.run_for(10)
    server = town.servers[0]
    facts = server.swarm.facts
    assert {at(server, name) for name in EACH} <= set(facts.listen_addresses())
    assert at(server, TCP) not in facts.advertised_addresses()


@pytest.mark.spec("SWARM-19", "SWARM-37", "SWARM-40")
def test_behind_nats_two_of_them_meet_by_circuit_and_punch_though_relays_have_every_transport() -> (
    None
):
    home = SiteParams(nat=nats.home())
    net = pair(1, PairParams(a=home, b=home, public_hosts=2))
    relays = [AllNode(host, config=RELAY) for host in net.public]
    a, b = AllNode(net.a), AllNode(net.b)
    for node in (a, b):
        for relay in relays:
            node.connect(relay, *(at(relay, name) for name in EACH))
        net.world.run_until(lambda node=node: bool(node.swarm.facts.reservations()), 10)
    b.connect(a.peer_id)
    facts = b.swarm.facts
    best = facts.best(a.peer_id)
    found = None if best is None else facts.connection(best)
    assert found is not None
    assert (found.transport, found.route.is_relayed) == (NOISE_UDP, True)
    net.world.run_until(lambda: facts.direct(a.peer_id) is not None, 20)
    told = b.of(PeerPathChanged)[-1]
    assert (told.transport, told.route.is_relayed) == (NOISE_UDP, False)
    assert told.connection == facts.best(a.peer_id) == facts.direct(a.peer_id)
