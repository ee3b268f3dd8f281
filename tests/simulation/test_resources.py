"""Whole nodes that have given all they have: who gets in, who goes, and who stays."""

from dataclasses import replace

import pytest

from p2pnode.identity.peer_id import PeerId
from p2pnode.netsim.host import Host
from p2pnode.netsim.nat_presets import home
from p2pnode.netsim.topology import SiteParams, internet
from p2pnode.netsim.world import World
from p2pnode.protocols.relay import RelayLimits, Status
from p2pnode.resources.limits import ResourceLimits
from p2pnode.resources.refusal import Resource
from p2pnode.swarm import SwarmConfig
from p2pnode.swarm.config import RelayMode
from p2pnode.swarm.events import StreamOpened
from p2pnode.testbed.sim_node import SimNode

PLACES = 8  # of them one is reserved
HELD = "/test/held/1"
SIZE = 100_000
"""bytes"""


class Hub:
    """A relay that has few places, and whoever comes, each from an address of its own."""

    def __init__(
        self, resources: ResourceLimits | None = None, relay: RelayLimits | None = None
    ) -> None:
        self.world = World(1, trace_size=64)
        self.net = internet(self.world)
        config = SwarmConfig(
            relay_mode=RelayMode.ALWAYS,
            resources=resources or ResourceLimits(),
            relay_limits=relay or RelayLimits(),
        )
        self.relay = SimNode(self.net.host("relay", ipv6=False), config=config)

    def neighbours(self, count: int) -> tuple[Host, ...]:
        """Returns hosts that share an IPv4 address."""
        return self.net.site("home", SiteParams(nat=home(), hosts=count)).hosts

    def comes(self, node: SimNode, seconds: float = 8.0) -> bool:
        """Lets a node dial the relay; returns whether it stays connected for a second."""
        node.dial(self.relay)
        self.world.reaches(lambda: node.connections_to(self.relay) > 0, seconds)
        self.world.run_for(1)
        return node.connections_to(self.relay) > 0

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
