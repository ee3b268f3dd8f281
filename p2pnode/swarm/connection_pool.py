"""Which connections there are to which peer, and which one to use.

The rule: two dials that crossed end with one connection, and both sides pick the same one: that of
the smaller peer id as initiator.  Otherwise a newer connection replaces an older one, because who
still had a working one would not have dialled.
"""

from typing import Final, NamedTuple

from p2pnode.clock import Deadline, Instant
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import ConnectionHandle

CROSSING_WINDOW: Final = 10.0
"""seconds within which two connections count as dials that crossed: the handshake timeout"""
DRAIN_TIME: Final = 30.0
"""seconds that a supplanted connection may still carry the streams it has; chosen: go's grace for
requests under way"""


class PooledConnection(NamedTuple):
    handle: ConnectionHandle
    is_initiator: bool
    made_at: Instant


class ConnectionPool:
    """Connections by peer, the one to use first."""

    def __init__(self, local: PeerId) -> None:
        self._local = local
        self._peers: dict[PeerId, list[PooledConnection]] = {}
        self._draining: dict[ConnectionHandle, Instant] = {}

    def add(
        self, peer_id: PeerId, handle: ConnectionHandle, is_initiator: bool, now: Instant
    ) -> ConnectionHandle | None:
        """Takes a new connection; returns the handle of one that it makes superfluous."""
        connections = self._peers.setdefault(peer_id, [])
        made = PooledConnection(handle, is_initiator, now)
        if not connections:
            connections.append(made)
            return None
        current = connections[0]
        crossed = current.is_initiator != is_initiator and now - current.made_at < CROSSING_WINDOW
        if crossed and self._is_ours_to_keep(peer_id) == current.is_initiator:
            connections.append(made)
            loser = handle
        else:
            connections.insert(0, made)
            loser = current.handle
        self._draining[loser] = now + DRAIN_TIME
        return loser

    def remove(self, peer_id: PeerId, handle: ConnectionHandle) -> bool:
        """Forgets a connection; returns whether it was the peer's last."""
        self._draining.pop(handle, None)
        connections = [c for c in self._peers.get(peer_id, []) if c.handle != handle]
        if connections:
            self._peers[peer_id] = connections
            if len(connections) == 1:
                self._draining.pop(connections[0].handle, None)  # the only one is not superfluous
            return False
        return self._peers.pop(peer_id, None) is not None

    def best(self, peer_id: PeerId) -> ConnectionHandle | None:
        """Returns the connection to use for a peer."""
        connections = self._peers.get(peer_id)
        return connections[0].handle if connections else None

    def peers(self) -> dict[PeerId, list[PooledConnection]]:
        """For reading only."""
        return self._peers

    @property
    def draining(self) -> tuple[ConnectionHandle, ...]:
        """Connections that are to be closed once they carry no streams."""
        return tuple(self._draining)

    def drained(self, now: Instant) -> tuple[ConnectionHandle, ...]:
        """Returns the supplanted connections whose time is up."""
        return tuple(handle for handle, until in self._draining.items() if now >= until)

    def prolong(self, handle: ConnectionHandle, now: Instant) -> None:
        """A supplanted connection is still in use: it gets as much time again."""
        if handle in self._draining:
            self._draining[handle] = now + DRAIN_TIME

    def poll_timeout(self) -> Deadline | None:
        if not self._draining:
            return None
        return Deadline(min(self._draining.values()), "supplanted connection")

    def _is_ours_to_keep(self, peer_id: PeerId) -> bool:
        return self._local.multihash < peer_id.multihash
