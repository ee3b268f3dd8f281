"""Bytes of a stream that arrived before those in front of them.

    [0 .. in order)  hole  [run: chunk chunk chunk]  hole  [run: chunk]

The rules: what came first is kept; later bytes for the same place are dropped unread.  No two
neighbours among a run's chunks are small, so that memory is at most twice what is accounted: the
bytes and RUN_SIZE for each run.  Runs are bounded for all streams of a connection together.
"""

from bisect import bisect_left, bisect_right
from typing import Final, TypeAlias

from p2pnode.transports.delivery.held_bytes import RUN_SIZE, HeldBytes

MAX_GAPS: Final = 4096
"""holes in all streams of a connection; chosen: every second packet of a 12 MB flight lost in
1,450 B packets, which a slow start that overshoots does.  The window alone would allow one hole for
every two bytes"""
SMALL_CHUNK: Final = 256
"""bytes; chosen: an object has some 50 bytes of overhead, smaller pieces are gathered"""
GATHERED_CHUNK: Final = 4096
"""bytes; chosen: small pieces are gathered up to this size"""

Chunk: TypeAlias = bytes | bytearray
"""A bytearray where pieces are gathered."""


class Reassembly:
    """Runs beyond the bytes that are in order, ascending; between two of them is a hole."""

    __slots__ = ("_chunks", "_held", "_starts", "_stops", "size")

    def __init__(self, held: HeldBytes) -> None:
        self._held = held
        self._starts: list[int] = []
        self._stops: list[int] = []
        self._chunks: list[list[Chunk]] = []
        self.size = 0
        """Bytes kept."""

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, offset: int, data: bytes) -> None:
        """Keeps what is new of the bytes; `data` is not empty."""
        starts, stops = self._starts, self._stops
        if starts and offset == stops[-1]:
            append_chunk(self._chunks[-1], data)
            stops[-1] += len(data)
            self.size += len(data)
            return
        stop = offset + len(data)
        first, last = bisect_left(stops, offset), bisect_right(starts, stop)
        if first == last:
            self._insert(first, offset, data)
            return
        if offset < starts[first]:
            new = data[: starts[first] - offset]
            _prepend_chunk(self._chunks[first], new)
            starts[first] = offset
            self.size += len(new)
        for index in range(first, last):
            start = stops[index]
            end = starts[index + 1] if index + 1 < last else stop
            if start < end:
                append_chunk(self._chunks[first], data[start - offset : end - offset])
                self.size += end - start
            if index + 1 < last:
                self._chunks[first] = _joined(self._chunks[first], self._chunks[index + 1])
        stops[first] = max(stop, stops[last - 1])
        self._forget(first + 1, last)

    def take_from(self, position: int) -> list[Chunk]:
        """Removes and returns the chunks that are in order from `position` on."""
        if not self._starts or self._starts[0] != position:
            return []
        chunks = self._chunks[0]
        self.size -= self._stops[0] - position
        self._forget(0, 1)
        return chunks

    def drop(self) -> None:
        """Gives up everything."""
        self.size = 0
        self._forget(0, len(self._starts))

    def count_held(self) -> int:
        """Counts anew what `held` was told."""
        return RUN_SIZE * len(self) + sum(len(chunk) for run in self._chunks for chunk in run)

    def _insert(self, index: int, offset: int, data: bytes) -> None:
        self._starts.insert(index, offset)
        self._stops.insert(index, offset + len(data))
        self._chunks.insert(index, [data if len(data) >= SMALL_CHUNK else bytearray(data)])
        self.size += len(data)
        self._held.runs += 1
        self._held.beside += RUN_SIZE

    def _forget(self, first: int, last: int) -> None:
        """Removes runs; what they held was handed on or given up."""
        del self._starts[first:last], self._stops[first:last], self._chunks[first:last]
        self._held.runs -= last - first
        self._held.beside -= (last - first) * RUN_SIZE


def append_chunk(chunks: list[Chunk], data: Chunk) -> None:
    """Adds bytes at the end, small ones to the chunk in front of them."""
    if len(data) >= SMALL_CHUNK:
        chunks.append(data)
        return
    last = chunks[-1] if chunks else None
    if isinstance(last, bytearray) and len(last) < GATHERED_CHUNK:
        last += data
    else:
        chunks.append(bytearray(data))


def _prepend_chunk(chunks: list[Chunk], data: bytes) -> None:
    first = chunks[0]
    if len(data) >= SMALL_CHUNK:
        chunks.insert(0, data)
    elif isinstance(first, bytearray) and len(first) < GATHERED_CHUNK:
        first[0:0] = data
    else:
        chunks.insert(0, bytearray(data))


def _joined(left: list[Chunk], right: list[Chunk]) -> list[Chunk]:
    """Returns the chunks of two runs that have met, in the longer one's list."""
    if len(right[0]) < SMALL_CHUNK:
        append_chunk(left, right.pop(0))
    if len(left) >= len(right):
        left += right
        return left
    right[0:0] = left
    return right
