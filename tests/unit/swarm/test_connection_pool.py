"""Which of two connections stays: p2pnode/swarm/connection_pool.py."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.peer_id import PeerId
from p2pnode.swarm.connection_pool import CROSSING_WINDOW, DRAIN_TIME, ConnectionPool


def peer(seed: int) -> PeerId:
    return PeerId.from_public_key(PrivateKey(bytes([seed]) * 32).public_key)


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
            pool.add(remote, handle, is_initiator=(handle == 1) == (local == A), now=at)
        kept.append(pool.best(remote))
        assert pool.draining == (3 - kept[-1],)
    assert kept == [1, 1]


@pytest.mark.spec("SWARM-4")
@pytest.mark.parametrize("is_initiator", [True, False])
def test_a_later_connection_replaces_an_older_one(is_initiator: bool) -> None:
    for local, remote in ((A, B), (B, A)):
        pool = ConnectionPool(local)
        assert pool.add(remote, 1, is_initiator=True, now=0.0) is None
        assert pool.add(remote, 2, is_initiator=is_initiator, now=CROSSING_WINDOW + 1) == 1
        assert pool.best(remote) == 2


@pytest.mark.spec("SWARM-5")
def test_a_supplanted_connection_has_half_a_minute() -> None:
    pool = ConnectionPool(A)
    pool.add(B, 1, is_initiator=True, now=0.0)
    pool.add(B, 2, is_initiator=True, now=1.0)
    assert pool.drained(1.0 + DRAIN_TIME - 0.1) == ()
    assert pool.drained(1.0 + DRAIN_TIME) == (1,)
    deadline = pool.poll_timeout()
    assert deadline is not None
    assert deadline.at == 1.0 + DRAIN_TIME


def test_a_peer_is_gone_with_its_last_connection() -> None:
    pool = ConnectionPool(A)
    pool.add(B, 1, is_initiator=True, now=0.0)
    pool.add(B, 2, is_initiator=True, now=1.0)
    assert not pool.remove(B, 2)
    assert pool.best(B) == 1
    assert pool.remove(B, 1)
    assert pool.best(B) is None
    assert not pool.remove(B, 1)
    assert pool.poll_timeout() is None


@pytest.mark.spec("SWARM-5")
def test_the_only_one_that_is_left_is_not_superfluous() -> None:
    pool = ConnectionPool(A)
    pool.add(B, 1, True, 0.0)
    loser = pool.add(B, 2, False, 0.1)
    assert loser is not None
    winner = 3 - loser
    pool.remove(B, winner)
    assert pool.best(B) == loser
    assert pool.draining == ()
