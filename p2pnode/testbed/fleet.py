"""Who is in a test swarm, behind what, and who shall reach whom: decided before anything runs.

    relays    r1 r2 r3 ...   public; the first ones are what every node is given to begin with
    nodes     n1 n2 n3 ...   each behind a NAT of its own, the kinds in turn
    pairs     n1 -> n4 ...   all of them, or a balanced sample where that would be too many

Rule: the plan is a value that depends on its arguments alone, so that processes in namespaces and
machines in virtual time play the same swarm.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, NamedTuple

from p2pnode.testbed.nat_kinds import (
    ADDRESS_RESTRICTED,
    DOUBLE,
    FIREWALL,
    FULL_CONE,
    LEAKY,
    NONE,
    PORT_FORWARD,
    PORT_RESTRICTED,
    SYMMETRIC,
    SYMMETRIC_DOUBLE,
    NatKind,
)

MAX_PAIRS: Final = 90
"""chosen: six per node where there are 30, and a list that a person can still look through"""
MAX_BOOTSTRAP: Final = 3
"""Relays that every node is given to begin with: exact verdicts want three peers on two IPs."""
NODES_PER_RELAY: Final = 5
"""chosen: one node in five is public"""
FEWEST_FOR_ALL_RELAYS: Final = 6
"""nodes; below that a single relay leaves more of them for the NATs"""

MIX: Final[tuple[NatKind, ...]] = (
    PORT_RESTRICTED,
    SYMMETRIC,
    FULL_CONE,
    ADDRESS_RESTRICTED,
    PORT_RESTRICTED,
    FIREWALL,
    DOUBLE,
    PORT_FORWARD,
    LEAKY,
    SYMMETRIC_DOUBLE,
)
"""What `--nat mix` gives out in turn: everything that lets UDP through, the usual router twice."""


class Member(NamedTuple):
    """A node to be."""

    name: str
    kind: NatKind
    is_relay: bool


class Pair(NamedTuple):
    """Names of two members: the first one pings the second one."""

    asker: str
    target: str


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """The whole swarm."""

    members: tuple[Member, ...]
    """Relays first."""
    pairs: tuple[Pair, ...]

    @property
    def relays(self) -> tuple[Member, ...]:
        return tuple(member for member in self.members if member.is_relay)

    @property
    def others(self) -> tuple[Member, ...]:
        return tuple(member for member in self.members if not member.is_relay)

    def bootstrap_of(self, member: Member) -> tuple[Member, ...]:
        """Returns whom a member is told of: the first relays, and of those, the ones before it."""
        first = self.relays[:MAX_BOOTSTRAP]
        return first[: first.index(member)] if member in first else first

    @property
    def is_plain(self) -> bool:
        """Whether there is no NAT at all, so that one network would do."""
        return all(member.kind is NONE for member in self.members)


def plan_fleet(nodes: int, kinds: Sequence[NatKind], seed: int | str) -> FleetPlan:
    """Returns a swarm of so many nodes, relays included, behind these kinds of NAT in turn."""
    relays = _relay_count(nodes)
    others = [f"n{i + 1}" for i in range(nodes - relays)]
    members = (
        *(Member(f"r{i + 1}", NONE, True) for i in range(relays)),
        *(Member(name, kinds[i % len(kinds)], False) for i, name in enumerate(others)),
    )
    # Relays are public and known to all: that they are reached says nothing, unless nobody else
    # is there to be reached.
    names = others if len(others) > 1 else [member.name for member in members]
    Random(f"{seed}/pairs").shuffle(names)
    order = {member.name: i for i, member in enumerate(members)}
    pairs = sorted(_pairs(names), key=lambda p: (order[p.asker], order[p.target]))
    return FleetPlan(members, tuple(pairs))


def _relay_count(nodes: int) -> int:
    if nodes < FEWEST_FOR_ALL_RELAYS:
        return 1
    return max(MAX_BOOTSTRAP, nodes // NODES_PER_RELAY)


def _pairs(ring: list[str]) -> Iterator[Pair]:
    """Yields each pair at most once, and MAX_PAIRS in all: neighbours on the ring, then those two
    steps apart, and so on, so that every node is in as many as every other."""
    count = len(ring)
    left = MAX_PAIRS
    for step in range(1, count // 2 + 1):
        around = count // 2 if 2 * step == count else count
        for i in range(min(around, left)):
            yield Pair(ring[i], ring[(i + step) % count])
        left -= min(around, left)
