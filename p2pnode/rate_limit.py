"""Token buckets, written as the time at which a full bucket would be back (GCRA).

Rule: a bucket is one number, so that charging it costs an addition; the table of buckets by key is
bounded, and forgets the fullest first: many at once, so that a flood of keys does not have the
whole table looked through for each.
"""

from collections.abc import Hashable
from typing import Generic, TypeVar

from p2pnode.clock import Instant

MAX_KEYS = 4096  # buckets in one table; chosen: some hundred kilobytes
FORGOTTEN_AT_ONCE = 512  # buckets; chosen: an eighth, so that a new key costs microseconds

KeyT = TypeVar("KeyT", bound=Hashable)


class KeyedRateLimit(Generic[KeyT]):
    """Lets `burst` requests of a key pass at once, and as many again in each `window` seconds."""

    __slots__ = ("_burst_time", "_full_at", "_step")

    def __init__(self, burst: int, window: float) -> None:
        self._step = window / burst
        self._burst_time = window
        self._full_at: dict[KeyT, Instant] = {}

    def __len__(self) -> int:
        """How many keys it remembers."""
        return len(self._full_at)

    def has(self, key: KeyT, now: Instant, count: int = 1) -> bool:
        """Returns whether so many requests of this key would pass."""
        missing = max(0.0, self._full_at.get(key, now) - now)
        return missing + count * self._step <= self._burst_time + 1e-9

    def take(self, key: KeyT, now: Instant, count: int = 1) -> bool:
        """Returns whether so many requests pass, and counts them if so."""
        if not self.has(key, now, count):
            return False
        if key not in self._full_at and len(self._full_at) >= MAX_KEYS:
            self._forget()
        self._full_at[key] = max(self._full_at.get(key, now), now) + count * self._step
        return True

    def _forget(self) -> None:
        for key in sorted(self._full_at, key=self._full_at.__getitem__)[:FORGOTTEN_AT_ONCE]:
            del self._full_at[key]


class SharedRateLimit:
    """What many may ask of one node: a share for each peer, for each network, and all in all.

    Identities cost nothing, so a peer's share alone holds nobody back; a network is what its owner
    pays for.  A request passes all three limits, or counts with none.
    """

    __slots__ = ("_by_network", "_by_peer", "_total")

    def __init__(
        self, window: float, *, per_peer: int, per_network: int, total: int | None = None
    ) -> None:
        """Numbers in each `window` seconds; without a `total`, the networks' shares add up."""
        self._by_peer = KeyedRateLimit[Hashable](per_peer, window)
        self._by_network = KeyedRateLimit[Hashable](per_network, window)
        self._total = None if total is None else KeyedRateLimit[None](total, window)

    def take(self, peer: Hashable, network: Hashable, now: Instant, count: int = 1) -> bool:
        """Returns whether so many requests pass, and counts them if so."""
        if not (
            self._by_peer.has(peer, now, count)
            and self._by_network.has(network, now, count)
            and (self._total is None or self._total.has(None, now, count))
        ):
            return False
        self._by_peer.take(peer, now, count)
        self._by_network.take(network, now, count)
        if self._total is not None:
            self._total.take(None, now, count)
        return True
