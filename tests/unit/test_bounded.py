"""The mapping that forgets, against a list of what was set."""

from hypothesis import given
from hypothesis import strategies as st

from p2pnode.bounded import Bounded


def test_the_one_set_longest_ago_goes_and_is_told() -> None:
    bounded = Bounded[str, int](2)
    assert bounded.put("a", 1) is None
    assert bounded.put("b", 2) is None
    assert bounded.put("c", 3) == ("a", 1)
    assert dict(bounded) == {"b": 2, "c": 3}


def test_what_is_set_again_is_new_again() -> None:
    bounded = Bounded[str, int](2)
    bounded["a"], bounded["b"] = 1, 2
    bounded["a"] = 3
    bounded["c"] = 4

    assert list(bounded.items()) == [("a", 3), ("c", 4)]


def test_looking_renews_nothing() -> None:
    bounded = Bounded[str, int](2)
    bounded["a"], bounded["b"] = 1, 2
    assert bounded["a"] == bounded.get("a") == bounded.setdefault("a", 9) == 1
    bounded["c"] = 3

    assert "a" not in bounded


def test_many_at_once_are_bounded_too() -> None:
    bounded = Bounded[int, None](3)
    bounded.update(dict.fromkeys(range(10)))
    assert list(bounded) == [7, 8, 9]


@given(
    st.integers(1, 5),
    st.lists(st.tuples(st.sampled_from(["set", "del"]), st.integers(0, 8)), max_size=40),
)
def test_it_holds_the_last_that_were_set(size: int, steps: list[tuple[str, int]]) -> None:
    bounded, model = Bounded[int, int](size), list[int]()
    for position, (step, key) in enumerate(steps):
        if step == "set":
            bounded[key] = position
            model = [*(k for k in model if k != key), key][-size:]
        else:
            bounded.pop(key, None)
            model = [k for k in model if k != key]
        assert list(bounded) == model
        assert len(bounded) == len(model) <= size
