"""One search for a peer: whom to ask, and when enough have been asked (specs/kad.md, Lookups).

Rule: each peer is asked once.  Of the connected ones some are those nearest to the wanted id, the
others come by lot: whoever makes himself ids near to a victim's does not answer alone.
"""

from collections.abc import Iterable
from random import Random
from typing import Final

from p2pnode.clock import Deadline, Instant
from p2pnode.identity.peer_id import PeerId
from p2pnode.protocols.kad.distance import closest

MAX_ASKED = 8  # peers at the start; chosen: more than the relays and bootstrap peers of a node
MAX_ASKED_NEAREST = 4  # of these, by distance; chosen: half
MAX_ASKED_LATE = 8  # peers that connect meanwhile; chosen: as many again
LOOKUP_TIMEOUT = 5.0  # seconds; chosen: a dial of a bootstrap peer and a long round trip
MIN_LOOKUP_TIME = 0.5  # seconds before a lookup fails; chosen: for peers that are being dialled

NOBODY_ASKED: Final = "no connected peer can be asked"
"""What a search says that could not even begin."""


class Lookup:
    """The state of one search.  Its owner sends the requests, and says what came of them."""

    def __init__(self, wanted: PeerId, now: Instant) -> None:
        self.wanted = wanted
        self._began_at = now
        self._asked: dict[PeerId, None] = {}
        self._waiting: dict[PeerId, None] = {}
        self._late = 0
        self._answers = 0

    def start(self, connected: Iterable[PeerId], rng: Random) -> list[PeerId]:
        """Returns whom to ask of the peers that are connected at the start."""
        candidates = [peer for peer in dict.fromkeys(connected) if peer != self.wanted]
        count = len(candidates) if len(candidates) <= MAX_ASKED else MAX_ASKED_NEAREST
        chosen = closest(self.wanted.multihash, candidates, count)
        others = [peer for peer in candidates if peer not in chosen]
        chosen += rng.sample(others, min(len(others), MAX_ASKED - len(chosen)))
        for peer in chosen:
            self._ask(peer)
        return chosen

    def ask_also(self, peer: PeerId) -> bool:
        """Returns whether to ask a peer that has just been connected."""
        if peer == self.wanted or peer in self._asked or self._late >= MAX_ASKED_LATE:
            return False
        self._late += 1
        self._ask(peer)
        return True

    def on_answer(self, peer: PeerId) -> None:
        """A peer has answered, and does not know."""
        if peer in self._waiting:
            del self._waiting[peer]
            self._answers += 1

    def on_failure(self, peer: PeerId) -> None:
        """A peer will not answer."""
        self._waiting.pop(peer, None)

    def is_over(self, now: Instant) -> bool:
        """Returns whether the search has failed."""
        return now >= self.poll_timeout().at

    def poll_timeout(self) -> Deadline:
        """Returns when the search fails, if nothing else happens."""
        if self._asked and not self._waiting:
            return Deadline(self._began_at + MIN_LOOKUP_TIME, "everybody asked for a peer answered")
        return Deadline(self._began_at + LOOKUP_TIMEOUT, "a peer is looked for")

    @property
    def reason(self) -> str:
        """Why the search failed, for people."""
        asked, silent = len(self._asked), len(self._asked) - self._answers
        if not asked:
            return NOBODY_ASKED
        if asked == 1:
            return (
                f"the one peer that was asked {'did not answer' if silent else 'does not know it'}"
            )
        if silent == asked:
            return f"none of the {asked} peers that were asked answered"
        without = f"; {silent} did not answer" if silent else ""
        return f"none of the {asked} peers that were asked knows it{without}"

    def _ask(self, peer: PeerId) -> None:
        self._asked[peer] = None
        self._waiting[peer] = None
