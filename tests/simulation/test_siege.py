"""Attackers on a relay with honest peers: the rows of the table of threats, in virtual time.

What a packet costs is counted in Python calls, what is kept in bytes: neither depends on how busy
the machine is.  The same attackers on kernel sockets: tests/netns/test_siege.py.
"""

import sys
import tracemalloc
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

import pytest

from p2pnode.netsim.topology import internet
from p2pnode.netsim.world import World
from p2pnode.resources.limits import ResourceLimits
from p2pnode.swarm import SwarmConfig
from p2pnode.swarm.config import RelayMode
from p2pnode.swarm.events import PongReceived
from p2pnode.testbed.sim_node import SimNode
from p2pnode.transports.noise_udp import incoming
from tests.siege.siege import ROWS, SIEGE
from tests.siege.simulated import Attackers
from tests.support.hostile import give_secret
from tests.support.pair import endpoint_of

LIMITS = ResourceLimits()

RELAY: Final = SwarmConfig(relay_mode=RelayMode.ALWAYS)
STRANGERS_WAIT: Final = 2.0
"""seconds in which somebody new gets in, whoever else is there"""
MIB: Final = 1 << 20
MOST_CALLS: Final = 30
"""Python calls of the whole node for each byte of a cheap flood.  The rest of the defence is that
packets wait their turn, which needs time that passes:
tests/unit/transports/noise_udp/test_turns.py."""
MOST_HELD: Final = 8 * MIB
"""bytes of memory, the attackers' own with them"""


class Besieged:
    """A relay, and an honest peer that is connected with it."""

    def __init__(self, seed: int = 1) -> None:
        self.world = World(seed, trace_size=64)  # packets that are kept would count as memory
        self.net = internet(self.world)
        self.relay = SimNode(self.net.host("relay"), config=RELAY)
        give_secret(self.relay)
        self.honest = SimNode(self.net.host("honest"))
        self.connection = self.honest.connect(self.relay)
        self.world.run_for(2)

    def attack(self, *rows: str, **how: Any) -> Attackers:
        return Attackers(self.net, self.relay, rows, **how)

    def stranger_gets_in(self, name: str = "stranger") -> bool:
        """Returns whether somebody new is connected in time."""
        node = SimNode(self.net.host(name))
        node.dial(self.relay)
        return self.world.reaches(lambda: node.connections_to(self.relay) > 0, STRANGERS_WAIT)

    def is_answered(self) -> bool:
        """Returns whether the honest peer's connection stands and its ping comes back."""
        before = len(self.honest.of(PongReceived))
        self.honest.do(self.honest.swarm.ping, self.connection, self.world.now)
        return self.world.reaches(lambda: len(self.honest.of(PongReceived)) > before, 2)

    def round_trip(self) -> float:
        """Returns the seconds until the honest peer's ping is back."""
        before, asked = len(self.honest.of(PongReceived)), self.world.now
        self.honest.do(self.honest.swarm.ping, self.connection, asked)
        self.world.run_until(lambda: len(self.honest.of(PongReceived)) > before, 2)
        return self.world.now - asked

    @property
    def connections(self) -> int:
        """How many the relay has."""
        return len(self.relay.swarm._transports.connections)


class Traced:
    """What was allocated in a `with`, and is still there at its end."""

    growth: int
    """bytes"""

    def __enter__(self) -> "Traced":
        tracemalloc.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.growth, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()


class Counted:
    """Python calls that a node makes, whoever causes them."""

    def __init__(self, node: SimNode) -> None:
        self.calls = 0
        for name in ("handle_received", "handle_timeout", "poll_transmits", "poll_events"):
            setattr(node.swarm, name, self._counting(getattr(node.swarm, name)))

    def _counting(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any) -> Any:
            sys.setprofile(self._count)
            try:
                return method(*args)
            finally:
                sys.setprofile(None)

        return counted

    def _count(self, frame: FrameType, event: str, argument: object) -> None:
        self.calls += event == "call"


@pytest.mark.spec("TRANSPORT-46")
def test_provoked_frames_end_the_connection_that_provoked_them_and_nothing_else() -> None:
    besieged = Besieged()
    attackers = besieged.attack("1")
    besieged.world.run_for(3)
    (flood,) = attackers.siege.attacks
    assert flood.closed["too many frames provoked"] > 1
    assert besieged.is_answered()
    assert besieged.stranger_gets_in()


@pytest.mark.slow
@pytest.mark.spec("TRANSPORT-48")
def test_a_crowd_of_identities_at_one_address_takes_its_share_and_no_more() -> None:
    besieged = Besieged()
    attackers = besieged.attack("2")
    (crowd,) = attackers.siege.attacks
    besieged.world.run_until(lambda: crowd.held >= LIMITS.connections.network, 10)
    besieged.world.run_for(0.5)
    assert besieged.connections <= LIMITS.connections.network + 2
    assert besieged.is_answered()
    assert besieged.stranger_gets_in()


@pytest.mark.slow
@pytest.mark.parametrize("name", [plan.name for plan in ROWS["3"]])
def test_a_byte_of_a_cheap_flood_costs_a_bounded_number_of_calls(name: str) -> None:
    besieged = Besieged()
    attackers = besieged.attack("3", only=(name,), scale=0.1)
    besieged.world.run_for(0.5)
    counted, sent = Counted(besieged.relay), attackers.siege.sent[0]
    besieged.world.run_for(1)
    sent = attackers.siege.sent[0] - sent
    assert sent > 1000
    assert counted.calls <= MOST_CALLS * sent
    assert besieged.is_answered()
    assert besieged.stranger_gets_in()


def test_early_packets_cost_no_more_memory_than_they_are_given() -> None:
    besieged = Besieged()
    attackers = besieged.attack("4", sources=8, scale=4.0)
    besieged.world.run_for(1)
    sent = attackers.siege.sent[0]
    with Traced() as memory:
        besieged.world.run_for(3)
    assert attackers.siege.sent[0] - sent > 4 * incoming.MAX_EARLY_TOTAL
    assert memory.growth <= 4 * incoming.MAX_EARLY_TOTAL
    assert besieged.is_answered()


@pytest.mark.slow
@pytest.mark.spec("TRANSPORT-47")
@pytest.mark.parametrize("is_ipv6", [False, True], ids=["8 IPv4 addresses", "8 IPv6 /64"])
def test_half_open_handshakes_that_fill_every_place_keep_no_stranger_out(is_ipv6: bool) -> None:
    besieged = Besieged()
    attackers = besieged.attack("5", sources=8, scale=2.0, is_ipv6=is_ipv6)
    half_open = endpoint_of(besieged.relay.swarm)._incoming.by_id
    besieged.world.run_until(lambda: len(half_open) >= LIMITS.half_open.total, 10)
    assert besieged.stranger_gets_in()
    assert besieged.is_answered()
    assert len(half_open) <= LIMITS.half_open.total
    attackers.stop()
    besieged.world.run_for(15)
    assert len(half_open) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", [plan.name for plan in ROWS["6"]])
def test_data_behind_holes_is_bounded_and_gone_with_the_connections_it_came_by(name: str) -> None:
    besieged = Besieged()
    attackers = besieged.attack("6", only=(name,), scale=2.0)
    besieged.world.run_for(0.5)
    sent = attackers.siege.sent[0]
    with Traced() as memory:
        besieged.world.run_for(3)
    assert attackers.siege.sent[0] - sent > MIB
    assert memory.growth <= MOST_HELD
    assert besieged.is_answered()


@pytest.mark.slow
def test_what_a_siege_took_falls_back_when_it_is_over() -> None:
    besieged = Besieged()
    attackers = besieged.attack(*SIEGE, sources=8, scale=0.1)
    besieged.world.run_for(3)
    assert besieged.connections > 8
    attackers.stop()
    besieged.world.run_for(60)
    assert besieged.connections <= 2
    assert besieged.is_answered()
    assert besieged.stranger_gets_in()
