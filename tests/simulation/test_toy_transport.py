"""A transport that the swarm has never heard of, over simulated links, carries a whole node."""

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from p2pnode.clock import Instant
from p2pnode.errors import ConnectionLost, P2PNodeError
from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.transport_addr import transport_multiaddr
from p2pnode.links import MAX_LINK_READ, LinkCommand
from p2pnode.machine import ConnectionHandle, SocketAddr, SocketId
from p2pnode.netsim.host import HostParams
from p2pnode.netsim.host_links import LinkKnobs
from p2pnode.netsim.link import LinkParams
from p2pnode.netsim.topology import wire
from p2pnode.swarm import events as told
from p2pnode.swarm.events import (
    ConnectionEstablished,
    Fault,
    PeerIdentified,
    PongReceived,
)
from p2pnode.swarm.swarm_stream import SwarmStream
from p2pnode.testbed.sim_node import PORT
from p2pnode.transports.events import (
    AddressObserved,
    Connected,
    ConnectionClosed,
    ConnectionEvent,
    DatagramReceived,
    DialFailed,
    PathChanged,
    PathFailed,
    PathSuspected,
    PathValidated,
    TokenReceived,
    TransportEvent,
)
from p2pnode.transports.route import Route
from p2pnode.transports.stream_events import (
    StreamFinished,
    StreamOpened,
    StreamReadable,
    StreamsAvailable,
    StreamWritable,
)
from p2pnode.wire.transport_name import TransportName
from tests.support.identities import private_key
from tests.support.link_machines import Talker
from tests.support.toy_node import ToyNode
from tests.support.toy_streams import Kind, frame
from tests.support.toy_transport import TIMEOUT, ToyTransport

PIECES = [(1, 1), (MAX_LINK_READ, MAX_LINK_READ), (1, MAX_LINK_READ)]
each_cut = pytest.mark.parametrize("pieces", PIECES)


class Pair:
    """Two nodes on a wire, whose reads are cut as is said."""

    def __init__(self, pieces: tuple[int, int]) -> None:
        knobs = HostParams(links=LinkKnobs(pieces=pieces))
        self.net = wire(1, LinkParams(delay=0.01), host=knobs)
        self.world = self.net.world
        self.a, self.b = ToyNode(self.net.a), ToyNode(self.net.b)


@each_cut
def test_identify_and_ping_go_over_a_transport_of_links(pieces: tuple[int, int]) -> None:
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


def echo(stream: SwarmStream, data: bytes, is_end: bool) -> None:
    if data:
        assert stream.write(data) == len(data)
    if is_end:
        stream.finish()


@each_cut
def test_a_stream_of_an_application_goes_both_ways_and_ends(pieces: tuple[int, int]) -> None:
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
    assert stream.is_delivered
    assert [*pair.b.received.values()] == [data]
    pair.world.run_for(5)


@each_cut
def test_who_does_not_read_holds_up_the_writer_of_one_stream_alone(
    pieces: tuple[int, int],
) -> None:
    pair = Pair(pieces)
    pair.b.do(pair.b.swarm.handle_protocol, "/deaf/1", pair.net.b.now)
    pair.b.serve("/echo/1", echo)
    connection = pair.a.connect(pair.b)
    deaf = pair.a.open(connection, "/deaf/1")
    written = 0
    for _ in range(50):
        written += pair.a.do(deaf.write, bytes(30_000))
        pair.world.run_for(0.2)
    assert written < 400_000

    other = pair.a.open(connection, "/echo/1")
    pair.a.do(other.write, b"hello")
    pair.world.run_for(2)
    assert pair.a.do(other.read, 100) == b"hello"


def test_a_connection_that_is_closed_tells_why_and_one_that_is_cut_ends() -> None:
    pair = Pair((1, MAX_LINK_READ))
    connection = pair.a.connect(pair.b)
    pair.a.do(pair.a.swarm.disconnect, connection, pair.net.a.now, 7, "enough")
    pair.world.run_for(5)
    (closed,) = pair.b.of(told.ConnectionClosed)
    assert "enough" in str(closed.reason)
    assert pair.net.a.links.count == pair.net.b.links.count == 0

    connection = pair.a.connect(pair.b)
    pair.b.serve("/echo/1", echo)
    stream = pair.a.open(connection, "/echo/1")
    pair.net.b.detach()
    pair.world.run_for(1)
    with pytest.raises(ConnectionLost):
        pair.a.do(stream.read, 1)
    assert len(pair.a.of(told.ConnectionClosed)) == 2


def test_nobody_there_or_somebody_else_is_a_dial_that_failed() -> None:
    pair = Pair((1, MAX_LINK_READ))
    nowhere = transport_multiaddr(SocketAddr("20.0.0.2", 1), TransportName.TCP)
    with pytest.raises(P2PNodeError, match="refused"):
        pair.a.connect(pair.b, nowhere)
    somebody = PrivateKey.generate(Random(1).randbytes)
    with pytest.raises(P2PNodeError, match="another peer"):
        pair.a.connect(PeerId.from_public_key(somebody.public_key), pair.b.address())


class Stuttering(ToyTransport):
    """Reports an established connection twice."""

    def poll_events(self) -> Sequence[TransportEvent]:
        events = super().poll_events()
        return [
            event for event in events for _ in range(2 if isinstance(event.event, Connected) else 1)
        ]


def is_end(event: TransportEvent) -> bool:
    """Whether it is the end of a connection, as the toy tells it."""
    return isinstance(event.event, ConnectionClosed) and str(event.event.reason) != AGAIN


AGAIN = "again"
NEVER = ConnectionHandle(77_777)


class Haunted(ToyTransport):
    """Tells of handles that are gone, or never were."""

    _gone: Sequence[ConnectionHandle] = ()

    def poll_events(self) -> Sequence[TransportEvent]:
        """Once a handle is forgotten, the next time that somebody asks."""
        events = [*super().poll_events()]
        gone, self._gone = [*self._gone], [e.handle for e in events if is_end(e)]
        if any(isinstance(event.event, Connected) for event in events):
            gone.append(NEVER)
        for handle in gone:
            events += (TransportEvent(handle, event) for event in self.said_of_the_gone())
        return events

    def said_of_the_gone(self) -> list[Connected | DialFailed | ConnectionEvent]:
        route = Route(SocketId(1), None, SocketAddr("20.0.0.2", 4001))
        return [
            StreamOpened(1),
            StreamReadable(0),
            StreamWritable(1),
            StreamFinished(0),
            StreamsAvailable(),
            AddressObserved(0, route, route.remote),
            PathValidated(0, route, 0.1),
            PathChanged(0, route, "a ghost says so"),
            PathSuspected(0, route),
            PathFailed(0, "a ghost says so"),
            TokenReceived(route.remote, b"token"),
            DatagramReceived(b"boo"),
            ConnectionClosed(ConnectionLost(AGAIN)),
            DialFailed(route, ConnectionLost(AGAIN)),
        ]


class Risen(Haunted):
    """Says that a connection that is gone is established."""

    def said_of_the_gone(self) -> list[Connected | DialFailed | ConnectionEvent]:
        route = Route(SocketId(1), None, SocketAddr("20.0.0.2", 4001))
        somebody = PeerId.from_public_key(PrivateKey.generate(Random(2).randbytes).public_key)
        return [Connected(somebody, True, route, True, 0.1)]


class Afterthought(ToyTransport):
    """Has something to tell when it is asked what to do to its links, and does nothing to them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._thought_of: dict[ConnectionHandle, None] = {}

    def poll_link_commands(self, now: Instant) -> Sequence[LinkCommand]:
        commands = super().poll_link_commands(now)
        new = [h for h in self.commons.connections if h not in self._thought_of]
        if not commands and not self.has_events and new:
            self._thought_of[new[0]] = None
            self.tell(new[0], DatagramReceived(b"hello"))
        return commands


@pytest.mark.spec("TRANSPORTS-6")
def test_what_a_transport_tells_as_links_are_served_is_told_in_the_same_drain() -> None:
    net = wire(1, LinkParams(delay=0.01))
    a, b = ToyNode(net.a, Afterthought), ToyNode(net.b)
    connection = a.connect(b)
    assert a.of(told.DatagramReceived) == [told.DatagramReceived(connection, b"hello")]


@pytest.mark.spec("TRANSPORTS-2")
def test_what_a_transport_says_of_handles_that_are_gone_is_nothing() -> None:
    net = wire(1, LinkParams(delay=0.01))
    a, b = ToyNode(net.a, Haunted), ToyNode(net.b, Haunted)
    b.serve("/echo/1", echo)
    for _ in range(2):
        connection = a.connect(b)
        stream = a.open(connection, "/echo/1")
        a.do(stream.write, b"hello")
        net.world.run_for(2)
        assert a.do(stream.read, 100) == b"hello"
        a.do(a.swarm.disconnect, connection, net.a.now)
        net.world.run_for(2)
    for node in (a, b):
        assert len(node.of(ConnectionEstablished)) == len(node.of(told.ConnectionClosed)) == 2
        assert node.of(Fault) == []
        assert not node.swarm.facts.connections()
        assert node.of(told.DatagramReceived) == node.of(told.StreamsAvailable) == []


@pytest.mark.spec("TRANSPORTS-2")
@pytest.mark.parametrize("maker", [Stuttering, Risen, Haunted])
def test_the_first_word_on_a_connection_counts(maker: type[ToyTransport]) -> None:
    net = wire(1, LinkParams(delay=0.01))
    a, b = ToyNode(net.a, maker), ToyNode(net.b, maker)
    b.serve("/echo/1", echo)
    connection = a.connect(b)
    net.world.run_for(5)
    stream = a.open(connection, "/echo/1")
    a.do(stream.write, b"hello")
    net.world.run_for(2)
    assert a.do(stream.read, 100) == b"hello"
    a.do(a.swarm.disconnect, connection, net.a.now)
    net.world.run_for(5)
    for node in (a, b):
        assert len(node.of(ConnectionEstablished)) == len(node.of(told.ConnectionClosed)) == 1
        assert not node.swarm.facts.connections()


SAID: list[bytes] = [b"", b"\xff" * 100, bytes(11), b"GET / HTTP/1.1\r\n\r\n" * 100]


@pytest.mark.spec("TRANSPORTS-4", "TRANSPORTS-5")
@pytest.mark.parametrize("said", SAID)
@pytest.mark.parametrize("goes", ["stays", "half-closes", "resets"])
def test_who_speaks_no_transport_takes_no_place_for_long(said: bytes, goes: str) -> None:
    net = wire(1, LinkParams(delay=0.01))
    node, visitor = ToyNode(net.a), net.b.attach(lambda host: Talker())
    links = [net.b.call(visitor.connect, SocketAddr("20.0.0.1", PORT)) for _ in range(5)]
    for link in links:
        net.b.call(visitor.write, link, said)
    net.world.run_for(0.1)
    for link in links:
        if goes == "half-closes":
            net.b.call(visitor.finish, link)
        elif goes == "resets":
            net.b.call(visitor.close, link, reset=True)
    net.world.run_for(2 * TIMEOUT)

    assert node.host.links.count == 0
    assert node.of(ConnectionEstablished) == []
    assert not node.swarm.facts.connections()


GREETING = frame(
    Kind.HELLO, 0, 1, PeerId.from_public_key(private_key("visitor").public_key).multihash
)
NEGOTIATION = b"\x13/multistream/1.0.0\n\x08/echo/1\n"
STATES: dict[str, bytes] = {
    "greeted": b"",
    "half a header": bytes([Kind.PING]),
    "half a payload": frame(Kind.OPEN) + frame(Kind.DATA, 0, 0, NEGOTIATION)[:-3],
    "a stream without a protocol": frame(Kind.OPEN),
    "a stream in use": frame(Kind.OPEN) + frame(Kind.DATA, 0, 0, NEGOTIATION + b"hello"),
    "a stream that it has ended": (
        frame(Kind.OPEN) + frame(Kind.DATA, 0, 0, NEGOTIATION) + frame(Kind.FIN)
    ),
}


@pytest.mark.spec("TRANSPORTS-2", "TRANSPORTS-5")
@pytest.mark.parametrize("node_closes", [False, True])
@pytest.mark.parametrize("reads", [True, False])
@pytest.mark.parametrize("end", ["half-closes", "resets", "is cut off"])
@pytest.mark.parametrize("state", STATES)
def test_a_connection_ends_once_in_whatever_state_its_link_does(
    state: str, end: str, reads: bool, node_closes: bool
) -> None:
    net = wire(1, LinkParams(delay=0.01))
    node, visitor = ToyNode(net.a), net.b.attach(lambda host: Talker())
    node.serve("/echo/1")
    link = net.b.call(visitor.connect, SocketAddr("20.0.0.1", PORT))
    net.b.call(visitor.write, link, GREETING + STATES[state])
    net.world.run_for(1)
    (made,) = node.of(ConnectionEstablished)
    stream = node.open(made.connection, "/echo/1")
    if not reads:
        net.b.call(visitor.pause, link)
        node.do(stream.write, bytes(64 * 1024))
        net.world.run_for(1)
    if node_closes:
        node.do(node.swarm.disconnect, made.connection, net.a.now)
    if end == "half-closes":
        net.b.call(visitor.finish, link)
    elif end == "resets":
        net.b.call(visitor.close, link, reset=True)
    else:
        net.b.detach()
    net.world.run_for(2 * TIMEOUT)

    assert node.host.links.count == 0
    assert not node.swarm.facts.connections()
    assert [closed.connection for closed in node.of(told.ConnectionClosed)] == [made.connection]
    with pytest.raises(ConnectionLost):
        node.do(stream.read, 1)
