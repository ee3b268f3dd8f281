"""Whole nodes that reach each other through relays: circuits, punches, standbys, visitors."""

from collections.abc import Callable

import pytest

from p2pnode.errors import DialError
from p2pnode.machine import SocketAddr
from p2pnode.netsim.host import Host
from p2pnode.netsim.nat_behaviour import NatBehaviour
from p2pnode.netsim.nat_presets import corporate, full_cone, home
from p2pnode.netsim.topology import Pair, PairParams, nat_pair, pair
from p2pnode.swarm import SwarmConfig
from p2pnode.swarm.config import RelayMode
from p2pnode.swarm.events import (
    ConnectionEstablished,
    DialFailed,
    DialSucceeded,
    PathChanged,
    PeerIdentified,
    PongReceived,
    PunchEnded,
)
from p2pnode.swarm.services.service import DialBack
from p2pnode.testbed.sim_node import PORT, SimNode
from p2pnode.transports.noise_udp.config import TransportConfig
from p2pnode.wire.multiaddr import Multiaddr, parse_multiaddr
from tests.support.addresses import NOISE_UDP
from tests.support.echo import echo

ECHO = "/echo/1.0.0"
Nat = Callable[[], NatBehaviour]


class World:
    """`a` and `b` behind NATs; relays in public, with which `a` has reserved."""

    def __init__(self, a: NatBehaviour, b: NatBehaviour, *, relays: int = 1, seed: int = 1) -> None:
        self.net: Pair = nat_pair(seed, a, b)
        self.time = self.net.world
        self.relays = [relay(host) for host in self.net.public[:relays]]
        self.a, self.b = SimNode(self.net.a), SimNode(self.net.b)
        for node in self.relays:
            self.a.dial(node)
        wait = self.time.run_until
        wait(lambda: len(self.a.swarm.facts.reservations()) == relays, 5)
        self.time.run_for(2)
        for node in self.relays:
            self.b.connect(node)

    def dial(self, *addresses: Multiaddr) -> int:
        """`b` dials `a`; returns the connection."""
        dial_id = self.b.do(self.b.swarm.dial, self.a.peer_id, addresses, self.time.now)
        self.time.run_until(lambda: bool(ended(self.b, dial_id)), 15)
        (outcome,) = ended(self.b, dial_id)
        assert isinstance(outcome, DialSucceeded), outcome
        return outcome.connection

    def is_relayed(self, connection: int) -> bool:
        peer = self.b.swarm.facts.peer(connection)
        assert peer is not None
        return peer.route.is_relayed

    def circuits(self) -> list[int]:
        """Returns how many circuits `a`, `b` and each relay know of."""
        ends = [len(node.swarm._state.circuits) for node in (self.a, self.b)]
        return ends + [len(r.swarm._services.relay_server._datagrams._by_key) for r in self.relays]


def relay(host: Host) -> SimNode:
    return SimNode(host, config=SwarmConfig(relay_mode=RelayMode.ALWAYS))


def ended(node: SimNode, dial_id: int) -> list[DialSucceeded | DialFailed]:
    outcomes: list[DialSucceeded | DialFailed] = [*node.of(DialSucceeded), *node.of(DialFailed)]
    return [outcome for outcome in outcomes if outcome.dial_id == dial_id]


def relayed_paths(node: SimNode, connection: int) -> int:
    paths = node.swarm._transports.connections[connection].paths.paths.values()
    return sum(path.route is not None and path.route.is_relayed for path in paths)


def ping(world: World, connection: int, timeout: float) -> None:
    before = len(world.b.of(PongReceived))
    world.b.do(world.b.swarm.ping, connection, world.time.now)
    world.time.run_until(lambda: len(world.b.of(PongReceived)) > before, timeout)


@pytest.mark.spec("SWARM-9")
def test_a_peer_behind_a_relay_is_reached_by_its_bare_id() -> None:
    world = World(home(), home())
    before = world.time.now
    connection = world.dial()
    assert world.is_relayed(connection)
    assert world.time.now - before < 0.5
    ping(world, connection, 1.0)


@pytest.mark.parametrize(("a", "b"), [(home, home), (full_cone, corporate), (corporate, full_cone)])
def test_data_moves_to_a_direct_path_without_a_byte_lost(a: Nat, b: Nat) -> None:
    world = World(a(), b())
    world.a.serve(ECHO, echo)
    connection = world.dial()
    stream = world.b.open(connection, ECHO)
    sent, got = bytes(range(256)) * 2000, bytearray()
    position = 0

    def back() -> bool:
        nonlocal position
        position += world.b.do(stream.write, sent[position:])
        while data := world.b.do(stream.read, 1 << 16):
            got.extend(data)
        return len(got) == len(sent)

    world.time.run_until(back, 30)
    assert bytes(got) == sent
    world.time.run_until(lambda: not world.is_relayed(connection), 5)
    reasons = [e.reason for e in world.b.of(PathChanged) if e.connection == connection]
    assert "a direct path works" in reasons
    assert any(e.is_direct for e in world.a.of(PunchEnded))


@pytest.mark.spec("SWARM-18")
@pytest.mark.parametrize("nat", [home, corporate])
def test_nothing_is_left_of_a_circuit_when_its_connection_has_ended(nat: Nat) -> None:
    world = World(nat(), nat())
    connection = world.dial()
    assert world.circuits() == [1, 1, 1]
    world.time.run_for(8)
    world.b.do(world.b.swarm.disconnect, connection, world.time.now)
    world.time.run_for(12)
    assert world.circuits() == [0, 0, 0]
    assert (
        world.b.swarm._services.relay_client._ends
        == world.a.swarm._services.relay_client._ends
        == {}
    )


@pytest.mark.spec("SWARM-9", "SWARM-10", "SWARM-18")
def test_a_peer_is_dialled_again_through_the_same_relay() -> None:
    world = World(corporate(), corporate())
    for _ in range(3):
        connection = world.dial()
        world.b.do(world.b.swarm.disconnect, connection, world.time.now)
        world.time.run_for(0.05)
    assert world.is_relayed(world.dial())


@pytest.mark.spec("SWARM-11")
def test_a_dial_after_a_cancelled_one_gets_through() -> None:
    world = World(corporate(), corporate())
    for wait in (0.0, 0.05, 0.11, 0.16):
        cancelled = world.b.do(world.b.swarm.dial, world.a.peer_id, (), world.time.now)
        world.time.run_for(wait)
        world.b.do(world.b.swarm.cancel_dial, cancelled, world.time.now)
        assert not ended(world.b, cancelled)
    world.dial()
    assert not ended(world.b, cancelled)
    world.time.run_for(12)
    assert max(world.circuits()) <= 1


@pytest.mark.spec("SWARM-18")
def test_a_circuit_whose_dial_was_cancelled_is_given_back() -> None:
    world = World(corporate(), corporate())
    dial_id = world.b.do(world.b.swarm.dial, world.a.peer_id, (), world.time.now)
    world.time.run_until(lambda: len(world.b.swarm._state.circuits) == 1, 5)
    world.b.do(world.b.swarm.cancel_dial, dial_id, world.time.now)
    world.time.run_for(1)
    assert world.circuits() == [0, 0, 0]


@pytest.mark.spec("SWARM-12")
def test_where_punching_fails_a_second_relay_stands_by() -> None:
    world = World(corporate(), corporate(), relays=2)
    connection = world.dial()
    world.time.run_until(lambda: relayed_paths(world.b, connection) == 2, 15)
    world.time.run_for(20)
    assert world.is_relayed(connection)
    assert relayed_paths(world.b, connection) == 2, "and no more than that"
    assert world.circuits()[:2] == [2, 2]


@pytest.mark.spec("SWARM-12", "SWARM-13")
def test_when_a_relay_lets_its_circuits_end_the_other_one_carries_on() -> None:
    world = World(corporate(), corporate(), relays=2)
    connection = world.dial()
    peer = world.b.swarm.facts.peer(connection)
    assert peer is not None
    first = next(r for r in world.relays if r.host.ip == peer.route.remote.ip)
    first.do(first.swarm.drain_relay, 1.0, world.time.now)
    world.time.run_for(3)
    peer = world.b.swarm.facts.peer(connection)
    assert peer is not None
    assert peer.route.remote.ip != first.host.ip
    ping(world, connection, 1.0)


@pytest.mark.spec("SWARM-13")
def test_a_relay_that_closes_everything_is_left_for_the_standby_at_once() -> None:
    world = World(corporate(), corporate(), relays=2)
    connection = world.dial()
    world.time.run_until(lambda: relayed_paths(world.b, connection) == 2, 15)
    peer = world.b.swarm.facts.peer(connection)
    assert peer is not None
    first = next(r for r in world.relays if r.host.ip == peer.route.remote.ip)
    first.do(first.swarm.close, world.time.now, "gone")
    world.time.run_for(0.1)
    ping(world, connection, 0.5)
    assert world.is_relayed(connection)


def test_the_path_to_the_relay_may_change_under_a_circuit() -> None:
    world = World(corporate(), corporate())
    connection = world.dial()
    world.time.run_for(10)
    nat = world.net.site_b.nat
    assert nat is not None
    nat.reboot()
    ping(world, connection, 10.0)
    assert world.is_relayed(connection)
    assert world.b.swarm.facts.best(world.a.peer_id) == connection


def test_both_dial_at_once_through_relays() -> None:
    world = World(corporate(), corporate())
    world.b.swarm._services.relay_client.set_needs_relay(True, world.time.now)
    world.time.run_until(lambda: bool(world.b.swarm.facts.relayed_addresses()), 20)
    for one, other in ((world.a, world.b), (world.b, world.a)):
        one.do(one.swarm.dial, other.peer_id, (), world.time.now)
    world.time.run_for(45)
    assert world.a.connections_to(world.b) == world.b.connections_to(world.a) == 1
    assert max(world.circuits()[:2]) <= 2
    best = world.b.swarm.facts.best(world.a.peer_id)
    assert best is not None
    ping(world, best, 1.0)


# hostile addresses


@pytest.mark.spec("SWARM-10")
def test_an_address_whose_relay_is_the_peer_itself_ends_as_a_failure() -> None:
    net = pair(1)
    a, b = SimNode(net.a), SimNode(net.b)
    dead = net.public[0].ip
    address = parse_multiaddr(
        f"/ip4/{dead}/udp/9/noise/p2p/{b.peer_id}/p2p-circuit/p2p/{b.peer_id}"
    )
    dial_id = a.do(a.swarm.dial, b.peer_id, (address,), net.world.now)
    net.world.run_until(lambda: bool(ended(a, dial_id)), 20)
    assert a.swarm._dials._dials == {}
    assert a.swarm._services.relay_client._waiting == {}


@pytest.mark.spec("SWARM-10")
def test_two_peers_that_are_said_to_relay_to_each_other_end_as_failures() -> None:
    net = pair(1)
    a = SimNode(net.a)
    one, two = SimNode(net.b), SimNode(net.public[0])
    hosts = {one: one.address(), two: two.address()}
    for node in (one, two):
        node.host.interfaces[0].is_up = False
    ids = []
    for wanted, via in ((one, two), (two, one)):
        text = f"{hosts[via]}/p2p/{via.peer_id}/p2p-circuit/p2p/{wanted.peer_id}"
        ids.append(a.do(a.swarm.dial, wanted.peer_id, (parse_multiaddr(text),), net.world.now))
    net.world.run_until(lambda: all(ended(a, dial_id) for dial_id in ids), 60)
    assert a.swarm._dials._dials == {}


def test_we_are_not_dialled_through_a_relay_by_ourselves() -> None:
    world = World(corporate(), corporate())
    own = world.a.swarm.facts.relayed_addresses()
    with pytest.raises(DialError):
        world.a.do(world.a.swarm.dial, world.a.peer_id, own, world.time.now)


# visitors


@pytest.mark.spec("SWARM-14")
def test_who_lets_us_open_no_streams_is_served_and_otherwise_ignored() -> None:
    net = pair(1)
    one_way = TransportConfig(max_streams=0)
    node, visitor = SimNode(net.a), SimNode(net.b, transport=one_way)
    node.serve(ECHO, echo)
    connection = visitor.connect(node)
    stream = visitor.open(connection, ECHO)
    visitor.do(stream.write, b"hello")
    visitor.do(stream.finish)
    got = bytearray()

    def answered() -> bool:
        got.extend(visitor.do(stream.read, 100))
        return stream.at_eof

    net.world.run_until(answered, 5)
    assert bytes(got) == b"hello"
    assert node.swarm.facts.best(visitor.peer_id) is None
    assert (node.of(ConnectionEstablished), node.of(PeerIdentified)) == ([], [])
    assert len(node.swarm._state.one_way) == 1
    visitor.do(visitor.swarm.disconnect, connection, net.world.now)
    net.world.run_for(10)
    assert node.swarm._state.one_way == {}


@pytest.mark.spec("SWARM-14")
def test_a_dial_that_finds_a_peer_which_allows_no_streams_fails() -> None:
    net = pair(1)
    one_way = TransportConfig(max_streams=0)
    node, visitor = SimNode(net.a), SimNode(net.b, transport=one_way)
    dial_id = node.dial(visitor)
    net.world.run_until(lambda: bool(ended(node, dial_id)), 20)
    (failed,) = ended(node, dial_id)
    assert isinstance(failed, DialFailed)
    assert any("streams" in str(reason) for _, reason in failed.attempts)
    net.world.run_for(10)
    assert (node.swarm._dials._dials, node.swarm._transports.connections) == ({}, {})


@pytest.mark.spec("SWARM-15")
def test_a_dial_back_is_a_visit_by_a_stranger_from_another_port() -> None:
    net = pair(1)
    node, server = SimNode(net.a), SimNode(net.b)
    node.connect(server)
    net.world.run_for(1)
    known = len(node.of(ConnectionEstablished))
    command = DialBack(1, node.peer_id, SocketAddr(node.host.ip, PORT), NOISE_UDP, 5.0)
    server.do(server.swarm._dial_backs.dial_back, command, net.world.now)
    seen = node.swarm._state.one_way
    net.world.run_until(lambda: bool(seen), 5)
    (visitor,) = seen.values()
    assert visitor.route.remote.ip == server.host.ip
    assert visitor.route.remote.port != PORT
    assert visitor.peer_id != server.peer_id
    assert len(node.of(ConnectionEstablished)) == known


# acquaintances


@pytest.mark.spec("SWARM-16")
def test_a_node_that_is_short_of_relays_meets_peers_of_its_peers() -> None:
    net = nat_pair(1, corporate(), corporate())
    first, second = relay(net.public[0]), relay(net.public[1])
    first.connect(second)
    net.world.run_for(2)
    node = SimNode(net.a)
    start = net.world.now
    node.connect(first)
    net.world.run_until(lambda: len(node.swarm.facts.reservations()) == 2, 40)
    assert node.swarm.facts.best(second.peer_id) is not None
    met = [e for e in node.of(ConnectionEstablished) if e.peer_id == second.peer_id]
    assert len(met) == 1
    assert net.world.now - start > 0.5, "only after it was settled who reaches it"


@pytest.mark.spec("SWARM-14")
def test_visitors_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2pnode.swarm.connection_reports.MAX_ONE_WAY_CONNECTIONS", 2)
    network = pair(1, PairParams(public_hosts=4))
    host = SimNode(network.a)
    one_way = TransportConfig(max_streams=0)
    visitors = [SimNode(h, transport=one_way) for h in network.public]
    for visitor in visitors:
        visitor.dial(host)
        network.world.run_for(0.5)
    assert len(host.swarm._state.one_way) == 2
    assert host.swarm.facts.peers() == ()
