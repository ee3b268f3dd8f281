"""The limits and state diagrams of specs/autonat.md are those of the code."""

import re

import pytest

from p2pnode.protocols.autonat import delegated_server, v1_dialogue, v2_server
from tests.support.spec_tables import block, constant, tables

ROWS = tables("autonat.md", "Limits and timers")[0]


@pytest.mark.parametrize(("name", "value"), [(row[0].strip("`"), row[1]) for row in ROWS])
def test_each_limit_has_the_value_of_the_spec(name: str, value: str) -> None:
    assert constant(name, "p2pnode.protocols.autonat") == float(value)


@pytest.mark.parametrize(
    ("marker", "module"),
    [("v1 server", v1_dialogue), ("v2 server", v2_server), ("delegated server", delegated_server)],
)
def test_each_diagram_shows_the_transitions_of_the_code(marker, module) -> None:
    drawn = re.findall(r"^ *(\w+) --> (\w+):", block("autonat.md", marker), re.MULTILINE)
    coded = [(a.name, b.name) for a, after in module.TRANSITIONS.items() for b in after]

    assert sorted(drawn) == sorted(coded)
