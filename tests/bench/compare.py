"""Compares this checkout with another one, in turns: a pair of runs, then the next pair.

    git worktree add ../before v0.1.0
    python -m tests.bench.compare ../before [MEASURE ...] [--veth] [-n PAIRS]

What counts is the ratio within a pair, this checkout over the other: of the CPU that an operation
costs both processes together, and of the figure itself.  The order within a pair changes each time.
Both run under this interpreter, with the packages that it has.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.bench.run import MEASURES

DEFAULT_MEASURES = ("bulk", "connect", "rtt", "streams32")
PAIRS = 10
SAMPLE_TIMEOUT = 240.0
"""seconds for one run; a measure takes about ten"""

_HERE = Path(__file__).resolve().parents[2]


def main() -> int:
    options = _parse()
    for measure in options.measures or DEFAULT_MEASURES:
        cpu: list[float] = []
        figure: list[float] = []
        for pair in range(options.pairs):
            checkouts = [_HERE, options.other]
            if pair % 2:
                checkouts.reverse()
            found = {checkout: sample(checkout, measure, options) for checkout in checkouts}
            ours, theirs = found[_HERE], found[options.other]
            figure.append(float(ours["value"]) / float(theirs["value"]))
            cpu.append(cpu_each(ours) / cpu_each(theirs))
        print(
            f"{measure:<10} CPU per operation {_spread(cpu)}; figure {_spread(figure)}"
            f" {ours['unit']} ({len(cpu)} pairs)",
            flush=True,
        )
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("other", type=lambda text: Path(text).resolve(), help="a checkout")
    parser.add_argument("measures", metavar="MEASURE", nargs="*", help="all but mem")
    parser.add_argument("--veth", action="store_true", help="two namespaces with an MTU of 1500")
    parser.add_argument("-n", dest="pairs", type=int, default=PAIRS, help="pairs of each measure")
    options = parser.parse_args()
    if not (options.other / "tests" / "bench" / "run.py").exists():
        parser.error(f"{options.other} is no checkout of this project")
    unknown = [name for name in options.measures if name not in MEASURES or name == "mem"]
    if unknown:
        parser.error(f"no measure {unknown[0]!r} to compare CPU by")
    if options.pairs < 1:
        parser.error("less than one pair makes no sense")
    return options


def sample(checkout: Path, measure: str, options: argparse.Namespace) -> dict[str, Any]:
    """Returns what one run of the checkout's own benchmark measures."""
    command = [sys.executable, "-m", "tests.bench.run", measure, "-n", "1", "--json"]
    if options.veth:
        command.append("--veth")
    done = subprocess.run(
        command, cwd=checkout, stdout=subprocess.PIPE, timeout=SAMPLE_TIMEOUT, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[0])
    return found


def cpu_each(found: dict[str, Any]) -> float:
    """Returns the CPU of an operation, both processes: microseconds, or seconds for a GB."""
    return float(found["cpu_s_per_GB"]) if "cpu_s_per_GB" in found else float(sum(found["cpu_us"]))


def _spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.3f} ({min(ratios):.2f}..{max(ratios):.2f})"


if __name__ == "__main__":
    sys.exit(main())
