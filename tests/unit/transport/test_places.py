"""Who gets a place for a connection, and who makes room."""

import pytest

from p2pnode.machine import ConnectionHandle, SocketId, UdpAddr
from p2pnode.transport.places import (
    LOCAL_FACTOR,
    MAX_PER_48,
    MAX_PER_56,
    MAX_PER_PREFIX,
    NoRoom,
    Places,
    Room,
)
from p2pnode.transport.route import Route


def route(ip: str, port: int = 1, socket: int = 0) -> Route:
    return Route(SocketId(socket), None, UdpAddr(ip, port))


def nothing_is_useful(handle):
    return False


def fill(places: Places, ips, *, first: int = 1) -> int:
    """Lets peers come one after the other while there is room; returns the next handle."""
    handle = first
    for ip in ips:
        verdict = places.verdict(route(ip), nothing_is_useful)
        if isinstance(verdict, NoRoom):
            continue
        if verdict.instead_of is not None:
            places.remove(verdict.instead_of)
        places.add_inbound(ConnectionHandle(handle), route(ip))
        handle += 1
    return handle


@pytest.mark.parametrize(
    ("ips", "limit"),
    [
        (["198.51.100.1"], MAX_PER_PREFIX),
        ([f"2a00:1:1:1::{n:x}" for n in range(1, 4)], MAX_PER_PREFIX),
        ([f"2a00:1:1:{n:x}::1" for n in range(16)], MAX_PER_56),
        ([f"2a00:1:1:{n:x}00::1" for n in range(16)], MAX_PER_48),
        (["127.0.0.1"], LOCAL_FACTOR * MAX_PER_PREFIX),
    ],
)
def test_a_network_has_its_share(ips, limit):
    places = Places(10_000)
    fill(places, ips * (2 * limit // len(ips)))
    assert places.taken == limit
    verdict = places.verdict(route(ips[0]), nothing_is_useful)
    assert isinstance(verdict, NoRoom)
    assert "share" in verdict.scope


def test_peers_over_a_circuit_count_for_its_relay():
    places = Places(10_000)
    for handle in range(MAX_PER_PREFIX):
        places.add_inbound(ConnectionHandle(handle), route("198.51.100.1", socket=-handle - 1))
    assert isinstance(places.verdict(route("198.51.100.1", socket=-9999), bool), NoRoom)
    assert places.verdict(route("198.51.100.1"), bool) == Room()


def test_dials_of_our_own_find_a_reserve():
    places = Places(80)
    fill(places, [f"198.51.100.{n}" for n in range(200)])
    assert places.taken == 70
    for handle in range(1000, 1010):
        assert places.can_dial
        places.add_outbound(ConnectionHandle(handle))
    assert not places.can_dial


def test_the_fullest_network_makes_room_and_its_newest_goes_first():
    places = Places(80)
    after = fill(places, ["198.51.100.1"] * 40 + [f"203.0.113.{n}" for n in range(30)])
    assert places.taken == 70
    assert places.verdict(route("192.0.2.1"), nothing_is_useful) == Room(ConnectionHandle(40))
    fill(places, [f"192.0.2.{n}" for n in range(1, 20)], first=after)
    assert places.taken == 70
    assert places.verdict(route("192.0.2.99"), nothing_is_useful) == Room(ConnectionHandle(21))


def test_the_fullest_network_gets_no_more():
    places = Places(80)
    fill(places, ["198.51.100.1"] * 40 + [f"203.0.113.{n}" for n in range(30)])
    assert places.verdict(route("198.51.100.1"), nothing_is_useful) == NoRoom("this node")


def test_who_has_streams_stays_longer_and_who_is_protected_stays():
    places = Places(8)
    fill(places, ["198.51.100.1"] * 5 + ["203.0.113.1", "203.0.113.2"])
    places.protect(ConnectionHandle(5), is_protected=True)
    newcomer = route("192.0.2.1")
    assert places.verdict(newcomer, lambda handle: handle == 4) == Room(ConnectionHandle(3))
    assert places.verdict(newcomer, lambda handle: True) == Room(ConnectionHandle(4))
    for handle in range(1, 5):
        places.protect(ConnectionHandle(handle), is_protected=True)
    assert places.verdict(newcomer, nothing_is_useful) == NoRoom("this node")
    places.protect(ConnectionHandle(2), is_protected=False)
    assert places.verdict(newcomer, nothing_is_useful) == Room(ConnectionHandle(2))


def test_a_place_is_free_again():
    places = Places(8)
    fill(places, ["198.51.100.1"] * 20)
    for handle in range(1, 8):
        places.remove(ConnectionHandle(handle))
        places.remove(ConnectionHandle(handle))
    assert places.taken == 0
