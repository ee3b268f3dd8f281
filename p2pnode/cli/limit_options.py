"""The flags that say how much others may hold of the node (specs/resources.md)."""

from collections.abc import Sequence
from typing import Annotated, TypeAlias

import typer

from p2pnode.cli.units import parse_size

LimitOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        metavar="NAME=N",
        help="How much others may hold of this node, such as connections=1000, or "
        "memory.network=16MiB for one network; may be repeated.  NAME is connections, half_open, "
        "streams or memory, alone or with .network, .net56, .net48 or .peer; or low_water or "
        "high_water.  [default: by this machine's memory]",
        show_default=False,
    ),
]
ProtectOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--protect",
        metavar="PEER",
        help="A peer id that keeps its places, and gets one, when there are too many; may be "
        "repeated.",
        show_default=False,
    ),
]


def parse_limits(texts: Sequence[str] | None) -> dict[str, int]:
    """Returns limits by their names.  Raises typer.BadParameter."""
    from p2pnode.resources.limits import ResourceLimits

    found: dict[str, int] = {}
    for text in texts or ():
        name, _, size = text.partition("=")
        number = parse_size(size)
        if number is None:
            raise typer.BadParameter(
                f"{text!r} is no limit; one looks like streams=5000 or memory=64MiB",
                param_hint="--limit",
            )
        found[name.strip()] = number
    try:
        ResourceLimits().changed(found)
    except ValueError as exc:
        raise typer.BadParameter(str(exc), param_hint="--limit") from exc
    return found
