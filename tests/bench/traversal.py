"""Measures how soon two peers behind NATs are reached, and reach each other directly.

    python -m tests.bench.traversal [pairs] [verdicts] [-n REPEATS]

The NATs are the kernel's, in network namespaces, with 50 ms of round trip between any two hosts;
three public peers help.  A is `p2pnode run`, B is `p2pnode ping A`; each sample has fresh sites,
identities and processes.  Seconds:

    reservation      from A's process start to its reservation with a relay
    first pong       from B's process start, which is at A's reservation or 6 s after A's start
    direct           from the first pong to the direct path, as the first of the two ends tells it
    "private"        from A's process start to this verdict on its reachability

"inf" is what failed, or did not come in 30 s.

Every process start is in these figures, about 0.3 s of a core each, with the bytecode compiled as
pip does when it installs: `started` is the time to a
node's first line, and `loop` that of a fixed Python loop before each sample.  Where they are high,
the machine was busy with something else.
"""

import argparse
import compileall
import contextlib
import itertools
import math
import os
import statistics
import sys
import tempfile
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import NamedTuple

import trio

import p2pnode
from p2pnode.testbed import NatKind, Site, TestBed, gain_rights
from p2pnode.testbed.nat_kinds import (
    ADDRESS_RESTRICTED,
    FIREWALL,
    FULL_CONE,
    PORT_RESTRICTED,
    SYMMETRIC,
)
from tests.bench.run import calibrate
from tests.netns.program import Running
from tests.netns.traversal import (
    RunningNode,
    Watched,
    command_at,
    pongs,
    public_peers,
    running_node,
)

MEASURES = ("pairs", "verdicts")
REPEATS = 5
SAMPLE_TIMEOUT = 30.0
"""seconds for one sample; the longest takes ten"""
LATER = 6.0
"""seconds from A's start to B's; go-libp2p's worst moment"""
SETTLING = 8.0
"""seconds until the helpers know that they are public"""
PING_INTERVAL = "0.02"
"""seconds; less than a round trip, so that a ping follows the pong before it at once"""

STARTED = "started (for comparison)"
LOOP = "loop, milliseconds (for comparison)"


class Aim(NamedTuple):
    """What a figure is held against; seconds, None where nobody has measured it."""

    aim: float
    go_libp2p: float | None
    """go-libp2p 0.51 in such a bed, November 2026."""


class Pair(NamedTuple):
    """Who dials whom."""

    name: str
    a: NatKind
    b: NatKind
    direct: Aim


PAIRS = (
    Pair("port-restricted to port-restricted", PORT_RESTRICTED, PORT_RESTRICTED, Aim(1.0, 1.11)),
    Pair("port-restricted to firewall", FIREWALL, PORT_RESTRICTED, Aim(1.0, 6.1)),
    Pair("full cone to symmetric", SYMMETRIC, FULL_CONE, Aim(2.0, None)),
    Pair("symmetric to full cone", FULL_CONE, SYMMETRIC, Aim(2.0, 11.5)),
)
VERDICTS = {
    PORT_RESTRICTED: Aim(3.0, 17.1),
    ADDRESS_RESTRICTED: Aim(3.0, None),
    FIREWALL: Aim(3.0, 17.1),
    SYMMETRIC: Aim(3.0, None),
    FULL_CONE: Aim(3.0, None),
}
RESERVATION = Aim(1.0, 17.1)
FIRST_PONG = Aim(0.7, 0.77)
FIRST_PONG_LATER = Aim(0.7, 12.1)


class Samples:
    """Figures by what they are of, in the order of the table."""

    def __init__(self) -> None:
        self.of: dict[str, list[float]] = {}
        self.aims: dict[str, Aim | None] = {}

    def add(self, name: str, seconds: float, aim: Aim | None = None) -> None:
        self.of.setdefault(name, []).append(seconds)
        self.aims[name] = aim

    def table(self) -> str:
        lines = [
            "| seconds | median | p95 | aim | go-libp2p 0.51 | samples |",
            "|---|---|---|---|---|---|",
        ]
        for name, found in self.of.items():
            aim = self.aims[name]
            aimed = "" if aim is None else f"{aim.aim}"
            theirs = "" if aim is None or aim.go_libp2p is None else f"{aim.go_libp2p}"
            figures = f"{statistics.median(found):.2f} | {_high(found):.2f}"
            lines.append(f"| {name} | {figures} | {aimed} | {theirs} | {len(found)} |")
        return "\n".join(lines)


def _high(found: Sequence[float]) -> float:
    """Returns the 95 % quantile; the highest of fewer than twenty."""
    ordered = sorted(found)
    return ordered[len(ordered) - 1 - len(ordered) // 20]


class Bench:
    """The bed with its helpers, in which one sample follows the other."""

    def __init__(self, bed: TestBed, homes: Path, begin: tuple[str, str], samples: Samples) -> None:
        self._bed = bed
        self._homes = homes
        self._begin = begin
        self._samples = samples
        self._numbers = itertools.count()

    async def pair(self, pair: Pair, *, is_later: bool) -> None:
        """Takes a sample of a pair."""
        site = self._site(pair.b)
        async with self._node(pair.a) as a:
            reserved = await a.event("reservation", within=SAMPLE_TIMEOUT)
            self._samples.add(STARTED, a.printed[0].at)
            self._samples.add("reservation", reserved.at, RESERVATION)
            if is_later:
                await trio.sleep(LATER - a.elapsed())
            ping = ("ping", a.peer_id, *self._begin, "-i", PING_INTERVAL)
            first = direct = math.inf
            async with command_at(site, self._homes / site.name, *ping) as pinging:
                with contextlib.suppress(AssertionError):
                    direct = await _direct_at(a, pinging)
                    first = pongs(pinging)[0].at
                    await _take_leave(pinging.program)
        when = f"B {LATER:.0f} s after A" if is_later else "B once A is reserved"
        aim = FIRST_PONG_LATER if is_later else FIRST_PONG
        self._samples.add(f"first pong, {pair.name}, {when}", first, aim)
        after = direct if direct == math.inf else max(0.0, direct - first)
        self._samples.add(f"direct, {pair.name}, {when}", after, pair.direct)

    async def verdict(self, kind: NatKind, aim: Aim) -> None:
        """Takes a sample of one node's reachability."""
        verdict = "public" if kind is FULL_CONE else "private"
        async with self._node(kind) as a:
            seconds = math.inf
            with contextlib.suppress(AssertionError):
                found = await a.event("reachability", verdict=verdict, within=SAMPLE_TIMEOUT)
                seconds = found.at
        self._samples.add(f'"{verdict}", {kind.name}', seconds, aim)

    @contextlib.asynccontextmanager
    async def _node(self, kind: NatKind) -> AsyncGenerator[RunningNode, None]:
        """Yields A, which is gone for its peers too in the end."""
        async with running_node(self._site(kind), self._homes, "run", *self._begin) as a:
            yield a
            await _take_leave(a.program)

    def _site(self, kind: NatKind) -> Site:
        return self._bed.add_site(f"{kind.name}-{next(self._numbers)}", kind)


async def _take_leave(program: Running) -> None:
    """Ends it in such a way that its peers know: helpers shall not count on a ghost."""
    program.terminate()
    await program.exit_code()


async def _direct_at(a: RunningNode, pinging: Watched) -> float:
    """Returns when the path became direct, in seconds from the start of the pings."""
    direct = {"path": "direct"}
    await pinging.until(lambda: bool(pongs(pinging, **direct)), SAMPLE_TIMEOUT, "direct pong")
    started = pinging.start - a.start
    told = [p.at - started for p in a.events("path", after=started, **direct)]
    return min([pongs(pinging, **direct)[0].at, *told])


async def _measure(measures: Sequence[str], repeats: int, samples: Samples) -> None:
    with TestBed() as bed, tempfile.TemporaryDirectory() as folder:
        homes = Path(folder)
        async with public_peers(bed, homes) as begin:
            await trio.sleep(SETTLING)
            bench = Bench(bed, homes, begin, samples)
            for _ in range(repeats):
                samples.add(LOOP, calibrate())
                if "pairs" in measures:
                    for pair, is_later in itertools.product(PAIRS, (False, True)):
                        await bench.pair(pair, is_later=is_later)
                if "verdicts" in measures:
                    for kind, aim in VERDICTS.items():
                        await bench.verdict(kind, aim)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.traversal",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-n", dest="repeats", type=int, default=REPEATS, help="samples of each")
    parser.add_argument("measures", metavar="MEASURE", nargs="*", help="both if none")
    options = parser.parse_args()
    measures = options.measures or MEASURES
    reason = gain_rights()
    if reason is not None:
        print(reason, file=sys.stderr)
        return 1
    compileall.compile_dir(Path(p2pnode.__file__).parent, quiet=1)
    samples = Samples()
    try:
        trio.run(_measure, measures, options.repeats, samples)
    except KeyboardInterrupt:
        return 1
    print(samples.table())
    print(f"\nload {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores at the end")
    return 0


if __name__ == "__main__":
    sys.exit(main())
