"""What the metrics say of a node: a `MetricsSource` that counts events and looks at the swarm.

Rule: counted is from the moment that metrics are served; the words of a label are this program's
own, never a peer's.  What nobody counts yet stays empty (specs/metrics.md says what that means).
"""

from collections import Counter
from typing import Final, Literal

from p2pnode.io.connection_info import path_kind
from p2pnode.io.metrics_facts import (
    DURATION_BOUNDS,
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
)
from p2pnode.io.node import Node
from p2pnode.protocols.relay import Status
from p2pnode.swarm import events
from p2pnode.swarm.config import DEFAULT_AGENT_VERSION
from p2pnode.swarm.events import SwarmEvent
from p2pnode.wire.multiaddr import Code, Multiaddr, components

WANTED_RELAYS: Final = 2
"""of a node that strangers do not reach (specs/relay.md)"""


class NodeFactsSource:
    """A `MetricsSource`."""

    def __init__(self, node: Node) -> None:
        self._swarm = node.engine.swarm
        self._engine = node.engine
        self._opened: Counter[ConnectionLabels] = Counter()
        self._closed: Counter[ConnectionLabels] = Counter()
        self._durations: dict[ConnectionLabels, Histogram] = {}
        self._since: dict[int, tuple[ConnectionLabels, float]] = {}
        self._path_changes: Counter[tuple[PathKind, str]] = Counter()
        self._observations: Counter[str] = Counter()
        self._identified: Counter[Direction] = Counter()
        self._strategies: Counter[tuple[str, Literal["success", "failed"]]] = Counter()
        self._relay_updates = 0
        self._forwarded = self._received = 0
        node.watch(self._count)

    def metric_facts(self) -> NodeFacts:
        """Returns the facts as they are now."""
        swarm = self._swarm
        return NodeFacts(
            version=DEFAULT_AGENT_VERSION.partition("/")[2],
            connections=Counter(
                (_direction(c.is_initiator), path_kind(c.route))
                for c in swarm.connections.values()
                if not c.is_closed
            ),
            connections_opened=self._opened,
            connections_closed=self._closed,
            connection_durations=self._durations,
            path_changes=self._path_changes,
            identifies=self._identified,
            protocols=len(swarm.protocols),
            advertised=len(swarm.advertised_addresses()),
            observations=self._observations,
            autonat=self._autonat_facts(),
            own_relays=self._own_relay_facts(),
            relay=self._relay_facts(),
            punches=PunchFacts(strategies=self._strategies),
        )

    # events

    def _count(self, event: SwarmEvent) -> None:
        now = self._engine.now
        match event:
            case events.ConnectionEstablished(connection, _, is_initiator, route):
                version: IpVersion = "ip6" if route.remote.is_ipv6 else "ip4"
                labels = ConnectionLabels(_direction(is_initiator), path_kind(route), version)
                self._opened[labels] += 1
                self._since[connection] = labels, now
            case events.ConnectionClosed(connection):
                known = self._since.pop(connection, None)
                if known is not None:
                    labels, since = known
                    self._closed[labels] += 1
                    histogram = self._durations.setdefault(labels, Histogram(DURATION_BOUNDS))
                    histogram.observe(now - since)
            case events.PathChanged(_, _, route):
                kind = path_kind(route)
                why = "a direct path works" if kind == "direct" else "no direct path works"
                self._path_changes[kind, why] += 1
            case events.AddressObserved(_, _, disposition):
                self._observations[disposition.name] += 1
            case events.PeerIdentified():
                self._identified["outbound"] += 1
            case events.ReservationsChanged():
                self._relay_updates += 1
            case events.PunchEnded(_, _, _, strategy, is_direct):
                self._strategies[strategy, "success" if is_direct else "failed"] += 1
            case _:
                pass

    # facts of the swarm

    def _autonat_facts(self) -> AutonatFacts:
        now, client = self._engine.now, self._swarm.autonat_client
        overall, verdicts = client.overall(now), client.verdicts(now)
        confidences = [v.confidence for _, v in verdicts if v.reachability is overall]
        return AutonatFacts(
            reachability=overall.value,
            confidence=max(confidences, default=0),
            addresses=Counter(
                (verdict.reachability.value, _ip_version(address)) for address, verdict in verdicts
            ),
        )

    def _own_relay_facts(self) -> OwnRelayFacts:
        client = self._swarm.relay_client
        held = len(client.reservations())
        return OwnRelayFacts(
            is_active=held > 0,
            held=held,
            wanted=WANTED_RELAYS,
            addresses=len(client.addresses()),
            address_updates=self._relay_updates,
        )

    def _relay_facts(self) -> RelayFacts:
        server = self._swarm.relay_server
        usage = server.usage().values()
        # Peers of long ago are forgotten one by one: a total does not fall for that.
        self._forwarded = max(self._forwarded, sum(u.sent.forwarded_bytes for u in usage))
        self._received = max(self._received, sum(u.sent.received_bytes for u in usage))
        return RelayFacts(
            is_active=server.is_serving,
            reservations=len(server.reservations()),
            circuits=server.circuits,
            reserve_answers=_by_name(server.reservation_answers),
            connect_answers=_by_name(server.circuit_answers),
            received_bytes=self._received,
            forwarded_bytes=self._forwarded,
            month_bytes=server.volume.used,
        )


def _direction(is_initiator: bool) -> Direction:
    return "outbound" if is_initiator else "inbound"


def _ip_version(address: Multiaddr) -> IpVersion:
    return "ip6" if components(address)[0].code == Code.IP6 else "ip4"


def _by_name(answers: dict[Status, int]) -> dict[str, int]:
    return {status.name: count for status, count in answers.items()}
