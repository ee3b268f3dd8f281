"""Which connections keep their places, and which go when there are many."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest

from p2pnode.machine import ConnectionHandle, SocketAddr, SocketId
from p2pnode.resources.account import Account
from p2pnode.resources.limits import ResourceLimits
from p2pnode.resources.refusal import Holder
from p2pnode.swarm.connection_pool import ConnectionPool, PooledConnection
from p2pnode.swarm.peer import Peer
from p2pnode.swarm.trimming import SILENCE, Trimming
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.places import holder
from p2pnode.transports.route import Route
from tests.support.addresses import NOISE_UDP
from tests.support.identities import peer_id

LIMITS = replace(ResourceLimits(), low_water=4, high_water=6, grace_period=60.0)
OLD = 100.0
ROUTE = Route(SocketId(0), None, SocketAddr("192.0.2.1", 1))


@dataclass
class Connection:
    last_received: float
    streams: list[int] = field(default_factory=list)
    closed: list[tuple[int, bool]] = field(default_factory=list)

    def close(self, code: int, reason: str, now: float, *, is_application: bool) -> None:
        self.closed.append((code, is_application))


class World:
    """Connections 1 to `count`, made at 0, of which each was silent longer than the next one."""

    def __init__(self, count: int) -> None:
        self.account = Account(LIMITS)
        self.commons = SimpleNamespace(places=SimpleNamespace())
        self.connections = {n: Connection(float(n)) for n in range(1, count + 1)}
        pool, peers = ConnectionPool(peer_id("self")), {}
        for n in self.connections:
            handle = ConnectionHandle(n)
            self.account.connections.put(handle, Holder())
            pool.add(peer_id(n), PooledConnection(handle, n == 3, 0.0, NOISE_UDP))
            peers[handle] = Peer(
                handle, peer_id(n), ROUTE, is_initiator=n == 3, transport=NOISE_UDP
            )
        services = SimpleNamespace(
            relay_client=SimpleNamespace(uses=lambda peer: peer == peer_id(1)),
            relay_server=SimpleNamespace(serves=lambda peer: peer == peer_id(2), has_clients=False),
        )
        state = SimpleNamespace(pool=pool, peers=peers)
        self.pool, self._peers = pool, peers
        self.closed_in_order: list[int] = []
        self.trimming = Trimming(self, state, services, LIMITS)  # type: ignore[arg-type]

    def move(self, number: int, ip: str) -> None:
        """Says from where a connection has come."""
        handle = ConnectionHandle(number)
        route = Route(SocketId(0), None, SocketAddr(ip, 1))
        self._peers[handle] = self._peers[handle]._replace(route=route)
        self.account.connections.give_back(handle)
        self.account.connections.put(handle, holder(route))

    @contextmanager
    def commanding(self, handle: int, now: float) -> Iterator[Connection | None]:
        self.closed_in_order.append(handle)
        yield self.connections.get(handle)

    @property
    def closed(self) -> list[int]:
        return [n for n, connection in self.connections.items() if connection.closed]


@pytest.mark.spec("RESOURCES-6")
def test_beyond_the_high_water_idle_connections_are_closed_the_longest_silent_first() -> None:
    world = World(9)
    world.connections[4].streams = [0]
    world.connections[5].last_received = 50.0
    world.account.protect(peer_id(6), is_protected=True)
    world.trimming.on_connected(OLD)
    # 1 to 3 and 6 are protected, 4 is in use: of the four that are left all may go.
    assert world.closed == [5, 7, 8, 9]
    assert world.connections[7].closed == [(ErrorCode.EXCESSIVE_LOAD, False)]

    world = World(7)
    world.connections[5].last_received = 50.0
    world.trimming.on_connected(OLD)
    assert world.closed == [4, 6, 7]


@pytest.mark.spec("RESOURCES-6")
def test_the_fullest_network_gives_its_longest_silent_first() -> None:
    world = World(10)
    for n, ip in {**dict.fromkeys(range(4, 9), "192.0.2.1"), 9: "8.8.8.8", 10: "9.9.9.9"}.items():
        world.move(n, ip)
    world.connections[6].last_received = 99.0
    world.trimming.on_connected(OLD)
    # 1 to 3 are protected.  When the network of five has one left, all have one.
    assert world.closed_in_order == [4, 5, 7, 8, 9, 10]


@pytest.mark.spec("RESOURCES-6")
def test_nobody_is_closed_below_the_high_water_in_the_grace_period_or_soon_after() -> None:
    world = World(6)
    world.trimming.on_connected(OLD)
    assert world.closed == []

    world = World(9)
    world.trimming.on_connected(LIMITS.grace_period - 1)
    assert world.closed == []
    world.trimming.on_connected(LIMITS.grace_period - 1 + SILENCE / 2)
    assert world.closed == []
    world.trimming.on_connected(LIMITS.grace_period - 1 + SILENCE)
    assert world.closed == [4, 5, 6, 7, 8]


@pytest.mark.spec("RESOURCES-3")
def test_own_dials_and_those_of_use_keep_their_places_whoever_comes() -> None:
    world = World(5)
    assert not world.commons.places.awaits_protected()
    world.account.protect(peer_id(5), is_protected=True)
    assert world.commons.places.awaits_protected()
    protected = [n for n in world.connections if world.commons.places.is_protected(n)]
    assert protected == [1, 2, 3, 5]
    assert not world.commons.places.is_protected(99)
    known = [n for n in range(1, 9) if world.commons.places.is_protected_peer(peer_id(n))]
    assert known == [1, 2, 5]
    world.account.protect(peer_id(5), is_protected=False)
    assert not world.commons.places.is_protected_peer(peer_id(5))


@pytest.mark.spec("RESOURCES-3", "SWARM-38")
def test_an_own_connection_beside_a_better_one_keeps_its_place_no_more_than_strangers() -> None:
    world = World(9)
    world.pool.add(peer_id(3), PooledConnection(ConnectionHandle(99), False, 0.0, NOISE_UDP))
    assert not world.commons.places.is_protected(3)
    world.trimming.on_connected(OLD)
    assert 3 in world.closed
