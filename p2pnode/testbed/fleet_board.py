"""What is known of a test swarm: of each node and of each pair, and what has just changed.

Rule: reports go in, with the time; views and changes come out.  Where the reports come from, from
processes or from a simulation, makes no difference here.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import Final, NamedTuple, TypeAlias

from p2pnode.clock import Instant
from p2pnode.testbed.fleet import FleetPlan, Member, Pair

MAX_LAST_WORDS: Final = 2000
"""characters kept of what a node said before it ended; chosen: the end of a traceback"""
LOSS_PATIENCE: Final = 3.0
"""seconds since the last pong in which a lost ping does not mean that the path is gone; chosen: two
intervals, for a ping is also lost where one connection takes the place of another"""


@dataclass(slots=True)
class NodeView:
    """A node as it is known now."""

    member: Member
    peer_id: str = ""
    addresses: tuple[str, ...] = ()
    started_at: Instant | None = None
    verdict: str = "unknown"
    """"public", "private" or "unknown": whether strangers reach it."""
    relays: tuple[str, ...] = ()
    """Names of the relays that it can be reached through."""
    end: str | None = None
    """Its last words, once it has ended."""

    @property
    def is_running(self) -> bool:
        return self.started_at is not None and self.end is None

    @property
    def join_address(self) -> str:
        """Where others can begin with it: an IPv4 address, for some know no other."""
        return next((a for a in self.addresses if a.startswith("/ip4/")), "")


class Way(NamedTuple):
    """Which way packets go, as `ping` tells it."""

    path: str
    via: str
    transport: str | None
    limited: bool | None


@dataclass(slots=True)
class PairView:
    """How one node reaches another now."""

    pair: Pair
    path: str | None = None
    """"direct", "relayed", or None where nothing comes back."""
    via: str = ""
    """The multiaddr that packets go to."""
    transport: str | None = None
    limited: bool | None = None
    """Whether a relay will end the connection; None where there is none."""
    rtt: float | None = None
    """Seconds, of the last pong."""
    reason: str = "not tried yet"
    """Why there is no path; empty where there is one."""
    asked_at: Instant | None = None
    """When both were there."""
    connected_after: float | None = None
    """Seconds from then to the first pong."""
    direct_after: float | None = None
    """Seconds from then to the first pong on a direct path."""
    pong_at: Instant | None = None
    """The last one."""
    lost: int = 0
    """Pings that were lost, once it had been connected."""


Change: TypeAlias = NodeView | PairView


class Summary(NamedTuple):
    """The whole swarm in numbers; times in seconds, None where there are none."""

    pairs: int
    direct: int
    relayed: int
    unconnected: int
    direct_rtt: float | None
    """Medians, from here on, except for the last two."""
    relayed_rtt: float | None
    connected_after: float | None
    direct_after: float | None
    all_connected_after: float | None
    """The time of the last pair, once all have been connected."""
    lost: int
    """Pings, of pairs that had been connected."""

    @property
    def is_whole(self) -> bool:
        """Whether every pair is connected now."""
        return self.unconnected == 0


@dataclass(slots=True)
class Board:
    """Everything; views are for reading only."""

    plan: FleetPlan
    nodes: dict[str, NodeView] = field(init=False)
    pairs: dict[Pair, PairView] = field(init=False)
    _names: dict[str, str] = field(init=False, default_factory=dict[str, str])
    """By peer id."""
    _changes: dict[str | Pair, Change] = field(init=False, default_factory=dict[str | Pair, Change])

    def __post_init__(self) -> None:
        self.nodes = {member.name: NodeView(member) for member in self.plan.members}
        self.pairs = {pair: PairView(pair) for pair in self.plan.pairs}

    # reports

    def started(self, name: str, peer_id: str, addresses: Iterable[str], now: Instant) -> None:
        node = self.nodes[name]
        node.peer_id, node.addresses, node.started_at = peer_id, tuple(addresses), now
        self._names[peer_id] = name
        self._changes[name] = node

    def addresses_changed(self, name: str, addresses: Iterable[str]) -> None:
        """Nobody needs to be told: others ask by name."""
        self.nodes[name].addresses = tuple(addresses)

    def judged(self, name: str, verdict: str) -> None:
        """A node has learned whether strangers reach it."""
        node = self.nodes[name]
        if verdict != node.verdict:
            node.verdict = verdict
            self._changes[name] = node

    def reserved(self, name: str, relay_ids: Iterable[str]) -> None:
        """The relays of a node are these now, by peer id."""
        node = self.nodes[name]
        relays = tuple(sorted(self._names.get(relay, relay) for relay in relay_ids))
        if relays != node.relays:
            node.relays = relays
            self._changes[name] = node

    def ended(self, name: str, last_words: str) -> None:
        """A node is no more; nobody reaches it."""
        node = self.nodes[name]
        node.end = last_words[-MAX_LAST_WORDS:].strip() or "it did not say why"
        self._changes[name] = node
        for pair in self.pairs:
            if name in pair:
                self._disconnected(pair, f"{name} has ended")

    def asked(self, pair: Pair, now: Instant) -> None:
        """Both are there: from now on the pair's time runs."""
        self.pairs[pair].asked_at = now

    def pong(self, pair: Pair, way: Way, rtt: float, now: Instant) -> None:
        """The target has answered."""
        view = self.pairs[pair]
        if way != (view.path, view.via, view.transport, view.limited):
            self._changes[pair] = view
        view.path, view.via, view.transport, view.limited = way
        view.rtt, view.reason, view.pong_at = rtt, "", now
        after = 0.0 if view.asked_at is None else now - view.asked_at
        if view.connected_after is None:
            view.connected_after = after
        if way.path == "direct" and view.direct_after is None:
            view.direct_after = after

    def lost(self, pair: Pair, reason: str, now: Instant) -> None:
        """A ping, or an attempt to connect, has come to nothing."""
        view = self.pairs[pair]
        if view.connected_after is not None:
            view.lost += 1
        if view.path is None or view.pong_at is None or now > view.pong_at + LOSS_PATIENCE:
            self._disconnected(pair, reason)

    def _disconnected(self, pair: Pair, reason: str) -> None:
        view = self.pairs[pair]
        if view.path is not None or reason != view.reason:
            self._changes[pair] = view
        view.path, view.via, view.transport, view.limited = None, "", None, None
        view.rtt, view.reason = None, reason

    # what they come to

    def poll_changes(self) -> list[Change]:
        """Returns what has changed since the last call, each node and pair once."""
        changes, self._changes = self._changes, {}
        return list(changes.values())

    def summary(self) -> Summary:
        pairs = list(self.pairs.values())
        direct = [p for p in pairs if p.path == "direct"]
        relayed = [p for p in pairs if p.path == "relayed"]
        connected = _known(p.connected_after for p in pairs)
        return Summary(
            pairs=len(pairs),
            direct=len(direct),
            relayed=len(relayed),
            unconnected=len(pairs) - len(direct) - len(relayed),
            direct_rtt=_median(_known(p.rtt for p in direct)),
            relayed_rtt=_median(_known(p.rtt for p in relayed)),
            connected_after=_median(connected),
            direct_after=_median(_known(p.direct_after for p in pairs)),
            all_connected_after=max(connected) if pairs and len(connected) == len(pairs) else None,
            lost=sum(p.lost for p in pairs),
        )


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _median(values: list[float]) -> float | None:
    return median(values) if values else None
