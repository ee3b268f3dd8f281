import pytest

from p2pnode.transport.range_gaps import gaps
from p2pnode.transport.ranges import RangeSet


def made_of(*ranges):
    result = RangeSet()
    for start, stop in ranges:
        result.add(start, stop)
    return result


@pytest.mark.parametrize(
    ("ranges", "asked", "missing"),
    [
        ((), (3, 7), [(3, 7)]),
        (((0, 2),), (3, 7), [(3, 7)]),
        (((9, 12),), (3, 7), [(3, 7)]),
        (((0, 20),), (3, 7), []),
        (((0, 5),), (3, 7), [(5, 7)]),
        (((5, 9),), (3, 7), [(3, 5)]),
        (((4, 5), (6, 7)), (3, 9), [(3, 4), (5, 6), (7, 9)]),
        (((3, 5),), (3, 7), [(5, 7)]),
        (((3, 7),), (3, 7), []),
        (((5, 7),), (7, 7), []),
    ],
)
def test_gaps_are_what_the_set_does_not_have(ranges, asked, missing):
    assert gaps(made_of(*ranges), *asked) == missing


def test_gaps_are_those_that_plain_sets_find():
    ranges = made_of(*((n, n + 3) for n in range(0, 60, 5)))
    for start in range(60):
        for stop in range(start, 62):
            found = {n for low, high in gaps(ranges, start, stop) for n in range(low, high)}
            assert found == {n for n in range(start, stop) if n not in ranges}
