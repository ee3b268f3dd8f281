"""The multihashes of peer ids."""

import hashlib

import pytest

from p2pnode.errors import DecodeError
from p2pnode.wire.multihash import check_peer_multihash_untrusted, inlined_key, peer_multihash


def test_up_to_42_bytes_are_kept_and_more_are_hashed() -> None:
    short, long = bytes(42), bytes(43)

    assert peer_multihash(short) == b"\x00\x2a" + short
    assert peer_multihash(long) == b"\x12\x20" + hashlib.sha256(long).digest()
    assert inlined_key(peer_multihash(short)) == short
    assert inlined_key(peer_multihash(long)) is None


@pytest.mark.spec("IDENTITY-7")
@pytest.mark.parametrize(
    "multihash",
    [
        b"",
        b"\x00",
        b"\x00\x00",
        b"\x00\x2b" + bytes(43),
        b"\x00\x02x",
        b"\x12\x1f" + bytes(31),
        b"\x12\x20" + bytes(33),
        b"\x13\x40" + bytes(64),
    ],
)
def test_other_multihashes_are_no_peer_ids(multihash: bytes) -> None:
    with pytest.raises(DecodeError):
        check_peer_multihash_untrusted(multihash)
