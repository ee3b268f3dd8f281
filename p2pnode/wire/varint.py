"""Unsigned LEB128 integers, as multiformats and libp2p frame with them (not RFC 9000's varints).

Rule: the encoding is minimal and at most 9 bytes (63 bits), on the way in as on the way out, so
that equal values have equal bytes.
"""

from p2pnode.errors import DecodeError
from p2pnode.machine import Buffer

MAX_UVARINT_SIZE = 9  # bytes; multiformats unsigned-varint, "practical maximum of 9 bytes"
MAX_UVARINT = (1 << 63) - 1


def encode_uvarint(value: int) -> bytes:
    """Returns the minimal encoding of `value`, which the caller keeps in 0..2^63-1."""
    assert 0 <= value <= MAX_UVARINT
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def try_decode_uvarint_untrusted(data: Buffer, offset: int = 0) -> tuple[int, int] | None:
    """Returns (value, offset behind it), or None where the bytes end inside of the integer.

    Raises DecodeError for an integer that is too long or not minimal.
    """
    value = 0
    end = len(data)
    for index in range(MAX_UVARINT_SIZE):
        if offset + index >= end:
            return None
        byte = data[offset + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            if byte == 0 and index > 0:
                raise DecodeError("a varint is not minimal")
            return value, offset + index + 1
    raise DecodeError(f"a varint is longer than {MAX_UVARINT_SIZE} bytes")


def decode_uvarint_untrusted(data: Buffer, offset: int = 0) -> tuple[int, int]:
    """Returns (value, offset behind it).  Raises DecodeError, also for bytes that end early."""
    decoded = try_decode_uvarint_untrusted(data, offset)
    if decoded is None:
        raise DecodeError("a varint is cut short")
    return decoded
