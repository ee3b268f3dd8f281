"""One question to one AutoNAT server, whichever protocol it is asked by, and whom one may ask."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, NamedTuple, TypeAlias

from p2pnode.clock import Instant
from p2pnode.entropy import Entropy
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.transport_addr import TransportAddr, transport_addr
from p2pnode.machine import ConnectionHandle
from p2pnode.protocols.autonat import (
    DelegatedAsker,
    Doubt,
    Evidence,
    Inconclusive,
    Method,
    PossibleServer,
    Reached,
    V1Requester,
    V2Requester,
    evidence_of_helpers,
    evidence_of_outcome,
)
from p2pnode.swarm.service_facts import ServiceFacts
from p2pnode.wire.ip_ranges import owner_group
from p2pnode.wire.multiaddr import Multiaddr
from p2pnode.wire.transport_name import Carrier

OFFER_PATIENCE: Final = 0.5
"""seconds for a server to name helpers before another one is asked as well; chosen: go-libp2p's
p95 of a round trip, twice"""
RESULT_PATIENCE: Final = 2.0
"""seconds for a delegated dial-back in all before another server is asked as well; chosen: four
legs and the arrival wait at an RTT of 0.25 s"""
MAX_ASKS_PER_SERVER: Final = 2
"""at once; the servers' `concurrent_per_peer`"""
MAX_SERVERS_CONSIDERED: Final = 64
"""peers looked at for one question; chosen: a few suffice, a relay has thousands"""

_Machine: TypeAlias = DelegatedAsker | V2Requester | V1Requester


class ServerCandidate(NamedTuple):
    """A peer that may be asked about an address."""

    connection: ConnectionHandle
    peer_id: PeerId
    ip: str
    methods: tuple[Method, ...]
    sees_us_there: bool
    """Whether it sees this node at that very address."""

    @property
    def server(self) -> PossibleServer:
        return PossibleServer(self.peer_id, tuple(method.value for method in self.methods))


@dataclass(slots=True)
class AskUnderWay:
    """A question on its way."""

    address: Multiaddr
    server: ServerCandidate
    method: Method
    machine: _Machine
    started_at: Instant
    prober_ip: str | None = None
    """Where v2's dial-back came from."""
    is_about_filter: bool = False
    """Asked for what it says of the filter; the verdict stood already."""

    @property
    def patience(self) -> Instant:
        """Returns from when on somebody else may be asked as well.

        At once for v1 and v2: two have to fail before it means anything.
        """
        match self.machine:
            case DelegatedAsker() as machine:
                is_offered = bool(machine.awaited_ips)
                return self.started_at + (RESULT_PATIENCE if is_offered else OFFER_PATIENCE)
            case _:
                return self.started_at

    def take_evidence(self, now: Instant) -> tuple[Evidence, ...]:
        """Returns what has become known since the last call."""
        match self.machine:
            case DelegatedAsker() as machine:
                settled = machine.take_settled()
                return evidence_of_helpers(settled, server_ip=self.server.ip, now=now)
            case V1Requester() | V2Requester() as machine:
                if machine.outcome is None:
                    return ()
                piece = evidence_of_outcome(
                    machine.outcome, server_ip=self.server.ip, prober_ip=self.prober_ip, now=now
                )
                is_other = isinstance(machine.outcome, Reached) and (
                    machine.outcome.address != self.address
                )  # a v1 server dials where it sees us first; that proves nothing of the address
                return () if piece is None or is_other else (piece,)

    @property
    def doubt(self) -> Doubt:
        """Returns why there was no evidence."""
        outcome = None if isinstance(self.machine, DelegatedAsker) else self.machine.outcome
        return outcome.doubt if isinstance(outcome, Inconclusive) else Doubt.FAILED


def make_ask(
    own_id: PeerId,
    address: Multiaddr,
    server: ServerCandidate,
    method: Method,
    entropy: Entropy,
    now: Instant,
) -> AskUnderWay:
    """Returns the question, ready to go on a stream."""
    machine: _Machine
    match method:
        case Method.DELEGATED:
            machine = DelegatedAsker(own_id, address, server_ip=server.ip, entropy=entropy, now=now)
        case Method.V2:
            machine = V2Requester((address,), int.from_bytes(entropy(8), "big"), now)
        case Method.V1:
            machine = V1Requester(own_id, (address,), now)
    return AskUnderWay(address, server, method, machine, now)


def candidates_for(
    address: Multiaddr,
    peers: Sequence[PeerId],
    running: Iterable[AskUnderWay],
    facts: ServiceFacts,
    rng: Random,
) -> list[ServerCandidate]:
    """Returns whom one may ask about the address, by chance among those with least to do.

    Only peers on the public Internet, seen directly, and outside of the network of the address.
    By chance, because who lies can arrange to be the nearest.
    """
    busy: dict[PeerId, int] = {}
    for ask in running:
        busy[ask.server.peer_id] = busy.get(ask.server.peer_id, 0) + 1
    found: list[tuple[tuple[int, float], ServerCandidate]] = []
    for peer_id in peers[:MAX_SERVERS_CONSIDERED]:
        if busy.get(peer_id, 0) >= MAX_ASKS_PER_SERVER:
            continue
        candidate = _candidate(address, peer_id, facts)
        if candidate is not None:
            rank = busy.get(peer_id, 0), rng.random()
            found.append((rank, candidate))
    return [candidate for _, candidate in sorted(found, key=lambda each: each[0])]


def is_server(peer_id: PeerId, facts: ServiceFacts) -> bool:
    """True for a peer that can be asked about some address."""
    return _ip_of(peer_id, facts) is not None and bool(_spoken(peer_id, facts))


def _candidate(address: Multiaddr, peer_id: PeerId, facts: ServiceFacts) -> ServerCandidate | None:
    ip, info, connection = _ip_of(peer_id, facts), facts.info(peer_id), facts.direct(peer_id)
    if ip is None or info is None or connection is None:
        return None
    target = transport_addr(address)
    if target is None or owner_group(ip) == owner_group(target.host):
        return None
    seen = None if info.observed_addr is None else transport_addr(info.observed_addr)
    methods = _spoken(peer_id, facts)
    if Method.V1 in methods and (Method.V2 in methods or seen is None or seen.host != target.host):
        methods.remove(Method.V1)  # v1 tries no IP but the one where the server sees us
    if Method.DELEGATED in methods and target.transport.carrier != "udp":
        methods.remove(Method.DELEGATED)  # helpers send datagrams
    if not methods:
        return None
    is_there = seen is not None and _port(seen) == _port(target)
    return ServerCandidate(connection, peer_id, ip, tuple(methods), is_there)


def _port(addr: TransportAddr) -> tuple[str, int, Carrier]:
    return addr.host, addr.port, addr.transport.carrier


def _spoken(peer_id: PeerId, facts: ServiceFacts) -> list[Method]:
    info = facts.info(peer_id)
    return [] if info is None else [method for method in Method if method.value in info.protocols]


def _ip_of(peer_id: PeerId, facts: ServiceFacts) -> str | None:
    """Returns where a peer is seen directly in public, or None where it is not."""
    connection = facts.direct(peer_id)
    peer = None if connection is None else facts.peer(connection)
    return None if peer is None else peer.public_ip
