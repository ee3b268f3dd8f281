"""What a siege is to be, what it has shown, and what has to hold."""

import math
from typing import Any, NamedTuple

from tests.siege.siege import SIEGE

BEFORE = 10.0
"""seconds without attackers, to compare with"""
FALL_BACK = 60.0
"""seconds in which everything has to fall back"""

Figures = dict[str, float]


class Targets(NamedTuple):
    """What has to hold; seconds, parts, MiB."""

    p99: float
    lost: int = 0
    circuits: float = 0.8
    strangers: float = 2.0
    memory: float = 256.0
    fall_back: float = FALL_BACK


TARGETS = {1: Targets(p99=0.1), 64: Targets(p99=0.25)}


class Orders(NamedTuple):
    """What a siege is to be."""

    addresses: int
    rows: str = ",".join(SIEGE)
    seconds: float = 60.0
    scale: float = 1.0
    """times 50 Mbit/s"""
    before: float = BEFORE
    """seconds without attackers, to compare with"""
    fall_back: float = FALL_BACK
    """seconds in which everything has to fall back; 0: nobody looks"""


class Report(NamedTuple):
    """What a siege has shown."""

    orders: Orders
    figures: Figures
    more: dict[str, Any]


def figures_of(measured: Any, before: Figures, under: Figures, after: Figures) -> Figures:
    calm, siege = measured["before"], measured["siege"]
    pings = sorted(siege["pings"]) or [math.inf]
    strangers = [math.inf if each is None else each for each in siege["strangers"]]
    carried = sum(siege["circuits"]) / sum(calm["circuits"])
    return {
        "pings": len(pings),
        "lost": len(siege["lost"]),
        "p50 before": _quantile(sorted(calm["pings"]), 0.5),
        "p99 before": _quantile(sorted(calm["pings"]), 0.99),
        "p50": _quantile(pings, 0.5),
        "p99": _quantile(pings, 0.99),
        "circuits": carried,
        "strangers": max(strangers, default=0.0),
        "memory": under["mib"] - before["mib"],
        "fall-back": max(after.values()),
        "cpu": under["cpu"],
    }


def _quantile(ordered: list[float], part: float) -> float:
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def missed(report: Report, targets: Targets) -> list[str]:
    """Returns which targets the siege missed."""
    figures = report.figures
    held = {
        "lost": figures["lost"] <= targets.lost,
        "p99": figures["p99"] <= targets.p99,
        "circuits": figures["circuits"] >= targets.circuits,
        "strangers": figures["strangers"] <= targets.strangers,
        "memory": figures["memory"] <= targets.memory,
        "fall-back": figures["fall-back"] <= targets.fall_back,
    }
    return [name for name, holds in held.items() if not holds]


def table(report: Report, targets: Targets) -> str:
    """Returns the figures beside their targets."""
    found, wrong = report.figures, missed(report, targets)
    rows = {
        "lost": ("honest pings lost", f"{found['lost']:.0f} of {found['pings']:.0f}", "none"),
        "p99": (
            "honest pings, p50 / p99",
            f"{found['p50'] * 1e3:.1f} / {found['p99'] * 1e3:.0f} ms "
            f"(before {found['p50 before'] * 1e3:.1f} / {found['p99 before'] * 1e3:.0f})",
            f"p99 {targets.p99 * 1e3:.0f} ms",
        ),
        "circuits": ("circuits keep", f"{found['circuits']:.0%}", f"{targets.circuits:.0%}"),
        "strangers": (
            "strangers in, the slowest",
            f"{found['strangers']:.2f} s",
            f"{targets.strangers:.0f} s",
        ),
        "memory": ("memory grows", f"{found['memory']:.0f} MiB", f"{targets.memory:.0f} MiB"),
        "fall-back": ("back after", f"{found['fall-back']:.0f} s", f"{targets.fall_back:.0f} s"),
    }
    megabits = report.more["attackers"]["megabits"]
    lines = [
        f"{report.orders.addresses} addresses, {megabits} Mbit/s, relay's CPU "
        f"{found['cpu']:.0f} %, loop {report.more['loop_ms']} ms",
        "| | measured | target | |",
        "|---|---|---|---|",
    ]
    for name, (what, value, target) in rows.items():
        lines.append(f"| {what} | {value} | {target} | {'MISSED' if name in wrong else ''} |")
    return "\n".join(lines)
