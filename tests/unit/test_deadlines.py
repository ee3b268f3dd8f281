from hypothesis import given
from hypothesis import strategies as st

from p2pnode.clock import Deadline
from p2pnode.deadlines import Deadlines


def test_the_earliest_deadline_comes_first_with_its_reason():
    deadlines = Deadlines()
    assert deadlines.first() is None
    deadlines.set(1, Deadline(5.0, "one"))
    deadlines.set(2, Deadline(3.0, "two"))
    assert deadlines.first() == (3.0, "two")
    deadlines.set(2, Deadline(3.0, "still two"))
    assert deadlines.first() == (3.0, "still two")
    deadlines.set(2, None)
    assert deadlines.first() == (5.0, "one")
    assert deadlines.take_due(4.9) == []
    assert deadlines.take_due(5.0) == [1]
    assert deadlines.first() is None


def test_a_deadline_that_keeps_moving_is_due_once_and_at_its_last_time():
    deadlines = Deadlines()
    for at in [*range(1000), *range(999, 499, -1)]:
        deadlines.set(1, Deadline(float(at), ""))
    assert deadlines.take_due(499.0) == []
    assert deadlines.take_due(1e9) == [1]
    assert deadlines.take_due(1e9) == []


steps = st.lists(
    st.tuples(st.integers(0, 5), st.none() | st.integers(0, 20), st.booleans()), max_size=200
)


@given(steps)
def test_it_behaves_like_a_dictionary_that_is_searched(actions):
    deadlines, reference = Deadlines(), {}
    for number, at, take in actions:
        if take and at is not None:
            due = sorted((when, n) for n, when in reference.items() if when <= at)
            assert sorted(deadlines.take_due(float(at))) == sorted(n for _, n in due)
            for _, n in due:
                del reference[n]
        elif at is None:
            deadlines.set(number, None)
            reference.pop(number, None)
        else:
            deadlines.set(number, Deadline(float(at), str(number)))
            reference[number] = float(at)
        first = deadlines.first()
        assert (None if first is None else first.at) == min(reference.values(), default=None)
