"""What a node's owner says others may hold."""

import pytest
import typer

from p2pnode.cli.limit_options import parse_limits


def test_limits_are_given_by_name_with_units() -> None:
    assert parse_limits(None) == {}
    assert parse_limits(["memory=64MiB", "streams.peer=10"]) == {
        "memory": 64 << 20,
        "streams.peer": 10,
    }


@pytest.mark.parametrize("text", ["memory", "memory=", "memory=much", "nonsense=1", "streams=0"])
def test_what_is_no_limit_is_wrong_usage(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_limits([text])
