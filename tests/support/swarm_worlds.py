"""Two nodes that need a relay and a punch to meet, and what tests measure of them.

with_relays(net) -> Meeting --reserve--> --join--> first pong --await_direct--> direct
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from p2pnode.clock import Instant
from p2pnode.netsim.host import Host
from p2pnode.netsim.packet import Packet
from p2pnode.netsim.part import Port, chain
from p2pnode.netsim.topology import Pair, SharedNat, Site
from p2pnode.netsim.trace import Drop, Trace
from p2pnode.netsim.world import World
from p2pnode.swarm import SwarmConfig, events
from p2pnode.swarm.config import RelayMode
from p2pnode.swarm.swarm_stream import SwarmStream
from p2pnode.testbed.sim_node import SimNode

RELAY: Final = SwarmConfig(relay_mode=RelayMode.ALWAYS)
FILE: Final = "/test/file/1"
TICKS: Final = "/test/ticks/1"
TICK: Final = 0.02
"""seconds"""
STEP: Final = 64 * 1024
"""bytes written at a time"""


@dataclass(slots=True)
class Meeting:
    """A waits behind its NAT; B joins later, knowing the relay and A's peer id."""

    world: World
    relays: list[SimNode]
    a: SimNode
    b_host: Host
    nodes: list[SimNode] = field(default_factory=list[SimNode])

    @property
    def b(self) -> SimNode:
        return self.nodes[0]

    @property
    def connection(self) -> int:
        """B's to A."""
        best = self.b.swarm.facts.best(self.a.peer_id)
        assert best is not None
        return best

    def reserve(self, relays: int | None = None) -> float:
        """A joins; returns how long it takes to have this many relays, all by default."""
        started = self.world.now
        for relay in self.relays:
            join_at(self.a, relay)
        wanted = len(self.relays) if relays is None else relays
        self.world.run_until(lambda: len(self.a.swarm.facts.relayed_addresses()) >= wanted, 30)
        return self.world.now - started

    def join(self, *relays: SimNode) -> float:
        """B starts, joins these relays (the first one by default), pings A; returns the time."""
        started = self.world.now
        self.nodes.insert(0, SimNode(self.b_host))
        b = self.b
        for relay in relays or self.relays[:1]:
            join_at(b, relay)
        b.do(b.swarm.dial, self.a.peer_id, (), self.world.now)
        self.world.run_until(lambda: b.swarm.facts.best(self.a.peer_id) is not None, 20)
        b.do(b.swarm.ping, self.connection, self.world.now)
        self.world.run_until(lambda: bool(b.of(events.PongReceived)), 20)
        return self.world.now - started

    def is_direct(self) -> bool:
        """Whether both ends send directly."""
        ends = ((self.a, self.b), (self.b, self.a))
        return all(one.swarm.facts.direct(other.peer_id) is not None for one, other in ends)

    def await_direct(self, timeout: float = 15.0) -> float | None:
        """Returns how long the direct path takes from now on; None where there is none."""
        started = self.world.now
        return self.world.now - started if self.world.reaches(self.is_direct, timeout) else None

    def rounds(self) -> list[events.PunchEnded]:
        """Returns the rounds of punching that are over, as A, which begins them, saw them."""
        return self.a.of(events.PunchEnded)

    def relays_in_use(self) -> set[str]:
        """Returns the IPs of the relays through which B has a path to A."""
        paths = self.b.swarm._transports.connections[self.connection].paths.paths.values()
        routes = [p.route for p in paths if p.route is not None and p.route.is_relayed]
        known = {relay.peer_id: relay.host.ip for relay in self.relays}
        through = [self.b.swarm.facts.relay_of(route) for route in routes]
        return {known[relay] for relay in through if relay is not None}


def join_at(node: SimNode, server: SimNode) -> None:
    """Dials a public node, over IPv4 where both have it."""
    has_ipv4 = any(":" not in ip for i in node.host.interfaces for ip in i.addresses)
    addresses = [ip for i in server.host.interfaces for ip in i.addresses]
    node.dial(server, server.address(next(ip for ip in addresses if (":" not in ip) is has_ipv4)))


def with_relays(net: Pair, relays: int = 1) -> Meeting:
    """Starts relays on the public hosts, and A."""
    servers = [SimNode(host, config=RELAY) for host in net.public[:relays]]
    return Meeting(net.world, servers, SimNode(net.a), net.b)


def neighbours(net: SharedNat) -> Meeting:
    """The same with both nodes behind one NAT."""
    servers = [SimNode(net.public[0], config=RELAY)]
    a, b = net.site.hosts[:2]
    return Meeting(net.world, servers, SimNode(a), b)


class Transfer:
    """A file under way from one node to another, and when its bytes arrived."""

    def __init__(
        self, source: SimNode, target: SimNode, connection: int, size: int, *, seed: str = "file"
    ) -> None:
        self.world = source.host.world
        self.data = self.world.rng(seed).randbytes(size)
        self.received = bytearray()
        self.arrivals: list[Instant] = []
        self.is_over = False
        self._source = source
        self._sent = 0
        target.serve(FILE, self._on_data)
        self._stream = source.open(connection, FILE)
        self._push()

    def _push(self) -> None:
        while self._sent < len(self.data):
            chunk = self.data[self._sent : self._sent + STEP]
            taken = self._source.do(self._stream.write, chunk)
            self._sent += taken
            if taken < len(chunk):
                return
        self._source.do(self._stream.finish)
        self._sent = len(self.data) + 1

    def _on_data(self, stream: SwarmStream, data: bytes, eof: bool) -> None:
        if data:
            self.received += data
            self.arrivals.append(self.world.now)
        self.is_over = self.is_over or eof

    def step(self) -> bool:
        """Writes what there is room for; returns whether everything has arrived."""
        if self._sent <= len(self.data):
            self._push()
        return self.is_over

    def run(self, timeout: float = 60.0, until: Callable[[], bool] | None = None) -> None:
        """Runs to the end, or until something is true; in the end every byte must be right."""
        self.world.run_until(lambda: self.step() or (until is not None and until()), timeout)
        assert self.data.startswith(bytes(self.received))
        if self.is_over:
            assert self.received == self.data

    def has_arrived(self, size: int) -> Callable[[], bool]:
        return lambda: len(self.received) >= size

    def largest_gap(self, since: Instant, until: Instant | None = None) -> float:
        """Returns the longest time without new bytes between two instants."""
        return largest_gap(self.arrivals, since, self.world.now if until is None else until)


class Ticker:
    """A little data at a steady pace, as a voice has it: what a pause of the way costs shows."""

    def __init__(self, source: SimNode, target: SimNode, connection: int) -> None:
        self.world = source.host.world
        self.arrivals: list[Instant] = []
        self._source = source
        self._sent = self._received = 0
        target.serve(TICKS, self._on_data)
        self._stream = source.open(connection, TICKS)
        self._tick()

    def _tick(self) -> None:
        if self._source.do(self._stream.write, self._sent.to_bytes(4, "big")):
            self._sent += 1
        self.world.after(TICK, self._tick)

    def _on_data(self, stream: SwarmStream, data: bytes, eof: bool) -> None:
        for start in range(0, len(data) - len(data) % 4, 4):
            assert int.from_bytes(data[start : start + 4], "big") == self._received
            self._received += 1
        self.arrivals.append(self.world.now)

    def largest_gap(self, since: Instant) -> float:
        """Returns the longest time without a new tick since then."""
        return largest_gap(self.arrivals, since, self.world.now)


def largest_gap(arrivals: list[Instant], since: Instant, until: Instant) -> float:
    moments = [since, *(at for at in arrivals if since < at < until), until]
    return max(b - a for a, b in pairwise(moments))


class Cut:
    """A part that loses all packets to and from some public addresses: a route that died."""

    def __init__(self, world: World, name: str) -> None:
        self.name = name
        self.trace: Trace = world.trace
        self.inside = Port(self)
        self.outside = Port(self)
        self.lost: tuple[str, ...] = ()
        """IPs"""
        world.add(self)

    def handle_packet(self, packet: Packet, port: Port, now: Instant) -> None:
        if packet.src.ip in self.lost or packet.dst.ip in self.lost:
            self.trace.dropped(now, self.name, packet, Drop.LINK_DOWN)
            return
        (self.outside if port is self.inside else self.inside).send(packet, now)


def cut_at(site: Site, world: World) -> Cut:
    """Puts a cut between a site's access link and the Internet; it lets everything through yet."""
    cut = Cut(world, f"{site.link.name}-cut")
    outer = site.link.outside.peer
    assert outer is not None
    chain(site.link.outside, cut, outer=outer)
    return cut


def die(node: SimNode) -> None:
    """The machine is gone from one moment to the next, and tells nobody."""
    for interface in node.host.interfaces:
        interface.is_up = False


def roam(node: SimNode, new_ip: str) -> None:
    """The machine gets another IPv4 address on the same network, and the node hears of it."""
    interface = node.host.interfaces[0]
    old = next(ip for ip in interface.addresses if ":" not in ip)
    interface.remove_address(old)
    interface.add_address(f"{new_ip}/24")
    node.do(node.swarm.handle_interfaces_changed, tuple(interface.addresses), node.host.world.now)


def external_ip(meeting: Meeting, node: SimNode) -> str:
    """Returns where the first relay sees a node."""
    peers = meeting.relays[0].swarm._state.peers.values()
    return [peer.route.remote.ip for peer in peers if peer.peer_id == node.peer_id][-1]
