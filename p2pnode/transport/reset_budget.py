"""How many stateless resets go out: a token bucket, because anyone can provoke them."""

from typing import Final

from p2pnode.clock import Instant

RATE: Final = 100.0
"""resets a second; chosen: a restart with a hundred peers is told within a second"""
BURST: Final = 100.0
"""resets at once"""


class ResetBudget:
    __slots__ = ("_at", "_left")

    def __init__(self, now: Instant) -> None:
        self._left = BURST
        self._at = now

    def take(self, now: Instant) -> bool:
        """Returns whether one more may go out now, and counts it."""
        self._left = min(BURST, self._left + (now - self._at) * RATE)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
