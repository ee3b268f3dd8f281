"""What `p2pnode run` reports: one fact, for a person and for a script."""

from typing import Any, NamedTuple


class NodeReport(NamedTuple):
    """Something that the node has learned."""

    event: str
    """The name that scripts see; in the past tense or a noun."""
    fields: dict[str, Any]
    """What scripts get beside the name; JSON values."""
    lines: tuple[str, ...]
    """For a person."""
