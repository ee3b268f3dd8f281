"""Whose datagrams are by their first byte: p2pnode/transports/first_byte.py."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.machine import Received, SocketAddr, SocketId
from p2pnode.transports.first_byte import FIRST_BYTES, is_whole, runs

OWNERS = bytes(byte // 64 for byte in range(FIRST_BYTES))
"""Four owners, a quarter each."""


def read(buffer: bytes | memoryview, step: int) -> Received:
    return Received(SocketId(3), "192.0.2.1", SocketAddr("198.51.100.1", 4001), 2, step, buffer)


def test_one_datagram_is_whole_and_is_handed_on_as_it_is() -> None:
    received = read(b"\x41abc", 1200)
    assert is_whole(received, OWNERS, 1)
    assert not is_whole(received, OWNERS, 0)
    ((owner, part),) = runs(received, OWNERS)
    assert owner == 1
    assert part is received


def test_nothing_is_nobodys() -> None:
    assert runs(read(b"", 1200), OWNERS) == []
    assert not any(is_whole(read(b"", 1200), OWNERS, owner) for owner in range(4))


def test_a_joined_read_of_one_owner_is_one_run() -> None:
    received = read(b"\x40aa\x41bb\x7fc", 3)
    assert is_whole(received, OWNERS, 1)
    assert runs(received, OWNERS) == [(1, received)]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_it_is_cut_where_the_owner_changes_and_says_where_it_came_from(kind: type) -> None:
    received = read(kind(b"\x00aa\x01bb\xc0cc\x00d"), 3)
    assert not is_whole(received, OWNERS, 0)
    found = runs(received, OWNERS)
    assert [(owner, bytes(part.buffer)) for owner, part in found] == [
        (0, b"\x00aa\x01bb"),
        (3, b"\xc0cc"),
        (0, b"\x00d"),
    ]
    assert all(part._replace(buffer=b"") == received._replace(buffer=b"") for _, part in found)


@given(st.binary(max_size=200), st.integers(1, 50))
def test_no_byte_is_lost_and_each_datagram_is_its_owners(buffer: bytes, step: int) -> None:
    received = read(buffer, step)
    found = runs(received, OWNERS)
    assert b"".join(bytes(part.buffer) for _, part in found) == buffer
    for owner, part in found:
        assert part.segment_size == step
        assert is_whole(part, OWNERS, owner)
    assert all(one[0] != next_one[0] for one, next_one in itertools.pairwise(found))
