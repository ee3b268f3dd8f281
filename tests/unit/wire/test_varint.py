"""Unsigned LEB128: the published examples, and everything that is refused."""

import pytest

from p2pnode.errors import DecodeError
from p2pnode.wire.varint import (
    MAX_UVARINT,
    decode_uvarint_untrusted,
    encode_uvarint,
    try_decode_uvarint_untrusted,
)


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0, "00"),
        (1, "01"),
        (127, "7f"),
        (128, "8001"),
        (255, "ff01"),
        (300, "ac02"),
        (16384, "808001"),
        (MAX_UVARINT, "ffffffffffffffff7f"),
    ],
)
def test_values_have_the_encoding_of_the_multiformats_spec(value: int, encoded: str) -> None:
    assert encode_uvarint(value).hex() == encoded
    assert decode_uvarint_untrusted(bytes.fromhex(encoded)) == (value, len(encoded) // 2)


@pytest.mark.parametrize(
    "encoded", ["8000", "ff00", "80808080808080808000", "ffffffffffffffffff01"]
)
def test_longer_than_needed_or_than_63_bits_is_refused(encoded: str) -> None:
    with pytest.raises(DecodeError):
        decode_uvarint_untrusted(bytes.fromhex(encoded))


@pytest.mark.parametrize("encoded", ["", "80", "ffffffffffffffff"])
def test_an_incomplete_varint_is_none_or_refused(encoded: str) -> None:
    assert try_decode_uvarint_untrusted(bytes.fromhex(encoded)) is None
    with pytest.raises(DecodeError):
        decode_uvarint_untrusted(bytes.fromhex(encoded))


def test_decoding_begins_at_the_offset() -> None:
    assert decode_uvarint_untrusted(b"\xff\xac\x02\xff", 1) == (300, 3)
