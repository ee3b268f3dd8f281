"""The limits of specs/nat_behaviour.md are those of the code."""

import pytest

from p2pnode.protocols import nat_behaviour
from tests.support.spec_tables import constant, section, tables

SPEC = "nat_behaviour.md"


@pytest.mark.parametrize(
    ("name", "value"),
    [(row[0].strip("`"), row[1]) for row in tables(SPEC, "Limits and timers")[0]],
)
def test_each_limit_has_the_value_of_the_spec(name: str, value: str) -> None:
    assert constant(name, "p2pnode.protocols.nat_behaviour") == float(value.split()[0])


def test_the_protocol_id_is_that_of_the_spec() -> None:
    assert f"`{nat_behaviour.PROTOCOL_ID}`" in section(SPEC, "NAT behaviour")
