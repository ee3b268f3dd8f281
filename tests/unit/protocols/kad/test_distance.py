"""Kademlia's metric."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.protocols.kad import closest, distance
from tests.support.identities import peer_id

PEERS = [peer_id(n) for n in range(40)]
keys = st.binary(max_size=40)


@pytest.mark.spec("KAD-6")
@given(keys, keys)
def test_the_distance_is_the_xor_of_the_hashes(first: bytes, second: bytes) -> None:
    hashes = [hashlib.sha256(key).digest() for key in (first, second)]

    assert distance(first, second).to_bytes(32, "big") == bytes(
        a ^ b for a, b in zip(*hashes, strict=True)
    )


@given(keys, keys, keys)
def test_the_distance_is_a_metric(a: bytes, b: bytes, c: bytes) -> None:
    assert distance(a, a) == 0
    assert distance(a, b) == distance(b, a)
    assert distance(a, c) <= distance(a, b) + distance(b, c)


@pytest.mark.spec("KAD-6")
def test_the_nearest_come_first_each_once_and_the_key_itself_before_all() -> None:
    wanted = PEERS[7]
    by_distance = sorted(PEERS, key=lambda p: distance(p.multihash, wanted.multihash))

    found = closest(wanted.multihash, [*PEERS, *PEERS], 20)

    assert found == by_distance[:20]
    assert found[0] == wanted


def test_fewer_than_asked_for_are_all() -> None:
    assert sorted(closest(b"key", PEERS[:3], 20)) == sorted(PEERS[:3])
