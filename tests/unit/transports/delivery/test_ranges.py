import pytest

from p2pnode.transports.delivery.ranges import RangeSet


def made_of(*ranges):
    result = RangeSet()
    for start, stop in ranges:
        result.add(start, stop)
    return result


def test_what_arrives_in_order_stays_one_range():
    assert list(made_of((0, 1), (1, 2), (2, 10))) == [(0, 10)]


def test_a_gap_makes_a_new_range_and_filling_it_joins_both():
    ranges = made_of((0, 2), (5, 7))
    assert list(ranges) == [(0, 2), (5, 7)]
    ranges.add(2, 5)
    assert list(ranges) == [(0, 7)]


def test_a_range_that_covers_several_swallows_them():
    assert list(made_of((1, 2), (4, 5), (7, 8), (3, 9))) == [(1, 2), (3, 9)]


def test_removing_cuts_ranges():
    ranges = made_of((0, 10), (20, 30))
    ranges.remove(5, 25)
    assert list(ranges) == [(0, 5), (25, 30)]
    ranges.remove(1, 2)
    assert list(ranges) == [(0, 1), (2, 5), (25, 30)]
    ranges.remove(100, 200)
    assert len(ranges) == 3


def test_membership_is_half_open():
    ranges = made_of((5, 7))
    assert [n in ranges for n in (4, 5, 6, 7)] == [False, True, True, False]


def test_both_ends_can_be_dropped_and_read_backwards():
    ranges = made_of((0, 1), (5, 6), (9, 10))
    assert list(reversed(ranges)) == [(9, 10), (5, 6), (0, 1)]
    ranges.drop_first()
    ranges.drop_last()
    assert list(ranges) == [(5, 6)]
    assert ranges[0] == (5, 6)
    assert repr(ranges) == "RangeSet([(5, 6)])"


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
    assert made_of(*ranges).gaps(*asked) == missing


def test_gaps_are_those_that_plain_sets_find():
    ranges = made_of(*((n, n + 3) for n in range(0, 60, 5)))
    for start in range(60):
        for stop in range(start, 62):
            found = {n for low, high in ranges.gaps(start, stop) for n in range(low, high)}
            assert found == {n for n in range(start, stop) if n not in ranges}
