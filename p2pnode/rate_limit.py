"""Token buckets, written as the time at which a full bucket would be back (GCRA).

Rule: a bucket is one number, so that charging it costs an addition; the table of buckets by key is
bounded, and forgets the fullest first.
"""

from collections.abc import Hashable
from typing import Any, Generic, TypeVar

from p2pnode.clock import Instant

MAX_KEYS = 4096  # buckets in one table; chosen: some hundred kilobytes

KeyT = TypeVar("KeyT", bound=Hashable)


class KeyedRateLimit(Generic[KeyT]):
    """Lets `burst` requests of a key pass at once, and as many again in each `window` seconds."""

    __slots__ = ("_burst_time", "_full_at", "_step")

    def __init__(self, burst: int, window: float) -> None:
        self._step = window / burst
        self._burst_time = window - self._step
        self._full_at: dict[KeyT, Instant] = {}

    def has(self, key: KeyT, now: Instant) -> bool:
        """Returns whether a request of this key would pass."""
        return self._full_at.get(key, now) - now <= self._burst_time + 1e-9

    def take(self, key: KeyT, now: Instant) -> bool:
        """Returns whether a request passes, and counts it if so."""
        if not self.has(key, now):
            return False
        if key not in self._full_at and len(self._full_at) >= MAX_KEYS:
            self._forget(now)
        self._full_at[key] = max(self._full_at.get(key, now), now) + self._step
        return True

    def _forget(self, now: Instant) -> None:
        full = [key for key, full_at in self._full_at.items() if full_at <= now]
        for key in full or [min(self._full_at, key=self._full_at.__getitem__)]:
            del self._full_at[key]


def take_all(now: Instant, *claims: tuple[KeyedRateLimit[Any], Hashable]) -> bool:
    """Returns whether a request passes all limits, and counts it with each only if so."""
    if not all(limit.has(key, now) for limit, key in claims):
        return False
    for limit, key in claims:
        limit.take(key, now)
    return True
