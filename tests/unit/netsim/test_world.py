"""p2pnode/netsim/world.py"""

import pytest

from p2pnode.machine import SocketAddr
from p2pnode.netsim.router import Router
from p2pnode.netsim.topology import wire
from p2pnode.netsim.world import EPOCH, SimulationError, World
from tests.unit.netsim.machines import Ticker


def test_things_due_at_one_instant_happen_in_the_order_of_scheduling() -> None:
    world, done = World(1), list[str]()
    for name in ("a", "b", "c"):
        world.schedule(1.0, done.append, name)
    world.at(0.5, lambda: done.append("first"))

    world.run_for(1.0)

    assert done == ["first", "a", "b", "c"]


def test_run_for_moves_time_even_when_nothing_happens() -> None:
    world = World(1)

    world.run_for(2.5)

    assert world.now == 2.5
    assert world.unix_now == EPOCH + 2.5


def test_run_until_stops_at_the_event_that_makes_the_predicate_true() -> None:
    world, done = World(1), list[int]()
    for second in range(5):
        world.schedule(second, done.append, second)

    at = world.run_until(lambda: len(done) == 3, timeout=10)

    assert (at, done) == (2.0, [0, 1, 2])


def test_run_until_names_seed_and_time_when_the_predicate_does_not_hold_in_time() -> None:
    world = World("friday")
    world.after(1.0, lambda: None)

    with pytest.raises(SimulationError, match=r"within 3 s \(seed 'friday', virtual time 3\.0"):
        world.run_until(lambda: False, timeout=3)


def test_reaches_tells_instead_of_raising() -> None:
    world = World(1)
    world.after(5.0, lambda: None)

    assert not world.reaches(lambda: False, timeout=1)
    assert world.now == 1.0


@pytest.mark.spec("NETSIM-3")
def test_a_livelock_becomes_an_error_that_names_the_seed() -> None:
    world = World(42, max_events=1000)

    def again() -> None:
        world.after(0.0, again)

    again()
    with pytest.raises(SimulationError, match=r"more than 1000 events.*seed 42"):
        world.run_for(1.0)


@pytest.mark.spec("NETSIM-3")
def test_time_that_never_moves_becomes_an_error() -> None:
    world = World(42)
    world.run_for(1.0)

    def again() -> None:
        world.after(0.0, again)

    again()
    with pytest.raises(SimulationError, match=r"events at one instant \(seed 42"):
        world.run_for(1.0)


@pytest.mark.spec("NETSIM-3")
def test_a_deadline_that_never_moves_becomes_an_error_that_names_its_reason() -> None:
    class Stuck(Ticker):
        """Moves its deadline, and never past the present."""

        def handle_timeout(self, now: float) -> None:
            self._next -= 1.0

    net = wire(7)
    socket = net.a.bind()
    net.a.attach(lambda _: Stuck(socket, SocketAddr("20.0.0.2", 1), 1.0, 1))

    with pytest.raises(SimulationError, match=r"a does not move its deadline 'tick'.*seed 7"):
        net.world.run_for(1.0)


@pytest.mark.spec("NETSIM-2")
def test_dice_depend_on_seed_and_name_only() -> None:
    assert World(1).rng("a").random() == World(1).rng("a").random()
    assert World(1).rng("a").random() != World(1).rng("b").random()
    assert World(1).rng("a").random() != World(2).rng("a").random()
    assert World(1).entropy("a")(32) == World(1).entropy("a")(32)


def test_entropy_does_not_repeat() -> None:
    entropy = World(1).entropy("a")

    assert entropy(16) != entropy(16)


def test_two_parts_cannot_have_one_name() -> None:
    world = World(1)
    Router(world, "r")

    with pytest.raises(SimulationError, match="two parts are named 'r'"):
        Router(world, "r")
