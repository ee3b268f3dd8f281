"""AutoNAT's services of several nodes joined in virtual time, one node behind a NAT box.

No transport: streams carry what the machines say, a hop later; dials and probes ask the box.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from random import Random

from p2pnode.machine import ResetStream, SendData, SendEof, SocketAddr, SocketId, StreamMachine
from p2pnode.netsim.nat_behaviour import NatBehaviour
from p2pnode.netsim.nat_table import NatTable
from p2pnode.protocols.autonat import ContactLog
from p2pnode.protocols.identify import IdentifyInfo
from p2pnode.swarm.peer import Peer
from p2pnode.swarm.reachability import OwnReachability
from p2pnode.swarm.services.autonat.client import AutonatClient
from p2pnode.swarm.services.autonat.server import AutonatServer
from p2pnode.swarm.services.service import (
    DialBack,
    Disconnect,
    OpenStream,
    PumpMachine,
    SendDatagram,
    Service,
)
from p2pnode.transports.route import Route
from tests.support.addresses import NOISE_UDP, SpokenTransports, noise_udp_multiaddr
from tests.support.identities import peer_id

SOCKET = SocketId(1)
HOP = 0.025  # seconds one way
IDENTIFY_DELAY = 0.1  # seconds; the swarm's
ALL_PROTOCOLS = tuple(dict.fromkeys((*AutonatServer.inbound, *AutonatClient.inbound)))


class FakeFacts(SpokenTransports):
    """A `ServiceFacts` that tests fill in."""

    def __init__(self, local: SocketAddr) -> None:
        self.local = local
        self.peers: dict[int, Peer] = {}
        self.infos: dict = {}
        self.known: dict = {}
        self.seen: list[tuple[SocketId, SocketAddr, bool]] = []
        self.rtts: dict[int, float] = {}

    def peer(self, connection):
        return self.peers.get(connection)

    def best(self, peer_id):
        return next((c for c, peer in self.peers.items() if peer.peer_id == peer_id), None)

    def direct(self, peer_id):
        for connection, peer in self.peers.items():
            if peer.peer_id == peer_id and not peer.route.is_relayed:
                return connection
        return None

    def rtt(self, connection):
        return self.rtts.get(connection, 2 * HOP)

    def last_received(self, connection):
        return None

    def info(self, peer_id):
        return self.infos.get(peer_id)

    def known_addresses(self, peer_id, now):
        return self.known.get(peer_id, ())

    def socket_addresses(self):
        return {SOCKET: self.local}

    def interface_addresses(self):
        return (self.local,)

    def seen_at(self, now):
        return tuple(self.seen)


@dataclass
class SimNode:
    """A node's AutoNAT services, its contacts and its machines."""

    name: str
    local: SocketAddr
    protocols: tuple[str, ...] = ALL_PROTOCOLS
    nat: NatTable | None = None
    contacts: ContactLog = field(default_factory=ContactLog)
    events: list = field(default_factory=list)
    owners: dict = field(default_factory=dict)
    """machine -> (service, connection, far node, far machine)"""

    def __post_init__(self) -> None:
        rng = Random(self.name)
        self.id = peer_id(self.name)
        self.facts = FakeFacts(self.local)
        self.reachability = OwnReachability()
        self.client = AutonatClient(
            self.facts, self.id, self.contacts, self.reachability, rng=rng, entropy=rng.randbytes
        )
        self.server = AutonatServer(self.facts, self.contacts, rng)

    @property
    def services(self) -> tuple[Service, ...]:
        return self.client, self.server


class AutonatWorld:
    """Nodes, streams, dials and probes.  `run` steps them until a moment."""

    def __init__(self) -> None:
        self.now = 0.0
        self.nodes: dict[str, SimNode] = {}
        self.loses: Callable[[], bool] = lambda: False
        self.probes_arrived = 0
        self.contaminated: list[str] = []
        """Dials of a node at somebody that it was to leave alone."""
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._connections = count(1)
        self._ports = count(50_000)
        self._ends: dict[int, tuple[SimNode, int]] = {}  # connection -> its far end

    def add(
        self,
        name: str,
        ip: str,
        *,
        nat: NatBehaviour | None = None,
        protocols: tuple[str, ...] = ALL_PROTOCOLS,
    ) -> SimNode:
        """A node at a public IP, or behind a box that has it."""
        box = None if nat is None else NatTable((ip,), nat, Random(name))
        local = SocketAddr(ip if box is None else "192.168.1.10", 4001)
        node = self.nodes[name] = SimNode(name, local, protocols, box)
        return node

    def connect(self, one: SimNode, other: SimNode) -> None:
        """Connects two nodes; each hears where it is seen, and who the other is a bit later."""
        if other.local.ip in one.client.ips_to_avoid(self.now):
            self.contaminated.append(other.name)
        ends = (one, other), (other, one)
        seen = {node.name: self._external(node, far.local) for node, far in ends}
        handles = {node.name: next(self._connections) for node, _ in ends}
        for node, far in ends:
            connection = handles[node.name]
            self._ends[connection] = far, handles[far.name]
            route = Route(SOCKET, None, seen[far.name])
            node.contacts.note(seen[far.name].ip, self.now)
            peer = Peer(connection, far.id, route, node is one, NOISE_UDP)
            node.facts.peers[connection] = peer
            if (SOCKET, seen[node.name], False) not in node.facts.seen:
                node.facts.seen.append((SOCKET, seen[node.name], False))
            observed = noise_udp_multiaddr(seen[node.name])
            info = IdentifyInfo(far.id, protocols=far.protocols, observed_addr=observed)
            for service in node.services:
                service.on_connected(peer, self.now)
            self._at(IDENTIFY_DELAY + 2 * HOP, lambda *a: self._identify(*a), node, peer, info)
            self._drain(node)

    def run(self, until: float, stop: Callable[[], bool] = lambda: False) -> None:
        """Steps the world; ends early when `stop` says so."""
        while not stop():
            node, at = self._next_timer()
            event_at = self._queue[0][0] if self._queue else float("inf")
            if min(at, event_at) > until:
                self.now = until
                return
            assert min(at, event_at) >= self.now - 1e-9, "a deadline in the past"
            if event_at <= at:
                self.now, _, act = heapq.heappop(self._queue)
                act()
            else:
                assert node is not None
                self.now = at
                self._fire(node)

    def would_reach(self, node: SimNode) -> bool:
        """Whether a stranger's packet arrives at the best candidate of a node now."""
        box = node.nat
        assert box is not None
        stranger = SocketAddr("9.9.9.9", 9)
        return box.inbound(stranger, node.facts.seen[0][1], self.now) == node.local

    # events

    def _at(self, delay: float, act: Callable, *args) -> None:
        heapq.heappush(self._queue, (self.now + delay, next(self._order), lambda: act(*args)))

    def _next_timer(self) -> tuple[SimNode | None, float]:
        best: tuple[SimNode | None, float] = None, float("inf")
        for node in self.nodes.values():
            for part in (*node.services, *node.owners):
                deadline = part.poll_timeout()
                if deadline is not None and deadline.at < best[1]:
                    best = node, deadline.at
        return best

    def _fire(self, node: SimNode) -> None:
        for machine in list(node.owners):
            deadline = machine.poll_timeout()
            if deadline is not None and deadline.at <= self.now:
                machine.handle_timeout(self.now)
                self._progress(node, machine)
        for service in node.services:
            service.handle_timeout(self.now)
        self._drain(node)

    def _identify(self, node: SimNode, peer: Peer, info: IdentifyInfo) -> None:
        node.facts.infos[peer.peer_id] = info
        for service in node.services:
            service.on_identified(peer, info, self.now)
        self._drain(node)

    # streams

    def _progress(self, node: SimNode, machine: StreamMachine) -> None:
        if machine not in node.owners:
            return
        service, connection, far, far_machine = node.owners[machine]
        outputs = machine.poll_output()
        service.on_progress(connection, machine, self.now)
        for output in [*outputs, *machine.poll_output()]:
            self._at(HOP, self._deliver, far, far_machine, output)
        if machine.is_done and node.owners.pop(machine, None) is not None:
            service.on_stream_over(connection, machine, self.now)
        self._drain(node)

    def _deliver(self, node: SimNode, machine: StreamMachine, output: object) -> None:
        match output:
            case SendData(data):
                machine.handle_data(data, self.now)
            case SendEof():
                machine.handle_eof(self.now)
            case ResetStream(code):
                machine.handle_reset(code, self.now)
        self._progress(node, machine)

    def _open(self, node: SimNode, service: Service, command: OpenStream) -> None:
        machine, connection = command.machine, command.connection
        far, far_connection = self._ends[connection]
        far_peer = far.facts.peers.get(far_connection)
        accepted, taker = None, None
        for each in far.services:
            if far_peer and command.protocol in each.inbound:
                taker = each
                if command.protocol in far.protocols:
                    accepted = each.accept(far_peer, command.protocol, self.now)
        if accepted is None:
            service.on_stream_failed(connection, machine, "not spoken", self.now)
            service.on_stream_over(connection, machine, self.now)
            self._drain(node)
            return
        node.owners[machine] = service, connection, far, accepted
        far.owners[accepted] = taker, far_connection, node, machine
        self._progress(node, machine)

    # commands

    def _drain(self, node: SimNode) -> None:
        for service in node.services:
            node.events += [(self.now, event) for event in service.poll_events()]
            for command in service.poll_commands():
                match command:
                    case OpenStream():
                        self._open(node, service, command)
                    case PumpMachine(_, machine):
                        self._progress(node, machine)
                    case SendDatagram(target, payload):
                        source = SocketAddr(node.local.ip, next(self._ports))
                        self._at(HOP, self._probe, source, target, payload)
                    case DialBack():
                        source = SocketAddr(node.local.ip, next(self._ports))
                        self._at(3 * HOP, self._dial_back, node, service, command, source)
                    case Disconnect(connection):
                        self._hang_up(node, connection)
                    case _:
                        pass

    def _probe(self, source: SocketAddr, target: SocketAddr, payload: bytes) -> None:
        node = self._behind(source, target)
        if node is not None and not self.loses():
            self.probes_arrived += 1
            node.client.on_probe(payload, source, SOCKET, self.now)
            self._drain(node)

    def _dial_back(
        self, node: SimNode, service: Service, command: DialBack, source: SocketAddr
    ) -> None:
        far = self._behind(source, command.address)
        if far is None:
            left = command.timeout - 3 * HOP
            self._at(left, self._dial_backed, node, service, command.ticket, None)
            return
        ours, theirs = next(self._connections), next(self._connections)
        self._ends[ours], self._ends[theirs] = (far, theirs), (node, ours)
        far.contacts.note(source.ip, self.now)
        far.facts.peers[theirs] = Peer(
            theirs, node.id, Route(SOCKET, None, source), False, NOISE_UDP
        )
        self._dial_backed(node, service, command.ticket, ours)

    def _dial_backed(self, node, service, ticket, connection) -> None:
        service.on_dial_back(ticket, connection, "" if connection else "no answer", self.now)
        self._drain(node)

    def _hang_up(self, node: SimNode, connection: int) -> None:
        far, far_connection = self._ends.pop(connection)
        self._ends.pop(far_connection, None)
        for each in (node, far):
            each.facts.peers.pop(connection, None)
            each.facts.peers.pop(far_connection, None)

    # addresses

    def _external(self, node: SimNode, remote: SocketAddr) -> SocketAddr:
        if node.nat is None:
            return node.local
        external = node.nat.outbound(node.local, remote, self.now)
        assert isinstance(external, SocketAddr)
        node.nat.inbound(remote, external, self.now)
        return external

    def _behind(self, source: SocketAddr, target: SocketAddr) -> SimNode | None:
        for node in self.nodes.values():
            if node.nat is None:
                if target == node.local:
                    return node
            elif node.nat.inbound(source, target, self.now) == node.local:
                return node
        return None
