from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from p2pnode.transports.delivery.ranges import RangeSet

changes = st.lists(
    st.tuples(st.sampled_from(["add", "remove"]), st.integers(0, 60), st.integers(1, 20)),
    max_size=40,
)


@given(changes)
def test_a_range_set_holds_what_a_set_holds(steps):
    ranges, model = RangeSet(), set()
    for what, start, length in steps:
        numbers = range(start, start + length)
        if what == "add":
            ranges.add(start, start + length)
            model.update(numbers)
        else:
            ranges.remove(start, start + length)
            model.difference_update(numbers)
        held = list(ranges)
        assert [n for start, stop in held for n in range(start, stop)] == sorted(model)
        assert all(a < b for a, b in held)
        assert all(b < c for (_, b), (c, _) in pairwise(held))
        assert [n in ranges for n in range(81)] == [n in model for n in range(81)]
        assert list(reversed(ranges)) == held[::-1]
        assert len(ranges) == len(held)
