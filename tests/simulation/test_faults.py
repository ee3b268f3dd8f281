"""A bug in a node costs the connection, stream or datagram that met it, and nobody else."""

from collections.abc import Callable

import pytest

from p2pnode.errors import ClosedByFault, LocalProtocolError
from p2pnode.machine import Received, SocketAddr
from p2pnode.netsim.topology import internet
from p2pnode.netsim.world import SimulationError, World
from p2pnode.protocols.autonat import PROBE_FIRST_BYTE
from p2pnode.protocols.ping import PROTOCOL_ID
from p2pnode.protocols.ping.dialogue import RESPONDER_IDLE_TIMEOUT
from p2pnode.protocols.relay import CIRCUIT_TYPE
from p2pnode.swarm import events
from p2pnode.swarm.services.service import (
    Disconnect,
    DropCircuit,
    OpenStream,
    ProbePath,
    PunchRoutes,
    ReplaceCircuit,
)
from p2pnode.testbed.sim_node import SimNode
from p2pnode.transports.delivery.stream_set import StreamSet
from p2pnode.transports.punch import Punch, PunchProbe
from tests.support.echo import echo

PROTOCOL = "/test/1"
BUG = ZeroDivisionError("a bug")
PUNCH = Punch(100.0, (PunchProbe(0.0),), 110.0)


def fail(*_: object, **__: object) -> None:
    raise BUG


class Three:
    """`a` and `c` are connected to `b`, which isolates faults, and which `a` will meet one in."""

    def __init__(self, *, isolates: bool = True) -> None:
        self.world = world = World(1)
        core = internet(world)
        self.b = SimNode(core.host("b"), isolates_faults=isolates)
        self.a, self.c = SimNode(core.host("a")), SimNode(core.host("c"))
        self.b.serve(PROTOCOL, echo)
        self.to_b = {node: node.connect(self.b) for node in (self.a, self.c)}
        world.run_for(5.0)
        self.handle = self.b.swarm.facts.best(self.a.peer_id)
        self.connection = self.b.swarm._transports.connections[self.handle]

    def echoes(self, node: SimNode) -> bool:
        """Whether `b` still serves a node."""
        stream = node.open(self.to_b[node], PROTOCOL)
        node.do(stream.write, b"here")
        read = bytearray()

        def has_answered() -> bool:
            read.extend(stream.read(10))
            return read == b"here"

        self.world.run_until(has_answered, 10.0)
        return True

    def assert_isolated(self) -> None:
        """A lost its connection, c did not, and b says why."""
        self.world.run_for(60.0)
        (closed,) = self.b.of(events.ConnectionClosed)
        assert closed.connection == self.handle
        assert isinstance(closed.reason, ClosedByFault)
        assert {fault.error for fault in self.b.of(events.Fault)} == {BUG}
        assert [e.connection for e in self.a.of(events.ConnectionClosed)] == [self.to_b[self.a]]
        assert self.echoes(self.c)


@pytest.mark.spec("SWARM-29")
@pytest.mark.parametrize("place", ["handle_received", "handle_timeout", "poll_transmits"])
def test_a_bug_of_one_connection_ends_it_alone(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    three = Three()
    monkeypatch.setattr(three.connection, place, fail)

    three.a.do(three.a.swarm.ping, three.to_b[three.a], three.world.now)

    three.assert_isolated()


@pytest.mark.spec("SWARM-29")
@pytest.mark.parametrize("hook", ["on_path_changed", "on_disconnected", "on_observed"])
def test_a_bug_of_a_service_about_a_peer_ends_its_connection_alone(
    hook: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    three = Three()
    swarm = three.b.swarm
    told = list[object]()
    monkeypatch.setattr(swarm._services.all[0], hook, fail)
    monkeypatch.setattr(swarm._services.all[-1], hook, lambda *args: told.append(args))

    if hook == "on_disconnected":
        three.b.do(swarm.disconnect, three.handle, three.world.now)
        three.world.run_for(1.0)
        assert [fault.error for fault in three.b.of(events.Fault)] == [BUG]
        assert three.echoes(three.c)
    else:
        peer = swarm.facts.peer(three.handle)
        call = {"on_path_changed": swarm._calls.path_changed, "on_observed": swarm._calls.observed}
        three.b.do(call[hook], peer, three.world.now)
        three.assert_isolated()
    assert told  # whoever stands behind in the line


@pytest.mark.spec("SWARM-29")
@pytest.mark.parametrize("place", ["handle_data", "poll_output"])
def test_a_bug_of_a_dialogue_resets_its_stream_alone(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    three = Three()
    monkeypatch.setattr(f"p2pnode.protocols.ping.dialogue.PingResponder.{place}", fail)
    three.a.do(three.a.swarm.ping, three.to_b[three.a], three.world.now)
    three.world.run_for(2.0)
    monkeypatch.undo()

    three.world.run_for(60.0)

    assert {fault.error for fault in three.b.of(events.Fault)} == {BUG}
    assert not three.b.of(events.ConnectionClosed)
    assert three.echoes(three.a)
    assert three.echoes(three.c)


@pytest.mark.spec("SWARM-29")
def test_a_bug_in_the_deadline_of_a_dialogue_leaves_the_others_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    three = Three()
    for node in (three.a, three.c):
        node.open(three.to_b[node], PROTOCOL_ID)  # and says nothing on it
    monkeypatch.setattr("p2pnode.protocols.ping.dialogue.PingResponder.handle_timeout", fail)

    three.world.run_for(RESPONDER_IDLE_TIMEOUT + 20.0)

    assert [fault.error for fault in three.b.of(events.Fault)] == [BUG, BUG]
    assert not three.b.of(events.ConnectionClosed)
    assert three.echoes(three.c)


@pytest.mark.spec("SWARM-29")
def test_a_bug_that_a_stream_cannot_be_ended_for_ends_its_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    three = Three()
    monkeypatch.setattr("p2pnode.protocols.ping.dialogue.PingResponder.handle_data", fail)
    monkeypatch.setattr(three.connection.streams.__class__, "reset", breaking(three))

    three.a.do(three.a.swarm.ping, three.to_b[three.a], three.world.now)
    three.world.run_for(1.0)
    monkeypatch.undo()

    three.assert_isolated()


def breaking(three: Three) -> Callable[..., None]:
    reset = StreamSet.reset

    def broken(streams: StreamSet, *args: int) -> None:
        if streams is three.connection.streams:
            raise BUG
        reset(streams, *args)

    return broken


COMMANDS = ["ping", "disconnect", "punch", "open", "drop", "replace"]


@pytest.mark.spec("SWARM-29")
@pytest.mark.parametrize("name", COMMANDS)
def test_a_bug_that_a_command_of_a_service_meets_ends_the_connection_it_names(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    three = Three()
    service = three.b.swarm._services.ping
    connection, route = three.connection, three.connection.route
    command, place = {
        "ping": (ProbePath(three.handle), (connection, "ping")),
        "disconnect": (Disconnect(three.handle, "enough"), (connection, "close")),
        "punch": (
            PunchRoutes(three.handle, (SocketAddr("9.9.9.9", 9),), PUNCH),
            (connection.paths, "punch"),
        ),
        "open": (OpenStream(three.handle, "/x", None), (connection.streams, "open")),
        "drop": (DropCircuit(route, three.a.peer_id, "it is gone"), (connection.paths, "lose")),
        "replace": (
            ReplaceCircuit(route, three.a.peer_id, three.c.peer_id),
            (connection.paths, "retire"),
        ),
    }[name]
    holder, method = place
    monkeypatch.setattr(type(holder), method, once(holder, getattr(type(holder), method)))

    three.b.do(lambda: service._command(command))

    three.assert_isolated()


def once(holder: object, method: Callable[..., object]) -> Callable[..., object]:
    """Returns a method that fails for one object."""

    def failing(each: object, *args: object, **kwargs: object) -> object:
        if each is holder:
            raise BUG
        return method(each, *args, **kwargs)

    return failing


@pytest.mark.spec("SWARM-29")
@pytest.mark.parametrize("name", ["handle_circuit_packets", "on_probe"])
def test_a_bug_that_a_strangers_datagram_meets_costs_that_datagram(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    three = Three()
    services = three.b.swarm._services
    service = services.relay_server if name == "handle_circuit_packets" else services.autonat_client
    monkeypatch.setattr(service, name, fail)
    first = CIRCUIT_TYPE if name == "handle_circuit_packets" else PROBE_FIRST_BYTE

    send(three, bytes([first]) + bytes(60))

    assert [fault.error for fault in three.b.of(events.Fault)] == [BUG]
    assert not three.b.of(events.ConnectionClosed)
    assert three.echoes(three.a)


def send(three: Three, payload: bytes) -> None:
    """Has b receive a datagram from a."""
    source = SocketAddr(three.a.host.ip, 4001)
    received = Received(three.b.sockets[0], None, source, 0, len(payload), payload)
    three.b.do(three.b.swarm.handle_received, [received], three.world.now)


def test_in_a_simulation_a_bug_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    three = Three(isolates=False)
    monkeypatch.setattr(three.connection, "handle_received", fail)
    three.a.do(three.a.swarm.ping, three.to_b[three.a], three.world.now)

    with pytest.raises(SimulationError, match="handle_received raised"):
        three.world.run_for(1.0)


@pytest.mark.spec("SWARM-29")
def test_what_names_nobody_is_raised_by_every_node(monkeypatch: pytest.MonkeyPatch) -> None:
    three = Three()
    monkeypatch.setattr(three.b.swarm._streams, "handle_timeout", fail)

    with pytest.raises(SimulationError, match="handle_timeout raised"):
        three.world.run_for(60.0)


def test_a_stream_that_cannot_be_proposed_is_not_opened() -> None:
    three = Three()
    streams = three.b.swarm._transports.connections[three.handle].streams
    before = len(streams)

    with pytest.raises(LocalProtocolError):
        three.b.open(three.handle, "a protocol\nof two lines")

    assert len(streams) == before
