"""Our connection ids that are void while packets for them may still be under way.

Such packets deserve no stateless reset: the peer still has the token that was given with the id,
and would take the reset for the end of the whole connection.
"""

from typing import Final

from p2pnode.bounded import Bounded
from p2pnode.clock import Instant

RETIRED_TIME: Final = 10.0
"""seconds that a packet for a void id may be late; chosen: three probe timeouts of a bad path"""
MAX_RETIRED_IDS: Final = 4096
"""ids; chosen: as many as there may be connections; the oldest goes"""


class RetiredIds:
    """In order of retirement, so that the oldest is the first to be forgotten."""

    __slots__ = ("_until",)

    def __init__(self) -> None:
        self._until = Bounded[int, Instant](MAX_RETIRED_IDS)

    def add(self, connection_id: int, now: Instant) -> None:
        self._until[connection_id] = now + RETIRED_TIME

    def knows(self, connection_id: int, now: Instant) -> bool:
        """Returns whether a packet for this id is only late."""
        while self._until:
            oldest, until = next(iter(self._until.items()))
            if until > now:
                break
            del self._until[oldest]
        return connection_id in self._until
