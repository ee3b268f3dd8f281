"""The limits of specs/kad.md are those of the code, and its threats have tests."""

import re
from pathlib import Path

import pytest

from p2pnode.protocols import kad
from tests.support.spec_tables import constant, section, tables

TESTS = (
    Path(__file__).parent,
    Path(__file__).parents[2] / "swarm",
)


@pytest.mark.parametrize(
    ("name", "value"),
    [(row[0].strip("`"), row[1]) for row in tables("kad.md", "Limits and timers")[0]],
)
def test_each_limit_has_the_value_of_the_spec(name: str, value: str) -> None:
    assert constant(name, "p2pnode.protocols.kad") == float(value.split()[0])


def test_the_protocol_id_is_that_of_the_spec() -> None:
    assert f"`{kad.PROTOCOL_ID}`" in section("kad.md", "Kademlia: FIND_NODE")


def test_each_threat_is_tried_by_a_test_that_exists() -> None:
    named = [
        test
        for row in tables("kad.md", "Security considerations")[0]
        for test in re.findall(r"`(test_\w+)`", row[2])
    ]
    sources = "".join(p.read_text() for folder in TESTS for p in sorted(folder.rglob("test_*.py")))

    assert named
    assert [test for test in named if f"def {test}(" not in sources] == []
