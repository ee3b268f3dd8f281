"""Two nodes behind NATs and two relays, and everything that may happen to the ways between them.

    A --[NAT][wall]--+-- Internet --+--[wall][NAT]-- B        B dials A through relay 0
                     R0             R1

What happens is told in `story`, one line each; what must always hold is in `check`.  A failure that
leaves `telling` carries the story, the seed and what the network dropped.

The connection may be lost only while no relay has served both ends for `GRACE` seconds: a direct
path may be impossible, so it never counts as a way.
"""

from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from random import Random
from typing import Final

from p2pnode.clock import Instant
from p2pnode.errors import (
    ClosedByPeer,
    ClosedForViolation,
    ClosedLocally,
    ConnectionLost,
    P2PNodeError,
)
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.peer_multiaddr import circuit_addr
from p2pnode.netsim import topology
from p2pnode.netsim.link import Link, LinkParams
from p2pnode.netsim.nat_behaviour import NatBehaviour
from p2pnode.netsim.packet import Packet
from p2pnode.netsim.part import Port, connect
from p2pnode.netsim.report import FailureReport
from p2pnode.netsim.topology import ACCESS, PairParams, Site, SiteParams
from p2pnode.netsim.trace import Drop
from p2pnode.netsim.world import World
from p2pnode.swarm import SwarmConfig, events
from p2pnode.swarm.config import RelayMode
from p2pnode.swarm.swarm_stream import SwarmStream
from p2pnode.testbed.sim_node import SimNode
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.noise_udp.connection import Connection
from p2pnode.wire.multiaddr import Multiaddr

PROTOCOL: Final = "/test/handover"
RELAYS: Final = 2
REDIAL: Final = 5.0
"""seconds between two looks whether the relays are still connected, as `io.bootstrap` has them"""
SETTLE: Final = 0.5
"""seconds after a dial that went through two relays until both ends agree which connection stays"""
GRACE: Final = 120.0
"""seconds: a relay that has served all that time is a way.  Idle timeout of a relay's connection
that nobody uses (45), the rest of a relay that failed (15, 30), a dial (10), and some loss"""
MAX_PATHS: Final = 9
"""paths of a connection at a time: ids up to `TransportConfig.max_path_id`, and path 0"""
MAX_CIRCUITS: Final = 8
"""circuits of one node with one peer and two relays: asked by either end, and one that is ending"""
MAX_STREAMS: Final = 24
"""streams of one connection at a time: ours, identify pushes, dcutr, circuits"""


class ToldNode(SimNode):
    """A node that tells each event at the time at which it happens."""

    on_told: "Callable[[ToldNode, events.SwarmEvent], object] | None" = None

    def on_event(self, event: events.SwarmEvent) -> None:
        if self.on_told is not None:
            self.on_told(self, event)
        super().on_event(event)

    def _read(self, stream: SwarmStream) -> None:
        with suppress(ConnectionLost):
            super()._read(stream)


class Wall:
    """Lets nothing pass between its inside and some addresses outside."""

    def __init__(self, world: World, name: str) -> None:
        self.name = name
        self.trace = world.trace
        self.inside = Port(self)
        self.outside = Port(self)
        self.prefixes: tuple[str, ...] = ()
        """of addresses outside, as text"""
        world.add(self)

    def handle_packet(self, packet: Packet, port: Port, now: Instant) -> None:
        is_outbound = port is self.inside
        remote = packet.dst.ip if is_outbound else packet.src.ip
        if self.prefixes and remote.startswith(self.prefixes):
            self.trace.dropped(now, self.name, packet, Drop.BLOCKED)
            return
        (self.outside if is_outbound else self.inside).send(packet, now)


class Traffic:
    """One direction of the connection: bytes that are known in advance, and how many arrived."""

    def __init__(self, label: str, seed: int) -> None:
        self.label = label
        self._dice = Random(f"{seed}/{label}/content")
        self.stream: SwarmStream | None = None
        self.sent = bytearray()
        self.received = 0
        self._checked = 0

    def begin(self, stream: SwarmStream) -> None:
        """A new connection: what comes is counted from zero."""
        self.stream = stream
        self.sent = bytearray()
        self.received = self._checked = 0

    def write(self, size: int) -> int:
        """Writes as much as the stream takes; returns how much."""
        assert self.stream is not None
        data = self._dice.randbytes(size)
        taken = self.stream.write(data)
        self.sent += data[:taken]
        return taken

    def check(self, received: bytes | bytearray) -> None:
        """Whatever came is what was sent, from the first byte on."""
        new = received[self._checked :]
        assert new == self.sent[self._checked : self._checked + len(new)], (
            f"{self.label}: other bytes than were sent, behind byte {self._checked}"
        )
        self._checked = self.received = len(received)


@dataclass(frozen=True, slots=True)
class Loss:
    """A connection that is no more, as one end has said it."""

    at: Instant
    reason: P2PNodeError


class Handover:
    """The scene.  Every method but the facts is something that happens."""

    def __init__(
        self,
        seed: int,
        nat_a: NatBehaviour,
        nat_b: NatBehaviour,
    ) -> None:
        net = topology.pair(
            seed,
            PairParams(a=SiteParams(nat=nat_a), b=SiteParams(nat=nat_b), public_hosts=RELAYS),
        )
        self.world = net.world
        self.story: list[str] = []
        self.sites = {"A": net.site_a, "B": net.site_b}
        self.walls = {name: self._wall(name, site) for name, site in self.sites.items()}
        self._public = {name: _prefix_of(site) for name, site in self.sites.items()}
        self._relay_hosts = net.public
        relaying = SwarmConfig(relay_mode=RelayMode.ALWAYS)
        self.relays = [ToldNode(host, config=relaying) for host in net.public]
        # A node that relays is dialled for that, and the pool then drops the connection it has.
        end = SwarmConfig(relay_mode=RelayMode.OFF)
        self.a, self.b = ToldNode(net.a, config=end), ToldNode(net.b, config=end)
        self.nodes = {"A": self.a, "B": self.b}
        self._cut = [False] * RELAYS
        self._draining = [False] * RELAYS
        self._down = dict.fromkeys(self.nodes, False)
        self._serves_since: list[Instant | None] = [0.0] * RELAYS
        self._dials: dict[tuple[str, int], int] = {}
        self._handles: dict[str, int | None] = dict.fromkeys(self.nodes)
        self.losses: dict[str, Loss] = {}
        """of this connection, by end"""
        self.traffic = {"A": Traffic("A to B", seed), "B": Traffic("B to A", seed)}
        self._next_ip = dict.fromkeys(self.nodes, 1)
        for node in self.nodes.values():
            node.serve(PROTOCOL)
        for node in (*self.nodes.values(), *self.relays):
            node.on_told = self._on_event
        self._keep_relays()

    # facts

    @property
    def is_connected(self) -> bool:
        """Whether neither end has said that it is over."""
        return self._handles["A"] is not None and not self.losses

    def connection(self, name: str) -> Connection | None:
        handle = self._handles[name]
        return (
            None if handle is None else self.nodes[name].swarm._transports.connections.get(handle)
        )

    @property
    def is_direct(self) -> bool:
        """Whether both ends send their data directly."""
        peers = [
            self.nodes[name].swarm.facts.peer(handle)
            for name, handle in self._handles.items()
            if handle is not None
        ]
        return len(peers) == 2 and all(p is not None and not p.route.is_relayed for p in peers)

    @property
    def has_way(self) -> bool:
        """Whether a relay has served both ends for so long that a loss has no excuse."""
        return any(s is not None and self.world.now - s >= GRACE for s in self._serves_since)

    @property
    def is_delivered(self) -> bool:
        self.check()
        return all(t.received == len(t.sent) for t in self.traffic.values())

    # the beginning

    def connect(self) -> None:
        """A has its reservations, and B dials it through relay 0; both open a stream."""
        with self.telling():
            self.world.run_until(lambda: len(self.a.swarm.facts.relayed_addresses()) >= RELAYS, 30)
            ways = self.a.swarm.facts.relayed_addresses()
            first = self.relays[0].peer_id
            found = (a for a in ways if (c := circuit_addr(a)) is not None and c.relay == first)
            self.redial(next(found))
            assert self.is_connected, "B did not reach A through relay 0"

    def redial(self, *addresses: Multiaddr, timeout: float = 30.0) -> bool:
        """B dials A, both open a stream; returns whether B got through."""
        b = self.b
        self.tell("B dials A")
        try:
            dial_id = b.do(b.swarm.dial, self.a.peer_id, addresses, self.world.now)
        except P2PNodeError as error:
            self.tell(f"B cannot dial: {error}")
            return False
        self.world.reaches(lambda: outcome_of(b, dial_id) is not None, timeout)
        outcome = outcome_of(b, dial_id)
        if not isinstance(outcome, events.DialSucceeded):
            self.tell(f"B's dial failed: {outcome}")
            return False
        self.world.run_for(SETTLE)  # handshakes through both relays may have succeeded
        self._handles = {name: self._pool_handle(name) for name in self.nodes}
        if None in self._handles.values():
            self.tell("B's dial succeeded, but the connection is gone")
            return False
        self.losses = {}
        for name, node in self.nodes.items():
            handle = self._handles[name]
            assert handle is not None
            node.received.clear()
            self.traffic[name].begin(node.open(handle, PROTOCOL))
            self.write(name, 1000)
        streams = [traffic.stream for traffic in self.traffic.values()]
        return self.world.reaches(
            lambda: all(s is not None and s.is_negotiated for s in streams), timeout
        )

    # what happens

    def run(self, seconds: float) -> None:
        """Time passes; with checks at every second."""
        with self.telling():
            until = self.world.now + seconds
            while self.world.now < until:
                self.world.run_for(min(1.0, until - self.world.now))
                self.check()

    def write(self, name: str, size: int) -> None:
        node, traffic = self.nodes[name], self.traffic[name]
        if self.is_connected:
            taken = node.do(traffic.write, size)
            self.tell(f"{name} writes {taken} bytes")

    def reboot_nat(self, name: str) -> None:
        nat = self.sites[name].nat
        if nat is not None:
            nat.reboot()
            self.tell(f"{name}'s NAT forgets everything")

    def change_public_address(self, name: str) -> None:
        nat = self.sites[name].nat
        if nat is not None:
            self._next_ip[name] = self._next_ip[name] % 200 + 1
            ip = f"{self._public[name]}{self._next_ip[name]}"
            nat.change_public_ips((ip,))
            self.tell(f"{name}'s NAT gets the public address {ip}")

    def change_lan_address(self, name: str) -> None:
        interface = self.nodes[name].host.interfaces[0]
        old = interface.addresses[0]
        prefix, last = old.rsplit(".", 1)
        new = f"{prefix}.{int(last) % 200 + 1}"
        interface.remove_address(old)
        interface.add_address(f"{new}/24")
        assert interface.peer is not None
        self.sites[name].switch.add_route(new, interface.peer)
        self.tell(f"{name} moves from {old} to {new}")
        self._interfaces_changed(name)

    def set_interface(self, name: str, *, is_up: bool) -> None:
        if self._down[name] == is_up:
            self.nodes[name].host.interfaces[0].is_up = is_up
            self._down[name] = not is_up
            self.tell(f"{name}'s interface goes {'up' if is_up else 'down'}")
            self._note_ways()
            self._interfaces_changed(name)

    def set_access(self, name: str, *, loss: float, delay: float) -> None:
        """Of the link between a site and the Internet, both directions."""
        self.sites[name].link.configure(
            LinkParams(delay=delay, loss=loss), LinkParams(delay=delay, loss=loss)
        )
        self.tell(f"{name}'s link: {loss:.0%} loss, {delay * 1000:.1f} ms")

    def set_relay(self, number: int, *, is_cut: bool) -> None:
        if self._cut[number] != is_cut:
            link = self.world.parts[f"s{number}-access"]
            assert isinstance(link, Link)
            link.set_up(not is_cut)
            self._cut[number] = is_cut
            self.tell(f"relay {number} is {'cut off' if is_cut else 'back'}")
            self._note_ways()

    def drain_relay(self, number: int, grace: float) -> None:
        if not self._draining[number]:
            node = self.relays[number]
            self._draining[number] = True
            self.tell(f"relay {number} drains within {grace:g} s")
            self._note_ways()
            node.do(node.swarm.drain_relay, grace, self.world.now)

    def restart_relay(self, number: int) -> None:
        """It dies as by kill -9, and is back without memory."""
        node = self.relays[number]
        self._draining[number] = False
        self.tell(f"relay {number} restarts")
        for socket in node.sockets:
            node.host.close(socket)
        node.start()
        self._serves_since[number] = None
        self._note_ways()

    def set_wall(self, *, is_blocked: bool) -> None:
        """Between A and B; both still reach the relays."""
        self.walls["A"].prefixes = (self._public["B"],) if is_blocked else ()
        self.walls["B"].prefixes = (self._public["A"],) if is_blocked else ()
        self.tell(f"the direct way between A and B is {'blocked' if is_blocked else 'open'}")

    def revalidate(self, name: str) -> None:
        node = self.nodes[name]
        self.tell(f"{name} wakes up and validates every path")
        node.do(node.swarm.revalidate, self.world.now)

    def heal(self) -> None:
        """Everything is as it was in the beginning, but for what the nodes remember."""
        self.tell("everything heals")
        for name in self.nodes:
            self.set_interface(name, is_up=True)
            self.set_access(name, loss=0.0, delay=ACCESS.delay)
        for number in range(RELAYS):
            self.set_relay(number, is_cut=False)
            if self._draining[number]:
                self.restart_relay(number)
        self.set_wall(is_blocked=False)

    # what must hold

    def check(self) -> None:
        """Raises AssertionError where something is not as it must always be."""
        for name, other in (("A", "B"), ("B", "A")):
            node, traffic = self.nodes[name], self.traffic[other]
            handle, stream = self._handles[name], traffic.stream
            if handle is not None and stream is not None:
                traffic.check(node.received.get((handle, stream.stream_id), b""))
        for name, node in self.nodes.items():
            circuits = len(node.swarm._state.circuits)
            assert circuits <= MAX_CIRCUITS, f"{name} has {circuits} circuits"
            self._check_paths(name)

    def _check_paths(self, name: str) -> None:
        connection = self.connection(name)
        if connection is None or connection.is_closed:
            return
        paths = connection.paths.paths
        assert len(paths) <= MAX_PATHS, f"{name} has paths {list(paths)}"
        assert connection.paths.active in paths.values(), f"{name} uses a path that is gone"
        routes = Counter(p.route.key for p in paths.values() if p.route is not None)
        streams = len(connection.streams)
        assert streams <= MAX_STREAMS, f"{name} has {streams} streams"
        twice = [key for key, count in routes.items() if count > 2]
        assert not twice, f"{name} has {routes[twice[0]]} paths over one route, {twice[0]}"

    def _on_event(self, node: SimNode, event: events.SwarmEvent) -> None:
        name = self._who(node.peer_id)
        match event:
            case events.ConnectionClosed(handle, peer_id, reason):
                self._on_closed(name, handle, peer_id, reason)
            case events.PathChanged(handle, peer_id, route, reason) if name in self.nodes:
                way = f"by {self._relay_of(node, handle)}" if route.is_relayed else route.remote
                self.tell(f"  {name} sends to {self._who(peer_id)} {way}: {reason}")
            case events.PunchEnded(_, _, number, strategy, is_direct, reason):
                self.tell(f"  {name}'s punch {number} ({strategy}): {is_direct} {reason}")
            case events.ReservationsChanged(relays):
                self.tell(f"  {name} is reserved at {[self._who(r) for r in relays]}")
            case events.ConnectionEstablished(_, peer_id, is_initiator) if is_initiator:
                self.tell(f"  {name} is connected with {self._who(peer_id)}")
            case _:
                pass

    def _on_closed(self, name: str, handle: int, peer_id: PeerId, reason: P2PNodeError) -> None:
        self.tell(f"  {name} has lost {self._who(peer_id)}: {reason} ({type(reason).__name__})")
        assert not isinstance(reason, ClosedForViolation), f"{name}: {reason}"
        if isinstance(reason, ClosedByPeer):
            assert reason.code in (0, ErrorCode.SUPPLANTED, ErrorCode.SHUTDOWN), f"{name}: {reason}"
        if name in self.nodes and handle == self._handles[name]:
            self.losses[name] = Loss(self.world.now, reason)
            excused = isinstance(reason, ClosedByPeer | ClosedLocally) and len(self.losses) > 1
            assert excused or not self.has_way, f"{name} lost the connection: {reason}"

    # details

    @contextmanager
    def telling(self) -> Generator[None]:
        """A failure inside carries the story."""
        try:
            with FailureReport(self.world):
                yield
        except Exception as error:
            error.add_note("\n".join(self.story))
            self.story = ["(told above)"]
            raise

    def tell(self, what: str) -> None:
        self.story.append(f"{self.world.now:9.3f} s  {what}")

    def _interfaces_changed(self, name: str) -> None:
        node = self.nodes[name]
        node.do(node.swarm.handle_interfaces_changed, node.host.stack.addresses(), self.world.now)

    def _note_ways(self) -> None:
        for number in range(RELAYS):
            serves = not (self._cut[number] or self._draining[number] or any(self._down.values()))
            if not serves:
                self._serves_since[number] = None
            elif self._serves_since[number] is None:
                self._serves_since[number] = self.world.now

    def _keep_relays(self) -> None:
        """Dials the relays again whenever one is gone, as a node does with its bootstrap peers."""
        for name, node in self.nodes.items():
            for number, relay in enumerate(self.relays):
                key = name, number
                if node.swarm.facts.best(relay.peer_id) is not None or self._is_dialling(key):
                    continue
                self._dials[key] = node.dial(relay)
        self.world.after(REDIAL, self._keep_relays)

    def _is_dialling(self, key: tuple[str, int]) -> bool:
        dial_id = self._dials.get(key)
        return dial_id is not None and outcome_of(self.nodes[key[0]], dial_id) is None

    def _pool_handle(self, name: str) -> int | None:
        other = self.b if name == "A" else self.a
        return self.nodes[name].swarm.facts.best(other.peer_id)

    def _who(self, peer_id: PeerId) -> str:
        names = {self.a.peer_id: "A", self.b.peer_id: "B"}
        names |= {relay.peer_id: f"relay {n}" for n, relay in enumerate(self.relays)}
        return names.get(peer_id, str(peer_id))

    def _relay_of(self, node: SimNode, handle: int) -> str:
        peer = node.swarm.facts.peer(handle)
        relay = None if peer is None else node.swarm.facts.relay_of(peer.route)
        return "a circuit that is gone" if relay is None else self._who(relay)

    def _wall(self, name: str, site: Site) -> Wall:
        wall = Wall(self.world, f"{name.lower()}-wall")
        inner = site.link.inside.peer
        assert inner is not None
        connect(inner, wall.inside)
        connect(wall.outside, site.link.inside)
        return wall


def outcome_of(node: SimNode, dial_id: int) -> events.DialSucceeded | events.DialFailed | None:
    """Returns how a dial has ended, or None while it has not."""
    for event in node.events:
        if isinstance(event, events.DialSucceeded | events.DialFailed) and event.dial_id == dial_id:
            return event
    return None


def _prefix_of(site: Site) -> str:
    ip = site.hosts[0].ip if site.nat is None else site.nat.public_ips[0]
    return ip.rsplit(".", 1)[0] + "."
