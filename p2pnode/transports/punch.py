"""When the probes of a punch leave, and how far they go: a value that a policy makes.

The transport knows nothing of why; it sends path challenges over routes that nobody has proved, by
this schedule instead of its own (specs/transport.md, Paths).
"""

from typing import NamedTuple

from p2pnode.clock import Instant


class PunchProbe(NamedTuple):
    """One challenge to each address."""

    offset: float
    """Seconds after the punch's `start_at`."""
    ttl: int | None = None
    """Hops, or None for the usual number.  Low ones open a NAT and die on the way."""


class Punch(NamedTuple):
    """The schedule of one round."""

    start_at: Instant
    probes: tuple[PunchProbe, ...]
    gives_up_at: Instant
    """When the routes are forgotten, unless they were validated."""
