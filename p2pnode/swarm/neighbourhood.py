"""The peers that this node can tell others about (`routing.Neighbours`)."""

from collections.abc import Iterable

from p2pnode.clock import Instant
from p2pnode.identity.peer_id import PeerId
from p2pnode.swarm.address_book import AddressBook, AddressSource
from p2pnode.swarm.connection_pool import ConnectionPool
from p2pnode.wire.multiaddr import Multiaddr


class Neighbourhood:
    """The connected peers, and those of the address book."""

    def __init__(self, pool: ConnectionPool, book: AddressBook) -> None:
        self._pool = pool
        self._book = book

    def known_peers(self, now: Instant) -> Iterable[PeerId]:
        """Returns the connected ones first."""
        return dict.fromkeys((*self._pool.peers(), *self._book.peers()))

    def told_addresses(self, peer_id: PeerId, now: Instant) -> tuple[Multiaddr, ...]:
        """Returns what the peer said itself, or what worked: hearsay is not passed on."""
        entries = self._book.entries(peer_id, now)
        return tuple(e.address for e in entries if e.source is not AddressSource.HEARSAY)
