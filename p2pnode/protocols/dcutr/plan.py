"""What one round of punching sends, to whom and when: a value (specs/dcutr.md, Rounds).

Rules: three rounds, each with another strategy, because the same one again succeeds hardly ever;
over all rounds an address gets at most twelve packets of at most 100 bytes, and a round goes to
at most eight addresses; private addresses only of a peer that is seen behind the same address as
we are; the strategy is chosen by the number of the round alone, so the wire stays libp2p's.
"""

import enum
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from p2pnode.clock import Instant
from p2pnode.identity.transport_addr import TransportAddr, transport_addr
from p2pnode.wire.ip_ranges import IpScope, ip_scope, is_link_local
from p2pnode.wire.multiaddr import Multiaddr
from p2pnode.wire.transport_name import Carrier, TransportName

MAX_ROUNDS: Final = 3
"""libp2p's DCUtR: two retries"""
MAX_PUNCH_ADDRS: Final = 8
"""addresses a round; chosen: nobody has proved them, so any may be a bystander's"""
MAX_PROBES_PER_ADDR: Final = 12
"""packets to one address in all rounds; chosen: with PROBE_SIZE, what one Initial weighs"""
PROBES_PER_ROUND: Final = MAX_PROBES_PER_ADDR // MAX_ROUNDS
"""packets to one address in one round"""
PROBE_SIZE: Final = 100
"""bytes at most; chosen: a challenge needs half of that"""
ROUND_TIME: Final = 2.5
"""seconds from the start of a round to its failure; chosen: the last probe and a long round trip"""
OPENER_TTL: Final = 4
"""hops of an opener: past a router at home and its provider's NAT, not as far as the peer's"""
LAN_SHARE: Final = 2
"""private addresses at most among the eight, and loopback ones: one for each IP version"""
SAME_IP_SHARE: Final = 2
"""ports at most of one public IP: with three rounds they use up what one target may get"""


class Role(enum.Enum):
    """Who is who in the dialogue of a round."""

    INITIATOR = "initiator"
    RESPONDER = "responder"


class Strategy(enum.Enum):
    """What a round tries."""

    REVERSAL = "reversal"
    """One end is public: the other's probes suffice, without a dialogue."""
    PLAIN = "plain"
    """Both ends at once."""
    INITIATOR_OPENS = "initiator opens"
    """The initiator's first packets open its NAT without arriving; the responder's then pass."""
    RESPONDER_OPENS = "responder opens"
    """The other way round, and the connection's roles swapped for transports that have any."""


STRATEGIES: Final = (Strategy.PLAIN, Strategy.INITIATOR_OPENS, Strategy.RESPONDER_OPENS)
"""By round, from the first on."""


@dataclass(frozen=True, slots=True)
class PunchProbe:
    """One packet to each address."""

    offset: float
    """Seconds after the plan's `start_at`."""
    ttl: int | None = None
    """Hops, or None for the usual number.  Low ones open a NAT and die on the way."""


BURST: Final = (PunchProbe(0.0), PunchProbe(0.2), PunchProbe(0.5), PunchProbe(1.0))
"""Early ones open NATs, later ones outlive a loss."""
OPENING_BURST: Final = (
    PunchProbe(0.0, OPENER_TTL),
    PunchProbe(0.1, OPENER_TTL),
    PunchProbe(0.5),
    PunchProbe(1.0),
)
"""The full packets wait until the other side's have had time to arrive."""


@dataclass(frozen=True, slots=True)
class PunchPlan:
    """For the transport: probes from the listening socket to these addresses."""

    round: int
    """From 1."""
    strategy: Strategy
    addrs: tuple[Multiaddr, ...]
    start_at: Instant
    probes: tuple[PunchProbe, ...]
    is_client: bool
    """Whether we are the client where upper layers have one (QUIC, TCP); a new path has none."""
    probe_size: int = PROBE_SIZE

    @property
    def gives_up_at(self) -> Instant:
        """When the round has failed, unless a path was validated."""
        return self.start_at + ROUND_TIME

    @property
    def packets(self) -> int:
        return len(self.addrs) * len(self.probes)


def strategy_of(round_number: int) -> Strategy:
    """Returns what the round tries.  Later rounds than the last one begin again with the first."""
    return STRATEGIES[(round_number - 1) % MAX_ROUNDS]


def make_plan(
    round_number: int, role: Role, addrs: tuple[Multiaddr, ...], start_at: Instant
) -> PunchPlan:
    """Returns the plan of a round; `addrs` have been chosen by `punchable`."""
    strategy = strategy_of(round_number)
    opens = (
        strategy
        is {
            Role.INITIATOR: Strategy.INITIATOR_OPENS,
            Role.RESPONDER: Strategy.RESPONDER_OPENS,
        }[role]
    )
    # libp2p: who dialled the relay is the client; the third round swaps that.
    swapped = strategy is Strategy.RESPONDER_OPENS
    return PunchPlan(
        round_number,
        strategy,
        addrs[:MAX_PUNCH_ADDRS],
        start_at,
        OPENING_BURST if opens else BURST,
        is_client=(role is Role.RESPONDER) is not swapped,
    )


def make_reversal(addrs: tuple[Multiaddr, ...], now: Instant) -> PunchPlan:
    """Returns the plan for a peer whose addresses are known to be public: no round is spent."""
    return PunchPlan(1, Strategy.REVERSAL, addrs[:MAX_PUNCH_ADDRS], now, BURST, is_client=True)


def punchable(
    theirs: Iterable[Multiaddr], ours: Sequence[Multiaddr], transport: TransportName
) -> tuple[Multiaddr, ...]:
    """Returns which of the peer's addresses to punch, best ones first.

    `ours` are our own addresses, as we would tell them; `transport` is the connection's.  Left
    out: what is no address of that transport with an IP, loopback and what nobody can have,
    link-local ones, our own, and private ones unless the peer is seen at one of our public IPs or
    nobody sees us from outside: otherwise a peer could have us probe our own network.
    """
    own = (parts for addr in ours if (parts := transport_addr(addr)) is not None)
    own_public = {parts.host: None for parts in own if _scope(parts) is IpScope.PUBLIC}
    usable = _usable(theirs, ours, transport)
    public = [(addr, p) for addr, p in usable if _scope(p) is IpScope.PUBLIC]
    is_neighbour = not own_public or any(p.host in own_public for _, p in public)
    private = [
        addr
        for addr, p in usable
        if is_neighbour and _scope(p) is IpScope.PRIVATE and not is_link_local(p.host)
    ]
    # Of one IP only few ports: where each peer sees another one, all of them are guesses.
    seen: Counter[str] = Counter()
    few: list[tuple[Multiaddr, TransportAddr]] = []
    for addr, p in public:
        seen[p.host] += 1
        if seen[p.host] <= SAME_IP_SHARE:
            few.append((addr, p))
    public = few
    # By turns, so that many addresses of one IP version leave room for the other.
    v6 = [addr for addr, p in public if p.kind == "ip6"]
    v4 = [addr for addr, p in public if p.kind == "ip4"]
    by_turns: list[Multiaddr] = []
    for index in range(max(len(v6), len(v4))):
        by_turns += v6[index : index + 1] + v4[index : index + 1]
    return tuple(dict.fromkeys(private[:LAN_SHARE] + by_turns))[:MAX_PUNCH_ADDRS]


def on_this_machine(
    theirs: Iterable[Multiaddr], ours: Sequence[Multiaddr], transport: TransportName
) -> tuple[Multiaddr, ...]:
    """Returns the peer's loopback addresses that may be probed, LAN_SHARE at most.

    `theirs` are those of the address book, which believes them from this machine only.
    """
    usable = _usable(theirs, ours, transport)
    return tuple(addr for addr, p in usable if _scope(p) is IpScope.LOOPBACK)[:LAN_SHARE]


def _usable(
    theirs: Iterable[Multiaddr], ours: Sequence[Multiaddr], transport: TransportName
) -> list[tuple[Multiaddr, TransportAddr]]:
    """Returns those of the transport that are not our own, taken apart."""
    own_ports = {_port(parts): None for addr in ours if (parts := transport_addr(addr)) is not None}
    known = ((addr, parts) for addr in theirs if (parts := transport_addr(addr)) is not None)
    return [
        (addr, parts)
        for addr, parts in known
        if parts.transport is transport
        and parts.port
        and not parts.zone
        and _port(parts) not in own_ports
    ]


def _port(parts: TransportAddr) -> tuple[str, int, Carrier]:
    return parts.host, parts.port, parts.transport.carrier


def _scope(parts: TransportAddr) -> IpScope | None:
    return ip_scope(parts.host) if parts.is_ip else None
