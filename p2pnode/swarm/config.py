"""What the user of a swarm may set."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from p2pnode.protocols.relay import MODEST, AccessList, RelayLimits
from p2pnode.resources.limits import ResourceLimits

DEFAULT_MAX_STREAMS: Final = 256
"""Streams of one protocol that one peer may have open to us: what the transport lets it open, so
that whoever has them all waits for one to end instead of being refused."""
DEFAULT_AGENT_VERSION: Final = "p2pnode/0.2.0"


class RelayMode(enum.Enum):
    """When this node relays."""

    OFF = "off"
    WHEN_PUBLIC = "when public"
    """Once it knows that strangers reach it."""
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class SwarmConfig:
    """Durations in seconds."""

    agent_version: str = DEFAULT_AGENT_VERSION
    protocol_version: str = "p2pnode/0.1.0"
    resources: ResourceLimits = field(default_factory=ResourceLimits)
    """What others may hold of this node."""
    identify_delay: float = 0.1
    """After a connection is made; chosen: out of the way of the request that it was made for."""
    relay_mode: RelayMode = RelayMode.WHEN_PUBLIC
    """When this node relays for others."""
    relay_limits: RelayLimits = MODEST
    relay_access: AccessList = field(default_factory=AccessList)
    relayed_by_month: Mapping[str, int] = field(default_factory=dict[str, int])
    """Bytes that were relayed before this start, by month, as 2026-11."""
    last_record_seq: int = 0
    """Of the signed peer records before this start: later ones count on from it."""
