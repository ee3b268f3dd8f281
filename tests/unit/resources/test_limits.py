"""The defaults of a machine, and what no limits can be."""

import re
from dataclasses import astuple, replace

import pytest

from p2pnode.resources.limits import (
    MIN_CONNECTIONS,
    MIN_MEMORY,
    ResourceLimits,
    Shares,
    limits_for,
)
from tests.support.spec_tables import tables

GIB = 1 << 30


@pytest.mark.spec("RESOURCES-2")
def test_a_machine_with_enough_memory_has_the_defaults():
    assert limits_for(2 * GIB) == limits_for(64 * GIB) == ResourceLimits()


@pytest.mark.spec("RESOURCES-2")
def test_a_smaller_machine_has_smaller_ones_in_the_same_proportions():
    limits = limits_for(GIB // 2)
    assert limits.connections == Shares(total=1024, network=64, net56=128, net48=256, peer=16)
    assert limits.memory.total == 64 << 20
    assert limits.memory.network == 16 << 20
    assert limits.streams.total == 8192
    assert (limits.low_water, limits.high_water) == (640, 768)


@pytest.mark.spec("RESOURCES-2")
def test_the_smallest_machine_still_serves_some():
    limits = limits_for(0)
    assert limits.connections.total == MIN_CONNECTIONS
    assert limits.memory.total == MIN_MEMORY
    assert limits.low_water < limits.high_water < limits.connections.total


@pytest.mark.parametrize(
    "change",
    [
        {"low_water": 10, "high_water": 9},
        {"low_water": -1},
        {"grace_period": -1.0},
        {"streams": replace(ResourceLimits().streams, network=0)},
    ],
)
def test_what_cannot_be_kept_to_is_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        replace(ResourceLimits(), **change)


def test_the_shares_of_the_spec_are_the_defaults():
    rows = tables("resources.md", "Limits")[1]
    units = {"": 1, " MiB": 1 << 20}
    assert len(rows) == 4
    for name, *shares, _source in rows:
        found = [re.fullmatch(r"([\d,]+)( MiB)?", share) for share in shares]
        values = tuple(int(f[1].replace(",", "")) * units[f[2] or ""] for f in found if f)
        assert values == astuple(getattr(ResourceLimits(), name.strip("`"))), name


def test_limits_are_changed_by_name():
    limits = ResourceLimits().changed(
        {"connections": 800, "streams.peer": 9, "memory": 1 << 30, "low_water": 10}
    )
    assert (limits.connections.total, limits.connections.network) == (800, 256)
    assert (limits.low_water, limits.high_water) == (10, 600)
    assert (limits.streams.peer, limits.streams.total) == (9, 32_768)
    assert limits.memory.total == 1 << 30


@pytest.mark.parametrize(
    "values",
    [
        {"nonsense": 1},
        {"streams.nonsense": 1},
        {"low_water.peer": 1},
        {"streams": 0},
        {"low_water": 9, "high_water": 8},
    ],
)
def test_names_that_there_are_not_and_values_that_cannot_be_are_refused(values):
    with pytest.raises(ValueError, match=r"\w"):
        ResourceLimits().changed(values)
