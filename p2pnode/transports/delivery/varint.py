"""Variable-length integers of RFC 9000 section 16: 1, 2, 4 or 8 bytes, 62 bits, big-endian."""

from p2pnode.errors import DecodeError

MAX_VARINT = (1 << 62) - 1


def encode_varint(value: int) -> bytes:
    """Returns the shortest encoding of a value in 0..MAX_VARINT."""
    if value < 0x40:
        return value.to_bytes(1, "big")
    if value < 0x4000:
        return (value | 0x4000).to_bytes(2, "big")
    if value < 0x4000_0000:
        return (value | 0x8000_0000).to_bytes(4, "big")
    assert value <= MAX_VARINT, "not a 62-bit integer"
    return (value | 0xC000_0000_0000_0000).to_bytes(8, "big")


def decode_varint_untrusted(buffer: bytes, position: int) -> tuple[int, int]:
    """Returns the value at `position` and the position behind it; raises DecodeError."""
    try:
        first = buffer[position]
    except IndexError:
        raise DecodeError("truncated integer") from None
    if first < 0x40:
        return first, position + 1
    length = 1 << (first >> 6)
    end = position + length
    if end > len(buffer):
        raise DecodeError("truncated integer")
    mask = (1 << (8 * length - 2)) - 1
    return int.from_bytes(buffer[position:end], "big") & mask, end


def varint_size(value: int) -> int:
    """Returns how many bytes `encode_varint` takes."""
    if value < 0x40:
        return 1
    if value < 0x4000:
        return 2
    return 4 if value < 0x4000_0000 else 8
