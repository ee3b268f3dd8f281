"""The one account of a node: whatever holds memory or a slot for somebody draws from it.

    connections, half_open    drawn by the endpoint
    streams                   by the swarm's table of inbound streams: a member is a connection
    memory                    by connections, in steps: a member is a connection
    reservations, circuits    by the relay

Each ledger's members are named by who draws from it; limits come from one value
(specs/resources.md).
"""

from collections.abc import Hashable
from typing import Final

from p2pnode.machine import ConnectionHandle
from p2pnode.resources.ledger import Ledger
from p2pnode.resources.limits import ResourceLimits
from p2pnode.resources.refusal import Refusals, Resource

MEMORY_STEP: Final = 16 * 1024
"""bytes by which a connection's memory has changed before its ledger is told; chosen: a step is
rare beside packets, and all connections together hide 64 MiB at most"""


class Account:
    """One a node; read by anybody, written by who holds something."""

    def __init__(self, limits: ResourceLimits) -> None:
        self.limits = limits
        self.refusals = refusals = Refusals()
        self.connections = Ledger[ConnectionHandle](
            Resource.CONNECTIONS, limits.connections, refusals, has_reserve=True
        )
        self.half_open = Ledger[Hashable](Resource.HALF_OPEN, limits.half_open, refusals)
        self.streams = Ledger[ConnectionHandle](Resource.STREAMS, limits.streams, refusals)
        self.memory = Ledger[ConnectionHandle](Resource.MEMORY, limits.memory, refusals)
