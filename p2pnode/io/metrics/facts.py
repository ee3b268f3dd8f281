"""What the metrics say of a node, as plain counts (specs/metrics.md).

    the node          counts what happens, and answers `MetricsSource.metric_facts`
    NodeMetrics       asks for it when somebody scrapes, and gives the numbers their names

Rules: totals never fall while the node runs; the words of a label come from this program and never
from a peer, or a peer could make as many series as it likes, and name peers in them.
"""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate, repeat
from operator import mul
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

from p2pnode.wire.transport_name import TransportName

Direction: TypeAlias = Literal["inbound", "outbound"]
PathKind: TypeAlias = Literal["direct", "relayed"]
TransportWord: TypeAlias = TransportName | Literal["p2p-circuit", "unknown"]
"""Of what began through a relay, p2p-circuit."""
IpVersion: TypeAlias = Literal["ip4", "ip6", "unknown"]


class ConnectionLabels(NamedTuple):
    """What connections are told apart by; the words are go-libp2p's."""

    direction: Direction
    transport: TransportWord
    ip_version: IpVersion


class Histogram:
    """How often values fell where."""

    __slots__ = ("_counts", "bounds", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        """Upper ends, included, ascending; what is above them all is counted as well."""
        self.total = 0.0
        """Of all values."""
        self._counts = [0] * (len(bounds) + 1)

    def observe(self, value: float) -> None:
        """Counts a value."""
        self._counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def cumulative(self) -> list[tuple[float, int]]:
        """Returns, for each upper end and for infinity, how many values were not above it."""
        found: list[tuple[float, int]] = []
        count = 0
        for bound, own in zip((*self.bounds, float("inf")), self._counts, strict=True):
            count += own
            found.append((bound, count))
        return found


def exponential_bounds(start: float, factor: float, count: int) -> tuple[float, ...]:
    """Returns the buckets of client_golang's function of that name, rounding included."""
    return tuple(accumulate(repeat(factor, count - 1), mul, initial=start))


# go-libp2p's, so that its dashboards fit; all in seconds.
DURATION_BOUNDS: Final = exponential_bounds(1 / 16, 2, 25)
HANDSHAKE_BOUNDS: Final = exponential_bounds(0.001, 1.3, 35)
DIAL_BOUNDS: Final = (0.001, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.0)


@dataclass(slots=True, kw_only=True)
class RelayFacts:
    """What the node does as a relay for others."""

    is_active: bool = False
    reservations: int = 0
    """Held by others now."""
    circuits: int = 0
    """Open now."""
    reservation_steps: Mapping[Literal["opened", "renewed", "closed"], int] = field(
        default_factory=dict[Literal["opened", "renewed", "closed"], int]
    )
    circuit_steps: Mapping[Literal["opened", "closed"], int] = field(
        default_factory=dict[Literal["opened", "closed"], int]
    )
    reserve_answers: Mapping[str, int] = field(default_factory=dict[str, int])
    """By the name of libp2p's status: OK, RESERVATION_REFUSED ..."""
    connect_answers: Mapping[str, int] = field(default_factory=dict[str, int])
    received_bytes: int = 0
    forwarded_bytes: int = 0
    month_bytes: int = 0
    """Of this month's volume; falls to 0 with a new month."""


@dataclass(slots=True, kw_only=True)
class OwnRelayFacts:
    """What relays do for the node."""

    is_active: bool = False
    """Whether it looks for relays."""
    held: int = 0
    wanted: int = 0
    addresses: int = 0
    opened: int = 0
    closed: int = 0
    address_updates: int = 0
    answers: Mapping[tuple[Literal["new", "refresh"], str], int] = field(
        default_factory=dict[tuple[Literal["new", "refresh"], str], int]
    )
    """By kind of request, and the name of libp2p's status or "" where none came."""


@dataclass(slots=True, kw_only=True)
class AutonatFacts:
    """Reachability, and the questions about it in both directions."""

    reachability: Literal["unknown", "public", "private"] = "unknown"
    confidence: int = 0
    """0 to 3; of the address that the verdict rests on."""
    addresses: Mapping[tuple[str, IpVersion, TransportWord], int] = field(
        default_factory=dict[tuple[str, IpVersion, TransportWord], int]
    )
    """Own addresses by verdict, IP version and transport."""
    v1_received: Mapping[str, int] = field(default_factory=dict[str, int])
    """Answers to us, by the name of libp2p's status: OK, E_DIAL_ERROR ..."""
    v1_sent: Mapping[str, int] = field(default_factory=dict[str, int])
    """Answers of ours."""
    v1_refused: Mapping[str, int] = field(default_factory=dict[str, int])
    """Requests that this node refused, by reason."""
    v2_requests: Mapping[Literal["success", "failure"], int] = field(
        default_factory=dict[Literal["success", "failure"], int]
    )
    """Dialogues of ours, by whether they came to an end."""
    v2_served: Mapping[tuple[str, str, bool, IpVersion, TransportWord], int] = field(
        default_factory=dict[tuple[str, str, bool, IpVersion, TransportWord], int]
    )
    """Requests of others, by response status, dial status, data required, and what was dialled."""
    probes: Mapping[tuple[Literal["v1", "v2", "delegated"], str], int] = field(
        default_factory=dict[tuple[Literal["v1", "v2", "delegated"], str], int]
    )
    """Probes of own addresses, by protocol and outcome: reached, not reached."""


@dataclass(slots=True, kw_only=True)
class PunchFacts:
    """Hole punching."""

    direct_dials: Mapping[Literal["success", "failed"], int] = field(
        default_factory=dict[Literal["success", "failed"], int]
    )
    """Connection reversal: the other side is public."""
    rounds: Mapping[tuple[Literal["initiator", "receiver"], int, str], int] = field(
        default_factory=dict[tuple[Literal["initiator", "receiver"], int, str], int]
    )
    """By side, number of the round from 1, and outcome: success, failed, no_suitable_address."""
    strategies: Mapping[tuple[str, Literal["success", "failed"]], int] = field(
        default_factory=dict[tuple[str, Literal["success", "failed"]], int]
    )


@dataclass(slots=True, kw_only=True)
class NodeFacts:
    """Everything, at one moment."""

    version: str = ""
    connections: Mapping[tuple[Direction, PathKind, TransportName], int] = field(
        default_factory=dict[tuple[Direction, PathKind, TransportName], int]
    )
    """Open now, by the path that their data takes now, and by their transport."""
    connections_opened: Mapping[ConnectionLabels, int] = field(
        default_factory=dict[ConnectionLabels, int]
    )
    connections_closed: Mapping[ConnectionLabels, int] = field(
        default_factory=dict[ConnectionLabels, int]
    )
    connection_durations: Mapping[ConnectionLabels, Histogram] = field(
        default_factory=dict[ConnectionLabels, Histogram]
    )
    """Over DURATION_BOUNDS."""
    handshake_times: Mapping[tuple[TransportWord, IpVersion], Histogram] = field(
        default_factory=dict[tuple[TransportWord, IpVersion], Histogram]
    )
    """Over HANDSHAKE_BOUNDS."""
    dial_errors: Mapping[tuple[TransportWord, str, IpVersion], int] = field(
        default_factory=dict[tuple[TransportWord, str, IpVersion], int]
    )
    """Addresses that led nowhere, by the class of the error: timeout, wrong peer ..."""
    dial_times: Mapping[tuple[Literal["success", "failed"], int], Histogram] = field(
        default_factory=dict[tuple[Literal["success", "failed"], int], Histogram]
    )
    """Dials of peers, by outcome and how many addresses were tried; over DIAL_BOUNDS."""
    streams: Mapping[tuple[str, Direction], int] = field(
        default_factory=dict[tuple[str, Direction], int]
    )
    """Open now, by protocol; only protocols that this node offers or has asked for."""
    sent_bytes: Mapping[PathKind, int] = field(default_factory=dict[PathKind, int])
    """UDP payloads."""
    received_bytes: Mapping[PathKind, int] = field(default_factory=dict[PathKind, int])
    path_changes: Mapping[tuple[PathKind, str], int] = field(
        default_factory=dict[tuple[PathKind, str], int]
    )
    """By the new path and the class of the reason."""
    resources: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    """Of each resource, what others hold and may hold at the most."""
    refusals: Mapping[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    """By the resource, and the kind of scope that was full."""
    early_drops: tuple[int, int] = (0, 0)
    """Packets and their bytes."""
    faults: int = 0
    """Bugs that were isolated."""
    identifies: Mapping[Direction, int] = field(default_factory=dict[Direction, int])
    """outbound: this node asked and was answered."""
    identify_pushes: Mapping[Direction, int] = field(default_factory=dict[Direction, int])
    protocols: int = 0
    """That identify names."""
    advertised: int = 0
    """Addresses that identify names."""
    observations: Mapping[str, int] = field(default_factory=dict[str, int])
    """Observed addresses that peers reported, by the name of the `Disposition`."""
    autonat: AutonatFacts = field(default_factory=AutonatFacts)
    own_relays: OwnRelayFacts = field(default_factory=OwnRelayFacts)
    relay: RelayFacts = field(default_factory=RelayFacts)
    punches: PunchFacts = field(default_factory=PunchFacts)


class MetricsSource(Protocol):
    """The node, as metrics see it."""

    def metric_facts(self) -> NodeFacts:
        """Returns the facts as they are now; called at each scrape, in the node's own loop."""
        ...
