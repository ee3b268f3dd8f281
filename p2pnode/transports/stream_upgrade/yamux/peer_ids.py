"""Which stream ids the peer has used (specs/yamux.md, Opening)."""

from typing import Final

MAX_SKIPPED_IDS: Final = 256
"""ids below the highest that may still come; chosen: go-yamux gives ids out and sends them from
several threads, at most as many at a time as streams may be unacknowledged"""


class PeerIds:
    """Each id once.  They need not come in order, but nearly do."""

    __slots__ = ("_next", "_skipped")

    def __init__(self, first: int) -> None:
        self._next = first
        self._skipped: dict[int, None] = {}

    def take(self, stream_id: int) -> bool:
        """Marks an id of the peer's parity as used; returns False where it was before."""
        if stream_id < self._next:
            if stream_id not in self._skipped:
                return False
            del self._skipped[stream_id]
            return True
        oldest = max(self._next, stream_id - 2 * MAX_SKIPPED_IDS)
        for skipped in range(oldest, stream_id, 2):
            self._skipped[skipped] = None
        self._next = stream_id + 2
        while len(self._skipped) > MAX_SKIPPED_IDS:
            del self._skipped[next(iter(self._skipped))]
        return True
