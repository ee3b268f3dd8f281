"""Which of two connections stays: p2pnode/swarm/connection_pool.py."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import ConnectionHandle
from p2pnode.swarm.connection_pool import (
    CROSSING_WINDOW,
    DRAIN_TIME,
    ConnectionPool,
    PooledConnection,
)
from p2pnode.wire.transport_name import TransportName
from tests.support.addresses import NOISE_UDP, QUIC_V1, TCP


def peer(seed: int) -> PeerId:
    return PeerId.from_public_key(PrivateKey(bytes([seed]) * 32).public_key)


def made(
    handle: int,
    is_initiator: bool = True,
    at: float = 0.0,
    transport: TransportName = NOISE_UDP,
    *,
    relayed: bool = False,
    limited: bool = False,
) -> PooledConnection:
    return PooledConnection(ConnectionHandle(handle), is_initiator, at, transport, relayed, limited)


A, B = sorted((peer(1), peer(2)), key=lambda p: p.multihash)


@pytest.mark.spec("SWARM-4")
@given(
    a_sees_own_first=st.booleans(),
    b_sees_own_first=st.booleans(),
    apart=st.floats(0, CROSSING_WINDOW * 0.99),
)
def test_both_sides_of_crossing_dials_keep_the_same_connection(
    a_sees_own_first: bool, b_sees_own_first: bool, apart: float
) -> None:
    kept = []
    for local, remote, own_first in ((A, B, a_sees_own_first), (B, A, b_sees_own_first)):
        pool = ConnectionPool(local)
        # handle 1 was dialled by A, handle 2 by B
        order = [1, 2] if own_first == (local == A) else [2, 1]
        for at, handle in zip((5.0, 5.0 + apart), order, strict=True):
            pool.add(remote, made(handle, (handle == 1) == (local == A), at))
        kept.append(pool.best(remote))
        assert pool.draining == (3 - kept[-1],)
    assert kept == [1, 1]


@pytest.mark.spec("SWARM-4")
@pytest.mark.parametrize("is_initiator", [True, False])
def test_a_later_connection_replaces_an_older_one(is_initiator: bool) -> None:
    for local, remote in ((A, B), (B, A)):
        pool = ConnectionPool(local)
        assert pool.add(remote, made(1, True, 0.0)) is None
        assert pool.add(remote, made(2, is_initiator, CROSSING_WINDOW + 1)) == 1
        assert pool.best(remote) == 2


@pytest.mark.spec("SWARM-5")
def test_a_supplanted_connection_has_half_a_minute() -> None:
    pool = ConnectionPool(A)
    pool.add(B, made(1, True, 0.0))
    pool.add(B, made(2, True, 1.0))
    assert pool.drained(1.0 + DRAIN_TIME - 0.1) == ()
    assert pool.drained(1.0 + DRAIN_TIME) == (1,)
    deadline = pool.poll_timeout()
    assert deadline is not None
    assert deadline.at == 1.0 + DRAIN_TIME


def test_a_peer_is_gone_with_its_last_connection() -> None:
    pool = ConnectionPool(A)
    pool.add(B, made(1, True, 0.0))
    pool.add(B, made(2, True, 1.0))
    assert not pool.remove(B, 2)
    assert pool.best(B) == 1
    assert pool.remove(B, 1)
    assert pool.best(B) is None
    assert not pool.remove(B, 1)
    assert pool.poll_timeout() is None


@pytest.mark.spec("SWARM-5")
def test_the_only_one_that_is_left_is_not_superfluous() -> None:
    pool = ConnectionPool(A)
    pool.add(B, made(1, True, 0.0))
    loser = pool.add(B, made(2, False, 0.1))
    assert loser is not None
    winner = 3 - loser
    pool.remove(B, winner)
    assert pool.best(B) == loser
    assert pool.draining == ()


# several transports


def pool_of(*connections: PooledConnection) -> ConnectionPool:
    pool = ConnectionPool(A)
    for each in connections:
        assert pool.add(B, each) is None, "another transport's is not superfluous"
    return pool


def order(pool: ConnectionPool) -> list[int]:
    return [each.handle for each in pool.peers()[B]]


@pytest.mark.spec("SWARM-37")
def test_direct_comes_before_relayed_then_the_better_transport_then_the_newer_one() -> None:
    pool = pool_of(
        made(1, transport=TCP, at=1.0, relayed=True, limited=True),
        made(2, transport=NOISE_UDP, at=2.0, relayed=True),
        made(3, transport=TCP, at=3.0),
        made(4, transport=TCP, at=4.0),
        made(5, transport=QUIC_V1, at=5.0),
    )
    assert order(pool) == [5, 4, 3, 2, 1]
    pool.change(B, ConnectionHandle(2), is_relayed=False, is_limited=False)
    assert order(pool) == [2, 5, 4, 3, 1], "it has a direct path"
    pool.change(B, ConnectionHandle(2), is_relayed=True, is_limited=False)
    assert order(pool) == [5, 4, 3, 2, 1]


@pytest.mark.spec("SWARM-37")
def test_when_the_best_one_goes_the_next_takes_over_and_the_peer_goes_with_the_last() -> None:
    pool = pool_of(made(1, transport=TCP), made(2, transport=QUIC_V1), made(3))
    assert pool.best(B) == 3
    assert not pool.remove(B, ConnectionHandle(3))
    assert pool.best(B) == 2
    assert not pool.remove(B, ConnectionHandle(1))
    assert pool.best(B) == 2
    assert pool.remove(B, ConnectionHandle(2))
    assert pool.best(B) is None


@pytest.mark.spec("SWARM-4", "SWARM-38")
def test_only_two_by_noise_udp_supplant_each_other_whatever_else_there_is() -> None:
    pool = pool_of(made(1, transport=TCP), made(2, at=1.0), made(3, transport=QUIC_V1, at=2.0))
    assert pool.add(B, made(4, transport=TCP, at=3.0)) is None
    assert pool.add(B, made(5, transport=QUIC_V1, is_initiator=False, at=3.0)) is None
    assert pool.add(B, made(6, at=20.0)) == 2
    assert pool.draining == (2,)
    assert order(pool) == [6, 5, 3, 4, 1, 2], "nothing begins on the one that has to go"


@pytest.mark.spec("SWARM-5", "SWARM-38")
def test_one_that_was_supplanted_stays_where_the_other_one_is_gone_first() -> None:
    pool = pool_of(made(1, transport=TCP), made(2, relayed=True))
    assert pool.add(B, made(3, at=20.0)) == 2
    assert not pool.remove(B, ConnectionHandle(3))
    assert pool.draining == ()
    assert order(pool) == [1, 2]
    assert pool.drained(1000.0) == ()


CONNECTIONS = st.lists(
    st.tuples(
        st.sampled_from(TransportName),
        st.booleans(),
        st.booleans(),
        st.booleans(),
        st.floats(0.0, 15.0),
        st.integers(0, 20),
    ),
    max_size=20,
)


@pytest.mark.spec("SWARM-37", "SWARM-38")
@given(CONNECTIONS)
def test_whatever_comes_and_goes_no_more_than_one_by_noise_udp_is_meant_to_stay(
    steps: list[tuple[TransportName, bool, bool, bool, float, int]],
) -> None:
    pool, known, now = ConnectionPool(A), dict[int, TransportName](), 0.0
    for handle, (transport, is_initiator, relayed, limited, later, gone) in enumerate(steps):
        now += later
        known[handle] = transport
        new = made(handle, is_initiator, now, transport, relayed=relayed, limited=limited)
        loser = pool.add(B, new)
        assert loser is None or known[loser] is NOISE_UDP
        if gone in known:
            del known[gone]
            assert pool.remove(B, ConnectionHandle(gone)) == (not known)
        assert {each.handle for each in pool.peers().get(B, ())} == set(known)
        stays = [each for each in known if each not in pool.draining]
        of_noise = [each for each in known if known[each] is NOISE_UDP]
        assert len([each for each in of_noise if each in stays]) == min(len(of_noise), 1)
        assert pool.best(B) in stays if known else pool.best(B) is None
