"""The earliest of many deadlines that keep changing: a heap whose outdated entries are skipped."""

from heapq import heappop, heappush

from p2pnode.clock import Deadline, Instant
from p2pnode.machine import ConnectionHandle


class Deadlines:
    """One deadline for each number.  Setting one costs O(log n), asking for the first O(1)."""

    __slots__ = ("_current", "_heap")

    def __init__(self) -> None:
        self._current: dict[ConnectionHandle, Deadline] = {}
        self._heap: list[tuple[Instant, ConnectionHandle]] = []

    def set(self, number: ConnectionHandle, deadline: Deadline | None) -> None:
        """Replaces the deadline of `number`."""
        if deadline is None:
            self._current.pop(number, None)
            return
        known = self._current.get(number)
        self._current[number] = deadline
        if known is None or known.at != deadline.at:
            heappush(self._heap, (deadline.at, number))
            if len(self._heap) > 4 * len(self._current) + 64:
                self._heap = sorted((d.at, n) for n, d in self._current.items())

    def of(self, number: ConnectionHandle) -> Deadline | None:
        """Returns the deadline that was set for `number`."""
        return self._current.get(number)

    def first(self) -> Deadline | None:
        heap = self._heap
        while heap:
            at, number = heap[0]
            deadline = self._current.get(number)
            if deadline is not None and deadline.at == at:
                return deadline
            heappop(heap)
        return None

    def take_due(self, now: Instant) -> list[ConnectionHandle]:
        """Removes and returns the numbers whose deadline is `now` or earlier."""
        due: list[ConnectionHandle] = []
        while (first := self.first()) is not None and first.at <= now:
            _, number = heappop(self._heap)
            del self._current[number]
            due.append(number)
        return due
