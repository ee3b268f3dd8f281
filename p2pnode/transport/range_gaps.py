"""Which parts of a range a RangeSet does not have."""

from bisect import bisect_right

from p2pnode.transport.ranges import RangeSet
from p2pnode.transport.varint import MAX_VARINT


def gaps(ranges: RangeSet, start: int, stop: int) -> list[tuple[int, int]]:
    """Returns the half-open ranges within start..stop-1 that are not in `ranges`, ascending."""
    missing: list[tuple[int, int]] = []
    index = bisect_right(ranges, (start, MAX_VARINT + 1)) - 1
    if index >= 0:
        start = max(start, ranges[index][1])
    for later in range(index + 1, len(ranges)):
        low, high = ranges[later]
        if low >= stop:
            break
        if start < low:
            missing.append((start, low))
        start = high
    if start < stop:
        missing.append((start, stop))
    return missing
