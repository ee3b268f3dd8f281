"""A set of non-negative integers as ascending, disjoint, non-adjacent half-open ranges."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator


class RangeSet:
    """Grows at the end in constant time, which is what in-order arrival does.

    The caller bounds it: `len` is the number of ranges, `drop_first` forgets the lowest one.
    """

    __slots__ = ("_starts", "_stops")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []

    def add(self, start: int, stop: int) -> None:
        """Adds start..stop-1."""
        starts, stops = self._starts, self._stops
        if stops and stops[-1] == start:
            stops[-1] = stop
            return
        if not stops or start > stops[-1]:
            starts.append(start)
            stops.append(stop)
            return
        first = bisect_left(stops, start)
        last = bisect_right(starts, stop)
        if first < last:
            start = min(start, starts[first])
            stop = max(stop, stops[last - 1])
        starts[first:last] = [start]
        stops[first:last] = [stop]

    def remove(self, start: int, stop: int) -> None:
        """Removes start..stop-1, whatever of it is there."""
        starts, stops = self._starts, self._stops
        first = bisect_right(stops, start)
        last = bisect_left(starts, stop)
        if first >= last:
            return
        kept = [(a, b) for a, b in ((starts[first], start), (stop, stops[last - 1])) if a < b]
        starts[first:last] = [a for a, _ in kept]
        stops[first:last] = [b for _, b in kept]

    def gaps(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Returns the half-open ranges within start..stop-1 that are not in it, ascending."""
        starts, stops = self._starts, self._stops
        missing: list[tuple[int, int]] = []
        index = bisect_right(starts, start)
        if index:
            start = max(start, stops[index - 1])
        while index < len(starts) and starts[index] < stop:
            if start < starts[index]:
                missing.append((start, starts[index]))
            start = stops[index]
            index += 1
        if start < stop:
            missing.append((start, stop))
        return missing

    def drop_first(self) -> None:
        del self._starts[0], self._stops[0]

    def drop_last(self) -> None:
        del self._starts[-1], self._stops[-1]

    def __contains__(self, value: int) -> bool:
        index = bisect_right(self._starts, value)
        return index > 0 and value < self._stops[index - 1]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._starts, self._stops, strict=True)

    def __reversed__(self) -> Iterator[tuple[int, int]]:
        return zip(reversed(self._starts), reversed(self._stops), strict=True)

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> tuple[int, int]:
        return self._starts[index], self._stops[index]

    def __repr__(self) -> str:
        return f"RangeSet({list(self)})"
