"""The earliest of many deadlines that keep changing: a heap whose outdated entries are skipped."""

from heapq import heappop, heappush
from typing import Any, Generic, Protocol, TypeVar

from p2pnode.clock import Deadline, Instant


class Key(Protocol):
    """What deadlines are kept by: numbers, or tuples of them; those of one time go in order."""

    def __hash__(self) -> int: ...

    def __lt__(self, other: Any, /) -> bool: ...  # noqa: ANN401 - as in the standard library


KeyT = TypeVar("KeyT", bound=Key)


class Deadlines(Generic[KeyT]):
    """One deadline for each key.  Setting one costs O(log n), asking for the first O(1)."""

    __slots__ = ("_current", "_heap")

    def __init__(self) -> None:
        self._current: dict[KeyT, Deadline] = {}
        self._heap: list[tuple[Instant, KeyT]] = []

    def set(self, key: KeyT, deadline: Deadline | None) -> None:
        """Replaces the deadline of `key`."""
        if deadline is None:
            self._current.pop(key, None)
            return
        known = self._current.get(key)
        self._current[key] = deadline
        if known is None or known.at != deadline.at:
            heappush(self._heap, (deadline.at, key))
            if len(self._heap) > 4 * len(self._current) + 64:
                self._heap = sorted((d.at, k) for k, d in self._current.items())

    def of(self, key: KeyT) -> Deadline | None:
        """Returns the deadline that was set for `key`."""
        return self._current.get(key)

    def first(self) -> Deadline | None:
        heap = self._heap
        while heap:
            at, key = heap[0]
            deadline = self._current.get(key)
            if deadline is not None and deadline.at == at:
                return deadline
            heappop(heap)
        return None

    def take_due(self, now: Instant) -> list[KeyT]:
        """Removes and returns the keys whose deadline is `now` or earlier."""
        due: list[KeyT] = []
        while (first := self.first()) is not None and first.at <= now:
            _, key = heappop(self._heap)
            del self._current[key]
            due.append(key)
        return due
