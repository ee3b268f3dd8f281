"""The limits of specs/swarm.md are the constants in code, and no constant is left out."""

import importlib
import pkgutil
import re

import p2pnode.swarm
from p2pnode.swarm.address_book import LIFETIMES
from tests.support import spec_tables

UNITS = {"min": 60.0, "h": 3600.0}
OTHER_SPECS = (
    "reachability",
    "services.autonat",
    "services.nat_behaviour",
    "services.relay.datagrams",
    "services.relay.gate",
    "services.relay.server",
    "services.relay.splice",
    "services.relay.streams",
    "services.routing",
)
"""modules, by their beginnings, whose limits other specs list"""
NO_LIMITS = {"dial_back_side.FIRST_HANDLE", "stream_pump.READ_SIZE", "stream_pump.MAX_UNSENT"}


def number(text: str) -> float:
    """Returns the value of a cell, in seconds where it is a time."""
    match = re.match(r"([0-9.]+)(?: (\w+))?", text)
    assert match, text
    return float(match[1]) * UNITS.get(match[2], 1.0)


def stated() -> dict[str, float]:
    rows = spec_tables.tables("swarm.md", "Limits")[0]
    return {name.strip("`"): number(value) for name, value, _source in rows}


def test_the_limits_are_the_constants() -> None:
    for name, value in stated().items():
        assert spec_tables.constant(name) == value, name


def test_every_limit_of_the_swarm_is_stated() -> None:
    names = []
    for info in pkgutil.walk_packages(p2pnode.swarm.__path__, "p2pnode.swarm."):
        short = info.name.removeprefix("p2pnode.swarm.")
        if info.ispkg or short.startswith(OTHER_SPECS):
            continue
        module = importlib.import_module(info.name)
        assert module.__file__ is not None
        with open(module.__file__, encoding="utf-8") as source:
            found = re.findall(
                r"^([A-Z][A-Z_]+): Final = (?=[0-9A-Z])", source.read(), re.MULTILINE
            )
        names += [f"{short}.{name}" for name in found]
    assert set(names) - NO_LIMITS - set(stated()) == set()


def test_the_lifetimes_of_addresses_are_the_specs() -> None:
    rows = spec_tables.tables("swarm.md", "Limits")[1]
    assert {source: number(value) for source, value in rows} == {
        source.name.lower(): seconds for source, seconds in LIFETIMES.items()
    }
