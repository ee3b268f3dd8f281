"""Hole punching in the swarm: relayed connections get a direct path (specs/dcutr.md).

    a relayed connection comes in --policy: StartRound--> dialogue --agreed--> plan --> PunchRoutes
    a direct path is validated    --> the round has succeeded
    the plan's time is over       --> it has failed; the policy knows what comes next

Rule: the peer that received the relayed connection begins the rounds, the other one answers; both
ends punch, each from its own plan, and what goes out is paid from the budget first.
"""

from collections.abc import Mapping
from random import Random
from typing import Final

from p2pnode.clock import Deadline, Instant, earliest
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.transport_addr import transport_addr
from p2pnode.machine import ConnectionHandle, SocketAddr, StreamMachine
from p2pnode.protocols import dcutr
from p2pnode.protocols.dcutr import (
    DcutrInitiator,
    DcutrResponder,
    PunchAgreed,
    PunchBudget,
    PunchNotAgreed,
    PunchPlan,
    PunchPolicy,
    ResponderRounds,
    Role,
    StartRound,
    TryReversal,
    make_plan,
    make_reversal,
    on_this_machine,
    punchable,
)
from p2pnode.protocols.identify import IdentifyInfo
from p2pnode.swarm import events
from p2pnode.swarm.inbound_streams import InboundLimit
from p2pnode.swarm.peer import Peer
from p2pnode.swarm.service_facts import ServiceFacts
from p2pnode.swarm.services.service import OpenStream, PunchRoutes, Service
from p2pnode.transports.punch import Punch, PunchProbe
from p2pnode.transports.route import Route
from p2pnode.wire.ip_ranges import IpScope, ip_scope
from p2pnode.wire.multiaddr import Multiaddr, multiaddr_scope

MAX_OWN_ADDRS: Final = 16
"""addresses of ours that a peer is told; chosen: twice what it may punch"""


class _PunchRound:
    """A round under way."""

    __slots__ = ("gives_up_at", "number", "peer_id", "role", "strategy")

    def __init__(self, peer_id: PeerId, role: Role, number: int, strategy: str) -> None:
        self.peer_id = peer_id
        self.role = role
        self.number = number
        self.strategy = strategy
        self.gives_up_at: Instant | None = None
        """Set once it is agreed."""


class DcutrService(Service):
    """A Service without commands of its own: what happens makes it act."""

    inbound: Mapping[str, InboundLimit] = {
        dcutr.PROTOCOL_ID: InboundLimit(dcutr.MAX_INBOUND_STREAMS_PER_PEER)
    }

    def __init__(self, facts: ServiceFacts, rng: Random) -> None:
        super().__init__()
        self._facts = facts
        self._policy = PunchPolicy(rng)
        self._responder_rounds = ResponderRounds()
        self._budget = PunchBudget()
        self._rounds: dict[ConnectionHandle, _PunchRound] = {}
        """by connection"""
        self._reversals: dict[ConnectionHandle, Instant] = {}
        """connection -> when the direct dial of its public peer has failed"""
        self._dialogues: dict[StreamMachine, None] = {}
        """Those without an outcome."""

    # streams

    def accept(self, peer: Peer, protocol: str, now: Instant) -> StreamMachine | None:
        if not peer.route.is_relayed:
            return None
        machine = DcutrResponder(self._own_addrs(now), now)
        self._dialogues[machine] = None
        return machine

    def on_progress(
        self, connection: ConnectionHandle, machine: StreamMachine, now: Instant
    ) -> None:
        if machine not in self._dialogues or not machine.is_done:
            return
        del self._dialogues[machine]
        peer = self._facts.peer(connection)
        match machine:
            case DcutrInitiator():
                match machine.outcome:
                    case PunchAgreed() as agreed if peer is not None:
                        self._on_agreed(peer, agreed, now)
                    case PunchNotAgreed(reason):
                        self._on_failed(connection, reason, now)
                    case _:
                        pass
            case DcutrResponder():
                if isinstance(machine.outcome, PunchAgreed) and peer is not None:
                    self._on_asked(peer, machine.outcome, now)
            case _:
                pass

    def on_stream_failed(
        self, connection: ConnectionHandle, machine: StreamMachine, reason: str, now: Instant
    ) -> None:
        if isinstance(machine, DcutrInitiator):
            self._on_failed(connection, reason, now)

    def on_stream_over(
        self, connection: ConnectionHandle, machine: StreamMachine, now: Instant
    ) -> None:
        self._dialogues.pop(machine, None)

    # connections

    def on_connected(self, peer: Peer, now: Instant) -> None:
        if not peer.route.is_relayed:
            self._policy.handle_direct(peer.peer_id)  # beside a relayed one: nothing to punch for
        elif self._facts.direct(peer.peer_id) is None:
            self._on_relayed(peer, now)

    def on_disconnected(self, peer: Peer, now: Instant) -> None:
        under_way = self._rounds.pop(peer.connection, None)
        self._end_reversal(peer.connection, is_direct=False)
        if self._facts.best(peer.peer_id) is None:
            self._policy.handle_gone(peer.peer_id)
            self._responder_rounds.handle_gone(peer.peer_id)
        elif under_way is not None and under_way.role is Role.INITIATOR:
            self._policy.handle_round_interrupted(peer.peer_id)
            self._carry_out(now)
        if not peer.route.is_relayed:
            best = self._facts.best(peer.peer_id)
            left = None if best is None else self._facts.peer(best)
            if left is not None and left.route.is_relayed:
                self._on_direct_lost(left, now)

    def on_path_changed(self, peer: Peer, now: Instant) -> None:
        if not peer.route.is_relayed:
            self._on_direct(peer.connection, peer.peer_id)
        elif self._facts.direct(peer.peer_id) is None:
            self._on_direct_lost(peer, now)

    def on_path_validated(self, connection: ConnectionHandle, route: Route, now: Instant) -> None:
        peer = self._facts.peer(connection)
        if peer is not None and not route.is_relayed:
            self._on_direct(connection, peer.peer_id)

    def on_identified(self, peer: Peer, info: IdentifyInfo, now: Instant) -> None:
        self._policy.handle_evidence(peer.peer_id, self._evidence(peer.peer_id, now), now)
        if peer.route.is_relayed:
            self._on_public(peer.peer_id, info)
        self._carry_out(now)

    def on_addresses_learned(self, peer_id: PeerId, now: Instant) -> None:
        connection = self._facts.best(peer_id)
        peer = None if connection is None else self._facts.peer(connection)
        if peer is not None and peer.route.is_relayed:
            self._try_this_machine(peer, now)

    def on_observed(self, peer: Peer, now: Instant) -> None:
        self._on_own_evidence(now)

    def on_addresses_changed(self, now: Instant) -> None:
        self._on_own_evidence(now)

    # time

    def handle_timeout(self, now: Instant) -> None:
        for connection, under_way in list(self._rounds.items()):
            if under_way.gives_up_at is not None and now >= under_way.gives_up_at:
                self._on_failed(connection, "no answer to any probe", now)
        for connection in [c for c, at in self._reversals.items() if now >= at]:
            self._end_reversal(connection, is_direct=False)
        self._policy.handle_timeout(now)
        self._carry_out(now)

    def poll_timeout(self) -> Deadline | None:
        ends = [r.gives_up_at for r in self._rounds.values() if r.gives_up_at is not None]
        end = min([*ends, *self._reversals.values()], default=None)
        return earliest(
            self._policy.poll_timeout(),
            None if end is None else Deadline(end, "a round of punching ends"),
        )

    # details

    def _on_direct_lost(self, peer: Peer, now: Instant) -> None:
        if not peer.is_initiator:
            self._policy.handle_direct_lost(peer.peer_id, self._evidence(peer.peer_id, now))
            self._on_relayed(peer, now)

    def _on_relayed(self, peer: Peer, now: Instant) -> None:
        self._try_this_machine(peer, now)
        if peer.is_initiator:
            return  # the other side begins
        self._policy.handle_relayed(peer.peer_id, self._evidence(peer.peer_id, now))
        info = self._facts.info(peer.peer_id)
        if info is not None:
            self._on_public(peer.peer_id, info)
        self._carry_out(now)

    def _try_this_machine(self, peer: Peer, now: Instant) -> None:
        """Where the peer is known to run on this machine too, no NAT is in between.

        Either side tries: over a circuit nobody is told loopback addresses, so that one of the two
        may not know any.
        """
        if peer.connection in self._reversals:
            return
        at = self._facts.interface_addresses()
        ours = [address for addr in at for address in self._facts.multiaddrs(addr)]
        known = self._facts.known_addresses(peer.peer_id, now)
        self._reverse(peer, on_this_machine(known, ours, peer.transport), now)

    def _reverse(self, peer: Peer, addrs: tuple[Multiaddr, ...], now: Instant) -> None:
        plan = make_reversal(addrs, now)
        if self._punch(peer.connection, peer.peer_id, plan, now):
            self._reversals[peer.connection] = plan.gives_up_at

    def _on_public(self, peer_id: PeerId, info: IdentifyInfo) -> None:
        self._policy.handle_public(
            peer_id, tuple(a for a in info.listen_addrs if self._is_public(a))
        )

    def _on_direct(self, connection: ConnectionHandle, peer_id: PeerId) -> None:
        self._policy.handle_direct(peer_id)
        self._end_reversal(connection, is_direct=True)
        under_way = self._rounds.pop(connection, None)
        if under_way is not None:
            self._tell(connection, under_way, is_direct=True, reason="")

    def _on_failed(self, connection: ConnectionHandle, reason: str, now: Instant) -> None:
        under_way = self._rounds.pop(connection, None)
        if under_way is None:
            return
        self._tell(connection, under_way, is_direct=False, reason=reason)
        if under_way.role is Role.INITIATOR:
            self._policy.handle_round_failed(under_way.peer_id, now)
            self._carry_out(now)

    def _end_reversal(self, connection: ConnectionHandle, *, is_direct: bool) -> None:
        if self._reversals.pop(connection, None) is not None:
            self._announce(events.ReversalEnded(connection, is_direct))

    def _tell(
        self, connection: ConnectionHandle, ended: _PunchRound, *, is_direct: bool, reason: str
    ) -> None:
        self._announce(
            events.PunchEnded(
                connection,
                ended.peer_id,
                ended.number,
                ended.strategy,
                is_direct,
                reason,
                ended.role is Role.INITIATOR,
            )
        )

    def _carry_out(self, now: Instant) -> None:
        for command in self._policy.poll_commands():
            connection = self._facts.best(command.peer)
            peer = None if connection is None else self._facts.peer(connection)
            if connection is None or peer is None:
                continue
            match command:
                case StartRound(peer_id, number, strategy):
                    machine = DcutrInitiator(self._own_addrs(now), now)
                    self._dialogues[machine] = None
                    self._rounds[connection] = _PunchRound(
                        peer_id, Role.INITIATOR, number, strategy.value
                    )
                    self._command(OpenStream(connection, dcutr.PROTOCOL_ID, machine))
                case TryReversal(_, addrs):
                    usable = punchable(addrs, self._own_addrs(now), peer.transport)
                    self._reverse(peer, usable, now)

    def _on_agreed(self, peer: Peer, agreed: PunchAgreed, now: Instant) -> None:
        under_way = self._rounds.get(peer.connection)
        if under_way is None:
            return  # a direct path came first
        addrs = punchable(agreed.addrs, self._own_addrs(now), peer.transport)
        plan = make_plan(under_way.number, Role.INITIATOR, addrs, agreed.start_at)
        under_way.gives_up_at = plan.gives_up_at
        if not self._punch(peer.connection, peer.peer_id, plan, now):
            self._on_failed(peer.connection, "the peer told no address that may be tried", now)

    def _on_asked(self, peer: Peer, agreed: PunchAgreed, now: Instant) -> None:
        number = self._responder_rounds.next_round(peer.peer_id, now)
        addrs = punchable(agreed.addrs, self._own_addrs(now), peer.transport)
        plan = make_plan(number, Role.RESPONDER, addrs, agreed.start_at)
        under_way = _PunchRound(peer.peer_id, Role.RESPONDER, number, plan.strategy.value)
        under_way.gives_up_at = plan.gives_up_at
        ours = self._rounds.get(peer.connection)
        if ours is None or ours.role is Role.RESPONDER:  # else the policy waits for our own round
            self._rounds[peer.connection] = under_way
        if not self._punch(peer.connection, peer.peer_id, plan, now):
            self._on_failed(peer.connection, "the peer told no address that may be tried", now)

    def _punch(
        self, connection: ConnectionHandle, peer_id: PeerId, plan: PunchPlan, now: Instant
    ) -> bool:
        allowed = self._budget.allow(peer_id, plan, now)
        remotes = [at for addr in allowed if (at := _socket_addr(addr)) is not None]
        if not remotes:
            return False
        probes = tuple(PunchProbe(probe.offset, probe.ttl) for probe in plan.probes)
        punch = Punch(plan.start_at, probes, plan.gives_up_at)
        self._command(PunchRoutes(connection, tuple(remotes), punch))
        return True

    def _on_own_evidence(self, now: Instant) -> None:
        punching = (under_way.peer_id for under_way in self._rounds.values())
        for peer_id in dict.fromkeys((*punching, *self._policy.relayed())):
            self._policy.handle_evidence(peer_id, self._evidence(peer_id, now), now)
        self._carry_out(now)

    def _own_addrs(self, now: Instant) -> tuple[Multiaddr, ...]:
        """Where we might be reached: where we are seen, confirmed or not, and on our network."""
        seen = [address for _, address, _ in self._facts.seen_at(now)]
        near = [
            address
            for address in self._facts.interface_addresses()
            if ip_scope(address.ip) in (IpScope.PRIVATE, IpScope.PUBLIC)
        ]
        addrs = dict.fromkeys(a for at in (*seen, *near) for a in self._facts.multiaddrs(at))
        return tuple(addrs)[:MAX_OWN_ADDRS]

    def _evidence(self, peer_id: PeerId, now: Instant) -> str:
        """What decides about success: our addresses, and the peer's.

        Of addresses that a single peer sees only the IP counts: behind a symmetric NAT there is
        another port for everybody, which is nothing new.
        """
        ours = {
            str(address) if is_confirmed else address.ip
            for _, address, is_confirmed in self._facts.seen_at(now)
        }
        near = {str(address) for address in self._facts.interface_addresses()}
        info = self._facts.info(peer_id)
        theirs = {str(addr) for addr in (() if info is None else info.listen_addrs)}
        return "|".join(",".join(sorted(part)) for part in (ours, near, theirs))

    def _is_public(self, address: Multiaddr) -> bool:
        return self._facts.is_dialable(address) and multiaddr_scope(address) is IpScope.PUBLIC


def _socket_addr(address: Multiaddr) -> SocketAddr | None:
    parts = transport_addr(address)
    return None if parts is None else parts.socket_addr
