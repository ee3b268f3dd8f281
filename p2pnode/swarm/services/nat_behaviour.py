"""NAT behaviour in the swarm: answers what peers ask of our NAT, and asks them for theirs.

    connected through a relay, identified --report?--> kept, for `why`
                                           `--"unknown" so far--> asked again a little later

Rules: what a peer says of its NAT explains, it decides nothing; a knock goes only to the IP address
that its request came from, directly, and each request causes one small datagram at most; where a
knock came from is told to who knows its nonce.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from p2pnode.bounded import Bounded
from p2pnode.clock import Deadline, Instant, earliest
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import ConnectionHandle, SocketAddr, StreamMachine
from p2pnode.protocols import nat_behaviour
from p2pnode.protocols.identify import IdentifyInfo
from p2pnode.protocols.nat_behaviour import (
    KNOCK_FIRST_BYTE,
    KNOCK_SIZE,
    Answered,
    Dependence,
    KnockRequest,
    LocateRequest,
    NatAnswer,
    NatFacts,
    NatRequest,
    NatRequester,
    NatResponder,
    NatStatus,
    PortAllocation,
    ReportRequest,
    encode_knock,
)
from p2pnode.protocols.nat_behaviour.judge import (
    Judgement,
    PortSample,
    View,
    judge_allocation,
    judge_mapping,
    without_nat,
)
from p2pnode.protocols.nat_behaviour.why import Explanation, Path, PunchAttempt, explain
from p2pnode.rate_limit import KeyedRateLimit, SharedRateLimit
from p2pnode.swarm.events import NatAnswered
from p2pnode.swarm.inbound_streams import InboundLimit
from p2pnode.swarm.peer import Peer
from p2pnode.swarm.service_facts import ServiceFacts
from p2pnode.swarm.services.service import OpenStream, PumpMachine, SendDatagram, Service
from p2pnode.wire.ip_ranges import owner_group
from p2pnode.wire.reset_code import StreamResetCode

MAX_REPORTS: Final = 1024
"""peers whose reports are kept, the oldest goes; chosen: far more than are relayed at a time"""
EARLY_REFRESH: Final = 5.0
"""seconds until a peer that did not know its NAT yet is asked again; chosen: by then it does"""
LATE_REFRESH: Final = 300.0
"""seconds until a relayed peer is asked again; chosen: NATs seldom change"""
MAX_EARLY_REFRESHES: Final = 3
"""of one connection; chosen: who does not know after 15 s lacks peers, not time"""
REQUEST_WINDOW: Final = 60.0
"""seconds in which the limits below are whole again"""
PEER_REQUESTS: Final = 120
"""requests of one peer in REQUEST_WINDOW; chosen: a netcheck with --lifetime needs some ninety"""
PEER_KNOCKS: Final = 60
"""of them knocks; chosen: half, 33 bytes a second to an address that has proved it is there"""
NETWORK_KNOCKS: Final = 240
"""at one IPv4 address or IPv6 /56; chosen: four busy peers behind a NAT"""
TOTAL_KNOCKS: Final = 1200
"""of all peers; chosen: twenty datagrams of 33 bytes a second"""
MAX_SEEN: Final = 1024
"""knocks at our other port that are remembered, the oldest goes; chosen: some 200 kB"""
SEEN_LIFETIME: Final = 10.0
"""seconds that they are remembered; chosen: who sent one asks at once"""


@dataclass(frozen=True, slots=True)
class NatBehaviourReport:
    """What a running node knows of its own NAT."""

    mapping: Judgement[Dependence]
    filtering: Judgement[Dependence]
    port_allocation: Judgement[PortAllocation]
    external: tuple[SocketAddr, ...]
    """Where peers see the listening sockets."""
    observers: int
    """Peers that the mapping was learned from."""


class Reported(NamedTuple):
    """What a peer says of its NAT, and when it said so."""

    facts: NatFacts
    at: Instant


class _Refresh(NamedTuple):
    at: Instant
    early: int
    """Early refreshes so far."""


class NatService(Service):
    """`ask` is its command; `behaviour`, `own_facts` and `theirs` are what is known."""

    inbound: Mapping[str, InboundLimit] = {
        nat_behaviour.PROTOCOL_ID: InboundLimit(nat_behaviour.MAX_INBOUND_STREAMS_PER_PEER)
    }

    def __init__(self, facts: ServiceFacts) -> None:
        super().__init__()
        self._facts = facts
        self._reports = Bounded[PeerId, Reported](MAX_REPORTS)
        self._refreshes: dict[ConnectionHandle, _Refresh] = {}
        """connection -> when its peer is asked again"""
        self._requests: dict[NatRequester, tuple[ConnectionHandle, PeerId, bool]] = {}
        """Questions on their way: connection, peer, whether somebody waits for the answer."""
        self._askers: dict[NatResponder, Peer] = {}
        """Of questions that are not answered yet."""
        self._seen = Bounded[bytes, tuple[SocketAddr, Instant]](MAX_SEEN)
        """Knocks at our other port, oldest first: where each came from, and when."""
        self._request_rate = KeyedRateLimit[PeerId](PEER_REQUESTS, REQUEST_WINDOW)
        self._knock_rate = SharedRateLimit(
            REQUEST_WINDOW, per_peer=PEER_KNOCKS, per_network=NETWORK_KNOCKS, total=TOTAL_KNOCKS
        )

    # what is known

    def behaviour(self, now: Instant, *, ipv6: bool = False) -> NatBehaviourReport:
        """Returns what the evidence of this node's own connections amounts to."""
        views, samples = self._evidence(now, ipv6=ipv6)
        mapping = judge_mapping(views, self._facts.interface_addresses())
        found = self._facts.filtering(now, ipv6=ipv6)
        filtering = without_nat(Judgement(Dependence(found.behaviour), found.why), mapping.kind)
        external = tuple(dict.fromkeys(view.observed for view in views))
        observers = len({view.remote for view in views})
        allocation = _allocation(mapping.kind, samples)
        return NatBehaviourReport(mapping, filtering, allocation, external, observers)

    def own_facts(self, now: Instant) -> NatFacts:
        """Returns what peers are told: no ports but the alternate ones."""
        # Of two families the one behind a NAT explains more; IPv4 is the one that has them.
        report = self.behaviour(now)
        if not report.observers:
            report = self.behaviour(now, ipv6=True)
        port_v4, port_v6 = self._facts.alternate_ports()
        silence = self._facts.udp_silence(now)
        return NatFacts(
            mapping=report.mapping.kind,
            filtering=report.filtering.kind,
            external_ips=tuple(dict.fromkeys(address.ip for address in report.external)),
            is_udp_blocked=silence is not None and silence.is_ours,
            observers=report.observers,
            probes=int(report.filtering.kind is not Dependence.UNKNOWN),
            alternate_port_v4=port_v4,
            alternate_port_v6=port_v6,
        )

    def theirs(self, peer_id: PeerId) -> NatFacts | None:
        """Returns what a peer has said of its own NAT, or None where it has not."""
        reported = self._reports.get(peer_id)
        return None if reported is None else reported.facts

    def reported(self, peer_id: PeerId) -> Reported | None:
        """Returns the same with its time."""
        return self._reports.get(peer_id)

    def explain(
        self,
        peer_id: PeerId,
        path: Path | None,
        attempts: Sequence[PunchAttempt],
        now: Instant,
    ) -> Explanation:
        """Returns why packets to a peer take `path`, as far as is known of both sides."""
        return explain(
            peer_id=peer_id,
            path=path,
            ours=self.own_facts(now),
            theirs=self.theirs(peer_id),
            attempts=attempts,
            silence=self._facts.udp_silence(now),
            now=now,
        )

    # commands

    def ask(self, connection: ConnectionHandle, request: NatRequest, now: Instant) -> None:
        """Asks a peer; NatAnswered follows."""
        peer = self._facts.peer(connection)
        if peer is None:
            self._announce(NatAnswered(connection, request, None, "the connection is gone"))
        else:
            self._open(peer, request, now, is_awaited=True)

    def on_knock(self, payload: bytes, remote: SocketAddr, now: Instant) -> None:
        """A datagram of first byte KNOCK_FIRST_BYTE came to a socket for dial-backs.  Untrusted."""
        if len(payload) != KNOCK_SIZE or payload[0] != KNOCK_FIRST_BYTE:
            return
        self._seen[payload] = remote, now

    # connections

    def on_identified(self, peer: Peer, info: IdentifyInfo, now: Instant) -> None:
        """A peer says what it speaks; one behind a relay is asked for what keeps it there."""
        speaks = nat_behaviour.PROTOCOL_ID in info.protocols
        if speaks and peer.route.is_relayed and peer.connection not in self._refreshes:
            self._refreshes[peer.connection] = _Refresh(now, 0)
            self._ask_again(peer.connection, now)

    def on_path_changed(self, peer: Peer, now: Instant) -> None:
        """A direct connection that fell back to a relay may need explaining."""
        info = self._facts.info(peer.peer_id)
        if info is not None:
            self.on_identified(peer, info, now)

    def on_disconnected(self, peer: Peer, now: Instant) -> None:
        self._refreshes.pop(peer.connection, None)
        for requester, (connection, _, _) in list(self._requests.items()):
            if connection == peer.connection:
                self._on_failed(requester, "the connection is gone")

    # streams

    def accept(self, peer: Peer, protocol: str, now: Instant) -> StreamMachine | None:
        responder = NatResponder(now)
        self._askers[responder] = peer
        return responder

    def on_progress(
        self, connection: ConnectionHandle, machine: StreamMachine, now: Instant
    ) -> None:
        match machine:
            case NatResponder():
                self._serve(connection, machine, now)
            case NatRequester():
                if isinstance(machine.outcome, Answered):
                    self._on_answer(machine, machine.outcome.answer, now)
                elif machine.outcome is not None:
                    self._on_failed(machine, machine.outcome.reason)
            case _:
                pass

    def on_stream_failed(
        self, connection: ConnectionHandle, machine: StreamMachine, reason: str, now: Instant
    ) -> None:
        if isinstance(machine, NatRequester):
            self._on_failed(machine, reason)

    def on_stream_over(
        self, connection: ConnectionHandle, machine: StreamMachine, now: Instant
    ) -> None:
        if isinstance(machine, NatResponder):
            self._askers.pop(machine, None)

    # time

    def handle_timeout(self, now: Instant) -> None:
        for connection, refresh in list(self._refreshes.items()):
            if now >= refresh.at:
                self._ask_again(connection, now)

    def poll_timeout(self) -> Deadline | None:
        return earliest(
            *(
                Deadline(r.at, "a relayed peer is asked for its NAT")
                for r in self._refreshes.values()
            )
        )

    # asking

    def _open(self, peer: Peer, request: NatRequest, now: Instant, *, is_awaited: bool) -> None:
        requester = NatRequester(request, now)
        self._requests[requester] = peer.connection, peer.peer_id, is_awaited
        command = OpenStream(peer.connection, nat_behaviour.PROTOCOL_ID, requester)
        self._command(command)

    def _ask_again(self, connection: ConnectionHandle, now: Instant) -> None:
        """Asks a relayed peer and says when to ask next: soon while it does not know."""
        peer = self._facts.peer(connection)
        if peer is None or not peer.route.is_relayed:
            self._refreshes.pop(connection, None)
            return
        early = self._refreshes[connection].early
        delay = EARLY_REFRESH if early < MAX_EARLY_REFRESHES else LATE_REFRESH
        self._refreshes[connection] = _Refresh(now + delay, early + 1)
        self._open(peer, ReportRequest(), now, is_awaited=False)

    def _on_answer(self, requester: NatRequester, answer: NatAnswer, now: Instant) -> None:
        found = self._requests.pop(requester, None)
        if found is None:
            return
        connection, peer_id, is_awaited = found
        if isinstance(requester.request, ReportRequest) and answer.status is NatStatus.OK:
            self._reports[peer_id] = Reported(answer.facts, now)
            refresh = self._refreshes.get(connection)
            if refresh is not None and _is_complete(answer.facts):
                self._refreshes[connection] = refresh._replace(at=now + LATE_REFRESH)
        if is_awaited:
            self._announce(NatAnswered(connection, requester.request, answer, ""))

    def _on_failed(self, requester: NatRequester, reason: str) -> None:
        found = self._requests.pop(requester, None)
        if found is not None and found[2]:
            self._announce(NatAnswered(found[0], requester.request, None, reason))

    # answering

    def _serve(self, connection: ConnectionHandle, responder: NatResponder, now: Instant) -> None:
        request = responder.request
        if responder not in self._askers or request is None or responder.is_done:
            return
        asker = self._askers.pop(responder)
        if self._request_rate.take(asker.peer_id, now):
            self._answer(connection, responder, request, now)
        else:
            responder.refuse(StreamResetCode.RATE_LIMITED)
        self._command(PumpMachine(connection, responder))

    def _answer(
        self,
        connection: ConnectionHandle,
        responder: NatResponder,
        request: NatRequest,
        now: Instant,
    ) -> None:
        match request:
            case ReportRequest():
                responder.answer(NatAnswer(NatStatus.OK, self.own_facts(now)))
            case LocateRequest(nonce):
                responder.answer(self._locate(nonce, now))
            case KnockRequest(port, nonce):
                peer = self._facts.peer(connection)
                if peer is None or peer.route.is_relayed:
                    responder.answer(NatAnswer(NatStatus.RELAYED))
                    return
                remote = peer.route.remote
                if self._facts.alternate_ports()[remote.is_ipv6] is None:
                    responder.answer(NatAnswer(NatStatus.NO_PORT))
                elif not self._may_knock(peer, now):
                    responder.refuse(StreamResetCode.RATE_LIMITED)
                else:
                    target = remote._replace(port=port)
                    self._command(SendDatagram(target, encode_knock(nonce)))
                    responder.answer(NatAnswer(NatStatus.OK))

    def _locate(self, nonce: bytes, now: Instant) -> NatAnswer:
        seen = self._seen.get(encode_knock(nonce))
        if seen is None or now >= seen[1] + SEEN_LIFETIME:
            return NatAnswer(NatStatus.NOT_SEEN)
        return NatAnswer(NatStatus.OK, seen_at=seen[0])

    def _may_knock(self, peer: Peer, now: Instant) -> bool:
        return self._knock_rate.take(peer.peer_id, owner_group(peer.route.remote.ip), now)

    # our own evidence

    def _evidence(self, now: Instant, *, ipv6: bool) -> tuple[list[View], list[PortSample]]:
        """Returns who sees the listening socket where, and its ports."""
        best: tuple[list[View], list[PortSample]] = [], []
        for socket, local in self._facts.socket_addresses().items():
            if local.is_ipv6 != ipv6:
                continue
            views: list[View] = []
            for observer, observed in self._facts.seen_by(socket, now):
                direct = self._facts.direct(observer)
                peer = None if direct is None else self._facts.peer(direct)
                if peer is not None and peer.route.socket == socket:
                    views.append(View(peer.route.remote, observed))
            if len(views) > len(best[0]):
                samples = [PortSample(local.port, view.observed.port) for view in views]
                best = views, samples
        return best


def _allocation(mapping: Dependence, samples: Sequence[PortSample]) -> Judgement[PortAllocation]:
    """Returns what one socket tells: its own port, or those that it has for different peers."""
    if mapping is Dependence.NONE:
        return Judgement(PortAllocation.PRESERVING, "there is no NAT")
    if any(sample.local == sample.external for sample in samples):
        return Judgement(PortAllocation.PRESERVING, "the listening socket keeps its port")
    return judge_allocation(tuple(dict.fromkeys(samples)))


def _is_complete(facts: NatFacts) -> bool:
    return Dependence.UNKNOWN not in (facts.mapping, facts.filtering)
