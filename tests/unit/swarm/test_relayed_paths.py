"""Circuits and punches as paths of a real connection: swarm/relayed_paths.py."""

from typing import TYPE_CHECKING, cast

import pytest

from p2pnode.errors import LocalProtocolError
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import SocketAddr, SocketId
from p2pnode.swarm.address_book import AddressBook, AddressSource
from p2pnode.swarm.connection_pool import ConnectionPool, PooledConnection
from p2pnode.swarm.own_addresses import OwnAddresses
from p2pnode.swarm.relayed_paths import (
    MAX_REPLACEMENTS,
    MAX_STANDBY_RELAYS,
    REPLACEMENT_WINDOW,
    RelayedPaths,
)
from p2pnode.swarm.requests import ReleaseCircuit, RequestCircuit, ServiceRequest
from p2pnode.transports.noise_udp.connection import Connection
from p2pnode.transports.noise_udp.path_set import PathSet
from p2pnode.transports.punch import Punch, PunchProbe
from p2pnode.transports.route import Route
from p2pnode.wire.multiaddr import parse_multiaddr
from tests.support.addresses import NOISE_UDP
from tests.support.identities import peer_id
from tests.support.pair import Pair, transports_of

if TYPE_CHECKING:
    from p2pnode.swarm.dials import Dials
    from p2pnode.swarm.facts import SwarmFacts

RELAYS = [peer_id(f"relay {n}") for n in range(4)]
HOST = parse_multiaddr("/ip4/9.0.0.1/udp/4001/noise")
FIRST, SECOND, THIRD = (
    Route(SocketId(-n), None, SocketAddr(f"9.0.0.{n}", 4001)) for n in (1, 2, 3)
)
RELAY_OF = {FIRST: RELAYS[0], SECOND: RELAYS[1], THIRD: RELAYS[2]}
PUNCH = Punch(100.0, (PunchProbe(0.0),), 105.0)


class Relays:
    """A `SwarmFacts` as far as it is about circuits, and what the relays' client is asked for."""

    def __init__(self) -> None:
        self.asked: list[ServiceRequest] = []
        self.standing: list[Route] = []

    def relay_of(self, route: Route) -> PeerId | None:
        return RELAY_OF.get(route)

    def circuits_to(self, peer_id: PeerId) -> tuple[Route, ...]:
        return tuple(self.standing)

    @property
    def requests(self) -> list[PeerId]:
        """Returns the relays that were asked for a circuit."""
        asked = [request for request in self.asked if isinstance(request, RequestCircuit)]
        assert all(request.addresses == (HOST,) for request in asked)
        return [request.relay for request in asked]

    @property
    def released(self) -> list[Route]:
        return [request.route for request in self.asked if isinstance(request, ReleaseCircuit)]


class FakeDials:
    def __init__(self) -> None:
        self.waits_for: list[PeerId] = []
        self.circuits: list[Route] = []

    def is_dialling(self, peer_id: PeerId) -> bool:
        return bool(self.waits_for)

    def on_circuit(self, peer_id: PeerId, relay: PeerId, route: Route, now: float) -> bool:
        self.circuits.append(route)
        return relay in self.waits_for


class World:
    """One side of a real connection, whose first path may be said to be a circuit."""

    def __init__(
        self, *, is_initiator: bool = True, route: Route | None = None, is_known: bool = True
    ) -> None:
        self.pair = Pair()
        self.pair.connect()
        self.pair.drive(seconds=1.0)  # until ids for more paths have been told
        side = self.pair.client if is_initiator else self.pair.server
        self.handle, self.connection = side.handle, side.connection
        self.peer = self.connection.peer_id
        if route is not None:
            self.connection.paths.active.route = route
        self.pool = ConnectionPool(side.peer_id)
        if is_known:
            made = PooledConnection(self.handle, is_initiator, 0.0, NOISE_UDP)
            self.pool.add(self.peer, made)
        self.book = AddressBook()
        addresses = OwnAddresses((NOISE_UDP,))
        addresses.add_socket(SocketId(0), SocketAddr("0.0.0.0", 1), is_listening=True)
        self.relays, self.dials = Relays(), FakeDials()
        self.paths = RelayedPaths(
            transports_of(side.endpoint),
            self.pool,
            self.book,
            addresses,
            cast("SwarmFacts", self.relays),
            cast("Dials", self.dials),
            self.relays.asked,
        )

    @property
    def now(self) -> float:
        return self.pair.now

    def use(self, route: Route, *, is_asker: bool = True) -> None:
        self.relays.standing.append(route)
        self.paths.use_circuit(route, self.peer, is_asker=is_asker, now=self.now)

    def tell_relays(self, *relays: PeerId) -> None:
        told = tuple(parse_multiaddr(f"{HOST}/p2p/{relay}/p2p-circuit") for relay in relays)
        self.book.add(self.peer, told, AddressSource.SIGNED, self.now)

    def tried(self) -> list[Route]:
        return tried(self.connection)


def tried(connection: Connection) -> list[Route]:
    """Returns the routes that are being validated."""
    paths = connection.paths.paths.values()
    return [validation.route for path in paths for validation in path.validations.values()]


@pytest.mark.spec("SWARM-12")
def test_a_circuit_becomes_another_path_of_the_initiators_connection() -> None:
    world = World(route=FIRST)
    world.use(SECOND)
    assert world.tried() == [SECOND]
    assert world.relays.released == []


def test_a_circuit_that_is_in_use_already_opens_no_second_path() -> None:
    world = World(route=FIRST)
    world.use(FIRST)
    world.use(SECOND)
    world.use(SECOND)
    assert world.tried() == [SECOND]
    assert world.relays.released == []


@pytest.mark.spec("SWARM-12")
def test_only_the_initiator_adds_circuits() -> None:
    world = World(is_initiator=False, route=FIRST)
    world.use(SECOND)
    assert world.tried() == []
    assert world.relays.released == [SECOND], "asked for by a dial that has lost"


@pytest.mark.spec("SWARM-19")
@pytest.mark.parametrize("is_initiator", [True, False])
def test_what_a_relay_offers_uses_up_no_path_of_a_connection(is_initiator: bool) -> None:
    """It could offer circuits from anybody, until no path is left for punching."""
    world = World(is_initiator=is_initiator)
    world.use(SECOND, is_asker=False)
    assert (world.tried(), world.relays.released) == ([], [])


def test_a_circuit_that_finds_no_room_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(route=FIRST)

    def refuse(*_: object) -> int:
        raise LocalProtocolError("no further path")

    monkeypatch.setattr(PathSet, "open", refuse)
    world.tell_relays(*RELAYS)
    world.use(SECOND)
    assert world.relays.released == [SECOND]
    world.paths.drop_circuit(SECOND, world.peer, "closed on this side", world.now)
    assert world.relays.requests == [], "or this would begin anew for ever"


def test_a_circuit_to_a_peer_that_is_not_connected_is_for_a_dial() -> None:
    world = World(is_known=False)
    world.dials.waits_for = [RELAYS[0]]
    world.use(FIRST)
    world.use(SECOND)
    world.use(THIRD, is_asker=False)
    assert world.dials.circuits == [FIRST, SECOND]
    assert world.relays.released == [SECOND]


# the end of circuits


@pytest.mark.spec("SWARM-13")
def test_the_path_of_a_circuit_that_ends_is_given_up_at_once_where_there_is_another() -> None:
    world = World()
    world.use(SECOND)
    standby = world.connection.paths.paths[1]
    standby.validations.clear()
    standby.route = SECOND
    world.paths.drop_circuit(SECOND, world.peer, "ended", world.now)
    assert list(world.connection.paths.paths) == [0]


@pytest.mark.spec("SWARM-13")
def test_the_only_path_counts_as_suspect_when_its_circuit_ends_and_others_are_asked() -> None:
    world = World(route=FIRST)
    world.tell_relays(RELAYS[0], RELAYS[1])
    world.paths.drop_circuit(FIRST, world.peer, "ended", world.now)
    assert world.connection.paths.active.is_suspect
    assert not world.connection.is_closed
    assert sorted(map(str, world.relays.requests)) == sorted(map(str, RELAYS[:2]))


def test_a_path_whose_only_try_was_the_circuit_that_ends_is_forgotten() -> None:
    world = World(route=FIRST)
    world.use(SECOND)
    assert len(world.connection.paths.paths) == 2
    world.paths.drop_circuit(SECOND, world.peer, "ended", world.now)
    assert list(world.connection.paths.paths) == [0]


def test_who_goes_directly_needs_no_other_circuit() -> None:
    world = World()
    world.tell_relays(*RELAYS)
    world.use(SECOND)
    world.paths.drop_circuit(SECOND, world.peer, "ended", world.now)
    world.paths.drop_circuit(THIRD, world.peer, "never used", world.now)
    world.paths.drop_circuit(THIRD, peer_id("nobody"), "never used", world.now)
    assert world.relays.requests == []


# giving back


@pytest.mark.spec("SWARM-18")
def test_circuits_that_nobody_uses_are_given_back() -> None:
    world = World(route=FIRST)
    world.relays.standing = [FIRST]
    world.use(SECOND)
    world.relays.standing.append(THIRD)
    world.paths.release_idle(world.peer, world.now)
    assert world.relays.released == [THIRD]


@pytest.mark.spec("SWARM-18")
def test_all_circuits_are_given_back_when_the_connection_has_ended() -> None:
    world = World(route=FIRST)
    world.relays.standing = [FIRST, SECOND]
    world.pool.remove(world.peer, world.handle)
    world.dials.waits_for = [RELAYS[1]]
    world.paths.release_idle(world.peer, world.now)
    assert world.relays.released == [], "a dial may want one"
    world.dials.waits_for = []
    world.paths.release_idle(world.peer, world.now)
    assert world.relays.released == [FIRST, SECOND]


# more relays


@pytest.mark.spec("SWARM-12")
def test_a_standby_is_asked_for_through_another_relay() -> None:
    world = World(route=FIRST)
    world.tell_relays(*RELAYS[:2])
    world.paths.ask_standby_relay(world.handle, world.peer, world.now)
    assert world.relays.requests == [RELAYS[1]]


@pytest.mark.spec("SWARM-12")
def test_no_standby_is_asked_for_where_there_is_one_or_no_need() -> None:
    responder = World(is_initiator=False, route=FIRST)
    direct = World()
    double = World(route=FIRST)
    double.use(SECOND)
    double.connection.paths.paths[1].route = SECOND
    for world in (responder, direct, double):
        world.tell_relays(*RELAYS)
        world.paths.ask_standby_relay(world.handle, world.peer, world.now)
        world.paths.ask_standby_relay(99, world.peer, world.now)
        assert world.relays.requests == []


@pytest.mark.spec("SWARM-32")
def test_no_relay_is_asked_that_only_another_transport_reaches() -> None:
    world = World(route=FIRST)
    told = parse_multiaddr(f"/ip4/9.0.0.1/tcp/4001/p2p/{RELAYS[1]}/p2p-circuit")
    world.book.add(world.peer, (told,), AddressSource.SIGNED, world.now)
    world.paths.ask_standby_relay(world.handle, world.peer, world.now)
    assert world.relays.requests == []


def test_only_so_many_relays_are_asked_and_never_the_peer_itself() -> None:
    world = World(route=FIRST)
    world.tell_relays(world.peer)
    world.paths.ask_other_relays(world.peer, None, world.now)
    assert world.relays.requests == []
    world.tell_relays(*RELAYS)
    world.paths.ask_other_relays(world.peer, RELAYS[0], world.now)
    assert len(world.relays.requests) == MAX_STANDBY_RELAYS
    assert RELAYS[0] not in world.relays.requests
    world.paths.ask_other_relays(peer_id("nobody"), None, world.now)


@pytest.mark.spec("SWARM-12")
def test_a_relay_that_ends_every_circuit_does_not_set_the_pace() -> None:
    world = World(route=FIRST)
    world.tell_relays(RELAYS[0])
    for step in range(100):
        world.paths.drop_circuit(FIRST, world.peer, "ended", world.now + step * 0.1)
    at_once, in_ten_seconds = MAX_REPLACEMENTS, int(MAX_REPLACEMENTS * 10 / REPLACEMENT_WINDOW)
    assert len(world.relays.requests) == at_once + in_ten_seconds


# punching


@pytest.mark.parametrize("is_initiator", [True, False])
def test_a_punch_leaves_from_the_listening_socket(is_initiator: bool) -> None:
    world = World(is_initiator=is_initiator, route=FIRST)
    remotes = [SocketAddr("8.0.0.1", 5), SocketAddr("2001:db8::1", 5)]
    world.paths.punch(world.handle, remotes, PUNCH, world.now)
    assert world.tried() == [Route(SocketId(0), None, remotes[0])]
    world.paths.punch(world.handle, remotes[1:], PUNCH, world.now)
    world.paths.punch(99, remotes, PUNCH, world.now)
    assert len(world.tried()) == 1


@pytest.mark.spec("DCUTR-11")
def test_a_relay_that_is_named_as_target_counts_as_unproven() -> None:
    """That packets to a peer behind it go there says nothing about its wish for ours."""
    world = World(route=FIRST)
    world.paths.punch(world.handle, [FIRST.remote], PUNCH, world.now)
    (validation,) = world.connection.paths.paths[1].validations.values()
    assert validation.budget == 0


def test_a_punch_that_finds_no_room_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(route=FIRST)
    monkeypatch.setattr(PathSet, "max_path_id", 0)
    world.paths.punch(world.handle, [SocketAddr("8.0.0.1", 5)], PUNCH, world.now)
    assert world.tried() == []


def test_a_connection_that_is_closed_is_left_alone() -> None:
    world = World(route=FIRST)
    world.tell_relays(*RELAYS)
    world.connection.close(0, "over", world.now)
    world.paths.punch(world.handle, [SocketAddr("8.0.0.1", 5)], PUNCH, world.now)
    world.paths.drop_circuit(FIRST, world.peer, "ended", world.now)
    world.paths.ask_other_relays(world.peer, None, world.now)
    world.paths.ask_standby_relay(world.handle, world.peer, world.now)
    assert world.relays.requests == []
