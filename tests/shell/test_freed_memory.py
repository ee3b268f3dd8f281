"""Tests of what the C library keeps of freed memory."""

import ctypes

import pytest

from p2pnode.cli.freed_memory import WORTH, FreedMemory, Heap


class Books:
    """A heap of which only the sums are kept."""

    def __init__(self) -> None:
        self.used = 100 * WORTH
        self.given_back = 0
        self.freed = FreedMemory(lambda: self.used, self._give_back)

    def _give_back(self) -> None:
        self.given_back += 1

    def become(self, used: int) -> int:
        """Returns how often memory was given back by the next look."""
        self.used = used
        before = self.given_back
        self.freed.look()
        return self.given_back - before


def test_memory_is_given_back_once_for_what_was_freed() -> None:
    books = Books()
    most = 300 * WORTH
    assert books.become(most) == 0
    assert books.become(most - WORTH + 1) == 0
    assert books.become(most - WORTH) == 1
    assert books.become(most - WORTH) == 0
    assert books.become(most) == 0
    assert books.become(most - WORTH) == 1


def test_what_is_freed_little_by_little_counts_together() -> None:
    books = Books()
    step = WORTH // 8
    assert sum(books.become(books.used - step) for _ in range(32)) == 4


def test_the_heap_of_this_machine_tells_what_is_in_use_and_takes_no_harm() -> None:
    try:
        heap = Heap(ctypes.CDLL(None))
    except (AttributeError, OSError, TypeError):
        pytest.skip("the C library is not glibc 2.33 or later")
    before = heap.used
    kept = [bytes(2000 + size % 700) for size in range(10_000)]
    assert heap.used - before > sum(map(len, kept)) // 2
    del kept
    heap.give_back()
    assert heap.used - before < WORTH
