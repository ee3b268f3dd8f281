"""AutoNAT in the swarm, the asking side: is this node reachable, by which addresses, and why?

An address that is due gets a round of questions: one server after another, until what they say
amounts to a verdict or nobody is left to ask (specs/autonat.md, In the swarm).

    due --a server--> asking --evidence: public or private--> settled
                        |--no answer yet, patience over--> another server as well
                        `--nobody left--> unknown, and a pause

Rules: the first question goes out with the first peer that is identified, without waiting for
more observers; while helpers are about to knock, this node must not contact them
(`ips_to_avoid`); a change of network voids everything, also what is still on its way.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Final

from p2pnode.clock import Deadline, Instant, earliest
from p2pnode.entropy import Entropy
from p2pnode.errors import DecodeError
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.transport_addr import transport_addr, transport_multiaddr
from p2pnode.machine import ConnectionHandle, SocketAddr, SocketId, StreamMachine
from p2pnode.protocols.autonat import (
    DIAL_BACK_PROTOCOL_ID,
    ContactLog,
    DelegatedAsker,
    DialBackReceiver,
    Doubt,
    Evidence,
    Inconclusive,
    Method,
    Prober,
    Reachability,
    ServerChoice,
    V1Requester,
    V2Requester,
    decode_probe_untrusted,
)
from p2pnode.protocols.identify import IdentifyInfo
from p2pnode.swarm.events import ReachabilityChanged
from p2pnode.swarm.inbound_streams import InboundLimit, LimitScope
from p2pnode.swarm.peer import Peer
from p2pnode.swarm.reachability import OwnReachability
from p2pnode.swarm.service_facts import ServiceFacts
from p2pnode.swarm.services.autonat.asks import (
    AskUnderWay,
    ServerCandidate,
    candidates_for,
    is_server,
    make_ask,
)
from p2pnode.swarm.services.autonat.candidates import CandidateBook, is_candidate
from p2pnode.swarm.services.service import OpenStream, PumpMachine, Readvertise, Service
from p2pnode.wire.ip_ranges import owner_group
from p2pnode.wire.multiaddr import Multiaddr

MAX_ASKS_PER_ROUND: Final = 6
"""questions about one address before a pause; chosen: three peers, by two protocols each"""
MAX_IN_VAIN: Final = 3
"""servers without a helper for us before v2's turn; chosen: half of a round"""
MAX_ASKS_PER_ADDRESS: Final = 3
"""questions about one address at once; chosen: two witnesses are needed, and one may be slow"""
MAX_ASKS: Final = 8
"""questions at once in all; chosen"""
MAX_DIAL_BACK_STREAMS: Final = 8
"""inbound dial-backs at once; chosen: as many as there are questions"""
AVOIDANCE_TIME: Final = 3.0
"""seconds after a question in which its helpers are not contacted; chosen: probes come within one
at most; a server that names our peers as its helpers shall not keep us from them for longer"""

METHODS = tuple(Method)


@dataclass(slots=True)
class _ProbeRound:
    """What goes on about one address."""

    choice: ServerChoice = field(default_factory=ServerChoice)
    is_open: bool = False
    """Whether more servers may be asked."""
    asked: int = 0
    in_vain: int = 0
    """Servers that knew no stranger."""
    has_news: bool = False
    wants_filter: bool = False
    """Whether somebody has to be asked yet what the filter does."""
    doubt: Doubt = Doubt.FAILED


class AutonatClient(Service):
    """Keeps verdicts on this node's addresses, and asks peers for what they are made of."""

    # Dial-backs come under identities that are thrown away: all of them count together.
    inbound: Mapping[str, InboundLimit] = {
        DIAL_BACK_PROTOCOL_ID: InboundLimit(MAX_DIAL_BACK_STREAMS, LimitScope.NODE)
    }

    def __init__(
        self,
        facts: ServiceFacts,
        own_id: PeerId,
        contacts: ContactLog,
        reachability: OwnReachability,
        *,
        rng: Random,
        entropy: Entropy,
    ) -> None:
        """`reachability` is where it keeps what it finds."""
        super().__init__()
        self._own_id = own_id
        self._facts = facts
        self._contacts = contacts
        self._rng = rng
        self._entropy = entropy
        self._candidates = CandidateBook()
        self._known = reachability
        self._tracker = reachability.tracker
        self._rounds: dict[Multiaddr, _ProbeRound] = {}
        self._asks: dict[StreamMachine, AskUnderWay] = {}
        self._receivers: dict[StreamMachine, Peer] = {}
        self._peers: dict[PeerId, bool] = {}
        """Identified peers, who was not asked for longest first, and whether they can be asked."""
        self._reported: tuple[Reachability, dict[Multiaddr, Reachability]] = (
            Reachability.UNKNOWN,
            {},
        )
        self._has_reported = False
        self._advertised: tuple[Multiaddr, ...] = ()
        self._deadline: Deadline | None = None
        self.v1_answers = Counter[int]()
        self.v2_dialogues = Counter[bool]()
        """By whether they came to an end."""
        self.evidence = Counter[tuple[Method, bool]]()
        """Probes of own addresses, by whether they were heard."""

    # what is known

    def ips_to_avoid(self, now: Instant) -> tuple[str, ...]:
        """Returns whom this node must not contact now: strangers who are about to knock."""
        ips: dict[str, None] = {}
        for machine, ask in self._asks.items():
            if isinstance(machine, DelegatedAsker) and now < ask.started_at + AVOIDANCE_TIME:
                ips.update(dict.fromkeys(machine.awaited_ips))
        return tuple(ips)

    def remember(self, address: Multiaddr, piece: Evidence) -> None:
        """Takes evidence of an earlier run in this network; fresh evidence replaces it."""
        self._tracker.remember(address, piece)

    # what happens

    def on_connected(self, peer: Peer, now: Instant) -> None:
        """One more who may see us."""
        if self._known.first_contact is None and not peer.route.is_relayed:
            self._known.first_contact = now
        self._refresh(now)

    def on_disconnected(self, peer: Peer, now: Instant) -> None:
        """One less; its streams are reset, which ends the questions on them."""
        if self._facts.best(peer.peer_id) is None:
            self._peers.pop(peer.peer_id, None)
        for machine, ask in list(self._asks.items()):
            if ask.server.connection == peer.connection:
                machine.handle_reset(0, now)
                self._advance(ask, now)
        self._refresh(now)

    def on_identified(self, peer: Peer, info: IdentifyInfo, now: Instant) -> None:
        """A peer says what it speaks, perhaps AutoNAT."""
        self._peers.setdefault(peer.peer_id, False)
        self._note_server(peer.peer_id, now)
        self._refresh(now)
        self._note_arrival(peer, info, now)

    def on_path_changed(self, peer: Peer, now: Instant) -> None:
        """A peer may be seen directly now."""
        self._note_server(peer.peer_id, now)
        self._refresh(now)

    def on_observed(self, peer: Peer, now: Instant) -> None:
        """A peer told where it sees us."""
        self._refresh(now)

    def on_addresses_changed(self, now: Instant) -> None:
        """Sockets or interfaces are others now."""
        self._refresh(now)

    def on_network_changed(self, now: Instant) -> None:
        """This node is somewhere else: what was proved, or is being asked, says nothing now."""
        for ask in self._asks.values():
            ask.machine.handle_reset(0, now)
            self._command(PumpMachine(ask.server.connection, ask.machine))
        self._asks.clear()
        self._rounds.clear()
        self._known.observers.clear()
        self._candidates.clear()
        self._tracker.on_network_changed(now)
        self._refresh(now)

    def on_probe(self, payload: bytes, source: SocketAddr, socket: SocketId, now: Instant) -> bool:
        """A datagram of first byte PROBE_FIRST_BYTE arrived; returns whether it was awaited.

        Called before the contact log hears of its sender.
        """
        try:
            token = decode_probe_untrusted(payload)
        except DecodeError:
            return False
        if socket not in self._facts.socket_addresses():
            return False  # not where peers would reach us
        was_contacted = self._contacts.has_contacted(source.ip, now)
        for machine, ask in list(self._asks.items()):
            if isinstance(machine, DelegatedAsker) and machine.on_probe(
                token, source_ip=source.ip, was_contacted=was_contacted, now=now
            ):
                self._advance(ask, now)
                self._command(PumpMachine(ask.server.connection, machine))
                self._work(now)
                return True
        return False

    # streams

    def accept(self, peer: Peer, protocol: str, now: Instant) -> StreamMachine | None:
        """Takes a dial-back stream while one is expected."""
        is_expected = any(isinstance(machine, V2Requester) for machine in self._asks)
        if peer.route.is_relayed or not is_expected:
            return None
        receiver = DialBackReceiver(now)
        self._receivers[receiver] = peer
        return receiver

    def on_progress(
        self, connection: ConnectionHandle, machine: StreamMachine, now: Instant
    ) -> None:
        """A question, or a dial-back, got further."""
        ask = self._asks.get(machine)
        if ask is not None:
            self._advance(ask, now)
        elif isinstance(machine, DialBackReceiver):
            self._take_dial_back(machine, now)
        self._work(now)

    def on_stream_failed(
        self, connection: ConnectionHandle, machine: StreamMachine, reason: str, now: Instant
    ) -> None:
        """A server could not be asked after all."""
        ask = self._asks.get(machine)
        if ask is not None:
            machine.handle_reset(0, now)
            self._advance(ask, now)
            self._work(now)

    def on_stream_over(
        self, connection: ConnectionHandle, machine: StreamMachine, now: Instant
    ) -> None:
        """A dial-back's stream may have ended without its nonce."""
        self._receivers.pop(machine, None)

    # time

    def handle_timeout(self, now: Instant) -> None:
        """Does everything that is due."""
        self._refresh(now)

    def poll_timeout(self) -> Deadline | None:
        """Returns when to call `handle_timeout` next."""
        return self._deadline

    # one question

    def _ask(
        self, address: Multiaddr, server: ServerCandidate, method: Method, now: Instant
    ) -> AskUnderWay:
        ask = make_ask(self._own_id, address, server, method, self._entropy, now)
        self._asks[ask.machine] = ask
        self._peers[server.peer_id] = self._peers.pop(server.peer_id, True)
        if server.sees_us_there:
            self._known.observers[address, owner_group(server.ip)] = None
        self._command(OpenStream(server.connection, method.value, ask.machine))
        return ask

    def _advance(self, ask: AskUnderWay, now: Instant) -> None:
        """Does what a question wants, takes what it has brought, and ends it where it is over."""
        machine = ask.machine
        if isinstance(machine, DelegatedAsker) and machine.offer is not None:
            known = self._contacts.has_contacted
            machine.on_chosen([ip for ip in machine.offer if not known(ip, now)], now)
            self._command(PumpMachine(ask.server.connection, machine))
        self._learn(ask, now)
        if machine.is_done and self._asks.pop(machine, None) is not None:
            self._conclude(ask)

    def _learn(self, ask: AskUnderWay, now: Instant) -> None:
        pieces = ask.take_evidence(now)
        self.evidence.update((ask.method, piece.is_heard) for piece in pieces)
        current = self._rounds.get(ask.address)
        if not pieces or current is None:
            return
        self._tracker.on_evidence(ask.address, pieces, now, is_last=False)
        current.has_news = True

    def _conclude(self, ask: AskUnderWay) -> None:
        self._count(ask.machine)
        current = self._rounds.get(ask.address)
        if current is None:
            return
        current.doubt = ask.doubt
        if isinstance(ask.machine, DelegatedAsker) and ask.machine.found_nobody:
            current.in_vain += 1
            self._tracker.on_probe_void(ask.address)

    def _count(self, machine: StreamMachine) -> None:
        match machine:
            case V1Requester() if machine.status is not None:
                self.v1_answers[machine.status] += 1
            case V2Requester():
                self.v2_dialogues[not isinstance(machine.outcome, Inconclusive)] += 1
            case _:
                pass

    def _take_dial_back(self, receiver: DialBackReceiver, now: Instant) -> None:
        if receiver not in self._receivers or receiver.nonce is None or receiver.is_done:
            return
        peer = self._receivers.pop(receiver)
        ask = self._ask_of_nonce(receiver.nonce, peer, now)
        if ask is None:
            receiver.refuse()
        else:
            receiver.accept()
            ask.prober_ip = peer.route.remote.ip
            self._command(PumpMachine(ask.server.connection, ask.machine))
            self._advance(ask, now)
        self._command(PumpMachine(peer.connection, receiver))

    def _ask_of_nonce(self, nonce: int, peer: Peer, now: Instant) -> AskUnderWay | None:
        local = self._facts.socket_addresses().get(peer.route.socket)
        if local is None:
            return None
        was_contacted = self._contacts.has_contacted(peer.route.remote.ip, now)
        for machine, ask in self._asks.items():
            if isinstance(machine, V2Requester) and machine.on_dial_back(
                nonce,
                local=transport_multiaddr(local._replace(scope_id=0), peer.transport),
                was_contacted=was_contacted,
                now=now,
            ):
                return ask
        return None

    # rounds of questions

    def _note_server(self, peer_id: PeerId, now: Instant) -> None:
        was_server = self._peers.get(peer_id)
        if was_server is None:
            return  # not identified yet
        self._peers[peer_id] = is_server(peer_id, self._facts)
        if self._peers[peer_id] and not was_server:
            self._tracker.hurry(now)

    def _refresh(self, now: Instant) -> None:
        """Looks anew which addresses this node might have, and goes on."""
        candidates = self._candidates.update(self._facts, now)
        self._tracker.track(candidates, now)
        self._rounds = {a: r for a, r in self._rounds.items() if a in candidates}
        self._known.observers = {key: None for key in self._known.observers if key[0] in candidates}
        self._work(now)

    def _work(self, now: Instant) -> None:
        for address in self._tracker.due(now):
            current = self._rounds.setdefault(address, _ProbeRound())
            self._rounds[address] = _ProbeRound(current.choice, is_open=True)
        for address, current in self._rounds.items():
            if current.is_open:
                self._go_on(address, current, now)
            if current.wants_filter:
                self._ask_about_filter(address, current, now)
        for address in self._tracker.due(now):
            self._tracker.postpone(address, now)  # a question of an earlier round still runs
        self._report(now)
        self._deadline = self._next_deadline(now)

    def _go_on(self, address: Multiaddr, current: _ProbeRound, now: Instant) -> None:
        verdict = self._tracker.verdict(address, now)
        if current.has_news and verdict and verdict.reachability is not Reachability.UNKNOWN:
            current.is_open = False
            current.wants_filter = verdict.reachability is Reachability.PRIVATE
            return
        while self._may_ask_more(address, current, now):
            servers = self._servers_for(address)
            methods = METHODS if current.in_vain < MAX_IN_VAIN else METHODS[1:]
            picked = current.choice.pick([each.server for each in servers], methods, now)
            if picked is None:
                break
            server = next(each for each in servers if each.peer_id == picked[0])
            self._ask(address, server, picked[1], now)
            self._tracker.on_probe_started(address, now)
            current.asked += 1
        if not self._running(address):
            current.is_open = False
            self._tracker.on_inconclusive(address, current.doubt, now)

    def _may_ask_more(self, address: Multiaddr, current: _ProbeRound, now: Instant) -> bool:
        running = self._running(address)
        return (
            current.asked < MAX_ASKS_PER_ROUND
            and len(running) < MAX_ASKS_PER_ADDRESS
            and len(self._asks) < MAX_ASKS
            and all(now >= ask.patience for ask in running)
            and self._tracker.may_probe(address, now)
        )

    def _ask_about_filter(self, address: Multiaddr, current: _ProbeRound, now: Instant) -> None:
        """Has a peer that sees us there try another port, where only strangers have tried.

        The verdict does not need it; who wants to know why a punch failed does.  Whoever could be
        asked may have as many questions of ours as they take: then it waits for these.
        """
        current.wants_filter = False
        verdict = self._tracker.verdict(address, now)
        if verdict is None or any(
            piece.prober is Prober.ACQUAINTANCE
            and (piece.is_heard or (address, piece.witness) in self._known.observers)
            for piece in verdict.evidence
        ):
            return
        if not self._tracker.may_probe(address, now):
            return
        servers = [each for each in self._servers_for(address) if each.sees_us_there]
        picked = None
        if len(self._asks) < MAX_ASKS:
            picked = current.choice.pick([each.server for each in servers], (Method.V2,), now)
        if picked is None:
            current.wants_filter = bool(self._asks)
            return
        server = next(each for each in servers if each.peer_id == picked[0])
        self._ask(address, server, Method.V2, now).is_about_filter = True

    def _servers_for(self, address: Multiaddr) -> list[ServerCandidate]:
        peers = list(self._peers)
        return candidates_for(address, peers, self._asks.values(), self._facts, self._rng)

    def _running(self, address: Multiaddr) -> list[AskUnderWay]:
        return [a for a in self._asks.values() if a.address == address and not a.is_about_filter]

    # strangers who come by themselves

    def _note_arrival(self, peer: Peer, info: IdentifyInfo, now: Instant) -> None:
        """Somebody whom this node never wrote to got in: no probe could show more."""
        ip = peer.public_ip
        if peer.is_initiator or ip is None or not self._contacts.came_by_itself(ip, now):
            return
        address = self._address_reached(peer, info, now)
        if address is None:
            return
        witness = owner_group(ip)
        piece = Evidence(now, True, Prober.STRANGER, witness, witness, "it came by itself")
        self._tracker.on_evidence(address, (piece,), now, is_last=False)
        current = self._rounds.get(address)
        if current is not None:
            current.has_news = True
        self._work(now)

    def _address_reached(self, peer: Peer, info: IdentifyInfo, now: Instant) -> Multiaddr | None:
        """Returns by which of its addresses a peer has reached this node, or None.

        It is one of an interface, or one at which enough others see the socket: a peer alone could
        name an address that is somebody else's.
        """
        socket, local_ip = peer.route.socket, peer.route.local_ip
        local = self._facts.socket_addresses().get(socket)
        if local is None or peer.public_ip is None:
            return None
        seen = None if info.observed_addr is None else transport_addr(info.observed_addr)
        reached = [a for a in self._facts.interface_addresses() if a[:2] == (local_ip, local.port)]
        reached += [
            addr
            for at, addr, is_confirmed in self._facts.seen_at(now)
            if is_confirmed and at == socket and seen and (seen.host, seen.port) == addr[:2]
        ]
        for addr in reached:
            if is_candidate(addr) and owner_group(addr.ip) != owner_group(peer.public_ip):
                return transport_multiaddr(addr._replace(scope_id=0), peer.transport)
        return None

    # what others hear of it

    def _report(self, now: Instant) -> None:
        verdicts = self._tracker.verdicts(now)
        known: dict[Multiaddr, Reachability] = {
            address: verdict.reachability
            for address, verdict in verdicts
            if verdict.reachability is not Reachability.UNKNOWN
        }
        state = self._tracker.overall(now), known
        if state != self._reported or (self._has_tried_in_vain() and not self._has_reported):
            self._reported = state
            self._has_reported = True
            self._announce(ReachabilityChanged(state[0], verdicts))
        confirmed = self._tracker.confirmed(now)
        if confirmed != self._advertised:
            self._advertised = confirmed
            self._command(Readvertise())

    def _has_tried_in_vain(self) -> bool:
        """True when a first round is over: "unknown" is an answer too, and has a reason."""
        return any(not each.is_open and each.asked for each in self._rounds.values())

    def _next_deadline(self, now: Instant) -> Deadline | None:
        return earliest(
            self._tracker.poll_timeout(now),
            self._candidates.poll_timeout(),
            _first(
                ask.patience
                for ask in self._asks.values()
                if ask.patience > now and self._is_open(ask.address)
            ),
        )

    def _is_open(self, address: Multiaddr) -> bool:
        current = self._rounds.get(address)
        return current is not None and current.is_open


def _first(moments: Iterable[Instant]) -> Deadline | None:
    first = min(moments, default=None)
    return None if first is None else Deadline(first, "AutoNAT asks another server")
