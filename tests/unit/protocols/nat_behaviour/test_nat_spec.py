"""The limits of specs/nat_behaviour.md are those of the code, and its threats have tests."""

import re
from pathlib import Path

import pytest

from p2pnode.protocols import nat_behaviour
from tests.support.spec_tables import constant, section, tables

SPEC = "nat_behaviour.md"
TESTS = (Path(__file__).parent, Path(__file__).parents[2] / "swarm")


@pytest.mark.parametrize(
    ("name", "value"),
    [(row[0].strip("`"), row[1]) for row in tables(SPEC, "Limits and timers")[0]],
)
def test_each_limit_has_the_value_of_the_spec(name: str, value: str) -> None:
    assert constant(name, "p2pnode.protocols.nat_behaviour") == float(value.split()[0])


def test_the_protocol_id_is_that_of_the_spec() -> None:
    assert f"`{nat_behaviour.PROTOCOL_ID}`" in section(SPEC, "NAT behaviour")


def test_each_threat_is_tried_by_a_test_that_exists() -> None:
    named = [
        test
        for row in tables(SPEC, "Security considerations")[0]
        for test in re.findall(r"`(test_\w+)`", row[2])
    ]
    sources = "".join(p.read_text() for folder in TESTS for p in sorted(folder.rglob("test_*.py")))

    assert named
    assert [test for test in named if f"def {test}(" not in sources] == []
