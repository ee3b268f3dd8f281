"""Whole nodes that have datagrams and links: which of them a dial takes, and what it says."""

import pytest

from p2pnode.identity.transport_addr import transport_multiaddr
from p2pnode.io.node.status import node_status
from p2pnode.machine import ConnectionHandle, SocketAddr
from p2pnode.netsim.topology import PairParams, SiteParams, pair
from p2pnode.netsim.udp_block import BlockPolicy
from p2pnode.protocols.nat_behaviour.udp_silence import SILENCE_TIME, Silence
from p2pnode.swarm.dialer import HEAD_START
from p2pnode.swarm.events import (
    ConnectionClosed,
    ConnectionEstablished,
    DialFailed,
    PeerPathChanged,
)
from p2pnode.swarm.facts import ConnectionFacts
from p2pnode.swarm.swarm_stream import SwarmStream
from p2pnode.testbed.sim_node import PORT, SimNode
from p2pnode.wire.multiaddr import Multiaddr, parse_multiaddr
from p2pnode.wire.transport_name import TransportName
from tests.support.addresses import NOISE_UDP, TCP
from tests.support.tcp_node import BothTcpNode
from tests.support.toy_node import BothNode, ToyNode


def both(node: SimNode, port: int = PORT) -> tuple[Multiaddr, Multiaddr]:
    """Returns a node's addresses, those over TCP first."""
    at = SocketAddr(node.host.ip, port)
    return transport_multiaddr(at, TCP), transport_multiaddr(at, NOISE_UDP)


class ToyTown:
    """A client, whose network may block UDP, and two public nodes, all with both transports."""

    makes: type[BothNode] = BothNode

    def __init__(self, *, is_udp_blocked: bool = False) -> None:
        block = BlockPolicy() if is_udp_blocked else None
        net = pair(1, PairParams(a=SiteParams(block=block), public_hosts=2))
        self.net, self.world = net, net.world
        self.client = self.makes(net.a)
        self.server, self.other = (self.makes(host) for host in net.public)


class TcpTown(ToyTown):
    """The same with libp2p's TCP."""

    makes = BothTcpNode


each_town = pytest.mark.parametrize("town_of", [ToyTown, TcpTown])


@pytest.mark.spec("SWARM-35")
@each_town
def test_who_is_reached_by_datagrams_is_not_bothered_by_links(town_of: type[ToyTown]) -> None:
    town = town_of()
    town.client.connect(town.server, *both(town.server))
    town.world.run_for(5)
    for node in (town.client, town.server):
        assert [each.transport for each in node.of(ConnectionEstablished)] == [NOISE_UDP]
    assert town.server.host.links.count == 0


@pytest.mark.spec("SWARM-35")
@each_town
def test_where_udp_is_blocked_a_link_is_there_a_head_start_later(town_of: type[ToyTown]) -> None:
    town = town_of(is_udp_blocked=True)
    began = town.world.now
    town.client.connect(town.server, *both(town.server))
    (made,) = town.client.of(ConnectionEstablished)
    assert made.transport is TCP
    assert town.world.now - began < HEAD_START + 0.5


@pytest.mark.spec("NATB-23")
@each_town
def test_where_udp_is_blocked_a_node_says_so_and_what_carries_everything(
    town_of: type[ToyTown],
) -> None:
    town = town_of(is_udp_blocked=True)
    facts = town.client.swarm.facts
    town.client.connect(town.server, *both(town.server))
    assert node_status(facts, town.world.now).silence is None, "too early to tell"
    town.world.run_for(SILENCE_TIME)
    assert facts.udp_silence(town.world.now) == Silence(1, 1)
    assert facts.why(town.server.peer_id, town.world.now).verdict.startswith("direct over TCP: UDP")
    assert not facts.own_nat(town.world.now).is_udp_blocked, "one host may have a firewall"

    town.client.connect(town.other, *both(town.other))
    assert facts.own_nat(town.world.now).is_udp_blocked
    assert node_status(facts, town.world.now).silence == (
        "UDP seems to be blocked: of 2 hosts that were tried none answers over it, and 2 over TCP, "
        "which carries everything"
    )


@pytest.mark.spec("NATB-23")
@each_town
def test_where_udp_works_nothing_is_said_of_it(town_of: type[ToyTown]) -> None:
    town = town_of()
    town.client.connect(town.server, *both(town.server))
    town.client.connect(town.other, both(town.other)[0])
    town.world.run_for(2 * SILENCE_TIME)
    assert node_status(town.client.swarm.facts, town.world.now).silence is None


@pytest.mark.spec("SWARM-2", "SWARM-35", "SWARM-36")
@each_town
def test_a_dial_that_fails_names_every_address_of_every_transport(town_of: type[ToyTown]) -> None:
    town = town_of(is_udp_blocked=True)
    own = SocketAddr(town.client.host.ip, PORT)
    addresses = [
        *both(town.server, port=9),
        transport_multiaddr(own, TCP),
        transport_multiaddr(own, NOISE_UDP),
        transport_multiaddr(SocketAddr("7.0.0.1", 0), TCP),
        transport_multiaddr(SocketAddr("2001:4860::1", 1), NOISE_UDP),
    ]
    town.client.dial(town.server.peer_id, *addresses)
    town.world.run_until(lambda: bool(town.client.of(DialFailed)), 30)

    (failed,) = town.client.of(DialFailed)
    said = {address: str(reason) for address, reason in failed.attempts}
    assert set(said) == set(addresses)
    assert "refused" in said[addresses[0]]
    assert said[addresses[2]] == said[addresses[3]] == "that is an address of this node itself"
    assert said[addresses[4]] == "nobody listens on port 0"
    assert said[addresses[5]] == "this node has no socket for IPv6"
    assert len(failed.attempts) == len(addresses), "each of them once"


@pytest.mark.spec("SWARM-35")
def test_a_link_is_dialled_at_once_where_the_peer_has_no_datagrams() -> None:
    net = pair(1, PairParams(public_hosts=1))
    client, server = BothNode(net.a), ToyNode(net.public[0])
    began = net.world.now
    client.connect(server)
    assert net.world.now - began < HEAD_START


@pytest.mark.spec("SWARM-32")
@each_town
def test_of_a_list_only_the_addresses_that_nobody_here_speaks_are_left_out(
    town_of: type[ToyTown],
) -> None:
    town = town_of()
    tcp, _ = both(town.other)
    strange = [parse_multiaddr(f"{tcp}/tls/ws"), parse_multiaddr(f"{tcp}/ws")]
    now = town.world.now
    for address in (*strange, tcp):
        town.server.do(
            town.server.swarm.remember_address, town.other.peer_id, address, 2, now + 3600
        )
    town.client.connect(town.server)
    town.world.run_for(5)
    town.client.connect(town.other.peer_id)
    assert town.client.of(ConnectionEstablished)[-1].transport is TCP


# several connections with one peer


def echo(stream: SwarmStream, data: bytes, is_end: bool) -> None:
    assert stream.write(data) == len(data)


def twice(town: ToyTown) -> dict[TransportName, ConnectionHandle]:
    """Connects two nodes by TCP, and then by datagrams as well; returns the client's handles."""
    tcp, noise = both(town.server)
    town.client.connect(town.server, tcp)
    town.client.dial(town.server, noise, check=False)  # who it is is not known before
    town.world.run_for(5)
    return {each.transport: each.connection for each in town.client.of(ConnectionEstablished)}


def best(node: SimNode, peer: SimNode) -> ConnectionFacts:
    handle = node.swarm.facts.best(peer.peer_id)
    assert handle is not None
    found = node.swarm.facts.connection(handle)
    assert found is not None
    return found


@pytest.mark.spec("SWARM-37", "SWARM-38")
@each_town
def test_connections_of_several_transports_stay_side_by_side_and_both_ends_use_the_better_one(
    town_of: type[ToyTown],
) -> None:
    town = town_of()
    made = twice(town)
    assert set(made) == {NOISE_UDP, TCP}
    town.world.run_for(120)
    for node, peer in ((town.client, town.server), (town.server, town.client)):
        assert node.of(ConnectionEstablished)[0].transport is TCP
        assert [each.transport for each in node.of(PeerPathChanged)] == [NOISE_UDP]
        assert best(node, peer).transport is NOISE_UDP
        assert not best(node, peer).is_limited
        assert node.connections_to(peer) == 2
        assert node.of(ConnectionClosed) == []
        assert node.swarm.facts.peers() == (peer.peer_id,)


@pytest.mark.spec("SWARM-37")
@each_town
def test_when_the_better_one_ends_the_other_one_takes_over_and_its_streams_go_on(
    town_of: type[ToyTown],
) -> None:
    town = town_of()
    made = twice(town)
    town.server.serve("/echo/1", echo)
    client, server = town.client, town.server
    stream = client.open(made[TCP], "/echo/1")
    client.do(stream.write, b"before")
    town.world.run_for(1)
    client.do(client.swarm.disconnect, made[NOISE_UDP], town.world.now)
    town.world.run_for(1)
    for node, peer in ((client, server), (server, client)):
        assert best(node, peer).transport is TCP
        assert [each.is_last for each in node.of(ConnectionClosed)] == [False]
        told = node.of(PeerPathChanged)[-1]
        assert (told.transport, told.is_limited) == (TCP, False)
        assert told.reason == "the connection in use has ended"
    client.do(stream.write, b" and after")
    town.world.run_for(1)
    assert b"".join(client.do(stream.read, 100) for _ in range(2)) == b"before and after"

    client.do(client.swarm.disconnect, made[TCP], town.world.now)
    town.world.run_for(1)
    for node in (client, server):
        assert [each.is_last for each in node.of(ConnectionClosed)] == [False, True]
        assert node.swarm.facts.peers() == ()


@pytest.mark.spec("SWARM-3", "SWARM-37")
@each_town
def test_who_is_connected_by_any_transport_is_not_dialled_again(town_of: type[ToyTown]) -> None:
    town = town_of()
    tcp, noise = both(town.server)
    first = town.client.connect(town.server, tcp)
    assert town.client.connect(town.server, noise) == first
