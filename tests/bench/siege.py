"""A siege of a relay, and what honest peers notice of it.

    python -m tests.bench.siege [--seconds 60] [--addresses 1 64] [--rows 2,3,4,5,6] [--json]

A relay process carries ten circuits at a known rate and has twenty honest peers that ping it;
attackers do rows 2 to 6 of the table of threats (specs/security.md) at once, at 50 Mbit/s, from one
address and then from 64.  Each attack has its part of the 50 Mbit/s (tests/siege/siege.py).

The relay is pinned to the first processor core, everything else to the last one; all run with
priority where that is allowed.  `loop` is the time of a fixed Python loop in milliseconds before
and after: where it moves, the machine was busy with something else.

The exit code is 1 where a target is missed.  Needs root, Linux, and the programs ip and nft.
"""

import argparse
import json
import math
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.bench.run import BenchError, calibrate
from tests.bench.sample import cpu_seconds, rss_kib
from tests.bench.siege_place import (
    ATTACKERS_NET,
    HONEST_NET,
    OTHER_CORE,
    RELAY_CORE,
    RELAY_IP,
    Place,
    Program,
    make_place,
    program,
)
from tests.bench.siege_report import TARGETS, Figures, Orders, Report, figures_of, missed, table
from tests.siege.siege import SIEGE
from tests.support.namespaces import Namespace, NamespaceError, Network, missing_rights

START_TIMEOUT = 60.0
"""seconds until all circuits carry data"""
HONEST_TIMEOUT = 30.0
"""seconds for an answer of the honest peers, who share their core with the attackers"""
STEP = 1.0
"""seconds between two looks at the relay's memory"""
LEFT_MIB = 64.0
"""MiB above what it had before, at which the memory counts as fallen back; chosen: a quarter of
the bound, for an allocator keeps what it may need again"""
LEFT_CPU = 15.0
"""percent of a core above what it used before"""
LEFT_CONNECTIONS = 15
"""above those before: strangers that have left without a word"""


class Relay:
    """The process under siege."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._seen = (time.monotonic(), cpu_seconds(self.pid))

    @property
    def mib(self) -> float:
        return rss_kib(self.pid) / 1024

    def cpu_percent(self) -> float:
        """Returns its share of a core since the last call."""
        (at, used), self._seen = self._seen, (time.monotonic(), cpu_seconds(self.pid))
        return 100 * (self._seen[1] - used) / (self._seen[0] - at)


def main() -> int:
    options = _parse()
    reason = missing_rights("nft")
    if reason is not None:
        print(reason, file=sys.stderr)
        return 1
    wrong: list[str] = []
    try:
        for addresses in options.addresses:
            report = besiege(Orders(addresses, options.rows, options.seconds, options.scale))
            targets = TARGETS.get(addresses, TARGETS[max(TARGETS)])
            wrong += missed(report, targets)
            if options.json:
                print(json.dumps(report.figures | report.more | {"missed": wrong}), flush=True)
            else:
                print(table(report, targets), flush=True)
    except (BenchError, NamespaceError) as exc:
        print(exc, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 1
    return 1 if wrong else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.siege",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--addresses", type=int, nargs="+", default=sorted(TARGETS))
    parser.add_argument("--rows", default=",".join(SIEGE), help="of the table, as 2,3")
    parser.add_argument("--scale", type=float, default=1.0, help="times 50 Mbit/s")
    parser.add_argument("--json", action="store_true", help="one object a siege, with all")
    return parser.parse_args()


def besiege(orders: Orders) -> Report:
    """Besieges a fresh relay.  Raises BenchError, NamespaceError."""
    with ExitStack() as stack:
        place = make_place(stack.enter_context(Network()))
        data = stack.enter_context(tempfile.TemporaryDirectory())
        return _Siege(place, stack, Path(data)).run(orders)


class _Siege:
    """One relay, its honest peers and its attackers."""

    def __init__(self, place: Place, stack: ExitStack, data: Path) -> None:
        self._place = place
        self._stack = stack
        command = ["-m", "p2pnode", "relay", "--json", "--data", str(data)]
        command += ["--listen", f"/ip4/{RELAY_IP}/udp/4001/noise", "--metrics", f"{RELAY_IP}:9464"]
        relay = self._start("the relay", place.relay, command, RELAY_CORE)
        address = relay.read(START_TIMEOUT, event="relaying")["address"]
        self._relay = Relay(relay.pid)
        command = ["-m", "tests.bench.siege_peers", address, "--net", HONEST_NET]
        some = ["--peers", "0"], ["--circuits", "0", "--strangers", "0"]
        self._others, self._pinging = self._honest = [
            self._start("the honest peers", place.honest, [*command, *which], OTHER_CORE)
            for which in some
        ]
        for honest in self._honest:
            honest.read(START_TIMEOUT, event="ready")

    def _start(self, name: str, place: Namespace, command: list[str], core: int) -> Program:
        return self._stack.enter_context(program(name, place, command, core))

    def run(self, orders: Orders) -> Report:
        loops = [calibrate()]
        relay = self._relay
        self._begin("before")
        relay.cpu_percent()
        time.sleep(orders.before)
        before = {
            "mib": relay.mib,
            "cpu": relay.cpu_percent(),
            "connections": self._connections(),
        }
        attackers, most = self._attack(orders)
        under = {"mib": most, "cpu": relay.cpu_percent()}
        self._begin("after")
        after = self._fall_back(before, orders.fall_back)
        self._begin("end")
        pinged, measured = (each.read(HONEST_TIMEOUT) for each in (self._pinging, self._others))
        for phase in measured:
            measured[phase] |= {name: pinged[phase][name] for name in ("pings", "lost")}
        loops.append(calibrate())
        figures = figures_of(measured, before, under, after)
        more = {"before": before, "under": under, "after": after, "loop_ms": loops}
        more |= {"attackers": attackers, "lost": measured["siege"]["lost"][:5]}
        return Report(orders, figures, more)

    def _begin(self, phase: str) -> None:
        for honest in self._honest:
            honest.tell(phase)

    def _connections(self) -> float:
        self._others.tell("count")
        found = self._others.read(HONEST_TIMEOUT)["connections"]
        return math.inf if found is None else float(found)

    def _attack(self, orders: Orders) -> tuple[dict[str, Any], float]:
        """Returns what the attackers tell, and the most memory that the relay had, in MiB."""
        sources = [f"{ATTACKERS_NET}.{n}.0.1" for n in range(orders.addresses)]
        command = ["-m", "tests.siege.program", "--target", f"{RELAY_IP}:4001"]
        command += [word for source in sources for word in ("--from", source)]
        command += ["--rows", orders.rows, "--seconds", str(orders.seconds)]
        command += ["--scale", str(orders.scale)]
        attackers = self._start("the attackers", self._place.attackers, command, OTHER_CORE)
        attackers.read(START_TIMEOUT, event="begun")
        self._begin("siege")
        self._relay.cpu_percent()
        most, end = self._relay.mib, time.monotonic() + orders.seconds
        while time.monotonic() < end:
            time.sleep(STEP)
            most = max(most, self._relay.mib)
        return attackers.read(START_TIMEOUT, event="over"), most

    def _fall_back(self, before: Figures, seconds: float) -> Figures:
        """Returns after how many seconds each figure is back, or infinity."""
        back = dict.fromkeys(before, math.inf if seconds else 0.0)
        began = time.monotonic()
        self._relay.cpu_percent()
        while (passed := time.monotonic() - began) < seconds and math.inf in back.values():
            time.sleep(2 * STEP)
            seen = {
                "mib": self._relay.mib - LEFT_MIB,
                "cpu": self._relay.cpu_percent() - LEFT_CPU,
                "connections": self._connections() - LEFT_CONNECTIONS,
            }
            for name, value in seen.items():
                if value > before[name]:
                    back[name] = math.inf
                elif back[name] == math.inf:
                    back[name] = passed + 2 * STEP
        return back


if __name__ == "__main__":
    sys.exit(main())
