"""AutoNAT in the swarm, the serving side: knocks at other nodes' addresses, or has helpers do it.

    v1, v2       the peer asks --DialBack--> a socket of its own --v2: nonce--> answer
    delegation   the peer asks, helpers are named, orders go to those that it chooses
    helper       a server orders --SendDatagram--> one probe

Every node serves, also behind a NAT (specs/autonat.md, In the swarm, says why).  Rules: only for
peers that are seen directly at a public address; only where this node knows its own external
address of that IP version, because else it may knock at itself from inside.
"""

from collections import Counter
from collections.abc import Mapping
from random import Random
from typing import Final, NamedTuple, TypeAlias

from p2pnode.clock import Instant
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.transport_addr import transport_addr
from p2pnode.machine import ConnectionHandle, StreamMachine
from p2pnode.protocols.autonat import (
    DELEGATION_LIMITS,
    DELEGATION_PROTOCOL_ID,
    DIAL_REQUEST_PROTOCOL_ID,
    HELPER_LIMITS,
    HELPER_PROTOCOL_ID,
    MAX_INBOUND_STREAMS_PER_PEER,
    V1_LIMITS,
    V1_PROTOCOL_ID,
    V2_LIMITS,
    Asker,
    Budget,
    ContactLog,
    DelegatedServer,
    DialAbility,
    DialBackSender,
    Helper,
    HelperStatus,
    OrderReceiver,
    OrderSender,
    V1Server,
    V2Server,
)
from p2pnode.protocols.identify import IdentifyInfo
from p2pnode.swarm.inbound_streams import InboundLimit
from p2pnode.swarm.peer import Peer
from p2pnode.swarm.service_facts import ServiceFacts
from p2pnode.swarm.services.autonat.dial_backs import DialBacks
from p2pnode.swarm.services.service import OpenStream, PumpMachine, SendDatagram, Service
from p2pnode.wire.ip_ranges import IpScope, ip_scope
from p2pnode.wire.multiaddr import components
from p2pnode.wire.transport_name import TransportName

MAX_HELPERS_CONSIDERED: Final = 64
"""peers looked at for an offer of 8; chosen: most are in networks of their own"""

_Served: TypeAlias = V1Server | V2Server | DelegatedServer | OrderReceiver


class V2Answer(NamedTuple):
    """What v2 requests were answered."""

    status: int
    dial_status: int
    needed_data: bool
    family: int | None
    """The multiaddr code that the dialled address began with."""
    transport: TransportName | None


class AutonatServer(Service):
    """Answers AutoNAT v1 and v2 and delegated dial-back, and probes for other servers."""

    inbound: Mapping[str, InboundLimit] = {
        DELEGATION_PROTOCOL_ID: InboundLimit(MAX_INBOUND_STREAMS_PER_PEER),
        HELPER_PROTOCOL_ID: InboundLimit(HELPER_LIMITS.concurrent_per_peer),
        DIAL_REQUEST_PROTOCOL_ID: InboundLimit(MAX_INBOUND_STREAMS_PER_PEER),
        V1_PROTOCOL_ID: InboundLimit(MAX_INBOUND_STREAMS_PER_PEER),
    }

    def __init__(self, facts: ServiceFacts, contacts: ContactLog, rng: Random) -> None:
        super().__init__()
        self._facts = facts
        self._contacts = contacts
        self._rng = rng
        self._v1, self._v2 = Budget(V1_LIMITS), Budget(V2_LIMITS)
        self._delegation, self._help = Budget(DELEGATION_LIMITS), Budget(HELPER_LIMITS)
        self._clients: dict[StreamMachine, ConnectionHandle] = {}
        """Peers' dialogues with us, and where they are held."""
        self._dial_backs = DialBacks(facts, contacts, self._command)
        self._orders: dict[StreamMachine, tuple[DelegatedServer, int]] = {}
        self._ordered: dict[StreamMachine, None] = {}
        """Whose orders have been given out."""
        self._peers: dict[PeerId, None] = {}
        """Who could help; who was not named for longest comes first."""
        self.v1_answers = Counter[tuple[int, str]]()
        """What v1 requests were answered, and why they were refused."""
        self.v2_answers = Counter[V2Answer]()

    def accept(self, peer: Peer, protocol: str, now: Instant) -> StreamMachine | None:
        """Returns the machine for a request."""
        asker, ability = _asker(peer), self._ability(now)
        machine: _Served
        match protocol:
            case _ if protocol == V1_PROTOCOL_ID:
                machine = V1Server(asker, ability, self._v1, now)
            case _ if protocol == DIAL_REQUEST_PROTOCOL_ID:
                machine = V2Server(asker, ability, self._v2, self._rng, now)
            case _ if protocol == DELEGATION_PROTOCOL_ID:
                machine = DelegatedServer(asker, ability, self._delegation, self._rng, now)
            case _ if protocol == HELPER_PROTOCOL_ID:
                machine = OrderReceiver(asker, ability, self._help, now)
            case _:
                return None
        self._clients[machine] = peer.connection
        return machine

    def on_progress(
        self, connection: ConnectionHandle, machine: StreamMachine, now: Instant
    ) -> None:
        """A machine may want something, or be over."""
        match machine:
            case V1Server() | V2Server():
                self._dial_backs.begin(machine, connection, now)
            case DelegatedServer():
                self._delegate(machine, now)
            case OrderReceiver():
                self._probe(machine, now)
            case _:
                pass

    def on_stream_over(
        self, connection: ConnectionHandle, machine: StreamMachine, now: Instant
    ) -> None:
        """A dial-back or an order has come to an end, also a bad one, or a client has."""
        match machine:
            case DialBackSender():
                self._dial_backs.on_delivered(machine, now)
            case OrderSender():
                self._on_order_answered(machine, now)
            case _:
                self._forget(machine)

    def on_identified(self, peer: Peer, info: IdentifyInfo, now: Instant) -> None:
        """A peer may be one that helps."""
        if HELPER_PROTOCOL_ID in info.protocols:
            self._peers.setdefault(peer.peer_id)
        else:
            self._peers.pop(peer.peer_id, None)

    def on_disconnected(self, peer: Peer, now: Instant) -> None:
        """A peer that is gone helps no more."""
        if self._facts.best(peer.peer_id) is None:
            self._peers.pop(peer.peer_id, None)

    def on_dial_back(
        self, ticket: int, connection: ConnectionHandle | None, reason: str, now: Instant
    ) -> None:
        """A dial-back stands, or will not."""
        self._dial_backs.on_dial_back(ticket, connection, now)

    # delegated dial-back

    def _delegate(self, machine: DelegatedServer, now: Instant) -> None:
        if machine.wants_helpers:
            machine.on_helpers(self._helpers(), now)
            self._pump(machine)
        if machine.orders and machine not in self._ordered:
            self._ordered[machine] = None
            for order in machine.orders:
                self._order(machine, order.index, order.helper, OrderSender(order.order, now), now)

    def _order(
        self,
        machine: DelegatedServer,
        index: int,
        helper: PeerId,
        sender: OrderSender,
        now: Instant,
    ) -> None:
        connection = self._facts.direct(helper)
        if connection is None:
            machine.on_report(index, HelperStatus.UNAVAILABLE, now)
            self._pump(machine)
            return
        self._orders[sender] = machine, index
        self._command(OpenStream(connection, HELPER_PROTOCOL_ID, sender))

    def _on_order_answered(self, sender: OrderSender, now: Instant) -> None:
        ordered = self._orders.pop(sender, None)
        if ordered is not None:
            machine, index = ordered
            machine.on_report(index, sender.status or HelperStatus.UNAVAILABLE, now)
            self._pump(machine)

    def _helpers(self) -> tuple[Helper, ...]:
        """Returns peers that could help, those first that were not named lately."""
        found: list[Helper] = []
        for peer_id in list(self._peers)[:MAX_HELPERS_CONSIDERED]:
            connection = self._facts.direct(peer_id)
            peer = None if connection is None else self._facts.peer(connection)
            if peer is not None and peer.public_ip is not None:
                found.append(Helper(peer_id, peer.public_ip))
            del self._peers[peer_id]
            self._peers[peer_id] = None
        return tuple(found)

    def _probe(self, machine: OrderReceiver, now: Instant) -> None:
        probe = machine.wants_probe
        if probe is None:
            return
        if self._contacts.has_contacted(probe.target.ip, now):
            machine.on_sent(HelperStatus.ACQUAINTED, now)
        else:
            # Not noted as a contact: filters are kept for each inside endpoint (RFC 4787 section
            # 5), and it leaves from another than strangers are to reach.
            self._command(SendDatagram(probe.target, probe.payload))
            machine.on_sent(HelperStatus.SENT, now)
        self._pump(machine)

    # what they share

    def _pump(self, machine: StreamMachine) -> None:
        connection = self._clients.get(machine)
        if connection is not None:
            self._command(PumpMachine(connection, machine))

    def _forget(self, machine: StreamMachine) -> None:
        if self._clients.pop(machine, None) is None:
            return
        self._dial_backs.forget(machine)
        self._count(machine)
        self._ordered.pop(machine, None)

    def _count(self, machine: StreamMachine) -> None:
        match machine:
            case V1Server() if machine.answer is not None:
                self.v1_answers[machine.answer.status, machine.answer.text] += 1
            case V2Server() if machine.answer is not None:
                answer, target = machine.answer, machine.target
                family = None if target is None else components(target.address)[0].code
                needed_data = target is not None and target.needs_dial_data
                dialled = None if target is None else transport_addr(target.address)
                by = None if dialled is None else dialled.transport
                counted = V2Answer(answer.status, answer.dial_status, needed_data, family, by)
                self.v2_answers[counted] += 1
            case _:
                pass

    def _ability(self, now: Instant) -> DialAbility:
        """Returns what this node may dial: an IP version of which it knows its own address."""
        own = [addr.ip for addr in self._facts.interface_addresses()]
        own += [addr.ip for _, addr, _ in self._facts.seen_at(now)]
        public = frozenset(ip for ip in own if ip_scope(ip) is IpScope.PUBLIC)
        return DialAbility(
            transports=self._facts.transports,
            ipv4=any(":" not in ip for ip in public),
            ipv6=any(":" in ip for ip in public),
            own_ips=public,
        )


def _asker(peer: Peer) -> Asker:
    """Returns the peer as servers see it: over a relay or a local network it is seen nowhere."""
    remote = peer.route.remote._replace(scope_id=0)
    return Asker(peer.peer_id, None if peer.public_ip is None else remote, peer.transport)
