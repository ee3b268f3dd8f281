"""QUIC packets: headers, the parts of a datagram, packet numbers (RFC 9000 section 17).

    1 1 T T R R P P   long header: type, reserved, size of the packet number less one
    0 1 S R R K P P   short header: spin bit, key phase

What is read here has been neither unprotected nor authenticated; that is protection.py's.
"""

import enum
import struct
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from p2pnode.errors import DecodeError
from p2pnode.transports.delivery.varint import decode_varint_untrusted, encode_varint

VERSION: Final = 1
"""RFC 9000's; the only one spoken"""
MAX_CONNECTION_ID_SIZE: Final = 20
"""bytes; RFC 9000 section 17.2; other versions may have longer ones"""
MIN_INITIAL_SIZE: Final = 1200
"""bytes of a datagram with an Initial (RFC 9000 section 14.1)"""
MAX_PARTS: Final = 8
"""packets in one datagram that are looked at; chosen: twice what a handshake with 0-RTT needs"""
MAX_OFFERED_VERSIONS: Final = 64
"""versions in a Version Negotiation that are looked at; chosen: more than there will be"""
TAG_SIZE: Final = 16
"""bytes; of every AEAD, and of Retry's integrity tag"""
MIN_PROTECTED_SIZE: Final = 20
"""bytes from the packet number on: four, and a sample of 16 (RFC 9001 section 5.4.2)"""

LONG: Final = 0x80
FIXED: Final = 0x40
KEY_PHASE: Final = 0x04
LONG_RESERVED: Final = 0x0C
SHORT_RESERVED: Final = 0x18
NUMBER_SIZE: Final = 0x03
"""Of the unprotected first byte: how many bytes the packet number has, less one."""

_HEAD: Final = struct.Struct(">BI")
# RFC 9001 section 5.8: version 1's, known to everybody; the tag is against chance, not attack.
_RETRY_KEY: Final = AESGCM(bytes.fromhex("be0c690b9f66575a1d766b54e368c84e"))
_RETRY_NONCE: Final = bytes.fromhex("461599d35d632bf2239825bb")


class PacketType(enum.IntEnum):
    """The first four are the two bits of a long header."""

    INITIAL = 0
    ZERO_RTT = 1
    HANDSHAKE = 2
    RETRY = 3
    SHORT = 4


class Invariants(NamedTuple):
    """What all versions have in common in a long header (RFC 8999 section 5.1)."""

    version: int
    """0 in Version Negotiation."""
    destination: bytes
    source: bytes
    end: int
    """Position behind the connection ids."""


class Packet(NamedTuple):
    """One packet of a datagram, by positions in it.  Nothing of it is authenticated."""

    kind: PacketType
    destination: bytes
    source: bytes
    """Empty in a short header."""
    token: bytes
    """Of an Initial or Retry."""
    start: int
    number_at: int
    """Where the protected packet number begins; of a Retry, its integrity tag."""
    end: int


def is_long(first_byte: int) -> bool:
    return first_byte & LONG != 0


def decode_invariants_untrusted(datagram: bytes, start: int = 0) -> Invariants:
    """Reads a long header of any version; raises DecodeError.  Ids may have up to 255 bytes."""
    try:
        _, version = _HEAD.unpack_from(datagram, start)
        destination, position = _sized(datagram, start + _HEAD.size)
        source, position = _sized(datagram, position)
    except (struct.error, IndexError):
        raise DecodeError("truncated long header") from None
    return Invariants(version, destination, source, position)


def decode_packet_untrusted(datagram: bytes, start: int, id_size: int) -> Packet:
    """Reads the version 1 packet at `start`; raises DecodeError.

    `id_size` is that of the ids that we give out, which a short header does not tell.  A short
    header and a Retry reach to the end of the datagram.
    """
    end = len(datagram)
    if start >= end:
        raise DecodeError("no packet")
    first = datagram[start]
    if not first & FIXED:
        raise DecodeError("the fixed bit is 0")
    if not first & LONG:
        number_at = start + 1 + id_size
        if number_at + MIN_PROTECTED_SIZE > end:
            raise DecodeError("a short header packet too small to be protected")
        destination = datagram[start + 1 : number_at]
        return Packet(PacketType.SHORT, destination, b"", b"", start, number_at, end)
    version, destination, source, position = decode_invariants_untrusted(datagram, start)
    if version != VERSION:
        raise DecodeError("a packet of another version")
    if max(len(destination), len(source)) > MAX_CONNECTION_ID_SIZE:
        raise DecodeError("a connection id of more than 20 bytes")
    kind = PacketType(first >> 4 & 3)
    token = b""
    if kind is PacketType.RETRY:
        tag_at = end - TAG_SIZE
        if tag_at <= position:
            raise DecodeError("a Retry without token")
        return Packet(kind, destination, source, datagram[position:tag_at], start, tag_at, end)
    if kind is PacketType.INITIAL:
        size, position = decode_varint_untrusted(datagram, position)
        token = datagram[position : position + size]
        position += size
    length, position = decode_varint_untrusted(datagram, position)
    if length < MIN_PROTECTED_SIZE or position + length > end:
        raise DecodeError("a long header packet with a wrong length")
    return Packet(kind, destination, source, token, start, position, position + length)


def split_datagram_untrusted(datagram: bytes, id_size: int) -> list[Packet]:
    """Returns the packets of a datagram, as far as they can be read; raises nothing.

    Those for another destination than the first one are left out (RFC 9000 section 12.2), and so
    is everything behind one that cannot be read: where it ends is unknown.
    """
    packets: list[Packet] = []
    position = parts = 0
    while position < len(datagram) and parts < MAX_PARTS:
        try:
            packet = decode_packet_untrusted(datagram, position, id_size)
        except DecodeError:
            break
        if not packets or packet.destination == packets[0].destination:
            packets.append(packet)
        position = packet.end
        parts += 1
    return packets


def long_header(
    kind: PacketType,
    destination: bytes,
    source: bytes,
    number: int,
    number_size: int,
    payload_size: int,
    token: bytes = b"",
) -> bytes:
    """Returns the header of an Initial or Handshake packet, unprotected, its number the last field.

    `payload_size` counts the frames without their tag.  Length takes two bytes always, so that the
    size of the header is known before that of the payload: see `long_header_size`.
    """
    first = LONG | FIXED | kind << 4 | number_size - 1
    head = _HEAD.pack(first, VERSION) + _with_size(destination) + _with_size(source)
    if kind is PacketType.INITIAL:
        head += encode_varint(len(token)) + token
    length = number_size + payload_size + TAG_SIZE
    assert length < 0x4000, "packet longer than a length of two bytes tells"
    return head + (length | 0x4000).to_bytes(2, "big") + truncated(number, number_size)


def long_header_size(
    kind: PacketType, destination: bytes, source: bytes, number_size: int, token: bytes = b""
) -> int:
    """Returns how many bytes `long_header` takes."""
    size = _HEAD.size + 1 + len(destination) + 1 + len(source) + 2 + number_size
    if kind is PacketType.INITIAL:
        size += len(encode_varint(len(token))) + len(token)
    return size


def short_header(destination: bytes, number: int, number_size: int, key_phase: int) -> bytes:
    """Returns a short header, unprotected, its number the last field.  The spin bit stays 0."""
    first = FIXED | (key_phase & 1) << 2 | number_size - 1
    return bytes((first,)) + destination + truncated(number, number_size)


def encode_retry(destination: bytes, source: bytes, token: bytes, original: bytes) -> bytes:
    """Returns the datagram; `original` is the destination of the Initial that it answers."""
    head = _HEAD.pack(LONG | FIXED | PacketType.RETRY << 4, VERSION)
    packet = head + _with_size(destination) + _with_size(source) + token
    return packet + _retry_tag(packet, original)


def is_retry_intact(datagram: bytes, original: bytes) -> bool:
    """Whether a Retry's tag is right, for a client whose first Initial went to `original`."""
    return _retry_tag(datagram[:-TAG_SIZE], original) == datagram[-TAG_SIZE:]


def encode_version_negotiation(invariants: Invariants, first_byte: int) -> bytes:
    """Returns the answer to a packet of an unknown version.

    `first_byte` is chance, but for its top bits (RFC 9000 section 17.2.1 asks for both).
    """
    head = _HEAD.pack(LONG | FIXED | first_byte & 0x3F, 0)
    ids = _with_size(invariants.source) + _with_size(invariants.destination)
    return head + ids + VERSION.to_bytes(4, "big")


def decode_version_negotiation_untrusted(datagram: bytes, position: int) -> tuple[int, ...]:
    """Returns the versions behind the invariants' `end`; raises DecodeError."""
    size = len(datagram) - position
    if size <= 0 or size % 4:
        raise DecodeError("a malformed list of versions")
    count = min(size // 4, MAX_OFFERED_VERSIONS)
    return struct.unpack_from(f">{count}I", datagram, position)


def number_size(number: int, largest_acked: int) -> int:
    """Returns how many bytes tell `number` to a peer (RFC 9000 A.2); -1: nothing was acked."""
    span = 2 * (number - largest_acked) + 1
    return min((span.bit_length() + 7) // 8, 4)


def truncated(number: int, size: int) -> bytes:
    """Returns the low bytes of a packet number."""
    return (number & (1 << 8 * size) - 1).to_bytes(size, "big")


def decode_packet_number(low: int, size: int, expected: int) -> int:
    """Returns the number nearest to `expected` whose low `size` bytes are `low` (RFC 9000 A.3)."""
    window = 1 << 8 * size
    candidate = (expected & -window) | low
    if candidate <= expected - window // 2 and candidate < (1 << 62) - window:
        return candidate + window
    if candidate > expected + window // 2 and candidate >= window:
        return candidate - window
    return candidate


def _retry_tag(packet: bytes, original: bytes) -> bytes:
    return _RETRY_KEY.encrypt(_RETRY_NONCE, b"", _with_size(original) + packet)


def _with_size(connection_id: bytes) -> bytes:
    return bytes((len(connection_id),)) + connection_id


def _sized(datagram: bytes, position: int) -> tuple[bytes, int]:
    end = position + 1 + datagram[position]
    if end > len(datagram):
        raise DecodeError("a connection id runs past its packet")
    return datagram[position + 1 : end], end
