"""Kademlia's metric, against its definition: the XOR of SHA-256 hashes."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.protocols.kad import closest
from tests.support.identities import peer_id

PEERS = [peer_id(n) for n in range(40)]


def distance(first: bytes, second: bytes) -> bytes:
    hashes = [hashlib.sha256(key).digest() for key in (first, second)]
    return bytes(a ^ b for a, b in zip(*hashes, strict=True))


@pytest.mark.spec("KAD-6")
@given(st.binary(max_size=40), st.integers(1, 45))
def test_the_nearest_come_first_each_once(key: bytes, count: int) -> None:
    by_distance = sorted(PEERS, key=lambda p: distance(p.multihash, key))

    assert closest(key, [*PEERS, *PEERS], count) == by_distance[:count]


@pytest.mark.spec("KAD-6")
def test_the_key_itself_comes_before_all() -> None:
    assert closest(PEERS[7].multihash, PEERS, 20)[0] == PEERS[7]
