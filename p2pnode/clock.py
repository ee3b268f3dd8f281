"""Time as values.  Nothing below `p2pnode.io` reads a clock: `now` is always an argument."""

from typing import NamedTuple, NewType, TypeAlias

Instant: TypeAlias = float
"""Seconds on a monotonic clock with an arbitrary zero.  Never compared between machines."""

UnixTime = NewType("UnixTime", float)
"""Seconds since 1970-01-01 UTC: expiry dates and signed records, never timers."""


class Deadline(NamedTuple):
    """When a machine wants `handle_timeout` next, and why (for the log)."""

    at: Instant
    why: str


def earliest(*deadlines: Deadline | None) -> Deadline | None:
    """Returns the first of the deadlines that are set, or None where none is."""
    return min(filter(None, deadlines), default=None)
