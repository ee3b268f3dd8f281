"""Packets on the wire: headers and their first byte (specs/transport.md, Packets).

    1 0 0 0 0 0 0 K   data packet, key phase K
    1 0 0 0 1 0 0 0   stateless reset
    1 0 0 1 0 0 0 0   circuit packet (reserved for relaying)
    1 0 1 0 0 T T T   handshake packet of type T

Data packet, 13 bytes in front of the ciphertext and its 16-byte tag:

    first byte (8) | destination connection id (64) | packet number, low bits (32)
"""

import enum
import struct
from typing import Final, NamedTuple

from p2pnode.errors import DecodeError
from p2pnode.machine import Buffer
from p2pnode.transports.noise_udp.frame import CONNECTION_ID_SIZE, MAX_TOKEN_SIZE, RESET_TOKEN_SIZE
from p2pnode.wire.transport_name import TransportName

VERSION: Final = 1
VERSIONS: Final = (VERSION,)
"""All versions that we speak, best first."""

PATTERN_XX: Final = 1
"""Noise XX; 2 is reserved for IK, 3 for XXpsk3."""

NAME: Final = TransportName.NOISE_UDP
FIRST_BYTES: Final = range(0x80, 0xC0)
"""Of the datagrams that are this transport's; others leave these free (Demultiplexing)."""
DATA: Final = 0x80
KEY_PHASE: Final = 0x01
STATELESS_RESET: Final = 0x88
CIRCUIT: Final = 0x90

DATA_HEADER: Final = struct.Struct(">BQI")
DATA_HEADER_SIZE: Final = DATA_HEADER.size
TAG_SIZE: Final = 16
"""bytes; every AEAD of revision 1"""
DATA_OVERHEAD: Final = DATA_HEADER_SIZE + TAG_SIZE

MIN_INITIAL_SIZE: Final = 1200
"""bytes of a datagram that starts a connection: what every path carries, and what the answer may
be three times as long as (RFC 9000 section 14.1)"""
MAX_HANDSHAKE_SIZE: Final = 1100
"""bytes of messages 2 and 3: never fragmented, and room for data behind message 3"""
RESET_SIZE: Final = 1 + CONNECTION_ID_SIZE + RESET_TOKEN_SIZE
"""bytes; smaller than any data packet, so that resets cannot echo for ever"""
MAX_OFFERED_VERSIONS: Final = 16
"""versions in message 1 or Version Negotiation; chosen: more than there will be"""


class HandshakeType(enum.IntEnum):
    INITIAL = 0xA1
    RESPONSE = 0xA2
    FINAL = 0xA3
    RETRY = 0xA4
    VERSION_NEGOTIATION = 0xA5


class Initial(NamedTuple):
    """Message 1.  `destination` is a random id of the initiator's making, `source` its own id."""

    version: int
    pattern: int
    destination: int
    source: int
    token: bytes
    message: bytes

    def encode(self) -> bytes:
        """Returns the datagram, padded to 1,200 bytes."""
        head = struct.pack(
            ">BBBQQB",
            HandshakeType.INITIAL,
            self.version,
            self.pattern,
            self.destination,
            self.source,
            len(self.token),
        )
        packet = head + self.token + _with_length(self.message)
        return packet.ljust(MIN_INITIAL_SIZE, b"\0")


class Response(NamedTuple):
    """Message 2, and in the same layout message 3 (`Final`)."""

    destination: int
    message: bytes

    def encode(self) -> bytes:
        return _message_packet(HandshakeType.RESPONSE, *self)


class FinalMessage(NamedTuple):
    """Message 3; data packets may follow in the same datagram."""

    destination: int
    message: bytes

    def encode(self) -> bytes:
        return _message_packet(HandshakeType.FINAL, *self)


class Retry(NamedTuple):
    destination: int
    token: bytes

    def encode(self) -> bytes:
        head = struct.pack(">BBQB", HandshakeType.RETRY, VERSION, self.destination, len(self.token))
        return head + self.token


class VersionNegotiation(NamedTuple):
    destination: int
    versions: tuple[int, ...]

    def encode(self) -> bytes:
        head = struct.pack(
            ">BQB", HandshakeType.VERSION_NEGOTIATION, self.destination, len(self.versions)
        )
        return head + bytes(self.versions)


def _with_length(message: bytes) -> bytes:
    return len(message).to_bytes(2, "big") + message


def _message_packet(kind: HandshakeType, destination: int, message: bytes) -> bytes:
    return struct.pack(">BBQ", kind, VERSION, destination) + _with_length(message)


def stateless_reset(connection_id: int, token: bytes) -> bytes:
    """Returns the packet that tells the sender of a data packet that we know no such connection."""
    return struct.pack(">BQ", STATELESS_RESET, connection_id) + token


def decode_stateless_reset_untrusted(datagram: bytes) -> bytes:
    """Returns the token; raises DecodeError."""
    if len(datagram) != RESET_SIZE:
        raise DecodeError("stateless reset of a wrong size")
    return datagram[-RESET_TOKEN_SIZE:]


def decode_initial_untrusted(datagram: bytes) -> Initial:
    """Reads message 1's packet; of an unknown version only what all versions have in common."""
    if len(datagram) < MIN_INITIAL_SIZE:
        raise DecodeError("initial datagram below 1,200 bytes")
    _, version, pattern, destination, source, size = struct.unpack_from(">BBBQQB", datagram)
    if version not in VERSIONS:
        return Initial(version, pattern, destination, source, b"", b"")
    if size > MAX_TOKEN_SIZE:
        raise DecodeError("token too long")
    start = 20 + size
    message, _ = _length_prefixed(datagram, start)
    return Initial(version, pattern, destination, source, datagram[20:start], message)


def decode_message_untrusted(datagram: bytes) -> tuple[int, bytes, int]:
    """Reads message 2's or 3's packet: (destination, Noise message, position behind it)."""
    try:
        _, version, destination = struct.unpack_from(">BBQ", datagram)
    except struct.error:
        raise DecodeError("truncated handshake packet") from None
    if version != VERSION:
        raise DecodeError("handshake packet of another version")
    message, end = _length_prefixed(datagram, 10)
    if end > MAX_HANDSHAKE_SIZE:
        raise DecodeError("handshake packet too long")
    return destination, message, end


def decode_retry_untrusted(datagram: bytes) -> Retry:
    try:
        _, version, destination, size = struct.unpack_from(">BBQB", datagram)
    except struct.error:
        raise DecodeError("truncated retry packet") from None
    token = datagram[11:]
    if version != VERSION or not 0 < size <= MAX_TOKEN_SIZE or len(token) != size:
        raise DecodeError("malformed retry packet")
    return Retry(destination, token)


def decode_version_negotiation_untrusted(datagram: bytes) -> VersionNegotiation:
    try:
        _, destination, count = struct.unpack_from(">BQB", datagram)
    except struct.error:
        raise DecodeError("truncated version negotiation packet") from None
    versions = datagram[10:]
    if not 0 < count <= MAX_OFFERED_VERSIONS or len(versions) != count:
        raise DecodeError("malformed version negotiation packet")
    return VersionNegotiation(destination, tuple(versions))


def _length_prefixed(datagram: bytes, start: int) -> tuple[bytes, int]:
    size = int.from_bytes(datagram[start : start + 2], "big")
    end = start + 2 + size
    if len(datagram) < start + 2 or end > len(datagram):
        raise DecodeError("truncated handshake packet")
    return datagram[start + 2 : end], end


def decode_packet_number(truncated: int, expected: int) -> int:
    """Returns the packet number nearest to `expected` with these low 32 bits (RFC 9000 A.3)."""
    candidate = (expected & ~0xFFFF_FFFF) | truncated
    if candidate <= expected - 0x8000_0000:
        return candidate + 0x1_0000_0000
    if candidate > expected + 0x8000_0000 and candidate >= 0x1_0000_0000:
        return candidate - 0x1_0000_0000
    return candidate


def data_destination(buffer: Buffer, position: int) -> int:
    """Returns the destination connection id of the data packet at `position`."""
    return int.from_bytes(buffer[position + 1 : position + 9], "big")
