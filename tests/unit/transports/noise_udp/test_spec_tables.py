"""The tables of specs/transport.md that no single module owns."""

import importlib
import pkgutil
import re

import p2pnode.transports
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.noise_udp.config import TransportConfig
from p2pnode.transports.noise_udp.connection import SILENCE_OFFSETS
from p2pnode.transports.noise_udp.packet import VERSIONS
from p2pnode.transports.noise_udp.path_validation import MAX_PROBES, PROBE_OFFSETS, RouteState
from tests.support import spec_tables

OTHERS = tuple(f"p2pnode.transports.{name}" for name in ("quic_v1", "stream_upgrade", "tcp"))
"""Have pages of their own."""
UNITS = {"ms": 0.001, "h": 3600.0}


def constants(name: str) -> set[float]:
    """Returns the values of a constant of that name, but for other transports."""
    if name.startswith("TransportConfig."):
        return {getattr(TransportConfig(), name.partition(".")[2])}
    modules = [
        importlib.import_module(info.name)
        for info in pkgutil.walk_packages(p2pnode.transports.__path__, "p2pnode.transports.")
        if not info.name.startswith(OTHERS)
    ]
    return {getattr(module, name) for module in modules if hasattr(module, name)}


def test_the_limits_are_the_constants():
    rows = spec_tables.tables("transport.md", "Limits and timers")[0]
    assert rows
    for names, value, _source in rows:
        numbers = re.findall(r"([0-9][0-9.]*)(?: (ms|h)\b)?", value)
        names = re.findall(r"`([\w.]+)`", names)
        if "PROBE_OFFSETS" in names or "SILENCE_OFFSETS" in names:
            continue
        stated = [float(number) * UNITS.get(unit, 1) for number, unit in numbers]
        assert len(names) == len(stated), names
        for name, number in zip(names, stated, strict=True):
            assert constants(name) == {number}, name


def test_the_silence_offsets_are_the_specs():
    rows = spec_tables.tables("transport.md", "Limits and timers")[0]
    assert [row[1] for row in rows if "SILENCE_OFFSETS" in row[0]] == ["1, 3, 7 s"]
    assert SILENCE_OFFSETS == (1, 3, 7)


def test_the_probe_offsets_are_the_specs():
    (value,) = [
        row[1]
        for row in spec_tables.tables("transport.md", "Limits and timers")[0]
        if "PROBE_OFFSETS" in row[0]
    ]
    assert value == "12; 0, 0.2, 0.5, 1 s, then 1 a second"
    assert MAX_PROBES == 12
    assert (0, 0.2, 0.5, *range(1, 10)) == PROBE_OFFSETS


def test_the_error_codes_are_the_specs():
    rows = spec_tables.tables("transport.md", "Errors")[0]
    assert {row[1]: int(row[0], 16) for row in rows} == {
        code.name: code.value for code in ErrorCode
    }


def test_the_states_of_a_route_are_the_specs():
    text = spec_tables.section("transport.md", "States")
    drawn = set(re.findall(r"\b(PROBING|ADDRESS_PROVEN|VALIDATED|FAILED)\b", text))
    assert drawn == {state.name for state in RouteState}


def test_this_is_version_1():
    assert VERSIONS == (1,)
    assert "This is version 1." in spec_tables.section("transport.md", "Versions")
