"""The properties of a NAT box, in the words of RFC 4787.  Values only: picklable, comparable.

Mapping and filtering are two uses of one enum: how much of the remote address a behaviour looks at.
"""

import enum
from collections.abc import Hashable
from dataclasses import dataclass

from p2pnode.machine import SocketAddr


class Dependence(enum.Enum):
    """How much of the remote address a behaviour looks at (RFC 4787 sections 4.1 and 5)."""

    ENDPOINT_INDEPENDENT = "endpoint-independent"
    ADDRESS_DEPENDENT = "address-dependent"
    ADDRESS_AND_PORT_DEPENDENT = "address-and-port-dependent"

    def scope(self, remote: SocketAddr) -> Hashable:
        """Returns what of the remote address matters; equal for remotes that are treated alike."""
        if self is Dependence.ENDPOINT_INDEPENDENT:
            return None
        if self is Dependence.ADDRESS_DEPENDENT:
            return remote.ip
        return remote


class FilterScope(enum.Enum):
    """Whose permission an outbound packet is (RFC 4787 section 5 speaks of the endpoint's)."""

    INTERNAL_ENDPOINT = "internal endpoint"
    MAPPING = "mapping"


class PortChoice(enum.Enum):
    """Which external port a new mapping gets (RFC 4787 section 4.2.1)."""

    PRESERVING = "preserving"
    """The internal port; `Collision` says what happens when it is taken."""
    SEQUENTIAL = "sequential"
    """The last one plus `port_step`."""
    RANDOM = "random"
    BLOCK = "block"
    """A random one out of the blocks of `block_size` ports that the inside host owns (RFC 7422)."""


class Collision(enum.Enum):
    """What a port-preserving box does when another mapping has the port already."""

    NEXT = "next"
    """The next free port."""
    RANDOM = "random"
    SHARE = "share"
    """Port overloading, which REQ-3 forbids and Linux does: a port may serve several inside
    endpoints as long as no two of them talk to the same remote endpoint through it."""
    DROP = "drop"


class Hairpin(enum.Enum):
    """What becomes of inside packets to the box's own public address (RFC 4787 section 6)."""

    NONE = "none"
    INTERNAL_SOURCE = "internal source"
    """The receiver sees the sender's private address."""
    EXTERNAL_SOURCE = "external source"
    """The receiver sees the sender's public address; what REQ-9a asks for."""


class Refresh(enum.Enum):
    """Which packets restart the mapping timer (RFC 4787 section 4.3)."""

    OUTBOUND = "outbound"
    OUTBOUND_AND_ACCEPTED_INBOUND = "outbound and accepted inbound"
    OUTBOUND_AND_ANY_INBOUND = "outbound and any inbound"
    """Also by inbound packets that the filter drops: strangers can keep a mapping alive."""


class Pooling(enum.Enum):
    """Which public address a mapping gets where the box has several (RFC 4787 section 4.1)."""

    PAIRED = "paired"
    """Always the same one for the same inside host (REQ-2)."""
    ARBITRARY = "arbitrary"


MAX_MAPPINGS = 65_536
"""Mappings of one box.  Source: a usual nf_conntrack_max."""

LOWEST_PORT = 1024
HIGHEST_PORT = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class NatBehaviour:
    """Every knob of a NAT box; times in seconds.  The defaults are a well-behaved home router."""

    mapping: Dependence = Dependence.ENDPOINT_INDEPENDENT
    filtering: Dependence = Dependence.ADDRESS_AND_PORT_DEPENDENT
    filter_scope: FilterScope = FilterScope.INTERNAL_ENDPOINT
    port_choice: PortChoice = PortChoice.PRESERVING
    collision: Collision = Collision.RANDOM
    port_step: int = 1
    block_size: int = 1008
    """Ports: 64 customers on one address."""
    max_blocks: int = 1
    """Blocks for one inside host; the second one is taken when the first is full."""
    ports: tuple[int, int] = (LOWEST_PORT, HIGHEST_PORT)
    """First and last external port."""
    parity: bool = False
    """Even ports map to even ones, odd to odd (RFC 4787 section 4.2.2)."""
    pooling: Pooling = Pooling.PAIRED
    hairpin: Hairpin = Hairpin.NONE
    unreplied_timeout: float = 30.0
    """Of a mapping that nobody has answered through yet."""
    stream_timeout: float = 300.0
    """Of a mapping that was answered (REQ-5 asks for 120 at least, 300 by default)."""
    filter_timeout: float | None = None
    """Of a filter entry, from the last outbound packet on; None for the mapping's timers."""
    refresh: Refresh = Refresh.OUTBOUND_AND_ACCEPTED_INBOUND
    same_port_after_expiry: bool = False
    """An expired mapping comes back on its old port if that is still free."""
    port_hold: float = 0.0
    """For how long after expiry no other mapping gets the port (RFC 6888 REQ-8)."""
    max_mappings: int = MAX_MAPPINGS
    max_mappings_per_host: int | None = None
    """The quota of RFC 6888 REQ-4."""
    leaky: bool = False
    """Linux conntrack on a router without an input drop: a stranger's packet to the public address
    takes the (port, stranger) pair, and an inside host that then sends to this stranger through
    this port gets another one."""
