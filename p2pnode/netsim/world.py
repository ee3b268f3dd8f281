"""Virtual time: a heap of things to do, the seed, and the loop that does them in order.

Time moves only from one entry of the heap to the next, so waiting costs nothing.  Entries due at
the same instant run in the order in which they were scheduled.  Every part rolls dice of its own,
seeded by the world's seed and the part's name: adding a part leaves the others' dice as they were.
Whatever goes wrong names the seed, for the same seed repeats it.
"""

import heapq
import itertools
from collections.abc import Callable
from random import Random

from p2pnode.clock import Instant, UnixTime
from p2pnode.entropy import Entropy
from p2pnode.errors import P2PNodeError
from p2pnode.netsim.part import Part
from p2pnode.netsim.trace import RING_SIZE, Trace

EPOCH = UnixTime(1_767_225_600.0)
"""Unix time of virtual time zero: 2026-01-01 00:00 UTC.  Chosen: any fixed date would do."""

MAX_EVENTS = 10_000_000
"""Heap entries done in a world's life.  Chosen: minutes of real time, so more is a livelock."""

MAX_EVENTS_AT_ONCE = 200_000
"""Heap entries done at one instant.  Chosen: two machines that answer each other without a link
between them would never let the time move; that many entries take about a second."""

MAX_PENDING = 1_000_000
"""Heap entries that wait at one time.  Chosen: far above a full queue on every link of a study."""


class SimulationError(P2PNodeError):
    """The simulation cannot go on, or did not get where it should; the text names the seed."""


class World:
    """One simulated network.  Cheap to make: a sweep makes one for each seed."""

    def __init__(
        self, seed: int | str, *, max_events: int = MAX_EVENTS, trace_size: int = RING_SIZE
    ) -> None:
        self.seed = seed
        self.now: Instant = 0.0
        self.trace = Trace(trace_size)
        self.parts: dict[str, Part] = {}
        self.packet_ids = itertools.count()
        self._heap: list[tuple[Instant, int, Callable[..., object], tuple[object, ...]]] = []
        self._order = itertools.count()
        self._max_events = max_events
        self._events_done = 0
        self._done_before_now = 0  # events done when the time last moved

    @property
    def unix_now(self) -> UnixTime:
        """The date, as a clock that is right would show it."""
        return UnixTime(EPOCH + self.now)

    def add(self, part: Part) -> None:
        """Registers a part under its name.  Raises SimulationError where the name is taken."""
        if part.name in self.parts:
            raise self.error(f"two parts are named {part.name!r}")
        self.parts[part.name] = part

    def rng(self, name: str) -> Random:
        """Returns the dice of that name; a second call returns the same dice from the start."""
        return Random(f"{self.seed}/{name}")

    def entropy(self, name: str) -> Entropy:
        """Returns bytes that stand for secrets in this world; worthless outside of it."""
        return Random(f"{self.seed}/{name}").randbytes

    def error(self, message: str) -> SimulationError:
        """Returns an error that can be reproduced from its text."""
        return SimulationError(f"{message} (seed {self.seed!r}, virtual time {self.now:.6f} s)")

    def schedule(self, at: Instant, callback: Callable[..., object], *args: object) -> None:
        """Calls `callback(*args)` at that time.  The past is taken for now."""
        heap = self._heap
        if len(heap) >= MAX_PENDING:
            raise self.error(f"more than {MAX_PENDING} events are waiting")
        heapq.heappush(heap, (max(at, self.now), next(self._order), callback, args))

    def at(self, time: Instant, callback: Callable[[], object]) -> None:
        """Calls back at that virtual time."""
        self.schedule(time, callback)

    def after(self, delay: float, callback: Callable[[], object]) -> None:
        """Calls back in that many seconds."""
        self.schedule(self.now + delay, callback)

    def run_for(self, seconds: float) -> None:
        """Does everything that is due in the next seconds, and moves the time on by as much."""
        until = self.now + seconds
        while self._heap and self._heap[0][0] <= until:
            self._step()
        self.now = until

    def reaches(self, predicate: Callable[[], bool], timeout: float) -> bool:
        """Runs until the predicate holds.  Returns whether it did within `timeout` seconds."""
        until = self.now + timeout
        while not predicate():
            if not self._heap or self._heap[0][0] > until:
                self.now = until
                return False
            self._step()
        return True

    def run_until(self, predicate: Callable[[], bool], timeout: float) -> Instant:
        """Runs until the predicate holds and returns that time.

        Raises SimulationError after `timeout` seconds of virtual time.
        """
        if not self.reaches(predicate, timeout):
            raise self.error(f"{predicate_name(predicate)} did not hold within {timeout} s")
        return self.now

    def _step(self) -> None:
        self._events_done += 1
        if self._events_done > self._max_events:
            raise self.error(f"more than {self._max_events} events: a livelock?")
        at, _, callback, args = heapq.heappop(self._heap)
        if at > self.now:
            self.now = at
            self._done_before_now = self._events_done
        elif self._events_done - self._done_before_now > MAX_EVENTS_AT_ONCE:
            raise self.error(f"more than {MAX_EVENTS_AT_ONCE} events at one instant")
        callback(*args)


def predicate_name(predicate: Callable[[], bool]) -> str:
    """Returns what an error message calls the predicate."""
    name = getattr(predicate, "__qualname__", "the predicate")
    code = getattr(predicate, "__code__", None)
    return f"{name} (line {code.co_firstlineno})" if code is not None else str(name)
