"""How many Python calls something makes: a measure of work that no busy machine changes."""

import sys
from collections.abc import Callable


def python_calls(work: Callable[[], object]) -> int:
    """Returns the calls of functions and generators, and of builtins, that `work` makes."""
    count = 0

    def note(frame: object, event: str, argument: object) -> None:
        nonlocal count
        if event in ("call", "c_call"):
            count += 1

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count
