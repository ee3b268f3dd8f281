"""Discovers peers: connects with peers that are only known by hearsay, a few at a time.

Relays, observers and helpers are found among connected peers, so a node that is short of them meets
others.  Rule: not before it knows who reaches it, for whoever is met is no stranger any more.
"""

from random import Random
from typing import Final

from p2pnode.bounded import Bounded
from p2pnode.clock import Deadline, Instant
from p2pnode.identity.peer_id import PeerId
from p2pnode.swarm.peer import Peer
from p2pnode.swarm.service_facts import ServiceFacts
from p2pnode.swarm.services.service import DialPeer, Service

MAX_AT_ONCE: Final = 3
"""peers met for one wish; chosen: one of them relays, as a rule"""
PAUSE: Final = 2.0
"""seconds between two of them; chosen: a dial and identify"""
MAX_REMEMBERED: Final = 256
"""peers remembered that were met or could not be reached, so that others have their turn"""


class PeerDiscovery(Service):
    """`want_more` is its command."""

    def __init__(
        self,
        facts: ServiceFacts,
        own_id: PeerId,
        rng: Random,
    ) -> None:
        super().__init__()
        self._facts = facts
        self._own_id = own_id
        self._rng = rng
        self._wanted = 0
        self._next_at: Instant = 0.0
        self._has_met = False
        self._tried = Bounded[PeerId, None](MAX_REMEMBERED)

    def want_more(self, now: Instant) -> None:
        """There are too few relays, observers or helpers among those who are connected."""
        self._wanted = MAX_AT_ONCE
        self._next_at = max(self._next_at, now)

    def on_connect_failed(self, peer_id: PeerId, reason: str, now: Instant) -> None:
        self._tried[peer_id] = None

    def on_connected(self, peer: Peer, now: Instant) -> None:
        self._has_met = True
        self._tried[peer.peer_id] = None

    def handle_timeout(self, now: Instant) -> None:
        if not self._wanted or now < self._next_at:
            return
        self._next_at = now + PAUSE
        if not self._has_met or self._facts.is_undecided(now):
            return
        candidates = [
            peer_id
            for peer_id in self._facts.known_peers()
            if peer_id != self._own_id
            and peer_id not in self._tried
            and self._facts.best(peer_id) is None
            and any(self._facts.is_dialable(a) for a in self._facts.known_addresses(peer_id, now))
        ]
        self._wanted -= 1
        if candidates:
            self._command(DialPeer(self._rng.choice(candidates)))

    def poll_timeout(self) -> Deadline | None:
        return Deadline(self._next_at, "the next peer to meet") if self._wanted else None
