from p2pnode.machine import Received, SocketAddr, SocketId
from p2pnode.transports.route import Route, route_of

REMOTE = SocketAddr("192.0.2.1", 1)


def test_the_answer_takes_the_route_that_the_datagram_came_on():
    received = Received(SocketId(3), "192.0.2.9", REMOTE, 0, 1, b"x")
    assert route_of(received) == Route(SocketId(3), "192.0.2.9", REMOTE)


def test_routes_are_the_same_by_socket_and_remote_address():
    known, unknown = Route(SocketId(3), "192.0.2.9", REMOTE), Route(SocketId(3), None, REMOTE)
    assert known.key == unknown.key
    assert Route(SocketId(4), None, REMOTE).key != known.key
    assert Route(SocketId(3), None, REMOTE._replace(port=2)).key != known.key


def test_a_circuit_is_a_route_of_its_own_kind():
    assert Route(SocketId(-1), None, REMOTE).is_relayed
    assert not Route(SocketId(0), None, REMOTE).is_relayed
