"""What a running node says of itself over its control socket: `status`, and `why` for one peer.

Rule: the fields are those that scripts see with --json (specs/control.md), named and typed alike.
"""

from dataclasses import dataclass

from p2pnode.io.control.fields import (
    Fields,
    Json,
    integer_of,
    number_of,
    objects_of,
    optional_flag_of,
    optional_number_of,
    optional_text_of,
    text_of,
)


@dataclass(frozen=True, slots=True)
class AddressReport:
    """An address of this node, without relays."""

    addr: str
    verdict: str
    """"public", "private" or "unknown": whether strangers reach it."""
    observers: int
    """Independent groups of peers that see the node there."""


@dataclass(frozen=True, slots=True)
class RelayReport:
    """A relay that the node is reached through."""

    peer: str
    expires_s: float
    clock_ahead_s: float
    """Of the node's own clock; negative where the relay's is behind, 0 where they agree."""


@dataclass(frozen=True, slots=True)
class ConnectionReport:
    """A peer that is connected."""

    peer: str
    path: str
    via: str
    transport: str | None
    limited: bool | None
    rtt_ms: float | None
    streams: int


@dataclass(frozen=True, slots=True)
class RelayingReport:
    """What was relayed for a peer since the start."""

    peer: str
    bytes: int
    circuits: int
    """Open now."""


@dataclass(frozen=True, slots=True)
class ResourceReport:
    """What others hold of the node, of one resource."""

    name: str
    used: int
    limit: int
    refused: int
    """Times since the start."""


@dataclass(frozen=True, slots=True)
class StatusReport:
    """The node as it is now."""

    peer_id: str
    reachability: str
    addresses: tuple[AddressReport, ...]
    relays: tuple[RelayReport, ...]
    connections: tuple[ConnectionReport, ...]
    relaying: tuple[RelayingReport, ...]
    resources: tuple[ResourceReport, ...]
    silence: str | None
    """That nothing is heard over UDP, in one sentence; None where that cannot be said."""


@dataclass(frozen=True, slots=True)
class CauseReport:
    """What keeps two peers from a direct path."""

    side: str
    """"ours", "theirs" or "both"."""
    property: str


@dataclass(frozen=True, slots=True)
class WhyReport:
    """Why packets to a peer go the way they go."""

    peer: str
    path: str | None
    """"direct", "relayed" or, where the peer cannot be reached, None."""
    transport: str | None
    """By which it is connected; None where it is not, or the node that tells is an older one."""
    limited: bool | None
    verdict: str
    """One sentence."""
    cause: CauseReport | None
    attempts: tuple[Json, ...]
    """What was tried, oldest first."""


def decode_status_untrusted(fields: Fields) -> StatusReport:
    """Raises DecodeError for a report that is not complete."""
    return StatusReport(
        peer_id=text_of(fields, "peer_id"),
        reachability=text_of(fields, "reachability"),
        addresses=tuple(
            AddressReport(text_of(f, "addr"), text_of(f, "verdict"), integer_of(f, "observers"))
            for f in objects_of(fields, "addresses")
        ),
        relays=tuple(
            RelayReport(
                text_of(f, "peer"), number_of(f, "expires_s"), number_of(f, "clock_ahead_s")
            )
            for f in objects_of(fields, "relays")
        ),
        connections=tuple(_connection(f) for f in objects_of(fields, "connections")),
        relaying=tuple(
            RelayingReport(text_of(f, "peer"), integer_of(f, "bytes"), integer_of(f, "circuits"))
            for f in objects_of(fields, "relaying")
        ),
        resources=tuple(
            ResourceReport(
                text_of(f, "name"),
                integer_of(f, "used"),
                integer_of(f, "limit"),
                integer_of(f, "refused"),
            )
            for f in (objects_of(fields, "resources") if "resources" in fields else ())
        ),
        silence=optional_text_of(fields, "silence"),
    )


def decode_why_untrusted(fields: Fields) -> WhyReport:
    """Raises DecodeError for a report that is not complete."""
    cause = fields.get("cause")
    return WhyReport(
        peer=text_of(fields, "peer"),
        path=optional_text_of(fields, "path"),
        transport=optional_text_of(fields, "transport"),
        limited=optional_flag_of(fields, "limited"),
        verdict=text_of(fields, "verdict"),
        cause=None if cause is None else _cause(objects_of({"cause": [cause]}, "cause")[0]),
        attempts=objects_of(fields, "attempts"),
    )


def _cause(fields: Fields) -> CauseReport:
    return CauseReport(text_of(fields, "side"), text_of(fields, "property"))


def _connection(fields: Fields) -> ConnectionReport:
    return ConnectionReport(
        peer=text_of(fields, "peer"),
        path=text_of(fields, "path"),
        via=text_of(fields, "via"),
        transport=optional_text_of(fields, "transport"),
        limited=optional_flag_of(fields, "limited"),
        rtt_ms=optional_number_of(fields, "rtt_ms"),
        streams=integer_of(fields, "streams"),
    )
