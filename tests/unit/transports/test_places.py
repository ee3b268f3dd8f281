"""Who gets a place for a connection, and who makes room."""

from dataclasses import replace

import pytest

from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import ConnectionHandle, SocketAddr, SocketId
from p2pnode.resources.ledger import Ledger
from p2pnode.resources.limits import LOCAL_FACTOR, ResourceLimits
from p2pnode.resources.refusal import Refusals, Resource, ScopeKind
from p2pnode.transports.places import NoRoom, Places, Room, holder
from p2pnode.transports.route import Route
from tests.support.identities import peer_id

SHARES = ResourceLimits().connections
SOMEBODY = PeerId.from_public_key(PrivateKey(bytes(32)).public_key)


def places_for(total: int, peer: int = 10_000) -> Places:
    shares = replace(SHARES, total=total, peer=peer)
    return Places(Ledger(Resource.CONNECTIONS, shares, Refusals(), has_reserve=True))


def full_scope(verdict) -> ScopeKind:
    assert isinstance(verdict, NoRoom)
    return verdict.refusal.scope


def gives_way(verdict) -> ConnectionHandle | None:
    assert isinstance(verdict, Room)
    return verdict.instead_of


def route(ip: str, port: int = 1, socket: int = 0) -> Route:
    return Route(SocketId(socket), None, SocketAddr(ip, port))


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
        places.add_inbound(ConnectionHandle(handle), verdict)
        handle += 1
    return handle


@pytest.mark.parametrize(
    ("ips", "limit"),
    [
        (["198.51.100.1"], SHARES.network),
        ([f"2a00:1:1:1::{n:x}" for n in range(1, 4)], SHARES.network),
        ([f"2a00:1:1:{n:x}::1" for n in range(16)], SHARES.net56),
        ([f"2a00:1:1:{n:x}00::1" for n in range(16)], SHARES.net48),
        (["127.0.0.1"], LOCAL_FACTOR * SHARES.network),
    ],
)
def test_a_network_has_its_share(ips, limit):
    places = places_for(10_000)
    fill(places, ips * (2 * limit // len(ips)))
    assert places.taken == limit
    verdict = places.verdict(route(ips[0]), nothing_is_useful)
    assert full_scope(verdict) is ScopeKind.NETWORK


def test_peers_over_a_circuit_count_for_its_relay():
    places = places_for(10_000)
    for handle in range(SHARES.network):
        from_relay = route("198.51.100.1", socket=-handle - 1)
        places.add_inbound(ConnectionHandle(handle), Room(holder(from_relay, SOMEBODY)))
    assert isinstance(places.verdict(route("198.51.100.1", socket=-9999), bool), NoRoom)
    assert gives_way(places.verdict(route("198.51.100.1"), bool)) is None


def test_dials_of_our_own_find_a_reserve():
    places = places_for(80)
    fill(places, [f"198.51.100.{n}" for n in range(200)])
    assert places.taken == 70
    for handle in range(1000, 1010):
        assert places.add_outbound(ConnectionHandle(handle)) is None
    refusal = places.add_outbound(ConnectionHandle(2000))
    assert refusal is not None
    assert refusal.scope is ScopeKind.PROCESS


def test_the_fullest_network_makes_room_and_its_newest_goes_first():
    places = places_for(80)
    after = fill(places, ["198.51.100.1"] * 40 + [f"203.0.113.{n}" for n in range(30)])
    assert places.taken == 70
    assert gives_way(places.verdict(route("192.0.2.1"), nothing_is_useful)) == 40
    fill(places, [f"192.0.2.{n}" for n in range(1, 20)], first=after)
    assert places.taken == 70
    assert gives_way(places.verdict(route("192.0.2.99"), nothing_is_useful)) == 21


def test_the_fullest_network_gets_no_more():
    places = places_for(80)
    fill(places, ["198.51.100.1"] * 40 + [f"203.0.113.{n}" for n in range(30)])
    verdict = places.verdict(route("198.51.100.1"), nothing_is_useful)
    assert full_scope(verdict) is ScopeKind.DIRECTION


def test_who_has_streams_stays_longer_and_who_is_protected_stays():
    places = places_for(8)
    fill(places, ["198.51.100.1"] * 5 + ["203.0.113.1", "203.0.113.2"])
    places.is_protected = {5}.__contains__
    newcomer = route("192.0.2.1")
    assert gives_way(places.verdict(newcomer, lambda handle: handle == 4)) == 3
    assert gives_way(places.verdict(newcomer, lambda handle: True)) == 4
    places.is_protected = set(range(1, 6)).__contains__
    assert full_scope(places.verdict(newcomer, nothing_is_useful)) is ScopeKind.DIRECTION
    places.is_protected = {1, 3, 4, 5}.__contains__
    assert gives_way(places.verdict(newcomer, nothing_is_useful)) == 2


def test_a_place_is_free_again():
    places = places_for(8)
    fill(places, ["198.51.100.1"] * 20)
    for handle in range(1, 8):
        places.remove(ConnectionHandle(handle))
        places.remove(ConnectionHandle(handle))
    assert places.taken == 0


def test_a_peer_has_its_share_wherever_it_comes_from():
    places = places_for(1000, peer=3)
    for number in range(3):
        room = places.verdict(route(f"192.0.2.{number}"), nothing_is_useful, SOMEBODY)
        assert isinstance(room, Room)
        places.add_inbound(ConnectionHandle(number), room)
    verdict = places.verdict(route("192.0.2.9"), nothing_is_useful, SOMEBODY)
    assert isinstance(verdict, NoRoom)
    assert (verdict.refusal.scope, verdict.refusal.name) == (ScopeKind.PEER, str(SOMEBODY))


def come(places: Places, handle: int, ip: str, peer_id: PeerId) -> NoRoom | Room:
    """Lets a peer come whose handshake is over."""
    verdict = places.verdict(route(ip), nothing_is_useful, peer_id)
    if isinstance(verdict, Room):
        places.add_inbound(ConnectionHandle(handle), verdict)
    return verdict


@pytest.mark.spec("RESOURCES-3")
def test_a_protected_peer_finds_a_place_where_strangers_find_none():
    places = places_for(80, peer=3)
    fill(places, ["198.51.100.1"] * 40 + [f"203.0.113.{n}" for n in range(30)])
    assert places.taken == 70
    wanted, unwanted = peer_id("wanted"), peer_id("unwanted")
    refused = places.verdict(route("198.51.100.1"), nothing_is_useful)
    assert isinstance(refused, NoRoom)
    assert not refused.but_for_protected, "nobody is awaited"

    places.awaits_protected = lambda: True
    places.is_protected_peer = {wanted}.__contains__
    refused = places.verdict(route("198.51.100.1"), nothing_is_useful)
    assert isinstance(refused, NoRoom)
    assert refused.but_for_protected
    assert isinstance(come(places, 100, "198.51.100.1", unwanted), NoRoom)
    # In the network that is fullest and beyond what strangers have; nobody gives way for it.
    found = [come(places, 100 + n, "198.51.100.1", wanted) for n in range(4)]
    assert [isinstance(each, Room) for each in found] == [True] * 3 + [False]
    assert places.taken == 73
    places.remove(ConnectionHandle(101))
    assert isinstance(come(places, 101, "198.51.100.1", wanted), Room)


@pytest.mark.spec("RESOURCES-3")
def test_half_of_the_reserve_is_for_dials_of_our_own_whoever_is_protected():
    places = places_for(80)
    fill(places, ["198.51.100.1"] * 40 + [f"203.0.113.{n}" for n in range(30)])
    places.awaits_protected = lambda: True
    places.is_protected_peer = lambda _: True
    found = [come(places, 100 + n, "198.51.100.1", peer_id(n)) for n in range(10)]
    assert [isinstance(each, Room) for each in found] == [True] * 5 + [False] * 5
    refused = places.verdict(route("198.51.100.1"), nothing_is_useful)
    assert isinstance(refused, NoRoom)
    assert not refused.but_for_protected, "there is nothing left for them"
    for handle in range(1000, 1005):
        assert places.add_outbound(ConnectionHandle(handle)) is None
    assert places.add_outbound(ConnectionHandle(2000)) is not None
