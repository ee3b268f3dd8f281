"""What the state machine of `tests.property.test_handover_machine` has found, one test each.

What is mended stays here, so that it does not come back; what is not is marked, with the reason.
"""

from typing import Any

from p2pnode.machine import SocketAddr, SocketId
from p2pnode.netsim import nat_presets, topology
from p2pnode.swarm import events
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.events import ConnectionClosed, PathValidated
from p2pnode.transports.punch import Punch, PunchProbe
from p2pnode.transports.route import Route
from tests.support.handover import Handover, ToldNode
from tests.support.pair import Pair, Side

NOBODY = SocketAddr("203.0.113.99", 9)
WIFI = SocketAddr("192.0.2.50", 5000)


def scene(seed: int = 0) -> Handover:
    """Both ends are behind home routers, which can be punched."""
    made = Handover(seed, nat_presets.home(), nat_presets.home())
    made.connect()
    return made


def test_a_relay_that_is_silent_is_probed_and_given_up() -> None:
    """An old sign of life was taken for a new one: probes were sent without end, at one instant."""
    made = scene()
    made.run(10)
    made.set_relay(1, is_cut=True)
    made.run(16)
    assert len(made.a.swarm.facts.reservations()) == 1
    assert len(made.b.swarm.facts.reservations()) == 1


def test_a_path_that_died_is_not_returned_to_before_it_answers() -> None:
    """The probe timeouts of a path were forgotten when it was left: the data went to and fro."""
    made = scene()
    made.run(30)
    assert made.is_direct
    before = {name: len(node.of(events.PathChanged)) for name, node in made.nodes.items()}
    made.set_wall(is_blocked=True)
    for _ in range(20):
        made.write("A", 1000)
        made.write("B", 1000)
        made.run(0.5)
    for name, node in made.nodes.items():
        assert len(node.of(events.PathChanged)) - before[name] == 1
        punches = [e for e in node.of(events.PunchEnded) if e.is_direct]
        assert len(punches) == 1
    assert made.is_delivered


def test_a_path_that_answers_again_is_returned_to_at_once() -> None:
    made = scene()
    made.run(30)
    made.set_wall(is_blocked=True)
    made.write("A", 1000)
    made.write("B", 1000)
    made.run(4)
    assert not made.is_direct
    made.set_wall(is_blocked=False)
    made.run(2)
    assert made.is_direct


def test_however_often_an_address_changes_there_is_a_path_left_to_open() -> None:
    """Dead paths were kept for ever: after eight changes the connection stayed relayed."""
    made = scene()
    made.run(5)
    for _ in range(12):
        made.change_public_address("A")
        made.run(20)
        made.write("A", 100)
        made.write("B", 100)
        made.run(20)
        assert made.is_direct
        for name in made.nodes:
            connection = made.connection(name)
            assert connection is not None
            assert len(connection.paths.paths) <= 4
    assert made.is_delivered


def test_a_connection_without_a_way_is_rescued_by_any_relay_that_both_ends_know() -> None:
    """B knew no relay of A, for A was public: it asked nobody, or once and then never again."""
    made = Handover(180, nat_presets.full_cone(), nat_presets.corporate())
    made.connect()
    made.run(130)
    made.restart_relay(0)
    made.change_lan_address("A")
    made.run(60)
    assert made.is_connected
    made.write("B", 1000)
    made.run(5)
    assert made.is_delivered


def test_a_supplanted_connection_is_closed_once() -> None:
    net = topology.pair(1)
    a, b = ToldNode(net.a), ToldNode(net.b)
    b.serve("/test")
    stream = a.open(a.connect(b), "/test")
    a.do(stream.write, b"held")
    net.world.run_for(1)
    a.dial(b, check=False)
    net.world.run_for(1)
    a.do(a.swarm.reset_stream, stream, 0, net.world.now)
    net.world.run_for(60)
    assert a.connections_to(b) == 1


def pair_of_endpoints() -> Pair:
    pair = Pair()
    pair.connect()
    pair.drive(seconds=1)
    pair.client.more[1] = WIFI
    return pair


def of_kind(side: Side, kind: type[Any]) -> list[Any]:
    return [e.event for e in side.events if isinstance(e.event, kind)]


def test_a_path_id_that_only_the_peer_used_is_not_used_any_more() -> None:
    """The peer had given it up, and answered our first packet on it with a stateless reset."""
    pair = pair_of_endpoints()
    punch = Punch(pair.now, (PunchProbe(0.0),), pair.now + 1.0)
    assert pair.server.connection.paths.punch([Route(SocketId(0), None, NOBODY)], punch, pair.now)
    pair.drive(seconds=20)
    route = Route(SocketId(1), None, pair.server.address)
    assert pair.client.connection.paths.open([route], pair.now) == 2
    pair.drive(seconds=20)
    assert of_kind(pair.client, PathValidated)
    assert not of_kind(pair.client, ConnectionClosed)
    assert not of_kind(pair.server, ConnectionClosed)


def test_a_path_may_be_given_up_before_the_peer_has_validated_its_heir() -> None:
    """PATH_ABANDON of the last path that we had validated closed the connection."""
    pair = pair_of_endpoints()
    until = pair.now + 0.15
    answers: list[bytes] = []

    def lose_challenges(sender: str, datagram: bytes) -> bool:
        """The server answers the client's challenge first, and only then sends its own."""
        if sender == "client" or len(datagram) < 1200 or pair.now > until:
            return True
        answers.append(datagram)
        return len(answers) == 1

    pair.filter = lose_challenges
    route = Route(SocketId(1), None, pair.server.address)
    pair.client.connection.paths.open([route], pair.now)
    pair.drive(lambda: bool(of_kind(pair.client, PathValidated)))
    pair.client.connection.paths.abandon(0, ErrorCode.NO_ERROR, "it is gone", pair.now)
    pair.drive(seconds=0.1)
    assert not of_kind(pair.server, PathValidated)
    pair.drive(seconds=20)
    for side in pair.sides:
        assert not of_kind(side, ConnectionClosed)
        assert list(side.connection.paths.paths) == [1]


def test_a_dialogue_hears_of_the_loss_of_its_connection_while_it_is_negotiated() -> None:
    net = topology.pair(1)
    a, b = ToldNode(net.a), ToldNode(net.b)
    connection = a.connect(b)
    net.world.run_for(30)
    net.site_b.link.set_up(False)
    net.world.run_for(41)
    a.do(a.swarm.ping, connection, net.world.now)
    net.world.run_for(60)
    assert a.connections_to(b) == 0
    assert len(a.of(events.PingFailed)) == 1


def test_a_node_that_was_offline_has_reservations_soon_after() -> None:
    made = scene()
    made.run(5)
    made.set_interface("A", is_up=False)
    made.run(280)
    made.set_interface("A", is_up=True)
    made.run(60)
    assert made.a.swarm.facts.reservations()
