"""Every metric: its name, its labels, and where its numbers come from (specs/metrics.md).

Rule: a name of go-libp2p (`libp2p_...`) keeps go-libp2p's labels, words and meaning, so that its
dashboards and alerts serve; what has no counterpart there is `p2pnode_...`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from p2pnode.io.metrics.facts import ConnectionLabels, Histogram, NodeFacts, TransportWord
from p2pnode.transports.stream_upgrade.upgrade import NOISE_PROTOCOL, YAMUX_PROTOCOL

Labels: TypeAlias = tuple[str, ...]
Samples: TypeAlias = Iterable[tuple[Labels, float | Histogram]]
Kind: TypeAlias = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; `read` takes its numbers from the facts."""

    name: str
    kind: Kind
    labels: Labels
    help: str
    read: Callable[[NodeFacts], Samples]


_STATE: Final = ("transport", "security", "muxer", "early_muxer", "ip_version")
_REACHABILITY: Final = {"unknown": 0, "public": 1, "private": 2}
"""go-libp2p's network.Reachability."""
_V1_WORDS: Final = {
    "OK": "ok",
    "E_DIAL_ERROR": "dial error",
    "E_DIAL_REFUSED": "dial refused",
    "E_BAD_REQUEST": "bad request",
    "E_INTERNAL_ERROR": "internal error",
}
_RESERVATION_OUTCOMES: Final = {
    "OK": "success",
    "CONNECTION_FAILED": "connection failed",
    "MALFORMED_MESSAGE": "malformed message",
    "RESERVATION_REFUSED": "reservation refused",
    "PERMISSION_DENIED": "permission denied",
    "RESOURCE_LIMIT_EXCEEDED": "resource limit exceeded",
}
_REJECTIONS: Final = {
    "RESERVATION_REFUSED": "ip constraint violation",
    "RESOURCE_LIMIT_EXCEEDED": "resource limit exceeded",
    "PERMISSION_DENIED": "permission denied",
    "NO_RESERVATION": "no reservation",
    "MALFORMED_MESSAGE": "malformed message",
}
_RELAY_WORDS: Final = {
    "OK": "ok",
    "CONNECTION_FAILED": "error",
    "UNEXPECTED_MESSAGE": "error",
    **dict.fromkeys(_REJECTIONS, "rejected"),
}
_MOST_DIALS: Final = 6
"""From here on go-libp2p counts dials together, as ">=6"."""
_MOST_ROUNDS: Final = 5


def _one(value: float) -> Samples:
    return [((), value)]


def _plain(counts: Mapping[str, int]) -> Samples:
    return [((word,), count) for word, count in counts.items()]


def _words(counts: Mapping[str, int], words: Mapping[str, str], other: str = "unknown") -> Samples:
    """Several of our words may be one of go-libp2p's."""
    sums: Counter[str] = Counter()
    for word, count in counts.items():
        sums[words.get(word, other)] += count
    return _plain(sums)


def _rejections(counts: Mapping[str, int]) -> Samples:
    return _words({w: n for w, n in counts.items() if w in _REJECTIONS}, _REJECTIONS)


def _state(transport: TransportWord, ip_version: str) -> Labels:
    """Like QUIC in go-libp2p, noise-udp names neither security nor muxer: it is both itself."""
    if transport == "tcp":  # whether the muxer was negotiated early is not told apart
        return (transport, NOISE_PROTOCOL, YAMUX_PROTOCOL, "", ip_version)
    return (transport, "", "", "false", ip_version)


def _by_connection(values: Mapping[ConnectionLabels, int | Histogram]) -> Samples:
    return [
        ((key.direction, *_state(key.transport, key.ip_version)), v) for key, v in values.items()
    ]


def _dials(facts: NodeFacts) -> dict[Labels, Histogram]:
    return {
        (outcome, str(tried) if tried < _MOST_DIALS else f">={_MOST_DIALS}"): times
        for (outcome, tried), times in facts.dial_times.items()
    }


def _addresses(facts: NodeFacts, verdict: str) -> Samples:
    return [
        ((ip_version, transport), count)
        for (of, ip_version, transport), count in facts.autonat.addresses.items()
        if of == verdict
    ]


def _reservation_requests(facts: NodeFacts) -> Samples:
    sums: Counter[Labels] = Counter()
    for (request, status), count in facts.own_relays.answers.items():
        sums[request, _RESERVATION_OUTCOMES.get(status, "err other")] += count
    return sums.items()


def _punch_rounds(facts: NodeFacts) -> Samples:
    sums: Counter[Labels] = Counter()
    for (side, number, outcome), count in facts.punches.rounds.items():
        name = str(number) if number <= _MOST_ROUNDS else f"> {_MOST_ROUNDS}"
        sums[side, name, outcome] += count
    return sums.items()


def _served(facts: NodeFacts) -> Samples:
    for (response, dial, needs_data, ip, transport), count in facts.autonat.v2_served.items():
        error = "nil" if response == "OK" else "other"
        yield (error, response, dial, str(needs_data).lower(), ip, transport), count


_SWARM: Final = (
    Metric(
        "libp2p_swarm_connections_opened_total",
        "counter",
        ("dir", *_STATE),
        "Connections opened",
        lambda f: _by_connection(f.connections_opened),
    ),
    Metric(
        "libp2p_swarm_connections_closed_total",
        "counter",
        ("dir", *_STATE),
        "Connections closed",
        lambda f: _by_connection(f.connections_closed),
    ),
    Metric(
        "libp2p_swarm_connection_duration_seconds",
        "histogram",
        ("dir", *_STATE),
        "How long connections lasted",
        lambda f: _by_connection(f.connection_durations),
    ),
    Metric(
        "libp2p_swarm_handshake_latency_seconds",
        "histogram",
        _STATE,
        "How long handshakes took",
        lambda f: [(_state(*key), times) for key, times in f.handshake_times.items()],
    ),
    Metric(
        "libp2p_swarm_dial_errors_total",
        "counter",
        ("transport", "error", "ip_version"),
        "Addresses that led nowhere",
        lambda f: [
            ((transport, error, ip), count)
            for (transport, error, ip), count in f.dial_errors.items()
        ],
    ),
    Metric(
        "libp2p_swarm_dials_per_peer_total",
        "counter",
        ("outcome", "num_dials"),
        "Dials of peers, by the addresses tried",
        lambda f: [(key, times.cumulative()[-1][1]) for key, times in _dials(f).items()],
    ),
    Metric(
        "libp2p_swarm_dial_latency_seconds",
        "histogram",
        ("outcome", "num_dials"),
        "How long dials of peers took",
        lambda f: _dials(f).items(),
    ),
    Metric(
        "p2pnode_connections",
        "gauge",
        ("dir", "path", "transport"),
        "Connections open now",
        lambda f: f.connections.items(),
    ),
    Metric(
        "p2pnode_streams",
        "gauge",
        ("protocol", "dir"),
        "Streams open now",
        lambda f: f.streams.items(),
    ),
    Metric(
        "p2pnode_sent_bytes_total",
        "counter",
        ("path",),
        "Payload sent over UDP and TCP",
        lambda f: [((path,), size) for path, size in f.sent_bytes.items()],
    ),
    Metric(
        "p2pnode_received_bytes_total",
        "counter",
        ("path",),
        "Payload received over UDP and TCP",
        lambda f: [((path,), size) for path, size in f.received_bytes.items()],
    ),
    Metric(
        "p2pnode_path_changes_total",
        "counter",
        ("path", "reason"),
        "Connections whose data went another way from then on",
        lambda f: f.path_changes.items(),
    ),
    Metric(
        "p2pnode_resource_used",
        "gauge",
        ("resource",),
        "What others hold of this node: slots, or bytes of memory",
        lambda f: [((resource,), used) for resource, (used, _) in f.resources.items()],
    ),
    Metric(
        "p2pnode_resource_limit",
        "gauge",
        ("resource",),
        "What others may hold of it at the most",
        lambda f: [((resource,), limit) for resource, (_, limit) in f.resources.items()],
    ),
    Metric(
        "p2pnode_refusals_total",
        "counter",
        ("resource", "scope"),
        "What was refused, by the scope that was full",
        lambda f: f.refusals.items(),
    ),
    Metric(
        "p2pnode_early_packets_dropped_total",
        "counter",
        (),
        "Packets before the end of a handshake without room",
        lambda f: [((), f.early_drops[0])],
    ),
    Metric(
        "p2pnode_early_bytes_dropped_total",
        "counter",
        (),
        "Bytes of them",
        lambda f: [((), f.early_drops[1])],
    ),
    Metric(
        "p2pnode_faults_total",
        "counter",
        (),
        "Bugs that cost a connection, a stream or a datagram",
        lambda f: [((), f.faults)],
    ),
    Metric("p2pnode_info", "gauge", ("version",), "Always 1", lambda f: [((f.version,), 1)]),
)

_IDENTIFY: Final = (
    Metric(
        "libp2p_identify_identify_total",
        "counter",
        ("dir",),
        "Identify dialogues; outbound where this node asked",
        lambda f: [((way,), count) for way, count in f.identifies.items()],
    ),
    Metric(
        "libp2p_identify_identify_push_total",
        "counter",
        ("dir",),
        "Identify pushes",
        lambda f: [((way,), count) for way, count in f.identify_pushes.items()],
    ),
    Metric(
        "libp2p_identify_protocols_count",
        "gauge",
        (),
        "Protocols that this node names",
        lambda f: _one(f.protocols),
    ),
    Metric(
        "libp2p_identify_addrs_count",
        "gauge",
        (),
        "Addresses that this node names",
        lambda f: _one(f.advertised),
    ),
    Metric(
        "p2pnode_observed_addresses_total",
        "counter",
        ("disposition",),
        "Reports of peers on where they see this node",
        lambda f: _plain(f.observations),
    ),
)

_AUTONAT: Final = (
    Metric(
        "libp2p_autonat_reachability_status",
        "gauge",
        (),
        "0 unknown, 1 public, 2 private",
        lambda f: _one(_REACHABILITY[f.autonat.reachability]),
    ),
    Metric(
        "libp2p_autonat_reachability_status_confidence",
        "gauge",
        (),
        "Independent witnesses, 0 to 3",
        lambda f: _one(f.autonat.confidence),
    ),
    Metric(
        "libp2p_autonat_received_dial_response_total",
        "counter",
        ("response_status",),
        "AutoNAT v1 answers to this node",
        lambda f: _words(f.autonat.v1_received, _V1_WORDS),
    ),
    Metric(
        "libp2p_autonat_outgoing_dial_response_total",
        "counter",
        ("response_status",),
        "AutoNAT v1 answers of this node",
        lambda f: _words(f.autonat.v1_sent, _V1_WORDS),
    ),
    Metric(
        "libp2p_autonat_outgoing_dial_refused_total",
        "counter",
        ("refusal_reason",),
        "AutoNAT v1 requests that were refused",
        lambda f: _plain(f.autonat.v1_refused),
    ),
    Metric(
        "libp2p_autonatv2_client_requests_total",
        "counter",
        ("outcome",),
        "AutoNAT v2 dialogues of this node",
        lambda f: [((outcome,), count) for outcome, count in f.autonat.v2_requests.items()],
    ),
    Metric(
        "libp2p_autonatv2_requests_completed_total",
        "counter",
        (
            "server_error",
            "response_status",
            "dial_status",
            "dial_data_required",
            "ip_or_dns_version",
            "transport",
        ),
        "AutoNAT v2 requests of others",
        _served,
    ),
    Metric(
        "libp2p_host_addrs_reachable",
        "gauge",
        ("ipv", "transport"),
        "Own addresses that strangers reach",
        lambda f: _addresses(f, "public"),
    ),
    Metric(
        "libp2p_host_addrs_unreachable",
        "gauge",
        ("ipv", "transport"),
        "Own addresses that strangers do not reach",
        lambda f: _addresses(f, "private"),
    ),
    Metric(
        "libp2p_host_addrs_unknown",
        "gauge",
        ("ipv", "transport"),
        "Own addresses without a verdict",
        lambda f: _addresses(f, "unknown"),
    ),
    Metric(
        "p2pnode_autonat_probes_total",
        "counter",
        ("protocol", "outcome"),
        "Probes of own addresses",
        lambda f: f.autonat.probes.items(),
    ),
)

_OWN_RELAYS: Final = (
    Metric(
        "libp2p_autorelay_status",
        "gauge",
        (),
        "1 while this node looks for relays",
        lambda f: _one(f.own_relays.is_active),
    ),
    Metric(
        "libp2p_autorelay_reservations_opened_total",
        "counter",
        (),
        "Reservations that relays granted",
        lambda f: _one(f.own_relays.opened),
    ),
    Metric(
        "libp2p_autorelay_reservations_closed_total",
        "counter",
        (),
        "Reservations that ended",
        lambda f: _one(f.own_relays.closed),
    ),
    Metric(
        "libp2p_autorelay_reservation_requests_outcome_total",
        "counter",
        ("request_type", "outcome"),
        "Answers of relays",
        _reservation_requests,
    ),
    Metric(
        "libp2p_autorelay_relay_addresses_updated_total",
        "counter",
        (),
        "Changes of the addresses through relays",
        lambda f: _one(f.own_relays.address_updates),
    ),
    Metric(
        "libp2p_autorelay_relay_addresses_count",
        "gauge",
        (),
        "Addresses through relays",
        lambda f: _one(f.own_relays.addresses),
    ),
    Metric(
        "libp2p_autorelay_desired_reservations",
        "gauge",
        (),
        "Reservations that this node wants",
        lambda f: _one(f.own_relays.wanted),
    ),
    Metric(
        "p2pnode_reservations_held",
        "gauge",
        (),
        "Reservations that this node has",
        lambda f: _one(f.own_relays.held),
    ),
)

_RELAY: Final = (
    Metric(
        "libp2p_relaysvc_status",
        "gauge",
        (),
        "1 while this node relays for others",
        lambda f: _one(f.relay.is_active),
    ),
    Metric(
        "libp2p_relaysvc_reservations_total",
        "counter",
        ("type",),
        "Reservations of others",
        lambda f: [((step,), count) for step, count in f.relay.reservation_steps.items()],
    ),
    Metric(
        "libp2p_relaysvc_reservation_request_response_status_total",
        "counter",
        ("status",),
        "Answers to reservation requests",
        lambda f: _words(f.relay.reserve_answers, _RELAY_WORDS),
    ),
    Metric(
        "libp2p_relaysvc_reservation_rejections_total",
        "counter",
        ("reason",),
        "Requests for reservations that were rejected",
        lambda f: _rejections(f.relay.reserve_answers),
    ),
    Metric(
        "libp2p_relaysvc_connections_total",
        "counter",
        ("type",),
        "Circuits",
        lambda f: [((step,), count) for step, count in f.relay.circuit_steps.items()],
    ),
    Metric(
        "libp2p_relaysvc_connection_request_response_status_total",
        "counter",
        ("status",),
        "Answers to requests for circuits",
        lambda f: _words(f.relay.connect_answers, _RELAY_WORDS),
    ),
    Metric(
        "libp2p_relaysvc_connection_rejections_total",
        "counter",
        ("reason",),
        "Requests for circuits that were rejected",
        lambda f: _rejections(f.relay.connect_answers),
    ),
    Metric(
        "libp2p_relaysvc_data_transferred_bytes_total",
        "counter",
        (),
        "Bytes that this node forwarded",
        lambda f: _one(f.relay.forwarded_bytes),
    ),
    Metric(
        "p2pnode_relay_bytes_total",
        "counter",
        ("direction",),
        "Bytes of circuits that came in, and that went out again",
        lambda f: [
            (("received",), f.relay.received_bytes),
            (("forwarded",), f.relay.forwarded_bytes),
        ],
    ),
    Metric(
        "p2pnode_relay_reservations",
        "gauge",
        (),
        "Reservations of others now",
        lambda f: _one(f.relay.reservations),
    ),
    Metric(
        "p2pnode_relay_circuits",
        "gauge",
        (),
        "Circuits now",
        lambda f: _one(f.relay.circuits),
    ),
    Metric(
        "p2pnode_relay_month_bytes",
        "gauge",
        (),
        "Bytes forwarded in this calendar month (UTC), also before a restart",
        lambda f: _one(f.relay.month_bytes),
    ),
)

_PUNCHES: Final = (
    Metric(
        "libp2p_holepunch_direct_dials_total",
        "counter",
        ("outcome",),
        "Direct dials of a peer that asked through a relay",
        lambda f: [((outcome,), count) for outcome, count in f.punches.direct_dials.items()],
    ),
    Metric(
        "libp2p_holepunch_outcomes_total",
        "counter",
        ("side", "num_attempts", "outcome"),
        "Rounds of hole punching",
        _punch_rounds,
    ),
    Metric(
        "p2pnode_holepunch_rounds_total",
        "counter",
        ("strategy", "outcome"),
        "Rounds of hole punching, by strategy",
        lambda f: f.punches.strategies.items(),
    ),
)

METRICS: Final[tuple[Metric, ...]] = (
    *_SWARM,
    *_IDENTIFY,
    *_AUTONAT,
    *_OWN_RELAYS,
    *_RELAY,
    *_PUNCHES,
)
