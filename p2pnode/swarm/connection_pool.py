"""Which connections there are to which peer, and which one to use.

The rules: a direct one before one through a relay, then the better transport, then the newer one;
and none is ended because there is another, with one exception.  Of noise-udp a peer has one
connection, for it moves and need not be made anew: two dials that crossed end with one, and both
sides pick the same one, that of the smaller peer id as initiator; otherwise a newer one replaces an
older one, because who still had a working one would not have dialled.
"""

from operator import attrgetter
from typing import Final, NamedTuple

from p2pnode.clock import Deadline, Instant
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import ConnectionHandle
from p2pnode.wire.transport_name import TransportName

CROSSING_WINDOW: Final = 10.0
"""seconds within which two connections count as dials that crossed: the handshake timeout"""
DRAIN_TIME: Final = 30.0
"""seconds that a supplanted connection may still carry the streams it has; chosen: go's grace for
requests under way"""

_TRANSPORTS: Final = tuple(TransportName)


class PooledConnection(NamedTuple):
    handle: ConnectionHandle
    is_initiator: bool
    made_at: Instant
    transport: TransportName
    is_relayed: bool = False
    is_limited: bool = False
    is_supplanted: bool = False
    """Another one carries what begins from now on."""

    @property
    def rank(self) -> tuple[bool, bool, bool, int, Instant]:
        """The least one is to be used."""
        return (
            self.is_supplanted,
            self.is_limited,
            self.is_relayed,
            _TRANSPORTS.index(self.transport),
            -self.made_at,
        )


class ConnectionPool:
    """Connections by peer, the one to use first."""

    def __init__(self, local: PeerId) -> None:
        self._local = local
        self._peers: dict[PeerId, list[PooledConnection]] = {}
        self._draining: dict[ConnectionHandle, Instant] = {}

    def add(self, peer_id: PeerId, made: PooledConnection) -> ConnectionHandle | None:
        """Takes a new connection; returns the handle of one that it makes superfluous."""
        connections = self._peers.get(peer_id, [])
        rival = self._rival(connections) if made.transport is TransportName.NOISE_UDP else None
        loser = None
        if rival is not None:
            crossed = (
                rival.is_initiator != made.is_initiator
                and made.made_at - rival.made_at < CROSSING_WINDOW
            )
            if crossed and self._is_ours_to_keep(peer_id) == rival.is_initiator:
                made = made._replace(is_supplanted=True)
                loser = made.handle
            else:
                connections[connections.index(rival)] = rival._replace(is_supplanted=True)
                loser = rival.handle
            self._draining[loser] = made.made_at + DRAIN_TIME
        self._keep(peer_id, [made, *connections])
        return loser

    def change(
        self, peer_id: PeerId, handle: ConnectionHandle, *, is_relayed: bool, is_limited: bool
    ) -> None:
        """The data of a connection goes another way."""
        connections = [*self._peers.get(peer_id, ())]
        for index, each in enumerate(connections):
            if each.handle == handle:
                connections[index] = each._replace(is_relayed=is_relayed, is_limited=is_limited)
                self._keep(peer_id, connections)

    def remove(self, peer_id: PeerId, handle: ConnectionHandle) -> bool:
        """Forgets a connection; returns whether it was the peer's last."""
        self._draining.pop(handle, None)
        if peer_id not in self._peers:
            return False
        left = [each for each in self._peers[peer_id] if each.handle != handle]
        if not left:
            del self._peers[peer_id]
            return True
        supplanted = [each for each in left if each.is_supplanted]
        if supplanted and self._rival(left) is None:  # the only one is not superfluous
            del self._draining[supplanted[0].handle]
            left[left.index(supplanted[0])] = supplanted[0]._replace(is_supplanted=False)
        self._keep(peer_id, left)
        return False

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

    def _keep(self, peer_id: PeerId, connections: list[PooledConnection]) -> None:
        self._peers[peer_id] = sorted(connections, key=attrgetter("rank"))

    @staticmethod
    def _rival(connections: list[PooledConnection]) -> PooledConnection | None:
        """Returns the one that a new connection by the same transport would replace."""
        for each in connections:
            if each.transport is TransportName.NOISE_UDP and not each.is_supplanted:
                return each
        return None

    def _is_ours_to_keep(self, peer_id: PeerId) -> bool:
        return self._local.multihash < peer_id.multihash
