"""Bytes of a stream that arrived before those in front of them.

The rule: what came first is kept; later bytes for the same place are dropped unread.
"""

from typing import Final

from p2pnode.transport.ranges import RangeSet

MAX_GAPS: Final = 4096
"""holes in one stream; chosen: every second packet of a 12 MB flight lost in 1,450 B packets.  The
window alone would allow one hole for every two bytes"""
COMPACT_AT: Final = 12_288
"""pieces; chosen: a full window of 16 MiB in packets of 1,450 B is just below, so that only a peer
that sends tiny pieces pays for joining them"""


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
        for start, end in self._ranges.gaps(offset, stop):
            self._pieces[start] = data[start - offset : end - offset]
        self._ranges.add(offset, stop)
        if len(self._pieces) > self._compact_at:
            self._compact()

    def take_from(self, position: int) -> list[bytes]:
        """Removes and returns the pieces that are in order from `position` on."""
        if not len(self._ranges) or self._ranges[0][0] != position:
            return []
        _, stop = self._ranges[0]
        self._ranges.drop_first()
        return self._pop_run(position, stop)

    def _pop_run(self, position: int, stop: int) -> list[bytes]:
        run: list[bytes] = []
        while position < stop:
            piece = self._pieces.pop(position)
            position += len(piece)
            run.append(piece)
        return run

    def _compact(self) -> None:
        for start, stop in self._ranges:
            run = self._pop_run(start, stop)
            self._pieces[start] = run[0] if len(run) == 1 else b"".join(run)
        self._compact_at = max(COMPACT_AT, 2 * len(self._pieces))
