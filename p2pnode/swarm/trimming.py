"""Which connections keep their places, and which go before strangers have to be refused.

The rules: dials of our own, relays that we have reserved with, peers whose reservations or circuits
we hold, and those that the user has named are left alone; beyond the high water, connections that
are good for nothing are closed down to the low water, the longest silent first.
"""

from typing import Final

from p2pnode.clock import Instant
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import ConnectionHandle
from p2pnode.resources.limits import ResourceLimits
from p2pnode.swarm.services.registry import Services
from p2pnode.swarm.state import SwarmState
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.noise_udp.endpoint import Endpoint

SILENCE: Final = 10.0
"""seconds from one trimming to the next at least; go-libp2p's silence period"""


class Trimming:
    """Acts when a connection has come; needs no time of its own."""

    def __init__(
        self, endpoint: Endpoint, state: SwarmState, services: Services, limits: ResourceLimits
    ) -> None:
        self._endpoint = endpoint
        self._pool, self._peers = state.pool, state.peers
        self._services = services
        self._limits = limits
        self._not_before: Instant | None = None
        self._named = endpoint.account.protected
        endpoint.places.is_protected = self.is_protected
        endpoint.places.is_protected_peer = self.is_protected_peer
        endpoint.places.awaits_protected = self.awaits_protected

    def is_protected(self, handle: ConnectionHandle) -> bool:
        """Whether a connection keeps its place whoever comes."""
        peer = self._peers.get(handle)
        if peer is None:
            return False
        return peer.is_initiator or self.is_protected_peer(peer.peer_id)

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
        used = self._endpoint.account.connections.used
        if used <= self._limits.high_water:
            return
        if self._not_before is not None and now < self._not_before:
            return
        self._not_before = now + SILENCE
        for handle in self._least_useful(now)[: used - self._limits.low_water]:
            with self._endpoint.commanding(handle, now) as connection:
                if connection is not None:
                    reason = "this node has many connections, and this one is not used"
                    connection.close(ErrorCode.EXCESSIVE_LOAD, reason, now, is_application=False)

    def _least_useful(self, now: Instant) -> list[ConnectionHandle]:
        """Returns those that may go, the longest silent first."""
        young = now - self._limits.grace_period
        connections = self._endpoint.connections
        idle = [
            pooled.handle
            for of_peer in self._pool.peers().values()
            for pooled in of_peer
            if pooled.made_at <= young
            and pooled.handle in connections
            and not connections[pooled.handle].streams
            and not self.is_protected(pooled.handle)
        ]
        return sorted(idle, key=lambda handle: connections[handle].last_received)
