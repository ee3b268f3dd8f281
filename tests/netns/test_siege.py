"""Attackers, honest peers and a relay as processes: what honest ones notice.

The bounds are wide, for a busy machine and a few seconds; `python -m tests.bench.siege` measures
against the targets.  The same attackers in virtual time: tests/simulation/test_siege.py.
"""

import os
import sys

import pytest

from tests.bench.siege import besiege
from tests.bench.siege_report import Orders, Targets, missed, table

HAS_CORES = sys.platform != "linux" or len(os.sched_getaffinity(0)) > 1
pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("undisturbed", "network"),
    pytest.mark.skipif(not HAS_CORES, reason="the relay needs a processor core to itself"),
]

BOUNDS = Targets(p99=2.0, circuits=0.5, strangers=5.0, memory=128.0)


@pytest.mark.parametrize("rows", ["1", "2", "3", "5"])
def test_one_attack_from_one_address_keeps_no_honest_peer_from_its_relay(rows: str) -> None:
    report = besiege(Orders(1, rows, seconds=5, before=4, fall_back=0))
    assert missed(report, BOUNDS) == [], table(report, BOUNDS)
    assert report.more["attackers"]["megabits"] > 0


def test_all_attacks_at_once_from_many_addresses_keep_no_honest_peer_from_its_relay() -> None:
    report = besiege(Orders(8, seconds=10, before=4, fall_back=0))
    assert missed(report, BOUNDS) == [], table(report, BOUNDS)
