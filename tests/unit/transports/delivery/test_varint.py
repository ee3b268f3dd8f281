import pytest

from p2pnode.errors import DecodeError
from p2pnode.transports.delivery.varint import (
    MAX_VARINT,
    decode_varint_untrusted,
    encode_varint,
    varint_size,
)

# RFC 9000 appendix A.1
VECTORS = [
    ("c2197c5eff14e88c", 151_288_809_941_952_652),
    ("9d7f3e7d", 494_878_333),
    ("7bbd", 15_293),
    ("25", 37),
]


@pytest.mark.parametrize(("encoded", "value"), VECTORS)
def test_the_examples_of_rfc_9000_appendix_a_1(encoded, value):
    data = bytes.fromhex(encoded)
    assert decode_varint_untrusted(data, 0) == (value, len(data))
    assert encode_varint(value) == data
    assert varint_size(value) == len(data)


def test_the_longer_form_of_appendix_a_1_is_read_and_not_written():
    assert decode_varint_untrusted(bytes.fromhex("4025"), 0) == (37, 2)
    assert encode_varint(37) == b"\x25"


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (0, 1),
        (0x3F, 1),
        (0x40, 2),
        (0x3FFF, 2),
        (0x4000, 4),
        (0x3FFF_FFFF, 4),
        (0x4000_0000, 8),
        (MAX_VARINT, 8),
    ],
)
def test_each_length_is_used_up_to_its_limit(value, size):
    encoded = encode_varint(value)
    assert len(encoded) == varint_size(value) == size
    assert decode_varint_untrusted(b"\xff" + encoded + b"\xff", 1) == (value, 1 + size)


@pytest.mark.parametrize("encoded", ["", "40", "8000", "c0000000000000"])
def test_an_integer_that_runs_past_the_buffer_is_refused(encoded):
    with pytest.raises(DecodeError):
        decode_varint_untrusted(bytes.fromhex(encoded), 0)


def test_a_position_behind_the_buffer_is_refused():
    with pytest.raises(DecodeError):
        decode_varint_untrusted(b"\x01", 7)
