"""What a node knows of itself at one moment, for `p2pnode status`: facts of its swarm."""

from typing import NamedTuple

from p2pnode.clock import Instant
from p2pnode.identity.peer_id import PeerId
from p2pnode.io.node.connection_info import ConnectionInfo, connection_info
from p2pnode.protocols.autonat import Reachability
from p2pnode.protocols.nat_behaviour.udp_silence import silence_text
from p2pnode.resources.account import ResourceUse
from p2pnode.swarm.facts import Relaying, SwarmFacts
from p2pnode.wire.ip_ranges import IpScope
from p2pnode.wire.multiaddr import Multiaddr, multiaddr_scope


class AddressStatus(NamedTuple):
    """One address that this node might be reached at, without a relay."""

    address: Multiaddr
    verdict: Reachability
    """Whether strangers reach it; what is in no public range, none does."""
    observers: int
    """Independent groups of peers that see this node there."""


class RelayStatus(NamedTuple):
    """A relay that this node is reached through."""

    peer_id: PeerId
    expires_in: float
    """Seconds until its reservation ends, unless it is renewed."""
    clock_ahead: float
    """Seconds that its wall clock is ahead of ours, as far as is known; negative where behind."""


class NodeStatus(NamedTuple):
    """Everything."""

    peer_id: PeerId
    reachability: Reachability
    addresses: tuple[AddressStatus, ...]
    relays: tuple[RelayStatus, ...]
    connections: tuple[ConnectionInfo, ...]
    relaying: tuple[Relaying, ...]
    resources: tuple[ResourceUse, ...] = ()
    """What others hold of this node."""
    silence: str | None = None
    """That nothing is heard over UDP, of how many, and whom TCP reaches; None where that cannot be
    said."""


def node_status(facts: SwarmFacts, now: Instant) -> NodeStatus:
    """Returns the status now."""
    best = [handle for peer in facts.peers() if (handle := facts.best(peer)) is not None]
    silence = facts.udp_silence(now)
    infos = (connection_info(facts, handle) for handle in best)
    return NodeStatus(
        peer_id=facts.own_id,
        reachability=facts.reachability(now),
        addresses=_addresses(facts, now),
        relays=tuple(
            RelayStatus(held.relay, max(0.0, held.expires_at - now), held.clock_skew)
            for held in facts.reservations()
        ),
        connections=tuple(info for info in infos if info is not None),
        relaying=facts.relaying(),
        resources=tuple(facts.resources()),
        silence=None if silence is None else silence_text(silence),
    )


def _addresses(facts: SwarmFacts, now: Instant) -> tuple[AddressStatus, ...]:
    """Those that AutoNAT asks about first, the best ones at the top; then where we listen."""
    observers: dict[Multiaddr, int] = {}
    for report in facts.observed(now):
        for seen in report.addresses:
            for address in facts.multiaddrs(seen.address, report.socket):
                observers[address] = max(seen.observers, observers.get(address, 0))
    verdicts = {address: v.reachability for address, v in facts.verdicts(now)}
    for address in (*observers, *facts.listen_addresses()):
        is_public = multiaddr_scope(address) is IpScope.PUBLIC
        verdicts.setdefault(address, Reachability.UNKNOWN if is_public else Reachability.PRIVATE)
    return tuple(
        AddressStatus(address, verdict, observers.get(address, 0))
        for address, verdict in verdicts.items()
    )
