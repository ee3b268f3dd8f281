"""What peers say of our addresses, by connection: in, kept alive, and put back.

Rule: a peer speaks up when it sees another address, so silence repeats what it said last; after a
change of the network that counts once the path that it was about answers again.
"""

from typing import Final, NamedTuple

from p2pnode.clock import Instant
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import ConnectionHandle, SocketAddr, SocketId
from p2pnode.protocols.identify import (
    Disposition,
    Observation,
    ObservedAddressBook,
    SocketReport,
)
from p2pnode.protocols.identify.socket_evidence import OBSERVATION_LIFETIME
from p2pnode.swarm.peer import Peer
from p2pnode.transports.route import Route

OBSERVATION_REFRESH: Final = OBSERVATION_LIFETIME / 3
"""seconds between two refreshes of what connected peers observed; chosen: one may come late"""


class Observed(NamedTuple):
    """What became of an observation, and what all of them amount to."""

    disposition: Disposition
    report: SocketReport


class Observations:
    """Between connections and the book that judges."""

    def __init__(self, book: ObservedAddressBook, now: Instant) -> None:
        self._book = book
        self._last: dict[ConnectionHandle, Observation] = {}
        """connection -> what its peer saw last"""
        self.refresh_at = now + OBSERVATION_REFRESH

    def on_observed(self, peer: Peer, route: Route, address: SocketAddr, now: Instant) -> Observed:
        """A peer tells where it sees us on a route."""
        observer = None if route.is_relayed else route.remote
        observation = Observation(peer.peer_id, observer, route.socket, address)
        if not route.is_relayed:
            self._last[peer.connection] = observation
        disposition = self._book.update(observation, now)
        return Observed(disposition, self._book.report(route.socket, now))

    def on_confirmed(self, connection: ConnectionHandle, route: Route, now: Instant) -> bool:
        """A path answers after a change of the network; returns whether its peer's word counts."""
        observation = self._last.get(connection)
        if observation is None or observation.socket != route.socket:
            return False
        self._book.update(observation, now)
        return True

    def on_closed(self, connection: ConnectionHandle, peer_id: PeerId, *, is_last: bool) -> None:
        """A connection is gone."""
        self._last.pop(connection, None)
        if is_last:
            self._book.remove(peer_id)

    def on_network_changed(self, sockets: tuple[SocketId, ...]) -> None:
        """What was seen of these sockets does not count until it is seen, or confirmed, again."""
        for socket in sockets:
            self._book.remove_socket(socket)

    def refresh(self, peers: tuple[PeerId, ...], now: Instant) -> None:
        """Renews what connected peers have said."""
        self.refresh_at = now + OBSERVATION_REFRESH
        for peer_id in dict.fromkeys(peers):
            self._book.refresh(peer_id, now)
