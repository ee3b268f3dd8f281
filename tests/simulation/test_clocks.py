"""Wall clocks that are wrong, that jump, and a monotonic clock that pauses: whole nodes."""

from dataclasses import replace

import pytest

from p2pnode.netsim.host import Host
from p2pnode.netsim.nat_presets import corporate
from p2pnode.netsim.topology import Pair, nat_pair
from p2pnode.swarm import SwarmConfig
from p2pnode.swarm.config import RelayMode
from p2pnode.swarm.events import ClockSkewChanged, DialSucceeded, ReservationsChanged
from p2pnode.testbed.sim_node import SimNode

HOUR = 3600.0
YEAR = 365.25 * 24 * HOUR
SKEWS = (
    ("client", HOUR),
    ("client", -HOUR),
    ("client", 8 * HOUR),
    ("client", -8 * HOUR),
    ("client", 10 * YEAR),
    ("relay", HOUR),
    ("relay", -HOUR),
    ("relay", -10 * YEAR),
)


class Town:
    """A client behind a NAT that needs the relay; `client` and `relay` are their clocks' errors."""

    def __init__(self, *, client: float = 0.0, relay: float = 0.0) -> None:
        self.net: Pair = nat_pair(1, corporate(), corporate())
        self.world = self.net.world
        set_clock(self.net.a, client)
        set_clock(self.net.public[0], relay)
        self.relay = SimNode(self.net.public[0], config=SwarmConfig(relay_mode=RelayMode.ALWAYS))
        self.client = SimNode(self.net.a)
        self.client.dial(self.relay)

    @property
    def has_reservation(self) -> bool:
        """Both sides believe in it."""
        ours = self.client.swarm.facts.reservations()
        theirs = self.relay.swarm._services.relay_server.reservations()
        return bool(ours) and self.client.peer_id in theirs

    def reserve(self) -> None:
        self.world.run_until(lambda: self.has_reservation, 20)

    def last(self, hours: float) -> None:
        """Runs on, and looks every minute that there is a reservation."""
        for _ in range(int(hours * 60)):
            self.world.run_for(60)
            assert self.has_reservation, self.world.now

    def is_reached(self) -> bool:
        """Whether the other host can dial the client through the relay."""
        guest = SimNode(self.net.b)
        guest.connect(self.relay)
        guest.do(guest.swarm.dial, self.client.peer_id, (), guest.host.now)

        def is_there() -> bool:
            return any(e.peer_id == self.client.peer_id for e in guest.of(DialSucceeded))

        return self.world.reaches(is_there, 15)

    def skew(self) -> float:
        """Returns what the client was told last of the relay's clock."""
        told = self.client.of(ClockSkewChanged)
        return told[-1].ahead if told else 0.0


def set_clock(host: Host, error: float) -> None:
    host.params = replace(host.params, unix_skew=error)


def jump(node: SimNode, seconds: float) -> None:
    """The node's wall clock is set, and its shell tells it."""
    set_clock(node.host, node.host.params.unix_skew + seconds)
    node.do(node.swarm.handle_clock_changed, node.host.unix_now, node.host.now)


@pytest.mark.spec("RELAY-4", "RELAY-37")
@pytest.mark.parametrize(("whose", "error"), SKEWS)
def test_clocks_that_differ_cost_no_reservation(whose: str, error: float) -> None:
    town = Town(**{whose: error})
    town.reserve()
    town.last(1.1)
    assert town.is_reached()
    relay_is_ahead = error if whose == "relay" else -error
    assert town.skew() == pytest.approx(relay_is_ahead, abs=60)


@pytest.mark.spec("RELAY-4")
@pytest.mark.parametrize("whose", ["client", "relay"])
def test_a_clock_that_starts_at_1970_costs_no_reservation(whose: str) -> None:
    town = Town(**{whose: 5.0 - nat_pair(1, corporate(), corporate()).world.unix_now})
    town.reserve()
    town.last(1.1)
    assert abs(town.skew()) > 50 * YEAR


@pytest.mark.spec("RELAY-4")
def test_clocks_that_agree_are_not_spoken_of() -> None:
    town = Town(client=20, relay=-20)
    town.reserve()
    town.last(1.1)
    assert not town.client.of(ClockSkewChanged)


@pytest.mark.spec("SWARM-26")
@pytest.mark.parametrize("seconds", [8 * HOUR, -8 * HOUR])
@pytest.mark.parametrize("whose", ["client", "relay"])
def test_a_wall_clock_that_jumps_ends_no_reservation(whose: str, seconds: float) -> None:
    town = Town()
    town.reserve()
    town.last(0.1)
    jump(town.client if whose == "client" else town.relay, seconds)
    town.last(1.1)
    expected = seconds if whose == "relay" else -seconds
    assert town.skew() == pytest.approx(expected, abs=60)
    jump(town.client if whose == "client" else town.relay, -seconds)
    town.last(1.1)
    assert town.skew() == 0
    assert len(town.client.of(ReservationsChanged)) == 1, "it was never lost"


@pytest.mark.spec("SWARM-26")
def test_a_relay_that_got_the_time_after_its_start_promises_the_right_end() -> None:
    town = Town(relay=-8 * HOUR)
    jump(town.relay, 8 * HOUR)
    town.reserve()
    assert not town.client.of(ClockSkewChanged)
    ends = town.client.swarm.facts.reservations()[0].expires_at
    assert ends - town.client.host.now == pytest.approx(HOUR, abs=5)


@pytest.mark.spec("SWARM-26")
@pytest.mark.parametrize("whose", ["client", "relay"])
@pytest.mark.parametrize("slept", [5.0, 40 * 60.0, 8 * HOUR])
def test_a_monotonic_clock_that_pauses_leaves_a_reservation_after_waking(
    whose: str, slept: float
) -> None:
    town = Town()
    node = town.client if whose == "client" else town.relay
    node.host.params = replace(node.host.params, clock_pauses=True)
    town.reserve()
    before = node.host.now
    node.host.suspend()
    town.world.run_for(slept)
    node.host.resume()
    assert node.host.now - before < 1, "its clock stood still"
    node.do(node.swarm.handle_clock_changed, node.host.unix_now, node.host.now)
    node.do(node.swarm.revalidate, node.host.now)
    if not town.world.reaches(lambda: town.has_reservation, 30):
        town.client.dial(town.relay)  # as a shell does that keeps its first peers connected
        town.reserve()
    town.last(0.1)
    assert town.is_reached()
    assert not town.client.of(ClockSkewChanged)
