"""The one account of a node: whatever holds memory or a slot for somebody draws from it.

    connections, half_open    drawn by the endpoint
    streams                   by the swarm's table of streams: a member is a connection, by those
                              that its peer has opened; our own count for the process
    memory                    by connections, in steps: a member is a connection
    reservations, circuits    by the relay, whose own limits they have

What waits in common queues counts with the memory, and for nobody's share (`Beside`).

Each ledger's members are named by who draws from it; limits come from one value
(specs/resources.md).
"""

import enum
from collections.abc import Callable, Hashable
from typing import Any, Final, NamedTuple

from p2pnode.machine import ConnectionHandle
from p2pnode.resources.ledger import Ledger
from p2pnode.resources.limits import ResourceLimits
from p2pnode.resources.refusal import Refusals, Resource

MEMORY_STEP: Final = 16 * 1024
"""bytes by which a connection's memory has changed before its ledger is told; chosen: a step is
rare beside packets, and all connections together hide 64 MiB at most"""


class Beside(enum.Enum):
    """What is held in memory that no single connection is answerable for."""

    EARLY = "packets that overtook the end of their handshake"
    WAITING = "packets that wait for their turn"
    CIRCUITS = "packets in the queues of circuits"


class Drops:
    """Packets that there was no room for, since the start."""

    def __init__(self) -> None:
        self.packets = 0
        self.size = 0
        """bytes of them"""

    def note(self, size: int) -> None:
        self.packets += 1
        self.size += size


class ResourceUse(NamedTuple):
    """What everybody holds of one resource together."""

    resource: Resource
    used: int
    limit: int
    refused: int
    """How often since the start somebody was refused it."""


class Account:
    """One a node; read by anybody, written by who holds something."""

    def __init__(self, limits: ResourceLimits) -> None:
        self.limits = limits
        self.refusals = refusals = Refusals()
        self.connections = Ledger[ConnectionHandle](
            Resource.CONNECTIONS, limits.connections, refusals, has_reserve=True
        )
        self.half_open = Ledger[Hashable](Resource.HALF_OPEN, limits.half_open, refusals)
        self.streams = Ledger[ConnectionHandle](
            Resource.STREAMS, limits.streams, refusals, has_reserve=True
        )
        self.memory = Ledger[ConnectionHandle](Resource.MEMORY, limits.memory, refusals)
        self._ledgers: list[Ledger[Any]] = [
            self.connections,
            self.half_open,
            self.streams,
            self.memory,
        ]
        self._kept: list[Ledger[Any]] = []
        """Those of which as many are kept as there are protected peers."""
        self._ends_of_half_open: list[Callable[[Hashable], bool]] = []
        self.early_drops = Drops()
        self.protected = dict[Hashable, None]()
        """Peers that the user has named."""

    def let_half_open_end(self, end: Callable[[Hashable], bool]) -> None:
        """Takes a transport's way to end a handshake, which returns whether it was one of its."""
        self._ends_of_half_open.append(end)

    def end_newest_half_open(self) -> bool:
        """Ends the newest handshake of the network that has most, by whichever transport it came.

        False where nobody can.
        """
        newest = next(self.half_open.of_fullest(), None)
        return newest is not None and any(end(newest) for end in self._ends_of_half_open)

    def add(self, ledger: Ledger[Any]) -> None:
        """Takes a ledger that a relay has made: it is told of, and keeps some for the protected."""
        self._ledgers.append(ledger)
        self._kept.append(ledger)
        ledger.reserve(len(self.protected))

    def protect(self, peer: Hashable, *, is_protected: bool) -> None:
        """The user names a peer that strangers must not keep out, or takes that back."""
        if is_protected:
            self.protected[peer] = None
        else:
            self.protected.pop(peer, None)
        for ledger in self._kept:
            ledger.reserve(len(self.protected))

    def uses(self) -> list[ResourceUse]:
        """Returns how much of each resource is held, and how often more was refused."""
        counts = self.refusals.counts
        return [
            ResourceUse(
                ledger.resource,
                ledger.used,
                ledger.process.limit,
                sum(n for (resource, _), n in counts.items() if resource is ledger.resource),
            )
            for ledger in self._ledgers
        ]
