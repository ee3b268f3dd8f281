"""Tests of what services ask for, by the parts of whole nodes that do it."""

import pytest

from p2pnode.errors import ClosedByPeer
from p2pnode.machine import ConnectionHandle, SocketAddr
from p2pnode.netsim.topology import wire
from p2pnode.protocols import ping
from p2pnode.swarm.dial_back_side import FIRST_HANDLE
from p2pnode.swarm.events import ConnectionClosed, DialFailed, DialSucceeded
from p2pnode.swarm.inbound_streams import InboundLimit
from p2pnode.swarm.services.service import (
    Command,
    DialBack,
    DialPeer,
    Disconnect,
    LearnAddresses,
    OpenStream,
    ProbePath,
    PumpMachine,
)
from p2pnode.testbed.sim_node import PORT, SimNode
from p2pnode.transports.error_code import ErrorCode
from tests.support.addresses import NOISE_UDP
from tests.support.scripted import ScriptedMachine, ScriptedService

X = "/x/1.0.0"
NOBODY = ConnectionHandle(77)


class Two:
    """Two nodes, and a service of the test's that commands the first."""

    def __init__(self) -> None:
        network = wire(1)
        self.world = network.world
        self.a, self.b = SimNode(network.a), SimNode(network.b)
        self.service = ScriptedService()

    @property
    def b_addr(self) -> SocketAddr:
        return SocketAddr(self.b.host.ip, PORT)

    def run(self, *commands: Command, seconds: float = 1.0) -> None:
        for command in commands:
            self.a.do(self.a.swarm._commands.run, self.service, command, self.world.now)
        self.world.run_for(seconds)


def test_a_services_dial_connects_and_is_no_news_of_a_dial_to_the_user() -> None:
    two = Two()
    two.run(DialPeer(two.b.peer_id, (two.b.address(),)))

    assert two.a.connections_to(two.b) == 1
    assert two.service.unreached == []
    assert two.a.of(DialSucceeded) == []


def test_a_services_dial_that_fails_is_told_to_the_service_alone() -> None:
    two = Two()
    nowhere = SimNode.address(two.b, "10.9.9.9")
    two.run(DialPeer(two.b.peer_id, (nowhere,)), seconds=60)

    [(peer_id, reason)] = two.service.unreached
    assert peer_id == two.b.peer_id
    assert "no answer" in reason
    assert two.a.of(DialFailed) == []


def test_a_dial_of_this_node_itself_fails_at_once() -> None:
    two = Two()
    two.run(DialPeer(two.a.peer_id, (two.a.address(),)), seconds=0)

    assert [peer_id for peer_id, _ in two.service.unreached] == [two.a.peer_id]


def test_a_peer_that_is_connected_directly_is_not_dialled_again() -> None:
    two = Two()
    connection = two.a.connect(two.b)
    two.run(DialPeer(two.b.peer_id, (two.b.address(),)))

    assert list(two.a.swarm._transports.connections) == [connection]
    assert two.service.unreached == []


def test_a_disconnection_tells_the_peer_why_and_of_what_is_gone_nothing() -> None:
    two = Two()
    connection = ConnectionHandle(two.a.connect(two.b))
    two.run(Disconnect(NOBODY, ""), Disconnect(FIRST_HANDLE, ""))
    assert two.a.connections_to(two.b) == 1
    two.run(Disconnect(connection, "no longer wanted"))

    [closed] = two.b.of(ConnectionClosed)
    assert isinstance(closed.reason, ClosedByPeer)
    assert closed.reason.reason == "no longer wanted"


@pytest.mark.spec("RELAY-44")
def test_a_connection_that_is_of_use_does_not_end_for_others_sake() -> None:
    two = Two()
    connection = ConnectionHandle(two.b.connect(two.a))
    two.world.run_for(5)
    (handle,) = two.a.swarm._transports.connections
    leave = Disconnect(handle, "others need it", for_load=True)

    two.a.swarm.protect(two.b.peer_id)
    two.run(leave)
    two.a.swarm.protect(two.b.peer_id, is_protected=False)
    two.a.serve(X)
    stream = two.b.open(connection, X)
    two.world.run_for(1)
    two.run(leave)
    assert two.b.of(ConnectionClosed) == []

    two.b.do(two.b.swarm.reset_stream, stream, 0, two.world.now)
    two.world.run_for(1)
    two.run(leave)
    [closed] = two.b.of(ConnectionClosed)
    assert isinstance(closed.reason, ClosedByPeer)
    assert closed.reason.code == ErrorCode.EXCESSIVE_LOAD


def test_a_stream_is_run_for_who_asked_and_pumped_when_it_says_so() -> None:
    two = Two()
    connection = ConnectionHandle(two.a.connect(two.b))
    machine = ScriptedMachine()
    two.run(OpenStream(connection, ping.PROTOCOL_ID, machine))
    machine.say(bytes(32))
    two.world.run_for(1)
    assert machine.received == b""
    two.run(PumpMachine(connection, machine))

    assert machine.received == bytes(32)
    assert two.service.of(machine) == ["progress"]


@pytest.mark.parametrize("connection", [NOBODY, FIRST_HANDLE])
def test_a_stream_on_a_connection_that_is_gone_has_failed(connection: ConnectionHandle) -> None:
    two = Two()
    machine = ScriptedMachine()
    two.run(OpenStream(connection, X, machine), PumpMachine(connection, machine))

    assert two.service.told == [("failed", machine), ("over", machine)]


def test_a_dial_back_has_a_connection_of_its_own_until_it_is_closed() -> None:
    two = Two()
    two.b.swarm._streams.handled[X] = InboundLimit(1)
    two.run(DialBack(5, two.b.peer_id, two.b_addr, NOISE_UDP, 3.0))
    [(ticket, connection, _)] = two.service.dialled_back
    assert ticket == 5
    assert connection is not None
    assert connection >= FIRST_HANDLE
    assert two.a.swarm._transports.connections == {}

    machine = ScriptedMachine()
    two.run(OpenStream(connection, X, machine))
    assert two.service.of(machine) == ["progress"]
    two.run(Disconnect(connection, "over"))
    assert two.service.of(machine) == ["progress", "over"]


def test_a_dial_back_that_nobody_answers_says_why() -> None:
    two = Two()
    two.run(DialBack(6, two.b.peer_id, SocketAddr("10.9.9.9", 1), NOISE_UDP, 0.5), seconds=5)

    [(ticket, connection, reason)] = two.service.dialled_back
    assert (ticket, connection) == (6, None)
    assert reason


def test_addresses_that_a_service_has_heard_are_hearsay() -> None:
    two = Two()
    two.run(LearnAddresses(two.b.peer_id, (two.b.address(),)), seconds=0)
    assert two.a.swarm._state.book.addresses(two.b.peer_id, two.world.now) == (two.b.address(),)

    two.world.run_for(121)
    assert two.a.swarm._state.book.addresses(two.b.peer_id, two.world.now) == ()


@pytest.mark.parametrize("is_probed", [False, True])
def test_a_probe_asks_the_peer_for_a_sign_of_life(is_probed: bool) -> None:
    two = Two()
    connection = ConnectionHandle(two.a.connect(two.b))
    two.world.run_for(7)
    two.run(ProbePath(connection if is_probed else NOBODY), seconds=0.2)
    heard = two.a.swarm.facts.last_received(connection)

    assert heard is not None
    assert (heard > two.world.now - 0.3) is is_probed
