"""The limits of specs/kad.md are those of the code."""

import pytest

from p2pnode.protocols import kad
from tests.support.spec_tables import constant, section, tables


@pytest.mark.parametrize(
    ("name", "value"),
    [(row[0].strip("`"), row[1]) for row in tables("kad.md", "Limits and timers")[0]],
)
def test_each_limit_has_the_value_of_the_spec(name: str, value: str) -> None:
    assert constant(name, "p2pnode.protocols.kad") == float(value.split()[0])


def test_the_protocol_id_is_that_of_the_spec() -> None:
    assert f"`{kad.PROTOCOL_ID}`" in section("kad.md", "Kademlia: FIND_NODE")
