"""Whole nodes that talk libp2p over TCP, on simulated links that are cut anywhere."""

from random import Random

import pytest

from p2pnode.errors import ClosedByPeer, ConnectionLost, P2PNodeError, PeerIdMismatch
from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.transport_addr import transport_multiaddr
from p2pnode.links import MAX_LINK_READ
from p2pnode.machine import ConnectionHandle, SocketAddr
from p2pnode.netsim.host import HostParams
from p2pnode.netsim.host_links import LinkKnobs
from p2pnode.netsim.link import LinkParams
from p2pnode.netsim.topology import wire
from p2pnode.swarm import events as told
from p2pnode.swarm.events import ConnectionEstablished, PeerIdentified, PongReceived
from p2pnode.swarm.swarm_stream import SwarmStream
from p2pnode.testbed.sim_node import PORT
from p2pnode.transports.stream_upgrade.upgrade import UPGRADE_TIMEOUT
from p2pnode.transports.stream_upgrade.yamux.send_half import INITIAL_WINDOW, SEND_BUFFER_SIZE
from p2pnode.wire.transport_name import TransportName
from tests.support.link_machines import Talker
from tests.support.tcp_node import TcpNode

PIECES = [(1, 1), (MAX_LINK_READ, MAX_LINK_READ), (1, MAX_LINK_READ)]
each_cut = pytest.mark.parametrize("pieces", PIECES)


class Pair:
    """Two nodes on a wire, whose reads are cut as is said."""

    def __init__(self, pieces: tuple[int, int] = (1, MAX_LINK_READ)) -> None:
        knobs = HostParams(links=LinkKnobs(pieces=pieces))
        self.net = wire(1, LinkParams(delay=0.01), host=knobs)
        self.world = self.net.world
        self.a, self.b = TcpNode(self.net.a), TcpNode(self.net.b)

    def close(self, node: TcpNode, connection: ConnectionHandle) -> None:
        node.do(node.swarm.disconnect, connection, node.host.now)


def echo(stream: SwarmStream, data: bytes, is_end: bool) -> None:
    if data:
        assert stream.write(data) == len(data)
    if is_end:
        stream.finish()


@each_cut
@pytest.mark.spec("TCP-1", "TCP-2")
def test_identify_and_ping_go_over_tcp(pieces: tuple[int, int]) -> None:
    pair = Pair(pieces)
    connection = pair.a.connect(pair.b)
    pair.a.do(pair.a.swarm.ping, connection, pair.net.a.now)
    pair.world.run_for(5)

    (established,) = pair.a.of(ConnectionEstablished)
    assert established.peer_id == pair.b.peer_id
    assert established.transport is TransportName.TCP
    assert [event.connection for event in pair.a.of(PeerIdentified)] == [connection]
    assert len(pair.b.of(PeerIdentified)) == 1
    assert len(pair.a.of(PongReceived)) == 1
    made = pair.a.transport.commons.connections[connection]
    assert made.rtt == pytest.approx(0.02, rel=0.5)


@each_cut
def test_a_stream_goes_both_ways_and_ends(pieces: tuple[int, int]) -> None:
    pair = Pair(pieces)
    pair.b.serve("/echo/1", echo)
    data = Random(1).randbytes(20_000)
    stream = pair.a.open(pair.a.connect(pair.b), "/echo/1")
    assert pair.a.do(stream.write, data) == len(data)
    pair.a.do(stream.finish)
    got = bytearray()

    def has_all() -> bool:
        while piece := pair.a.do(stream.read, 10_000):
            got.extend(piece)
        return stream.at_eof

    pair.world.run_until(has_all, timeout=20)
    assert got == data
    pair.world.run_until(lambda: stream.is_delivered, timeout=1)
    assert [*pair.b.received.values()] == [data]


@pytest.mark.spec("TCP-5")
def test_who_does_not_read_stops_the_writer_at_the_window_and_nobody_else() -> None:
    pair = Pair()
    pair.b.do(pair.b.swarm.handle_protocol, "/deaf/1", pair.net.b.now)
    pair.b.serve("/echo/1", echo)
    connection = pair.a.connect(pair.b)
    deaf = pair.a.open(connection, "/deaf/1")
    written = 0
    for _ in range(100):
        written += pair.a.do(deaf.write, bytes(100_000))
        pair.world.run_for(0.2)
    assert written <= INITIAL_WINDOW + SEND_BUFFER_SIZE
    (theirs,) = pair.b.transport.commons.account.uses()[3:4]
    assert theirs.used < INITIAL_WINDOW + 100_000

    other = pair.a.open(connection, "/echo/1")
    pair.a.do(other.write, b"hello")
    pair.world.run_for(2)
    assert pair.a.do(other.read, 100) == b"hello"


@pytest.mark.spec("TCP-6")
def test_who_closes_is_told_to_have_closed_and_who_is_cut_off_is_gone() -> None:
    pair = Pair()
    pair.close(pair.a, pair.a.connect(pair.b))
    pair.world.run_for(5)
    (closed,) = pair.b.of(told.ConnectionClosed)
    assert isinstance(closed.reason, ClosedByPeer)
    assert pair.net.a.links.count == pair.net.b.links.count == 0

    connection = pair.a.connect(pair.b)
    pair.b.serve("/echo/1", echo)
    stream = pair.a.open(connection, "/echo/1")
    pair.net.b.detach()
    pair.world.run_for(1)
    with pytest.raises(ConnectionLost):
        pair.a.do(stream.read, 1)
    assert len(pair.a.of(told.ConnectionClosed)) == 2


@pytest.mark.spec("TCP-3")
def test_a_dial_that_fails_says_why() -> None:
    pair = Pair()
    nowhere = transport_multiaddr(SocketAddr("20.0.0.2", 1), TransportName.TCP)
    with pytest.raises(P2PNodeError, match="refused: nothing listens there"):
        pair.a.connect(pair.b, nowhere)
    somebody = PrivateKey.generate(Random(1).randbytes)
    with pytest.raises(PeerIdMismatch):
        pair.a.connect(PeerId.from_public_key(somebody.public_key), pair.b.address())


@pytest.mark.spec("TCP-7")
def test_a_connection_without_streams_is_kept() -> None:
    pair = Pair()
    pair.a.connect(pair.b)
    pair.world.run_for(600)
    assert len(pair.a.swarm.facts.connections()) == 1
    assert len(pair.b.swarm.facts.connections()) == 1


SAID: list[bytes] = [b"", b"\xff" * 100, bytes(11), b"GET / HTTP/1.1\r\n\r\n" * 100]


@pytest.mark.spec("TRANSPORTS-4", "TRANSPORTS-5", "TCP-4")
@pytest.mark.parametrize("said", SAID)
@pytest.mark.parametrize("goes", ["stays", "half-closes", "resets"])
def test_who_does_not_speak_libp2p_takes_no_place_for_long(said: bytes, goes: str) -> None:
    net = wire(1, LinkParams(delay=0.01))
    node, visitor = TcpNode(net.a), net.b.attach(lambda host: Talker())
    links = [net.b.call(visitor.connect, SocketAddr("20.0.0.1", PORT)) for _ in range(5)]
    for link in links:
        net.b.call(visitor.write, link, said)
    net.world.run_for(0.1)
    for link in links:
        if goes == "half-closes":
            net.b.call(visitor.finish, link)
        elif goes == "resets":
            net.b.call(visitor.close, link, reset=True)
    net.world.run_for(UPGRADE_TIMEOUT + 1)

    assert node.host.links.count == 0
    assert node.of(ConnectionEstablished) == []
    assert node.transport.commons.account.half_open.used == 0


@pytest.mark.slow
@pytest.mark.spec("TCP-4")
def test_four_thousand_links_at_once_are_bounded_and_let_others_in() -> None:
    net = wire(1, LinkParams(delay=0.01))
    node, visitor = TcpNode(net.a), net.b.attach(lambda host: Talker())
    for _ in range(4096):
        net.b.call(visitor.connect, SocketAddr("20.0.0.1", PORT))
    net.world.run_for(1)
    half_open = node.transport.commons.account.half_open
    assert half_open.used == half_open.shares.network == node.host.links.count
    net.world.run_for(UPGRADE_TIMEOUT)
    assert half_open.used == node.host.links.count == 0
    net.b.detach()
    other = TcpNode(net.b)
    other.connect(node)
