"""Bytes of a stream that arrived before those in front of them.

The rule: what came first is kept; later bytes for the same place are dropped unread.
"""

from typing import Final

from p2pnode.transport.range_gaps import gaps
from p2pnode.transport.ranges import RangeSet

MAX_GAPS: Final = 4096
"""holes in one stream; chosen: every second packet of a 12 MB flight lost in 1,450 B packets.  The
window alone would allow one hole for every two bytes"""
COMPACT_AT: Final = 12_288
"""pieces; chosen: a full window of 16 MiB in packets of 1,450 B is just below, so that only a peer
that sends crumbs pays for joining them"""


class Reassembly:
    """Pieces beyond the bytes that are in order."""

    __slots__ = ("_compact_at", "_pieces", "_ranges")

    def __init__(self) -> None:
        self._pieces: dict[int, bytes] = {}
        """Start of a piece -> the piece; they do not overlap."""
        self._ranges = RangeSet()
        self._compact_at = COMPACT_AT

    @property
    def is_full(self) -> bool:
        """True once there are more holes than an honest peer makes."""
        return len(self._ranges) > MAX_GAPS

    def __len__(self) -> int:
        return len(self._pieces)

    def add(self, offset: int, data: bytes) -> None:
        """Keeps what is new of the bytes; `data` is not empty."""
        stop = offset + len(data)
        for start, end in gaps(self._ranges, offset, stop):
            self._pieces[start] = data[start - offset : end - offset]
        self._ranges.add(offset, stop)
        if len(self._pieces) > self._compact_at:
            self._compact()

    def take_from(self, position: int) -> list[bytes]:
        """Removes and returns the pieces that are in order from `position` on."""
        ranges = self._ranges
        if not len(ranges) or ranges[0][0] > position:
            return []
        taken: list[bytes] = []
        while len(ranges) and ranges[0][0] <= position:
            start, stop = ranges[0]
            ranges.drop_first()
            while start < stop:
                piece, start = self._pop(start)
                # what came in order since then may cover the beginning
                if start > position:
                    taken.append(piece[-(start - position) :])
                    position = start
        return taken

    def _pop(self, start: int) -> tuple[bytes, int]:
        piece = self._pieces.pop(start)
        return piece, start + len(piece)

    def _compact(self) -> None:
        for start, stop in self._ranges:
            run: list[bytes] = []
            position = start
            while position < stop:
                piece, position = self._pop(position)
                run.append(piece)
            self._pieces[start] = run[0] if len(run) == 1 else b"".join(run)
        self._compact_at = max(COMPACT_AT, 2 * len(self._pieces))
