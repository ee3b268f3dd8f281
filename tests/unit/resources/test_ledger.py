"""A ledger against a count made anew each time, and what it refuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.resources.ledger import Ledger
from p2pnode.resources.limits import LOCAL_FACTOR, Shares
from p2pnode.resources.networks import networks_of
from p2pnode.resources.refusal import Holder, Refusals, Resource, ScopeKind

ADDRESSES = [
    "192.0.2.1",
    "192.0.2.2",
    "2001:db8:1::1",
    "2001:db8:1:1::1",
    "2001:db8:1:ff00::1",
    "2001:db8:2::1",
]
WIDE = Shares(total=10**6, network=10**6, net56=10**6, net48=10**6, peer=10**6)


def ledger(**shares: int) -> Ledger[int]:
    limits = {"total": 100, "network": 100, "net56": 100, "net48": 100, "peer": 100} | shares
    return Ledger(Resource.STREAMS, Shares(**limits), Refusals())


def holder(ip: str = "192.0.2.1", *peers: str) -> Holder:
    return Holder(networks_of(ip), peers)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "grow", "shrink", "change", "give back"]),
        st.integers(0, 20),
        st.integers(0, 9),
    ),
    max_size=120,
)


@given(STEPS)
def test_it_knows_what_each_scope_holds_and_the_fullest_network(steps):
    counted: Ledger[int] = Ledger(Resource.MEMORY, WIDE, Refusals())
    held: dict[int, int] = {}
    for what, member, amount in steps:
        if member not in held:
            if what == "put":
                counted.put(member, holder(ADDRESSES[member % 6], f"peer {member % 4}"), amount)
                held[member] = amount
        elif what == "grow":
            assert counted.grow(member) is None
            held[member] += 1
        elif what == "shrink" and held[member]:
            counted.shrink(member)
            held[member] -= 1
        elif what == "change":
            assert counted.change(member, amount) is None
            held[member] = amount
        elif what == "give back":
            counted.give_back(member)
            del held[member]

        def of(is_in):
            return sum(amount for member, amount in held.items() if is_in(member))

        assert len(counted) == len(held)
        assert counted.used == counted.inbound.used == of(lambda _: True)
        assert [counted.amount(m) for m in range(21)] == [held.get(m, 0) for m in range(21)]
        for peer in range(4):
            assert counted.of_peer(f"peer {peer}") == of(lambda m, peer=peer: m % 4 == peer)
        for network in {n for ip in ADDRESSES for n in networks_of(ip)}:
            expected = of(lambda m, n=network: n in networks_of(ADDRESSES[m % 6]))
            assert counted.of_network(network) == expected
        largest = [
            of(lambda m, ip=ip: networks_of(ADDRESSES[m % 6])[-1] == networks_of(ip)[-1])
            for ip in ADDRESSES
        ]
        assert counted.most == max(largest)
        members = list(counted.of_fullest())
        assert sum(held[m] for m in members) == counted.most
        assert len({networks_of(ADDRESSES[m % 6])[-1] for m in members}) <= 1
        order = {member: place for place, member in enumerate(held)}
        assert members == sorted(members, key=order.__getitem__, reverse=True)
        biggest = counted.biggest_in(counted.process)
        if members:
            assert biggest in members
            assert held[biggest] == max(held[m] for m in members)


@given(STEPS)
def test_what_is_empty_again_keeps_nothing(steps):
    counted: Ledger[int] = Ledger(Resource.MEMORY, WIDE, Refusals())
    for _, member, amount in steps:
        if member not in counted:
            counted.put(member, holder(ADDRESSES[member % 6], f"peer {member % 4}"), amount)
    for _ in range(300):  # a network that grows and is asked for again and again
        counted.put(99, holder("198.51.100.1"), 10**5)
        assert counted.fullest() is not None
        counted.give_back(99)
    for member in range(21):
        counted.give_back(member)
    counted.give_back(5)
    assert (len(counted), counted.used, counted.most) == (0, 0, 0)
    assert counted.fullest() is None
    assert counted.biggest_in(counted.process) is None
    kept = [counted._networks, counted._peers, counted._entries, counted._ranking]
    assert not any(kept)


@pytest.mark.parametrize(
    ("shares", "kind", "name"),
    [
        ({"total": 3}, ScopeKind.PROCESS, ""),
        ({"network": 3}, ScopeKind.NETWORK, "2001:db8:1::/64"),
        ({"net56": 3}, ScopeKind.NETWORK, "2001:db8:1::/56"),
        ({"net48": 3}, ScopeKind.NETWORK, "2001:db8:1::/48"),
        ({"peer": 3}, ScopeKind.PEER, "her"),
    ],
)
@pytest.mark.spec("RESOURCES-1")
@pytest.mark.spec("RESOURCES-5")
def test_a_refusal_names_the_scope_that_is_full(shares, kind, name):
    counted = ledger(**shares)
    who = holder("2001:db8:1::1", "her")
    assert counted.take(1, who, 3) is None
    by_take, by_grow = counted.take(2, who), counted.grow(1)
    assert by_take == by_grow
    assert by_take is not None
    assert (by_take.scope, by_take.name, by_take.limit) == (kind, name, 3)
    assert str(by_take) == f"no more than 3 streams for {kind.value} {name}".strip()
    assert counted.refusals.counts == {(Resource.STREAMS, kind): 2}
    assert counted.refusals.take_news() == [(by_take, 2)]
    assert not counted.refusals.news
    assert (counted.used, 2 in counted) == (3, False)


@pytest.mark.spec("RESOURCES-3")
def test_own_dials_have_a_reserve_that_nobody_else_gets():
    counted = Ledger[int](Resource.CONNECTIONS, WIDE.within(16), Refusals(), has_reserve=True)
    for member in range(20):
        counted.take(member, holder("192.0.2.1", f"peer {member}"))
    assert counted.used == 14
    refusal = counted.room_refusal(holder("192.0.2.2"))
    assert refusal is not None
    assert refusal.scope is ScopeKind.DIRECTION
    assert [counted.take(100 + n, Holder(is_own=True)) is None for n in range(3)] == [
        True,
        True,
        False,
    ]


@pytest.mark.spec("RESOURCES-3")
def test_protected_holders_have_half_of_the_reserve():
    counted = Ledger[int](Resource.CONNECTIONS, WIDE.within(32), Refusals(), has_reserve=True)
    kept = Holder(peers=("her",), is_protected=True)
    for member in range(40):
        counted.take(member, holder("192.0.2.1", f"peer {member}"))
    taken = [counted.take(100 + n, kept) is None for n in range(3)]
    assert (taken, counted.used) == ([True, True, False], 30)
    assert [counted.take(200 + n, Holder(is_own=True)) is None for n in range(3)] == [
        True,
        True,
        False,
    ]
    counted.give_back(100)
    assert counted.take(300, kept) is None


@pytest.mark.spec("RESOURCES-8")
def test_as_many_are_kept_as_there_are_protected_peers_and_an_eighth_at_most():
    counted = ledger(total=16)
    kept = Holder(peers=("her",), is_protected=True)
    assert counted.room_refusal(kept) is not None, "nobody is protected"
    for wanted, limit in [(1, 15), (5, 14), (0, 16)]:
        counted.reserve(wanted)
        for member in range(20):
            counted.take(member, holder("192.0.2.1"))
        assert counted.used == limit
        assert [counted.take(100 + n, kept) is None for n in range(3)] == [
            n < 16 - limit for n in range(3)
        ]
        for member in [*range(20), *range(100, 103)]:
            counted.give_back(member)


@pytest.mark.spec("RESOURCES-4")
def test_networks_of_ones_own_have_generous_shares():
    counted = ledger(network=2)
    who = Holder(networks_of("127.0.0.1"), (), is_local=True)
    assert counted.take(1, who, 2 * LOCAL_FACTOR) is None
    assert counted.grow(1) is not None


def test_what_is_there_already_counts_and_tells_which_scope_is_too_full():
    counted = ledger(total=10, network=6)
    counted.put(1, holder("192.0.2.1", "a"), 0)
    counted.put(2, holder("192.0.2.1", "b"), 3)
    counted.put(3, holder("192.0.2.2", "c"), 0)
    assert counted.change(1, 3) is None
    scope = counted.change(1, 4)
    assert scope is not None
    assert (scope.kind, counted.refusal_of(scope).name) == (ScopeKind.NETWORK, "192.0.2.1")
    assert counted.biggest_in(scope) == 1
    assert counted.change(1, 3) is None
    scope = counted.change(3, 5)
    assert scope is counted.process or scope is counted.inbound
    assert counted.biggest_in(scope) in {1, 2}  # of the fullest network, not who came last
    assert counted.change(9, 100) is None
    counted.shrink(9)


@pytest.mark.spec("RESOURCES-22")
def test_holders_of_our_own_give_way_only_where_the_others_have_little():
    counted = ledger(total=80)
    counted.put(1, Holder(is_own=True), 50)
    counted.put(2, Holder(is_own=True), 10)
    counted.put(3, holder(), 11)
    assert counted.biggest_in(counted.process) == 3
    counted.change(3, 10)
    assert counted.biggest_in(counted.process) == 1
