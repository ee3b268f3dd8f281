"""The tables of specs/relay.md that several modules share."""

import re

import pytest

from p2pnode.protocols import relay
from p2pnode.protocols.relay.circuit_messages import CircuitType
from p2pnode.protocols.relay.limits import GENEROUS, MODEST, RelayLimits
from p2pnode.protocols.relay.messages import Limit, Status
from tests.support import spec_tables

UNITS = {"": 1.0, "s": 1.0, "h": 3600.0, "KiB": 1024.0, "MiB": 1024.0**2, "GiB": 1024.0**3}


def number(text: str) -> float:
    match = re.fullmatch(r"([0-9.]+) ?(\w*)", text)
    assert match, text
    return float(match[1]) * UNITS[match[2]]


def test_the_presets_are_the_specs() -> None:
    rows = spec_tables.tables("relay.md", "Limits and timers")[0]
    stated = {row[0].strip("`"): (number(row[1]), number(row[2])) for row in rows}
    assert stated == {
        name: (float(getattr(MODEST, name)), float(getattr(GENEROUS, name)))
        for name in RelayLimits.__dataclass_fields__
    }


def test_the_constants_are_the_specs() -> None:
    for name, value, _source in spec_tables.tables("relay.md", "Limits and timers")[1]:
        assert spec_tables.constant(name, "p2pnode.protocols.relay") == number(value), name


def test_the_statuses_are_the_specs() -> None:
    rows = spec_tables.tables("relay.md", "Errors")[0]
    assert {row[1]: int(row[0]) for row in rows} == {status.name: status.value for status in Status}
    assert [kind.value for kind in CircuitType] == [0, 1, 2]


def test_the_protocol_ids_are_the_specs() -> None:
    rows = spec_tables.tables("relay.md", "Overview")[0]
    assert [row[0].strip("`") for row in rows] == [
        relay.HOP_PROTOCOL_ID,
        relay.STOP_PROTOCOL_ID,
        relay.CIRCUIT_HOP_PROTOCOL_ID,
        relay.CIRCUIT_STOP_PROTOCOL_ID,
    ]


def test_what_is_announced_is_the_narrowest_rate() -> None:
    assert MODEST.datagram_limit.rate == MODEST.circuit_rate
    assert RelayLimits(total_rate=5).datagram_limit.rate == 5
    assert RelayLimits(circuit_rate=0, peer_rate=7).datagram_limit.rate == 7
    assert MODEST.stream_limit == Limit(120, 128 * 1024)


@pytest.mark.parametrize("networks", [("nonsense",), ("1.2.3.4/8",)])
def test_a_network_that_is_none_is_refused(networks: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"network|host bits"):
        relay.AccessList(deny_networks=networks)
