"""What a handshake and a packet cost a node that holds many connections, and one that holds none.

    python -m tests.bench.held [CONNECTIONS]

Two swarms in one process, in virtual time, are measured in turns, so that a busy machine slows both
alike.  Times are CPU of the swarm alone, medians.  A collection of garbage is due after so many new
objects, whoever made them, so none happens inside of what is timed, and what they take is told by
itself: a young one for one handshake, and a whole one.
"""

import gc
import statistics
import sys
import time
from collections.abc import Callable

from p2pnode.cli.garbage import seldom_collected
from p2pnode.resources.limits import ResourceLimits
from p2pnode.swarm import SwarmConfig
from tests.support.crowd import Crowd

DEFAULT = 4000
LIMITS = ResourceLimits().with_connections(8192)
"""So many that none is let go for others."""
BATCH = 64
"""handshakes at a time; below the number from which strangers have to prove their address"""
SAMPLES = 400
YOUNG = 0
"""the generation of what was made since the last collection"""


class Held:
    """A crowd of which one more peer is measured."""

    def __init__(self, connections: int) -> None:
        self._watched = 0
        self._seconds = 0.0
        self._crowd = crowd = Crowd(aside=self._time, config=SwarmConfig(resources=LIMITS))
        for start in range(0, connections, BATCH):
            crowd.join(min(BATCH, connections - start))
            crowd.run(0.5)
        crowd.run(20.0)
        (self._last,) = crowd.join()
        crowd.run(5.0)
        self.connections = len(crowd.swarm.facts.connections())

    def _time(self, work: Callable[[], object], cause: int) -> None:
        if cause != self._watched:
            work()
            return
        gc.disable()
        began = time.process_time()
        work()
        self._seconds += time.process_time() - began
        gc.enable()

    def handshake(self) -> float:
        """Returns the seconds for a new peer's packets, from the first one to identify."""
        self._watched = self._last + 1
        self._seconds = 0.0
        (self._last,) = self._crowd.join()
        self._crowd.run(0.4)
        return self._seconds

    def young_garbage(self) -> float:
        """Returns the seconds that a handshake's objects, the peer's too, take to be looked at."""
        gc.collect(YOUNG)
        gc.disable()
        self.handshake()
        gc.disable()
        began = time.process_time()
        gc.collect(YOUNG)
        gc.enable()
        return time.process_time() - began

    def packet(self) -> float:
        """Returns the seconds for a packet that asks for an acknowledgement, and for that."""
        self._watched, self._seconds = self._last, 0.0
        self._crowd.ping(self._last)
        self._crowd.run(0.06)
        return self._seconds


def main() -> None:
    connections = int(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT
    gc.freeze()
    with seldom_collected():
        none, many = Held(0), Held(connections)
        measure(none, many)
        began = time.process_time()
        gc.collect()
        print(f"a whole collection of garbage: {(time.process_time() - began) * 1e3:.0f} ms")


def measure(none: Held, many: Held) -> None:
    for name, count in (
        ("packet", SAMPLES),
        ("handshake", SAMPLES // 4),
        ("young_garbage", SAMPLES // 4),
    ):
        times = [(getattr(none, name)(), getattr(many, name)()) for _ in range(count)]
        few, much = (statistics.median(column) * 1e6 for column in zip(*times, strict=True))
        print(
            f"{name.replace('_', ' ')}: {few:.0f} us with none held,"
            f" {much:.0f} us with {many.connections}: {much / few - 1:+.1%}"
        )


if __name__ == "__main__":
    main()
