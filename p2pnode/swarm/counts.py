"""What a swarm has counted since its start, as values of one moment."""

from collections.abc import Mapping
from typing import NamedTuple

from p2pnode.protocols.autonat import Method
from p2pnode.protocols.relay import Status
from p2pnode.swarm.byte_counts import ByteCounts
from p2pnode.swarm.services.autonat.server import V2Answer
from p2pnode.swarm.services.registry import Services
from p2pnode.swarm.stream_table import StreamTable


class ByteTotals(NamedTuple):
    """Bytes of UDP payload of this node's own connections."""

    sent_directly: int
    sent_relayed: int
    received_directly: int
    received_relayed: int


class IdentifyCounts(NamedTuple):
    """Identify, without the answers to this node: those are events."""

    answered: int
    """Requests of peers."""
    pushes_sent: int
    pushes_received: int


class AutonatCounts(NamedTuple):
    """Questions about reachability in both directions."""

    v1_received: Mapping[int, int]
    """Answers to this node, by status."""
    v2_dialogues: Mapping[bool, int]
    """Dialogues of this node, by whether they came to an end."""
    probes: Mapping[tuple[Method, bool], int]
    """Probes of own addresses, by whether they were heard."""
    v1_sent: Mapping[tuple[int, str], int]
    """Answers to others, by status and the reason of a refusal."""
    v2_sent: Mapping[V2Answer, int]


class RelayClientCounts(NamedTuple):
    """What relays were asked for."""

    granted: int
    """Reservations that were not renewals."""
    answers: Mapping[tuple[bool, int | None], int]
    """By whether it was a renewal, and the relay's status, None where it gave none."""


class RelayServerCounts(NamedTuple):
    """What this node does as a relay for others."""

    is_serving: bool
    """Whether it takes reservations and circuits now."""
    reservations: int
    """Held by others now."""
    renewals: int
    circuits: int
    """Of both kinds, those that are being opened included."""
    circuits_closed: int
    reservation_answers: Mapping[Status, int]
    circuit_answers: Mapping[Status, int]
    received_bytes: int
    """To be relayed, for the peers that are remembered."""
    forwarded_bytes: int


class Counts:
    """Reads the counters of those who count."""

    def __init__(self, services: Services, streams: StreamTable, byte_counts: ByteCounts) -> None:
        self._services = services
        self._streams = streams
        self._byte_counts = byte_counts

    def byte_totals(self) -> ByteTotals:
        """Returns what was sent and received; what is forwarded for others is counted elsewhere."""
        counts = self._byte_counts
        return ByteTotals(
            counts.sent_directly,
            counts.sent_relayed,
            counts.received_directly,
            counts.received_relayed,
        )

    def open_streams(self) -> Mapping[tuple[str, bool], int]:
        """Returns how many there are now by (protocol, whether the peer opened them)."""
        return self._streams.open_streams()

    def identify(self) -> IdentifyCounts:
        service = self._services.identify
        return IdentifyCounts(service.answered, service.pushes_sent, service.pushes_received)

    def autonat(self) -> AutonatCounts:
        client, server = self._services.autonat_client, self._services.autonat_server
        return AutonatCounts(
            v1_received=client.v1_answers.copy(),
            v2_dialogues=client.v2_dialogues.copy(),
            probes=client.evidence.copy(),
            v1_sent=server.v1_answers.copy(),
            v2_sent=server.v2_answers.copy(),
        )

    def relay_client(self) -> RelayClientCounts:
        client = self._services.relay_client
        return RelayClientCounts(client.granted, client.answers.copy())

    def relay_server(self) -> RelayServerCounts:
        server = self._services.relay_server
        usage = server.usage().values()
        return RelayServerCounts(
            is_serving=server.is_serving,
            reservations=len(server.reservations()),
            renewals=server.renewals,
            circuits=server.circuits,
            circuits_closed=server.circuits_closed,
            reservation_answers=server.reservation_answers,
            circuit_answers=server.circuit_answers,
            received_bytes=sum(used.sent.received_bytes for used in usage),
            forwarded_bytes=sum(used.sent.forwarded_bytes for used in usage),
        )
