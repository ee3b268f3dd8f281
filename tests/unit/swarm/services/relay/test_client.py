"""Relays as their user sees them, stepped by hand: swarm/services/relay/client.py."""

from random import Random

import pytest

from p2pnode.clock import Instant, UnixTime
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import SocketAddr, SocketId, StreamMachine
from p2pnode.protocols.identify import IdentifyInfo
from p2pnode.protocols.relay import (
    CIRCUIT_HOP_PROTOCOL_ID,
    CIRCUIT_STOP_PROTOCOL_ID,
    HOP_PROTOCOL_ID,
    CircuitOffered,
    CircuitRequester,
    CircuitResponder,
    Reservation,
    ReservationRequester,
    Status,
)
from p2pnode.protocols.relay.auto_relay import FIRST_REST
from p2pnode.protocols.relay.messages import HopStatus, encode_hop
from p2pnode.swarm.circuits import Circuits
from p2pnode.swarm.events import ClockSkewChanged, ReservationsChanged
from p2pnode.swarm.peer import Peer
from p2pnode.swarm.services.relay import client as module
from p2pnode.swarm.services.relay.client import MAX_RELAY_ADDRS, RELEASE_DELAY, RelayClient
from p2pnode.swarm.services.service import (
    CircuitFailed,
    Command,
    DialPeer,
    DropCircuit,
    FindPeers,
    OpenStream,
    ProbePath,
    PumpMachine,
    Readvertise,
    ReplaceCircuit,
    UseCircuit,
)
from p2pnode.transports.route import Route
from p2pnode.wire.framing import encode_frame
from p2pnode.wire.multiaddr import parse_multiaddr
from tests.support.addresses import NOISE_UDP
from tests.support.autonat_swarm import FakeFacts
from tests.support.identities import peer_id
from tests.support.machine_streams import StreamEnd

US, PEER, OTHER = peer_id("us"), peer_id("peer"), peer_id("other")
RELAY, SECOND = peer_id("relay"), peer_id("second relay")
HOST = parse_multiaddr("/ip4/9.0.0.1/udp/4001/noise")
UNIX = UnixTime(1_700_000_000.0)
TAKEN = (UseCircuit, CircuitFailed, DropCircuit, ReplaceCircuit, DialPeer, FindPeers, ProbePath)
Ends = tuple[int, StreamEnd, StreamEnd]
"""a connection, our end of a stream on it, and the relay's"""


class Facts(FakeFacts):
    def __init__(self) -> None:
        super().__init__(SocketAddr("10.0.0.1", 4001))
        self.heard: dict[int, Instant] = {}

    def last_received(self, connection: int) -> Instant | None:
        return self.heard.get(connection)


class World:
    """A client; relays are played by the test."""

    def __init__(self) -> None:
        self.now = 0.0
        self.facts = Facts()
        self.circuits = Circuits(self._route_of)
        self.client = RelayClient(
            self.facts,
            self.circuits,
            US,
            rng=Random(1),
            entropy=Random(2).randbytes,
            now=0.0,
            unix_now=UNIX,
        )
        self.commands: list[Command] = []
        self.events: list[object] = []
        self.reservations: list[OpenStream] = []
        self.streams: list[Ends] = []
        self.answers = True
        """Whether the relay accepts circuits at once."""
        self.run()
        self.commands.clear()

    def _route_of(self, connection: int) -> Route | None:
        peer = self.facts.peers.get(connection)
        return None if peer is None else peer.route

    # connections

    def connect(self, relay: PeerId, connection: int, *, is_relayed: bool = False) -> Peer:
        socket = SocketId(-7 if is_relayed else 1)
        route = Route(socket, None, SocketAddr(f"{connection}.0.0.1", 4001))
        peer = self.facts.peers[connection] = Peer(connection, relay, route, True, NOISE_UDP)
        self.client.on_connected(peer, self.now)
        self.run()
        return peer

    def identify(self, peer: Peer) -> None:
        info = IdentifyInfo(peer.peer_id, protocols=(HOP_PROTOCOL_ID,))
        self.client.on_identified(peer, info, self.now)
        self.run()

    def disconnect(self, connection: int) -> None:
        peer = self.facts.peers.pop(connection)
        for ends in [ends for ends in self.streams if ends[0] == connection]:
            self.streams.remove(ends)
            ends[1].machine.handle_reset(0, self.now)
            self.client.on_stream_failed(connection, ends[1].machine, "lost", self.now)
        self.client.on_disconnected(peer, self.now)
        self.run()

    # reservations

    def answer(
        self, status: Status = Status.OK, lifetime: float = 3600.0, addresses: int = 0
    ) -> None:
        """Answers the oldest request for a reservation."""
        asked = self.reservations.pop(0)
        addrs = tuple(parse_multiaddr(f"/ip4/9.0.0.1/udp/{n + 1}/noise") for n in range(addresses))
        promise = Reservation(int(UNIX + self.now + lifetime), addrs)
        message = HopStatus(status, promise if status is Status.OK else None)
        asked.machine.handle_data(encode_frame(encode_hop(message)), self.now)
        self.client.on_progress(asked.connection, asked.machine, self.now)
        self.run()

    def reserve(self, relay: PeerId = RELAY, connection: int = 9) -> Peer:
        peer = self.connect(relay, connection)
        self.identify(peer)
        self.answer()
        return peer

    # circuits

    def request(self, peer: PeerId = PEER, relay: PeerId = RELAY) -> None:
        self.client.request(peer, relay, (HOST,), self.now)
        self.run()

    def offer(self, peer: Peer, source: PeerId = PEER) -> Ends | None:
        """The relay offers a circuit; returns its stream, or None where it is refused."""
        machine = self.client.accept(peer, CIRCUIT_STOP_PROTOCOL_ID, self.now)
        if machine is None:
            return None
        theirs = CircuitRequester(source, bytes(8), self.now)
        ends = (peer.connection, StreamEnd(machine), StreamEnd(theirs))
        self.streams.append(ends)
        self.run()
        return ends

    def take(self) -> list[Command]:
        """Returns the commands since the last call that are for others."""
        found, self.commands = self.commands, []
        return [command for command in found if not isinstance(command, FindPeers)]

    def time(self, now: float) -> None:
        self.now = now
        self.client.handle_timeout(now)
        self.run()

    def run(self) -> None:
        moved = True
        while moved:
            moved = self._carry_out()
            for connection, near, far in list(self.streams):
                moved |= self._play(far)
                moved |= far.pump(near, self.now)
                if near.pump(far, self.now):
                    moved = True
                    self.client.on_progress(connection, near.machine, self.now)
        self.streams = [ends for ends in self.streams if not ends[1].is_over]
        self.events += self.client.poll_events()

    def _play(self, far: StreamEnd) -> bool:
        machine = far.machine
        if not self.answers or not isinstance(machine, CircuitResponder):
            return False
        offered = [e for e in machine.poll_events() if isinstance(e, CircuitOffered)]
        for _ in offered:
            machine.accept(bytes(8), now=self.now)
        return bool(offered)

    def _carry_out(self) -> bool:
        commands = self.client.poll_commands()
        for command in commands:
            match command:
                case OpenStream(_, _, ReservationRequester()):
                    assert command.protocol == HOP_PROTOCOL_ID
                    self.reservations.append(command)
                case OpenStream(connection, protocol, machine):
                    assert protocol == CIRCUIT_HOP_PROTOCOL_ID
                    far = CircuitResponder(self.now)
                    self.streams.append((connection, StreamEnd(machine), StreamEnd(far)))
                case PumpMachine(connection, machine):
                    self._pumped(connection, machine)
                case Readvertise():
                    pass
                case _:
                    assert isinstance(command, TAKEN), command
                    self.commands.append(command)
        return bool(commands)

    def _pumped(self, connection: int, machine: StreamMachine) -> None:
        for other, near, far in self.streams:
            if other == connection and near.machine is machine:
                near.pump(far, self.now)
        self.client.on_progress(connection, machine, self.now)


def used(world: World) -> Route:
    """Returns the route of the one circuit that was reported."""
    (command,) = world.take()
    assert isinstance(command, UseCircuit)
    return command.route


# reservations


@pytest.mark.spec("RELAY-27")
def test_a_relay_is_reserved_with_as_soon_as_it_is_known() -> None:
    world = World()
    world.reserve()
    (relay, ends_at), *others = world.client.reservations()
    assert (relay, ends_at, others) == (RELAY, 3600.0, [])
    (address,) = world.client.addresses()
    assert str(address) == f"/ip4/9.0.0.1/udp/4001/noise/p2p/{RELAY}/p2p-circuit/p2p/{US}"
    assert world.events[-1] == ReservationsChanged((RELAY,), (address,))


def test_a_relay_names_only_so_many_addresses() -> None:
    """What it names is dialled by others: it shall not aim all of our peers at somebody."""
    world = World()
    world.identify(world.connect(RELAY, 9))
    world.answer(addresses=40)
    assert len(world.client.addresses()) == MAX_RELAY_ADDRS


@pytest.mark.spec("RELAY-31")
def test_a_relay_that_refuses_is_left_alone_for_a_while() -> None:
    world = World()
    world.identify(world.connect(RELAY, 9))
    world.answer(Status.RESERVATION_REFUSED)
    assert world.client.reservations() == ()
    world.time(FIRST_REST - 1)
    assert world.reservations == []
    world.time(FIRST_REST)
    assert len(world.reservations) == 1


@pytest.mark.spec("RELAY-30")
def test_a_lost_relay_is_not_told_any_more_and_is_asked_again_later() -> None:
    world = World()
    world.reserve()
    world.disconnect(9)
    assert (world.client.reservations(), world.client.addresses()) == ((), ())
    assert world.events[-1] == ReservationsChanged((), ())
    world.take()
    world.time(FIRST_REST)
    assert world.take() == [DialPeer(RELAY)]
    world.connect(RELAY, 10)
    world.answer()
    assert [relay for relay, _ in world.client.reservations()] == [RELAY]


@pytest.mark.spec("RELAY-4", "RELAY-38")
def test_a_relay_whose_clock_differs_is_reported_once_and_when_it_agrees_again() -> None:
    world = World()
    world.identify(world.connect(RELAY, 9))
    world.answer(lifetime=-8 * 3600.0)
    ((relay, ends_at),) = world.client.reservations()
    assert (relay, ends_at) == (RELAY, 3600.0)
    assert world.client.clock_skew(RELAY) == -9 * 3600
    for lifetime in (-8 * 3600.0 + 20, 3600.0, 3600.0):
        world.facts.heard[9] = world.now = world.now + 2700.0
        world.time(world.now)
        world.answer(lifetime=lifetime)
    told = [e for e in world.events if isinstance(e, ClockSkewChanged)]
    assert told == [ClockSkewChanged(RELAY, -9 * 3600), ClockSkewChanged(RELAY, 0.0)]


def test_a_relay_that_cannot_be_reached_rests() -> None:
    world = World()
    world.reserve()
    world.disconnect(9)
    world.time(FIRST_REST)
    world.take()
    world.client.on_connect_failed(RELAY, "no answer", world.now)
    world.time(FIRST_REST + 1)
    assert world.take() == []


@pytest.mark.spec("RELAY-30")
def test_a_silent_relay_is_probed_and_given_up_in_time() -> None:
    """Timers of others call `handle_timeout` all the time; the same old packet is no new life."""
    world = World()
    world.reserve()
    world.facts.heard[9] = 0.5
    now = 0.5
    while world.client.reservations():
        now += 0.1
        assert now <= 0.5 + 14.6
        world.time(now)
    probes = [c for c in world.take() if isinstance(c, ProbePath)]
    assert len(probes) == 3
    assert now == pytest.approx(15.0, abs=0.15)


@pytest.mark.spec("RELAY-5")
def test_a_reservation_moves_with_the_connection() -> None:
    world = World()
    world.reserve()
    world.connect(RELAY, 10)
    world.disconnect(9)
    assert [c.connection for c in world.reservations] == [10]
    assert world.client.addresses()
    world.answer()
    assert [relay for relay, _ in world.client.reservations()] == [RELAY]


@pytest.mark.spec("RELAY-5")
def test_a_reservation_that_does_not_move_is_lost() -> None:
    world = World()
    world.reserve()
    world.connect(RELAY, 10)
    world.disconnect(9)
    world.answer(Status.RESOURCE_LIMIT_EXCEEDED)
    assert world.client.addresses() == ()


def test_the_end_of_another_connection_does_not_spoil_a_request() -> None:
    world = World()
    world.connect(RELAY, 9)
    peer = world.connect(RELAY, 10)
    del world.facts.peers[9]
    world.identify(peer)
    world.facts.peers[9] = peer._replace(connection=9)
    world.disconnect(9)
    world.answer()
    assert [relay for relay, _ in world.client.reservations()] == [RELAY]


@pytest.mark.spec("SWARM-20")
def test_reservations_are_let_go_a_while_after_strangers_reach_us() -> None:
    world = World()
    peer = world.reserve()
    world.client.set_needs_relay(False, world.now)
    world.time(world.now + 5.0)
    assert world.client.addresses() != ()
    world.client.set_needs_relay(False, world.now)
    deadline = world.client.poll_timeout()
    assert deadline is not None
    world.time(RELEASE_DELAY)
    assert world.client.addresses() == ()
    assert world.offer(peer) is None
    assert world.client.poll_timeout() is None


# circuits that we ask for


def test_a_circuit_is_asked_for_on_the_connection_with_the_relay() -> None:
    world = World()
    world.connect(RELAY, 9)
    world.request()
    (command,) = world.take()
    assert isinstance(command, UseCircuit)
    assert (command.peer_id, command.is_asker) == (PEER, True)
    assert command.route.is_relayed
    assert world.client.relay_of(command.route) == RELAY
    assert world.client.circuits_to(PEER) == (command.route,)
    assert world.client.circuits_to(OTHER) == ()


@pytest.mark.spec("SWARM-10")
def test_a_relay_that_is_not_connected_is_dialled_directly_once() -> None:
    world = World()
    world.connect(RELAY, 8, is_relayed=True)
    world.request()
    world.request()
    world.request(OTHER)
    assert world.take() == [DialPeer(RELAY, (HOST,)), DialPeer(RELAY, (HOST,))]
    world.connect(RELAY, 9)
    assert [c.peer_id for c in world.take() if isinstance(c, UseCircuit)] == [PEER, OTHER]
    assert world.client._waiting == {}


@pytest.mark.spec("SWARM-10")
def test_a_relay_becomes_usable_when_its_connection_becomes_direct() -> None:
    world = World()
    peer = world.connect(RELAY, 8, is_relayed=True)
    world.request()
    world.take()
    moved = world.facts.peers[8] = peer._replace(
        route=Route(SocketId(1), None, SocketAddr("8.0.0.1", 1))
    )
    world.client.on_path_changed(moved, world.now)
    world.run()
    assert used(world).is_relayed


def test_a_relay_that_cannot_be_reached_gives_no_circuit() -> None:
    world = World()
    world.request()
    world.request(OTHER)
    world.take()
    world.client.on_connect_failed(RELAY, "no answer", world.now)
    world.run()
    assert [(c.peer_id, c.relay) for c in world.take() if isinstance(c, CircuitFailed)] == [
        (PEER, RELAY),
        (OTHER, RELAY),
    ]
    assert world.client._waiting == {}


def test_a_refusal_is_told() -> None:
    world = World()
    world.answers = False
    world.connect(RELAY, 9)
    world.request()
    world.request()
    ((_, _, far),) = world.streams
    assert isinstance(far.machine, CircuitResponder)
    far.machine.refuse(Status.NO_RESERVATION)
    world.run()
    (command,) = world.take()
    assert isinstance(command, CircuitFailed)
    assert "NO_RESERVATION" in command.reason.upper().replace(" ", "_")
    assert (world.client._ends, len(world.circuits)) == ({}, 0)


@pytest.mark.spec("SWARM-22")
def test_a_circuit_that_stands_is_used_again() -> None:
    """Or a dial that comes after a lost one would wait for ever."""
    world = World()
    world.connect(RELAY, 9)
    world.request()
    route = used(world)
    world.request()
    assert used(world) == route
    assert len(world.streams) == 1


def test_a_circuit_that_was_just_given_back_is_not_used_again() -> None:
    world = World()
    world.connect(RELAY, 9)
    world.request()
    route = used(world)
    world.client.release(route, world.now)
    world.request()
    dropped, again = sorted(world.take(), key=lambda c: isinstance(c, UseCircuit))
    assert dropped == DropCircuit(route, PEER, "closed on this side")
    assert isinstance(again, UseCircuit)
    assert again.route != route
    assert len(world.circuits) == 1


@pytest.mark.spec("SWARM-22")
def test_a_circuit_that_is_given_back_ends_at_the_relay() -> None:
    world = World()
    world.connect(RELAY, 9)
    world.request()
    route = used(world)
    ((_, _, far),) = world.streams
    world.client.release(route, world.now)
    world.run()
    assert far.machine.is_done
    assert world.take() == [DropCircuit(route, PEER, "closed on this side")]
    assert (world.client._ends, len(world.circuits)) == ({}, 0)
    assert world.client.circuits_to(PEER) == ()


@pytest.mark.spec("SWARM-13")
def test_all_circuits_end_with_the_connection_to_the_relay() -> None:
    world = World()
    world.connect(RELAY, 9)
    world.request()
    world.request(OTHER)
    assert len(world.take()) == 2
    world.disconnect(9)
    assert [c.peer_id for c in world.take() if isinstance(c, DropCircuit)] == [PEER, OTHER]
    assert (world.client._ends, len(world.circuits)) == ({}, 0)


@pytest.mark.spec("SWARM-12")
def test_a_relay_that_announces_the_end_again_and_again_is_not_listened_to_for_long() -> None:
    world = World()
    world.connect(RELAY, 9)
    world.request()
    route = used(world)
    ((_, near, far),) = world.streams
    for _ in range(50):
        if near.is_over:
            break
        assert isinstance(far.machine, CircuitResponder)
        far.machine.announce_end(Status.CONNECTION_FAILED, 1.0)
        world.run()
    commands = world.take()
    assert commands[0] == ReplaceCircuit(route, PEER, RELAY)
    assert len(commands) < 10
    assert isinstance(commands[-1], DropCircuit)
    assert len(world.circuits) == 0


def test_the_number_of_circuits_that_we_ask_for_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ASKED", 3)
    world = World()
    world.connect(RELAY, 9)
    for number in range(4):
        world.request(peer_id(number))
    assert [type(c) for c in world.take()] == [UseCircuit] * 3 + [CircuitFailed]
    for number in range(5):
        world.request(PEER, peer_id(f"relay {number}"))
    assert world.client._waiting == {}


def test_a_circuit_for_which_there_is_no_room_is_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    monkeypatch.setattr("p2pnode.swarm.circuits.MAX_CIRCUITS", 0)
    world.connect(RELAY, 9)
    world.request()
    (command,) = world.take()
    assert isinstance(command, CircuitFailed)
    assert (world.client._ends, world.streams) == ({}, [])


# circuits that relays offer


def test_a_circuit_is_taken_from_a_relay_that_holds_a_reservation() -> None:
    world = World()
    peer = world.reserve()
    world.take()
    assert world.offer(peer) is not None
    (command,) = world.take()
    assert isinstance(command, UseCircuit)
    assert (command.peer_id, command.is_asker) == (PEER, False)
    assert world.client.circuits_to(PEER) == (), "it is the other one's to give back"


@pytest.mark.spec("RELAY-20")
def test_no_circuit_is_taken_from_anybody_else() -> None:
    world = World()
    world.reserve()
    world.take()
    assert world.offer(world.connect(SECOND, 8)) is None
    assert world.offer(world.connect(RELAY, 7, is_relayed=True)) is None
    assert (world.take(), len(world.circuits)) == ([], 0)


def test_a_circuit_from_ourselves_is_refused() -> None:
    world = World()
    peer = world.reserve()
    world.take()
    ends = world.offer(peer, US)
    assert ends is not None
    assert ends[2].machine.is_done
    assert (world.take(), world.client._ends, len(world.circuits)) == ([], {}, 0)


def test_an_offer_that_never_comes_is_forgotten() -> None:
    world = World()
    peer = world.reserve()
    machine = world.client.accept(peer, CIRCUIT_STOP_PROTOCOL_ID, world.now)
    assert machine is not None
    timer = machine.poll_timeout()
    assert timer is not None
    machine.handle_timeout(timer.at)
    world.client.on_progress(peer.connection, machine, timer.at)
    assert world.client._ends == {}
