"""Whole nodes that have given all they have: who gets in, who goes, and who stays."""

from dataclasses import replace

import pytest

from p2pnode.errors import ClosedByPeer
from p2pnode.identity.peer_id import PeerId
from p2pnode.netsim.host import Host
from p2pnode.netsim.nat_presets import home
from p2pnode.netsim.topology import SiteParams, internet
from p2pnode.netsim.world import World
from p2pnode.protocols.relay import CIRCUIT_HOP_PROTOCOL_ID, RelayLimits, Status
from p2pnode.protocols.relay.circuit_messages import CircuitConnect, encode_circuit
from p2pnode.protocols.relay.circuit_table import IDLE_TIMEOUT
from p2pnode.resources.limits import ResourceLimits
from p2pnode.resources.refusal import Resource
from p2pnode.swarm import SwarmConfig
from p2pnode.swarm.config import RelayMode
from p2pnode.swarm.events import ConnectionClosed, StreamOpened
from p2pnode.testbed.sim_node import SimNode
from p2pnode.transports.error_code import ErrorCode
from tests.support.hostile import Hostile

PLACES = 8  # of them one is reserved
HELD = "/test/held/1"
SIZE = 100_000
"""bytes"""


class Hub:
    """A relay that has few places, and whoever comes, each from an address of its own."""

    def __init__(
        self,
        resources: ResourceLimits | None = None,
        relay: RelayLimits | None = None,
        *,
        mode: RelayMode = RelayMode.ALWAYS,
        ipv6: bool = False,
    ) -> None:
        self.world = World(1, trace_size=64)
        self.net = internet(self.world)
        config = SwarmConfig(
            relay_mode=mode,
            resources=resources or ResourceLimits(),
            relay_limits=relay or RelayLimits(),
        )
        self.relay = SimNode(self.net.host("relay", ipv6=ipv6), config=config)

    def neighbours(self, count: int) -> tuple[Host, ...]:
        """Returns hosts that share an IPv4 address."""
        return self.net.site("home", SiteParams(nat=home(), hosts=count)).hosts

    def at_home(self, name: str) -> SimNode:
        """Returns a node behind a NAT of its own."""
        return SimNode(self.net.site(name, SiteParams(nat=home())).hosts[0])

    def comes(self, node: SimNode, seconds: float = 8.0) -> bool:
        """Lets a node dial the relay; returns whether it stays connected for a second."""
        node.dial(self.relay)
        self.world.reaches(lambda: node.connections_to(self.relay) > 0, seconds)
        self.world.run_for(1)
        return node.connections_to(self.relay) > 0

    def reserves(self, node: SimNode) -> int:
        """Lets a node reserve with the relay; returns its connection."""
        connection = node.connect(self.relay)
        self.world.run_until(lambda: node.peer_id in self.reservations(), 10)
        return connection

    def reservations(self) -> dict[PeerId, float]:
        """Returns who has reserved, and until when."""
        return self.relay.swarm._services.relay_server.reservations()

    def used(self, resource: Resource) -> int:
        """Returns how much the relay's account knows to be held of a resource."""
        return next(u.used for u in self.relay.swarm.facts.resources() if u.resource is resource)

    def protect(self, peer_id: PeerId) -> None:
        self.relay.do(self.relay.swarm.protect, peer_id)


def few_places() -> ResourceLimits:
    """Returns limits by which a single network takes all that strangers may have."""
    limits = ResourceLimits(grace_period=3600.0).with_connections(2 * PLACES)
    return replace(limits, connections=replace(limits.connections, network=3))


@pytest.mark.spec("RESOURCES-3")
def test_a_protected_peer_gets_in_from_a_network_that_has_all_of_its_share() -> None:
    hub = Hub(few_places())
    *crowd, one, other, wanted = map(SimNode, hub.neighbours(6))
    assert [hub.comes(node) for node in crowd] == [True] * 3
    assert not hub.comes(one)

    hub.protect(wanted.peer_id)
    assert not hub.comes(other), "who is protected is known by its key"
    assert hub.comes(wanted)
    assert all(node.connections_to(hub.relay) for node in crowd)


@pytest.mark.spec("RESOURCES-8")
def test_a_protected_peer_reserves_where_strangers_have_all_of_theirs() -> None:
    hub = Hub(relay=RelayLimits(max_reservations=8, max_reservations_per_ip=8))
    *strangers, wanted = map(SimNode, hub.neighbours(10))
    hub.protect(wanted.peer_id)
    assert all(hub.comes(node) for node in strangers)
    hub.world.run_for(10)
    reserved = hub.relay.swarm.facts.counts.relay_server().reservations
    assert reserved == hub.used(Resource.RESERVATIONS) == 7

    assert hub.comes(wanted)
    hub.world.run_until(lambda: bool(wanted.swarm.facts.reservations()), 10)
    assert hub.used(Resource.RESERVATIONS) == 8
    refused = hub.relay.swarm.facts.counts.relay_server().reservation_answers
    assert refused[Status.RESERVATION_REFUSED] >= 2


@pytest.mark.spec("RESOURCES-23")
def test_what_was_sent_by_who_has_gone_counts_until_the_application_lets_go_of_it() -> None:
    hub = Hub()
    hub.relay.do(hub.relay.swarm.handle_protocol, HELD, hub.world.now)
    peer = SimNode(hub.net.host("peer"))
    connection = peer.connect(hub.relay)
    streams = [peer.open(connection, HELD) for _ in range(2)]
    hub.world.run_for(1)
    for stream in streams:
        assert peer.do(stream.write, bytes(SIZE)) == SIZE
    hub.world.run_for(2)
    peer.do(peer.swarm.close, hub.world.now)
    hub.world.run_for(5)
    assert hub.used(Resource.MEMORY) == 2 * SIZE

    first, second = (e.stream for e in hub.relay.of(StreamOpened) if e.stream.protocol == HELD)
    assert len(hub.relay.do(first.read, 2 * SIZE)) == SIZE
    assert hub.used(Resource.MEMORY) == SIZE
    hub.relay.do(hub.relay.swarm.release_stream, second, hub.world.now)
    assert hub.used(Resource.MEMORY) == 0


@pytest.mark.slow
@pytest.mark.spec("RELAY-44")
def test_reservations_of_households_that_fill_a_relay_keep_nobody_from_it() -> None:
    # A quarter of the default: it takes sixteen households there.
    limits = RelayLimits(max_reservations=RelayLimits().max_reservations // 4)
    hub = Hub(relay=limits, ipv6=True)
    for household in range(4):
        params = SiteParams(ipv4=False, ipv6=True, hosts=limits.max_reservations_per_ip)
        for host in hub.net.site(f"household {household}", params).hosts:
            node = SimNode(host)
            node.dial(hub.relay, hub.relay.address(hub.relay.host.interfaces[0].addresses[1]))
        hub.world.run_for(3)
    hub.world.run_for(10)
    assert hub.used(Resource.RESERVATIONS) == limits.max_reservations, "all are taken"

    newcomers = [hub.at_home(f"newcomer {n}") for n in range(4)]
    for node in newcomers:
        node.dial(hub.relay)
    hub.world.run_for(10)
    assert all(node.swarm.facts.reservations() for node in newcomers)
    assert hub.used(Resource.RESERVATIONS) == limits.max_reservations


@pytest.mark.slow
@pytest.mark.spec("RELAY-44")
@pytest.mark.spec("RELAY-45")
def test_idle_circuits_of_four_networks_keep_nobody_from_a_default_relay_and_end() -> None:
    hub = Hub()
    limits = RelayLimits()
    targets = [hub.at_home(f"target {n}") for n in range(4)]
    for node in targets:
        node.connect(hub.relay)
    hub.world.run_until(lambda: all(node.swarm.facts.reservations() for node in targets), 20)
    for n in range(4):
        mallory = Hostile(hub.net.host(f"mallory {n}", ipv6=False))
        connection = mallory.connect(hub.relay)
        for number in range(limits.max_circuits_per_ip):
            target = targets[number % 4].peer_id
            ask = encode_circuit(CircuitConnect(target, number.to_bytes(8, "big")))
            mallory.say(connection, CIRCUIT_HOP_PROTOCOL_ID, ask)
            hub.world.run_for(0.3)
    assert hub.used(Resource.CIRCUITS) == limits.max_circuits, "all are taken"

    for n, target in enumerate(targets):
        visitor = hub.at_home(f"visitor {n}")
        visitor.connect(hub.relay)
        visitor.do(visitor.swarm.dial, target.peer_id, (), hub.world.now)
        hub.world.run_until(lambda v=visitor, t=target: v.connections_to(t) > 0, 10)
    hub.world.run_for(IDLE_TIMEOUT + 1)
    assert hub.used(Resource.CIRCUITS) <= 2 * len(targets), "those that carry nothing have ended"


@pytest.mark.spec("RESOURCES-6")
def test_trimming_takes_idle_connections_of_the_fullest_network_and_nothing_of_use() -> None:
    resources = ResourceLimits(grace_period=5.0, low_water=6, high_water=9)
    hub = Hub(resources, mode=RelayMode.OFF)
    hub.relay.serve(HELD)
    own = SimNode(hub.net.host("own", ipv6=False))
    hub.relay.connect(own)
    friend, user, alone = (hub.at_home(name) for name in ("friend", "user", "alone"))
    hub.protect(friend.peer_id)
    crowd = [SimNode(host) for host in hub.neighbours(5)]
    for node in (alone, friend, *crowd):
        node.connect(hub.relay)
    stream = user.open(user.connect(hub.relay), HELD)
    user.do(stream.write, b"in use")
    hub.world.run_for(20)
    everybody = (own, friend, user, alone, *crowd)
    assert all(node.connections_to(hub.relay) for node in everybody), "it is the high water"

    newcomer = hub.at_home("newcomer")
    newcomer.connect(hub.relay)
    hub.world.run_for(2)
    gone = [node for node in everybody if not node.connections_to(hub.relay)]
    assert len(gone) == 4
    assert all(node in crowd for node in gone)
    ends = [e.reason for node in gone for e in node.of(ConnectionClosed)]
    assert all(isinstance(end, ClosedByPeer) for end in ends)
    assert {end.code for end in ends if isinstance(end, ClosedByPeer)} == {ErrorCode.EXCESSIVE_LOAD}
    assert hub.used(Resource.CONNECTIONS) == 6


@pytest.mark.spec("RELAY-44")
def test_a_peer_that_uses_its_connection_loses_its_reservation_alone() -> None:
    hub = Hub(relay=RelayLimits(max_reservations=4, max_reservations_per_ip=4))
    hub.relay.serve(HELD)
    neighbours = [SimNode(host) for host in hub.neighbours(4)]
    connections = [hub.reserves(node) for node in neighbours]
    third, last = neighbours[2:]
    stream = last.open(connections[3], HELD)
    last.do(stream.write, b"one")
    hub.world.run_for(5)

    newcomers = [hub.at_home(name) for name in ("one", "other")]
    hub.reserves(newcomers[0])
    hub.world.run_for(2)
    assert last.peer_id not in hub.reservations()
    last.do(stream.write, b" more")
    hub.world.run_for(1)
    assert b"one more" in hub.relay.received.values()
    assert not last.of(ConnectionClosed)

    hub.reserves(newcomers[1])
    hub.world.run_for(2)
    assert third.peer_id not in hub.reservations()
    (end,) = third.of(ConnectionClosed)
    assert isinstance(end.reason, ClosedByPeer)
    assert end.reason.code == ErrorCode.EXCESSIVE_LOAD
