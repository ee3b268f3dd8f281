"""Which connections keep their places, and which go before strangers have to be refused.

The rules: dials of our own (where there are several connections, the one to use), relays that we
have reserved with, peers whose reservations or circuits we hold, and those that the user has named
are left alone; beyond the high water, connections that are good for nothing are closed down to the
low water: of the network that has most each time, and of it the longest silent.
"""

from collections.abc import Iterator
from heapq import heapify, heappop, heapreplace
from itertools import islice
from typing import TYPE_CHECKING, Final

from p2pnode.clock import Instant
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import ConnectionHandle
from p2pnode.resources.limits import ResourceLimits
from p2pnode.swarm.services.registry import Services
from p2pnode.swarm.state import SwarmState
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.places import origin
from p2pnode.transports.registry import Transports

if TYPE_CHECKING:
    from p2pnode.resources.networks import Network

SILENCE: Final = 10.0
"""seconds from one trimming to the next at least; go-libp2p's silence period"""


class Trimming:
    """Acts when a connection has come; needs no time of its own."""

    def __init__(
        self, transports: Transports, state: SwarmState, services: Services, limits: ResourceLimits
    ) -> None:
        self._transports = transports
        self._pool, self._peers = state.pool, state.peers
        self._services = services
        self._limits = limits
        self._not_before: Instant | None = None
        self._named = transports.account.protected
        places = transports.commons.places
        places.is_protected = self.is_protected
        places.is_protected_peer = self.is_protected_peer
        places.awaits_protected = self.awaits_protected

    def is_protected(self, handle: ConnectionHandle) -> bool:
        """Whether a connection keeps its place whoever comes."""
        peer = self._peers.get(handle)
        if peer is None:
            return False
        is_own = peer.is_initiator and self._pool.best(peer.peer_id) == handle
        return is_own or self.is_protected_peer(peer.peer_id)

    def is_protected_peer(self, peer_id: PeerId) -> bool:
        """Whether whatever connection a peer has, or comes by, is one to keep."""
        return (
            peer_id in self._named
            or self._services.relay_client.uses(peer_id)
            or self._services.relay_server.serves(peer_id)
        )

    def awaits_protected(self) -> bool:
        """Whether there may be a protected peer among strangers."""
        return bool(self._named) or self._services.relay_server.has_clients

    def on_connected(self, now: Instant) -> None:
        """Trims where there are too many connections."""
        used = self._transports.account.connections.used
        if used <= self._limits.high_water:
            return
        if self._not_before is not None and now < self._not_before:
            return
        self._not_before = now + SILENCE
        for handle in islice(self._least_useful(now), used - self._limits.low_water):
            with self._transports.commanding(handle, now) as connection:
                if connection is not None:
                    reason = "this node has many connections, and this one is not used"
                    connection.close(ErrorCode.EXCESSIVE_LOAD, reason, now, is_application=False)

    def _least_useful(self, now: Instant) -> Iterator[ConnectionHandle]:
        """Yields those that may go, of the fullest network first, the longest silent first."""
        young = now - self._limits.grace_period
        connections, ledger = self._transports.connections, self._transports.account.connections
        idle: dict[Network, list[tuple[Instant, ConnectionHandle]]] = {}
        for of_peer in self._pool.peers().values():
            for pooled in of_peer:
                handle = pooled.handle
                connection = connections.get(handle)
                if connection is None or connection.streams or pooled.made_at > young:
                    continue
                if not self.is_protected(handle):
                    network = origin(self._peers[handle].route)[-1]
                    idle.setdefault(network, []).append((connection.last_received, handle))
        for of_network in idle.values():
            of_network.sort(reverse=True)
        fullest = [(-ledger.of_network(n), of_n[-1], n) for n, of_n in idle.items()]
        heapify(fullest)
        while fullest:
            used, (_, handle), network = fullest[0]
            yield handle
            idle[network].pop()
            if idle[network]:
                heapreplace(fullest, (used + 1, idle[network][-1], network))
            else:
                heappop(fullest)
