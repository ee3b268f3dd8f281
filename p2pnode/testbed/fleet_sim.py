"""A test swarm in virtual time: the same plan and the same board, without rights and processes.

    fleet = SimFleet(plan, board, seed)
    fleet.run_for(60)

Rule: the same plan and seed give the same board.
"""

from typing import Final

from p2pnode.clock import Instant
from p2pnode.errors import P2PNodeError
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.peer_multiaddr import with_peer_id
from p2pnode.io.node.connection_info import path_kind, via
from p2pnode.machine import ConnectionHandle, SocketAddr
from p2pnode.netsim import nat_presets
from p2pnode.netsim.firewall import FirewallBehaviour
from p2pnode.netsim.host import Host
from p2pnode.netsim.nat_behaviour import NatBehaviour
from p2pnode.netsim.topology import Realm, SiteParams, internet
from p2pnode.netsim.udp_block import BlockPolicy
from p2pnode.netsim.world import World
from p2pnode.protocols.relay import GENEROUS
from p2pnode.swarm import SwarmConfig
from p2pnode.swarm.config import RelayMode
from p2pnode.swarm.events import (
    ConnectionClosed,
    DialFailed,
    DialSucceeded,
    ListenAddressesChanged,
    PingFailed,
    PongReceived,
    ReachabilityChanged,
    ReservationsChanged,
    SwarmEvent,
)
from p2pnode.testbed.fleet import FleetPlan, Member, Pair
from p2pnode.testbed.fleet_board import Board, Way
from p2pnode.testbed.sim_node import PORT, PROBE_PORT_OFFSET, SimNode

START_INTERVAL: Final = 0.05
"""seconds from one node's start to the next; chosen: about what processes take"""
PING_INTERVAL: Final = 1.0  # seconds
RETRY_INTERVAL: Final = 0.5
"""seconds from a dial that failed to the next one; chosen: news take about as long"""
TRACE_SIZE: Final = 1000
"""packets remembered; chosen: nobody looks at more of them here"""

_EASY = nat_presets.home()
_HARD = nat_presets.corporate()
_NATS: dict[str, NatBehaviour] = {
    "port-forward": _EASY,
    "full-cone": nat_presets.full_cone(),
    "address-restricted": nat_presets.address_restricted(),
    "port-restricted": _EASY,
    "leaky": nat_presets.leaky_linux(),
    "symmetric": _HARD,
    "double": _EASY,
    "symmetric-double": _EASY,
    "udp-blocked": _EASY,
}
"""The box in front of the host, by the name of the kind; kinds without one are not here."""
_CARRIERS: dict[str, NatBehaviour] = {"double": _EASY, "symmetric-double": _HARD}
"""A second box in front of the first."""


class SimFleet:
    """All nodes of a swarm, each started a little after the one before."""

    def __init__(self, plan: FleetPlan, board: Board, seed: int | str) -> None:
        self._world = World(seed, trace_size=TRACE_SIZE)
        self._plan = plan
        core = internet(self._world)
        self._nodes: dict[str, _FleetNode] = {}
        for i, member in enumerate(plan.members):
            host = _add_host(core, member)
            bootstrap = [self._nodes[relay.name] for relay in plan.bootstrap_of(member)]
            node = _FleetNode(host, member, board, bootstrap)
            self._nodes[member.name] = node
            self._world.at(i * START_INTERVAL, node.start)
        self._world.at(len(plan.members) * START_INTERVAL, self._start_pings)

    @property
    def now(self) -> Instant:
        """Seconds since the start, in virtual time."""
        return self._world.now

    def run_for(self, seconds: float) -> None:
        """Lets so much virtual time pass."""
        self._world.run_for(seconds)

    def _start_pings(self) -> None:
        for pair in self._plan.pairs:
            self._nodes[pair.asker].start_pinging(pair, self._nodes[pair.target].peer_id)


class _FleetNode(SimNode):
    """A node which keeps to its bootstrap peers, and pings whom it is told to ping."""

    def __init__(
        self, host: Host, member: Member, board: Board, bootstrap: list["_FleetNode"]
    ) -> None:
        config = SwarmConfig()
        if member.is_relay:
            config = SwarmConfig(relay_mode=RelayMode.ALWAYS, relay_limits=GENEROUS)
        super().__init__(host, config=config, speaks_ipv6=False, starts=False)
        self._member = member
        self._board = board
        self._bootstrap = {node.peer_id: node.address() for node in bootstrap}
        self._pairs: dict[PeerId, Pair] = {}
        self._dials: dict[int, PeerId] = {}
        self._connections: dict[ConnectionHandle, PeerId] = {}
        """On which pings are on their way."""

    def start(self) -> None:
        """Begins, and dials the bootstrap peers."""
        super().start()
        self._board.started(
            self._member.name, str(self.peer_id), self._addresses(), self.host.world.now
        )
        for peer_id in self._bootstrap:
            self._dial(peer_id)

    def start_pinging(self, pair: Pair, peer_id: PeerId) -> None:
        self._pairs[peer_id] = pair
        self._board.asked(pair, self.host.world.now)
        self._ping(peer_id)

    def _ping(self, peer_id: PeerId) -> None:
        """Pings a peer, or dials it first: the ping follows then."""
        swarm = self.swarm
        connection = swarm.facts.best(peer_id)
        if connection is None:
            self._dial(peer_id)
            return
        self._connections[connection] = peer_id
        self.host.call(swarm.ping, connection, self.host.now)
        self.host.world.after(PING_INTERVAL, lambda: self._ping(peer_id))

    def _dial(self, peer_id: PeerId) -> None:
        if self.swarm.facts.best(peer_id) is not None or peer_id in self._dials.values():
            return
        known = self._bootstrap.get(peer_id)
        addresses = () if known is None else (known,)
        try:
            # The answer may come while the call lasts: without `drain` it waits.
            dial_id = self.swarm.dial(peer_id, addresses, self.host.now)
        except P2PNodeError as exc:
            self._on_unreached(peer_id, str(exc))
        else:
            self._dials[dial_id] = peer_id
            self.host.drain()

    def on_event(self, event: SwarmEvent) -> None:
        """Tells the board, and goes on with what the event is the answer to."""
        super().on_event(event)
        name, board = self._member.name, self._board
        match event:
            case DialSucceeded(dial_id, _, _):
                peer_id = self._dials.pop(dial_id, None)
                if peer_id in self._pairs:
                    self._later(0.0, peer_id)
            case DialFailed(dial_id, attempts):
                reasons = dict.fromkeys(str(reason) for _, reason in attempts)
                peer_id = self._dials.pop(dial_id, None)
                if peer_id is not None:
                    self._on_unreached(peer_id, "; ".join(reasons) or "no address is known")
            case PongReceived(connection, rtt):
                self._on_pong(connection, rtt)
            case PingFailed(connection, reason):
                pair = self._pairs.get(self._connections.get(connection, self.peer_id))
                if pair is not None:
                    board.lost(pair, reason, self.host.world.now)
            case ConnectionClosed(connection, peer_id, _, is_last):
                self._connections.pop(connection, None)
                if is_last and peer_id in self._bootstrap:
                    self.host.world.after(RETRY_INTERVAL, lambda: self._dial(peer_id))
            case ReachabilityChanged(reachability, _):
                board.judged(name, reachability.value)
            case ReservationsChanged(relays, _):
                board.reserved(name, (str(relay) for relay in relays))
                board.addresses_changed(name, self._addresses())
            case ListenAddressesChanged():
                board.addresses_changed(name, self._addresses())
            case _:
                pass

    def _on_pong(self, connection: ConnectionHandle, rtt: float) -> None:
        peer_id = self._connections.get(connection)
        pair = None if peer_id is None else self._pairs.get(peer_id)
        found = self.swarm.facts.connection(connection)
        if pair is None or found is None:
            return
        route, by = found.route, found.transport
        way = Way(path_kind(route), str(via(route, by)), str(by), found.is_limited)
        self._board.pong(pair, way, rtt, self.host.world.now)

    def _on_unreached(self, peer_id: PeerId, reason: str) -> None:
        pair = self._pairs.get(peer_id)
        if pair is not None:
            self._board.lost(pair, reason, self.host.world.now)
            self._later(RETRY_INTERVAL, peer_id)
        else:
            self.host.world.after(RETRY_INTERVAL, lambda: self._dial(peer_id))

    def _later(self, delay: float, peer_id: PeerId | None) -> None:
        if peer_id is not None:
            self.host.world.after(delay, lambda: self._ping(peer_id))

    def _addresses(self) -> list[str]:
        listening = self.swarm.facts.listen_addresses()
        direct = [str(with_peer_id(address, self.peer_id)) for address in listening]
        return [*direct, *map(str, self.swarm.facts.relayed_addresses())]


def _add_host(core: Realm, member: Member) -> Host:
    """Builds what is between the node and the Internet."""
    kind, realm = member.kind, core
    if (carrier := _CARRIERS.get(kind.name)) is not None:
        realm, _ = core.carrier(f"{member.name}-isp", carrier)
    site = realm.site(
        member.name,
        SiteParams(
            nat=_NATS.get(kind.name),
            firewall=FirewallBehaviour() if kind.name == "firewall" else None,
            block=None if kind.udp else BlockPolicy(),
        ),
    )
    (host,) = site.hosts
    if kind.name == "port-forward":
        assert site.nat is not None
        for port in (PORT, PORT + PROBE_PORT_OFFSET):
            site.nat.add_forward(
                SocketAddr(site.nat.public_ips[0], port), SocketAddr(host.ip, port)
            )
    return host
