"""p2pnode/testbed/sim_node.py"""

import pytest

from p2pnode.errors import DialError, LocalProtocolError
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import SocketAddr
from p2pnode.netsim.topology import Wire, wire
from p2pnode.swarm.events import ConnectionClosed, ConnectionEstablished
from p2pnode.testbed.sim_node import PORT, PROBE_PORT_OFFSET, SimNode
from p2pnode.transports.noise_udp.config import TransportConfig
from tests.support.echo import echo
from tests.support.identities import peer_id, private_key

PROTOCOL = "/test/1"


def two(seed: int = 1) -> tuple[Wire, SimNode, SimNode]:
    net = wire(seed)
    return net, SimNode(net.a), SimNode(net.b)


def test_nodes_connect_and_talk() -> None:
    net, a, b = two()
    b.serve(PROTOCOL, echo)
    stream = a.open(a.connect(b), PROTOCOL)
    a.do(stream.write, b"hello")
    a.do(stream.finish)
    net.world.run_for(1.0)
    assert list(b.received.values()) == [b"hello"]
    assert list(b.ended) == list(b.received)
    assert stream.read(100) == b"hello"
    assert a.connections_to(b) == b.connections_to(a) == 1
    assert [event.peer_id for event in a.of(ConnectionEstablished)] == [b.peer_id]


def test_a_node_listens_on_every_ip_version_and_dials_back_from_another_port() -> None:
    net, a, _ = two()
    bound = [net.a.local_addr(socket) for socket in a.sockets]
    back = PORT + PROBE_PORT_OFFSET
    assert bound == [SocketAddr(ip, port) for ip in ("0.0.0.0", "::") for port in (PORT, back)]
    assert a.swarm.facts.alternate_ports()[0] == back


def test_a_node_that_dials_nobody_back_has_no_sockets_for_it() -> None:
    net = wire(1)
    node = SimNode(net.a, port=7, dials_back=False)
    assert [net.a.local_addr(socket).port for socket in node.sockets] == [7, 7]
    assert node.swarm.facts.alternate_ports()[0] is None


def test_a_node_may_keep_to_ipv4() -> None:
    net = wire(1)
    node = SimNode(net.a, speaks_ipv6=False)
    assert {net.a.local_addr(socket).ip for socket in node.sockets} == {"0.0.0.0"}
    told = node.swarm.facts.listen_addresses()
    assert told
    assert all(str(address).startswith("/ip4/") for address in told)


def test_keys_and_secrets_are_each_nodes_own_and_the_same_in_every_run() -> None:
    _, a, b = two()
    _, again, _ = two()
    assert a.peer_id != b.peer_id
    assert a._secret != b._secret
    assert (a.peer_id, a._secret) == (again.peer_id, again._secret)
    assert a.peer_id == a.swarm.peer_id


def test_an_identity_may_be_given() -> None:
    node = SimNode(wire(1).a, identity=private_key("given"))
    assert node.peer_id == peer_id("given")


def test_who_begins_anew_has_its_keys_and_no_memory() -> None:
    net, a, b = two()
    a.connect(b)
    before, known = b.peer_id, b.swarm
    for socket in b.sockets:
        net.b.close(socket)
    b.start()
    assert b.peer_id == before
    assert b.swarm is not known
    assert not b.swarm.facts.connections()
    a.do(a.swarm.ping, a.of(ConnectionEstablished)[0].connection, a.host.now)
    net.world.run_for(20.0)
    # Its secret is the one that it had, so its stateless resets are believed.
    assert a.of(ConnectionClosed)


def test_a_node_that_is_to_start_later_has_a_name_already() -> None:
    net = wire(1)
    node = SimNode(net.a, starts=False)
    assert isinstance(node.peer_id, PeerId)
    assert node.sockets == []
    node.start()
    assert node.swarm.peer_id == node.peer_id
    with pytest.raises(DialError):
        node.connect(node.peer_id)


def test_a_dial_that_fails_raises_its_reason() -> None:
    net, a, b = two()
    with pytest.raises(DialError):
        a.connect(b, SimNode(net.b, port=9, starts=False).address(), timeout=60.0)


def test_a_stream_for_which_there_is_no_room_raises() -> None:
    net = wire(1)
    none = TransportConfig(max_streams=3)
    a, b = SimNode(net.a), SimNode(net.b, transport=none)
    b.serve(PROTOCOL)
    connection = a.connect(b)
    while a.do(a.swarm.open_stream, connection, (PROTOCOL,), a.host.now) is not None:
        pass
    with pytest.raises(LocalProtocolError):
        a.open(connection, PROTOCOL)
