"""What one probe of one address came to, whichever protocol made it (specs/autonat.md, Outcomes).

Rule: a probe that proves nothing says so and why.  It is never turned into a guess.
"""

import enum
from dataclasses import dataclass
from typing import TypeAlias

from p2pnode.wire.multiaddr import Multiaddr


class Prober(enum.Enum):
    """Who knocked, as a NAT's filter sees it; the value says it to people."""

    STRANGER = "a host that this node has never contacted"
    ACQUAINTANCE = "a host that this node has contacted, from another port"


@dataclass(frozen=True, slots=True)
class Reached:
    """Packets arrived: this node saw them itself, or (v1 only) the server says so."""

    address: Multiaddr
    prober: Prober


@dataclass(frozen=True, slots=True)
class NotReached:
    """The prober tried, and nothing came of it."""

    address: Multiaddr
    prober: Prober
    reason: str


class Doubt(enum.Enum):
    """Why a probe proves nothing; the owner's schedule depends on it."""

    REFUSED = "the server refused"
    RATE_LIMITED = "the server has no time for it now"
    FAILED = "the dialogue failed"
    CONTRADICTORY = "the server's words and what arrived do not agree"


@dataclass(frozen=True, slots=True)
class Inconclusive:
    """Nothing was learned of any address."""

    doubt: Doubt
    reason: str


ProbeOutcome: TypeAlias = Reached | NotReached | Inconclusive
