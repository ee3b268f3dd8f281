"""What the metrics say of a node: a `MetricsSource` that counts events and looks at the swarm.

Rule: events are counted from the moment that metrics are served; the words of a label are this
program's own, never a peer's.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Final, Literal, TypeAlias, TypeVar

from p2pnode.clock import Instant
from p2pnode.errors import DialTimeout, HandshakeError, P2PNodeError, PeerIdMismatch
from p2pnode.identity.peer_multiaddr import circuit_addr
from p2pnode.identity.transport_addr import transport_addr
from p2pnode.io.metrics.facts import (
    DIAL_BOUNDS,
    DURATION_BOUNDS,
    HANDSHAKE_BOUNDS,
    AutonatFacts,
    ConnectionLabels,
    Direction,
    Histogram,
    IpVersion,
    NodeFacts,
    OwnRelayFacts,
    PathKind,
    PunchFacts,
    RelayFacts,
    TransportWord,
)
from p2pnode.io.node.connection_info import path_kind
from p2pnode.protocols.autonat import DialStatus, Method, ResponseStatus, StatusV1
from p2pnode.protocols.relay import Status
from p2pnode.protocols.relay.auto_relay import WANTED_RELAYS
from p2pnode.swarm import events
from p2pnode.swarm.config import DEFAULT_AGENT_VERSION
from p2pnode.swarm.events import SwarmEvent
from p2pnode.swarm.facts import SwarmFacts
from p2pnode.wire.multiaddr import Code, Multiaddr, components

_METHODS: Final[dict[Method, Literal["v1", "v2", "delegated"]]] = {
    Method.V1: "v1",
    Method.V2: "v2",
    Method.DELEGATED: "delegated",
}
_FAMILIES: Final[dict[int | None, IpVersion]] = {Code.IP4: "ip4", Code.IP6: "ip6"}
_ERRORS: Final = (
    (PeerIdMismatch, "peer id mismatch"),
    (HandshakeError, "handshake failed"),
    (DialTimeout, "timeout"),
)
"""Go-libp2p's words where it has one."""
_Number = TypeVar("_Number", bound=int)
Outcome: TypeAlias = Literal["success", "failed"]
Side: TypeAlias = Literal["initiator", "receiver"]


class NodeFactsSource:
    """A `MetricsSource`; `count` is to be told every event of the swarm."""

    def __init__(self, facts: SwarmFacts, clock: Callable[[], Instant]) -> None:
        self._facts = facts
        self._clock = clock
        self._opened: Counter[ConnectionLabels] = Counter()
        self._closed: Counter[ConnectionLabels] = Counter()
        self._durations: dict[ConnectionLabels, Histogram] = {}
        self._since: dict[int, tuple[ConnectionLabels, float]] = {}
        self._handshakes: dict[tuple[TransportWord, IpVersion], Histogram] = {}
        self._dials: dict[tuple[Outcome, int], Histogram] = {}
        self._dial_errors: Counter[tuple[TransportWord, str, IpVersion]] = Counter()
        self._path_changes: Counter[tuple[PathKind, str]] = Counter()
        self._faults = 0
        self._observations: Counter[str] = Counter()
        self._identified = 0
        self._strategies: Counter[tuple[str, Outcome]] = Counter()
        self._rounds: Counter[tuple[Side, int, str]] = Counter()
        self._reversals: Counter[Outcome] = Counter()
        self._relay_updates = 0
        self._forwarded = self._received = 0

    def metric_facts(self) -> NodeFacts:
        """Returns the facts as they are now."""
        facts, counts = self._facts, self._facts.counts
        identify, counted = counts.identify(), counts.byte_totals()
        return NodeFacts(
            version=DEFAULT_AGENT_VERSION.partition("/")[2],
            connections=Counter(
                (_direction(c.is_initiator), path_kind(c.route), c.transport)
                for c in facts.connections()
            ),
            connections_opened=self._opened,
            connections_closed=self._closed,
            connection_durations=self._durations,
            handshake_times=self._handshakes,
            dial_errors=self._dial_errors,
            dial_times=self._dials,
            streams={
                (protocol, _direction(not is_inbound)): count
                for (protocol, is_inbound), count in counts.open_streams().items()
            },
            sent_bytes={"direct": counted.sent_directly, "relayed": counted.sent_relayed},
            received_bytes={
                "direct": counted.received_directly,
                "relayed": counted.received_relayed,
            },
            path_changes=self._path_changes,
            early_drops=(facts.early_drops().packets, facts.early_drops().size),
            faults=self._faults,
            resources={
                use.resource.name.lower(): (use.used, use.limit) for use in facts.resources()
            },
            refusals={
                (resource.name.lower(), scope.name.lower()): count
                for (resource, scope), count in facts.refusals().items()
            },
            identifies={"outbound": self._identified, "inbound": identify.answered},
            identify_pushes={
                "outbound": identify.pushes_sent,
                "inbound": identify.pushes_received,
            },
            protocols=len(facts.protocols()),
            advertised=len(facts.advertised_addresses()),
            observations=self._observations,
            autonat=self._autonat_facts(),
            own_relays=self._own_relay_facts(),
            relay=self._relay_facts(),
            punches=PunchFacts(
                direct_dials=self._reversals, rounds=self._rounds, strategies=self._strategies
            ),
        )

    # events

    def count(self, event: SwarmEvent) -> None:
        """Something has happened just now."""
        now = self._clock()
        match event:
            case events.ConnectionEstablished(
                connection, _, is_initiator, route, seconds, transport
            ):
                version: IpVersion = "ip6" if route.remote.is_ipv6 else "ip4"
                word: TransportWord = "p2p-circuit" if route.is_relayed else transport
                labels = ConnectionLabels(_direction(is_initiator), word, version)
                self._opened[labels] += 1
                self._since[connection] = labels, now
                key = word, version
                self._handshakes.setdefault(key, Histogram(HANDSHAKE_BOUNDS)).observe(seconds)
            case events.DialEnded(is_success, seconds, tried, attempts):
                dial = _outcome(is_success), tried
                self._dials.setdefault(dial, Histogram(DIAL_BOUNDS)).observe(seconds)
                for address, error in attempts:
                    word, version = _transport(address), _ip_version(address)
                    if word == "p2p-circuit" or version != "unknown":  # else it was a mere peer id
                        self._dial_errors[word, _error_word(error), version] += 1
            case events.ConnectionClosed(connection):
                known = self._since.pop(connection, None)
                if known is not None:
                    labels, since = known
                    self._closed[labels] += 1
                    histogram = self._durations.setdefault(labels, Histogram(DURATION_BOUNDS))
                    histogram.observe(now - since)
            case events.Fault():
                self._faults += 1
            case events.PathChanged(_, _, route):
                kind = path_kind(route)
                why = "a direct path works" if kind == "direct" else "no direct path works"
                self._path_changes[kind, why] += 1
            case events.AddressObserved(_, _, disposition):
                self._observations[disposition.name] += 1
            case events.PeerIdentified():
                self._identified += 1
            case events.ReservationsChanged():
                self._relay_updates += 1
            case events.ReversalEnded(_, is_direct):
                self._reversals[_outcome(is_direct)] += 1
            case events.PunchEnded(_, _, number, strategy, is_direct, _, is_initiator):
                side: Side = "initiator" if is_initiator else "receiver"
                self._rounds[side, number, _outcome(is_direct)] += 1
                self._strategies[strategy, _outcome(is_direct)] += 1
            case _:
                pass

    # facts of the swarm

    def _autonat_facts(self) -> AutonatFacts:
        now, counts = self._clock(), self._facts.counts.autonat()
        overall, verdicts = self._facts.reachability(now), self._facts.verdicts(now)
        confidences = [v.confidence for _, v in verdicts if v.reachability is overall]
        v1_sent: Counter[str] = Counter()
        v1_refused: Counter[str] = Counter()
        for (status, why), count in counts.v1_sent.items():
            v1_sent[_name(StatusV1, status)] += count
            if status == StatusV1.E_DIAL_REFUSED:
                v1_refused[why] += count
        return AutonatFacts(
            reachability=overall.value,
            confidence=max(confidences, default=0),
            addresses=Counter(
                (verdict.reachability.value, _ip_version(address), _transport(address))
                for address, verdict in verdicts
            ),
            v1_received=_by_name(StatusV1, counts.v1_received),
            v1_sent=v1_sent,
            v1_refused=v1_refused,
            v2_requests={
                "success": counts.v2_dialogues[True],
                "failure": counts.v2_dialogues[False],
            },
            v2_served={
                (
                    _name(ResponseStatus, answer.status),
                    _name(DialStatus, answer.dial_status),
                    answer.needed_data,
                    _FAMILIES.get(answer.family, "unknown"),
                    answer.transport or "unknown",
                ): count
                for answer, count in counts.v2_sent.items()
            },
            probes={
                (_METHODS[method], "reached" if is_heard else "not reached"): count
                for (method, is_heard), count in counts.probes.items()
            },
        )

    def _own_relay_facts(self) -> OwnRelayFacts:
        counts = self._facts.counts.relay_client()
        held = len(self._facts.reservations())
        return OwnRelayFacts(
            is_active=held > 0,
            held=held,
            wanted=WANTED_RELAYS,
            addresses=len(self._facts.relayed_addresses()),
            opened=counts.granted,
            closed=max(0, counts.granted - held),
            answers={
                ("refresh" if is_renewal else "new", _name(Status, status)): count
                for (is_renewal, status), count in counts.answers.items()
            },
            address_updates=self._relay_updates,
        )

    def _relay_facts(self) -> RelayFacts:
        server = self._facts.counts.relay_server()
        # Peers of long ago are forgotten one by one: a total does not fall for that.
        self._forwarded = max(self._forwarded, server.forwarded_bytes)
        self._received = max(self._received, server.received_bytes)
        held = server.reservations
        granted = server.reservation_answers.get(Status.OK, 0)
        opened = server.circuit_answers.get(Status.OK, 0)
        return RelayFacts(
            is_active=server.is_serving,
            reservations=held,
            reservation_steps={
                "opened": granted - server.renewals,
                "renewed": server.renewals,
                "closed": granted - server.renewals - held,
            },
            circuit_steps={"opened": opened, "closed": server.circuits_closed},
            circuits=server.circuits,
            reserve_answers=_by_name(Status, server.reservation_answers),
            connect_answers=_by_name(Status, server.circuit_answers),
            received_bytes=self._received,
            forwarded_bytes=self._forwarded,
            month_bytes=self._facts.relayed_volume(),
        )


def _direction(is_initiator: bool) -> Direction:
    return "outbound" if is_initiator else "inbound"


def _outcome(is_success: bool) -> Outcome:
    return "success" if is_success else "failed"


def _transport(address: Multiaddr) -> TransportWord:
    if circuit_addr(address) is not None:
        return "p2p-circuit"
    parts = transport_addr(address)
    return "unknown" if parts is None else parts.transport


def _ip_version(address: Multiaddr) -> IpVersion:
    return _FAMILIES.get(components(address)[0].code, "unknown")


def _error_word(error: P2PNodeError) -> str:
    return next((word for kind, word in _ERRORS if isinstance(error, kind)), "other")


def _name(kind: type[IntEnum], number: int | None) -> str:
    """Returns the name of a status; what this revision does not know has none."""
    return next((each.name for each in kind if each == number), "")


def _by_name(kind: type[IntEnum], answers: Mapping[_Number, int]) -> dict[str, int]:
    sums: Counter[str] = Counter()
    for number, count in answers.items():
        sums[_name(kind, number)] += count
    return sums
