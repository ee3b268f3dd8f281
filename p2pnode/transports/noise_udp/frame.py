"""Frames: what packets carry (specs/transport.md, Frames).  RFC 9000's numbers where they are its.

One class a frame, `encode` to write it, one table from type to decoder to read it.  Those of
streams and their credit are the delivery room's; an ACK is written here, for it names its path.
"""

import ipaddress
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from p2pnode.errors import DecodeError
from p2pnode.machine import SocketAddr
from p2pnode.transports.datagrams.frame import (
    ConnectionClose,
    HandshakeDone,
    NewToken,
    PathChallenge,
    PathResponse,
    Ping,
    decode_application_close,
    decode_close,
    decode_path_challenge,
    decode_path_response,
    read_bytes,
    read_integers,
)
from p2pnode.transports.delivery.frame import (
    Ack,
    DataBlocked,
    FrameType,
    MaxData,
    MaxStreamData,
    MaxStreams,
    ResetStream,
    StopSending,
    StreamDataBlocked,
    StreamsBlocked,
    encode_integers,
)
from p2pnode.transports.delivery.varint import decode_varint_untrusted as varint
from p2pnode.transports.delivery.varint import encode_varint

CONNECTION_ID_SIZE: Final = 8
"""bytes; chosen: fixed, so that the header has a fixed size, which suits GSO"""
RESET_TOKEN_SIZE: Final = 16
"""bytes; RFC 9000 section 10.3"""
MAX_TOKEN_SIZE: Final = 128
"""bytes; chosen: our own tokens are below 64, others may want to encrypt more"""
MAX_ACK_RANGES: Final = 64
"""ranges in one ACK that are looked at; chosen: more means a hostile or broken peer"""


class NewConnectionId(NamedTuple):
    """One more connection id under which the sender can be reached on that path."""

    path_id: int
    sequence: int
    retire_prior_to: int
    connection_id: bytes
    reset_token: bytes

    def encode(self) -> bytes:
        head = encode_integers(
            FrameType.NEW_CONNECTION_ID, self.path_id, self.sequence, self.retire_prior_to
        )
        return head + self.connection_id + self.reset_token


class RetireConnectionId(NamedTuple):
    path_id: int
    sequence: int

    def encode(self) -> bytes:
        return encode_integers(FrameType.RETIRE_CONNECTION_ID, *self)


class ImmediateAck(NamedTuple):
    def encode(self) -> bytes:
        return b"\x1f"


class PathAbandon(NamedTuple):
    path_id: int
    code: int

    def encode(self) -> bytes:
        return encode_integers(FrameType.PATH_ABANDON, *self)


class PathStatus(NamedTuple):
    """Asks the peer to keep off a path (standby) or to use it; the highest sequence counts."""

    path_id: int
    sequence: int
    is_available: bool

    def encode(self) -> bytes:
        return encode_integers(
            FrameType.PATH_STATUS, self.path_id, self.sequence, int(self.is_available)
        )


class MaxPathId(NamedTuple):
    maximum: int

    def encode(self) -> bytes:
        return encode_integers(FrameType.MAX_PATH_ID, *self)


class ObservedAddress(NamedTuple):
    """The source address of the peer's packets on a path, as we see it."""

    path_id: int
    sequence: int
    address: SocketAddr

    def encode(self) -> bytes:
        packed = ipaddress.ip_address(self.address.ip).packed
        head = encode_integers(FrameType.OBSERVED_ADDRESS, self.path_id, self.sequence, len(packed))
        return head + packed + self.address.port.to_bytes(2, "big")


class AckFrequency(NamedTuple):
    """How the receiver of this frame may save ACKs (after draft-ietf-quic-ack-frequency)."""

    sequence: int
    threshold: int
    """Ack-eliciting packets that may stay without an answer."""
    max_ack_delay_us: int

    def encode(self) -> bytes:
        return encode_integers(FrameType.ACK_FREQUENCY, *self)


class Datagram(NamedTuple):
    """Unreliable application data (RFC 9221)."""

    data: bytes

    def encode(self) -> bytes:
        return encode_integers(FrameType.DATAGRAM, len(self.data)) + self.data


def encode_ack(ack: Ack) -> bytes:
    start, stop = ack.ranges[0]
    fields = [ack.path_id, stop - 1, ack.delay_us, len(ack.ranges) - 1, stop - 1 - start]
    for next_start, next_stop in ack.ranges[1:]:
        # RFC 9000 section 19.3.1: the gap counts one less than the packets that are missing
        fields += (start - next_stop - 1, next_stop - 1 - next_start)
        start = next_start
    if ack.ecn is not None:
        fields += ack.ecn
    kind = b"\x02" if ack.ecn is None else b"\x03"
    return kind + b"".join(map(encode_varint, fields))


Frame: TypeAlias = (
    Ping
    | Ack
    | ResetStream
    | StopSending
    | NewToken
    | MaxData
    | MaxStreamData
    | MaxStreams
    | DataBlocked
    | StreamDataBlocked
    | StreamsBlocked
    | NewConnectionId
    | RetireConnectionId
    | PathChallenge
    | PathResponse
    | ConnectionClose
    | HandshakeDone
    | ImmediateAck
    | PathAbandon
    | PathStatus
    | MaxPathId
    | ObservedAddress
    | AckFrequency
    | Datagram
)

PROBING_TYPES: Final = frozenset({0x00, 0x18, 0x1A, 0x1B, 0x23})
"""Frames that may travel on an unvalidated path without moving the connection (RFC 9000 9.1)."""


def decode_frame_untrusted(buffer: bytes, position: int) -> tuple[Frame, int]:
    """Returns the frame at `position` and the position behind it; raises DecodeError.

    PADDING and STREAM are the caller's: they are too frequent for a table.
    """
    kind = buffer[position]
    decoder = _DECODERS.get(kind)
    if decoder is None:
        raise DecodeError(f"unknown frame type {kind:#x}")
    return decoder(buffer, position + 1)


def _decode_ack(buffer: bytes, position: int) -> tuple[Ack, int]:
    (path_id, largest, delay, count, first), position = read_integers(buffer, position, 5)
    if count >= MAX_ACK_RANGES:
        raise DecodeError("too many ranges in an ACK")
    start = largest - first
    ranges = [(start, largest + 1)]
    for _ in range(count):
        (gap, length), position = read_integers(buffer, position, 2)
        stop = start - gap - 1
        start = stop - 1 - length
        ranges.append((start, stop))
    if start < 0:
        raise DecodeError("ACK of a negative packet number")
    return Ack(path_id, delay, tuple(ranges)), position


def _decode_ack_ecn(buffer: bytes, position: int) -> tuple[Ack, int]:
    ack, position = _decode_ack(buffer, position)
    (ect0, ect1, ce), position = read_integers(buffer, position, 3)
    return ack._replace(ecn=(ect0, ect1, ce)), position


def _decode_new_token(buffer: bytes, position: int) -> tuple[NewToken, int]:
    size, position = varint(buffer, position)
    if not 0 < size <= MAX_TOKEN_SIZE:
        raise DecodeError("token of a wrong size")
    token, position = read_bytes(buffer, position, size)
    return NewToken(token), position


def _decode_new_connection_id(buffer: bytes, position: int) -> tuple[NewConnectionId, int]:
    (path_id, sequence, retire), position = read_integers(buffer, position, 3)
    if retire > sequence:
        raise DecodeError("NEW_CONNECTION_ID retires itself")
    connection_id, position = read_bytes(buffer, position, CONNECTION_ID_SIZE)
    token, position = read_bytes(buffer, position, RESET_TOKEN_SIZE)
    return NewConnectionId(path_id, sequence, retire, connection_id, token), position


def _decode_path_status(buffer: bytes, position: int) -> tuple[PathStatus, int]:
    (path_id, sequence, status), position = read_integers(buffer, position, 3)
    if status > 1:
        raise DecodeError("unknown path status")
    return PathStatus(path_id, sequence, bool(status)), position


def _decode_observed_address(buffer: bytes, position: int) -> tuple[ObservedAddress, int]:
    (path_id, sequence, size), position = read_integers(buffer, position, 3)
    if size not in (4, 16):
        raise DecodeError("observed address of an unknown family")
    packed, position = read_bytes(buffer, position, size)
    port, position = read_bytes(buffer, position, 2)
    address = SocketAddr(str(ipaddress.ip_address(packed)), int.from_bytes(port, "big"))
    return ObservedAddress(path_id, sequence, address), position


def _decode_datagram(buffer: bytes, position: int) -> tuple[Datagram, int]:
    size, position = varint(buffer, position)
    data, position = read_bytes(buffer, position, size)
    return Datagram(data), position


def _integer_decoder(
    make: Callable[..., Frame], count: int
) -> Callable[[bytes, int], tuple[Frame, int]]:
    def decode(buffer: bytes, position: int) -> tuple[Frame, int]:
        values, position = read_integers(buffer, position, count)
        return make(*values), position

    return decode


_DECODERS: Final[dict[int, Callable[[bytes, int], tuple[Frame, int]]]] = {
    FrameType.PING: _integer_decoder(Ping, 0),
    FrameType.ACK: _decode_ack,
    FrameType.ACK_ECN: _decode_ack_ecn,
    FrameType.RESET_STREAM: _integer_decoder(ResetStream, 3),
    FrameType.STOP_SENDING: _integer_decoder(StopSending, 2),
    FrameType.NEW_TOKEN: _decode_new_token,
    FrameType.MAX_DATA: _integer_decoder(MaxData, 1),
    FrameType.MAX_STREAM_DATA: _integer_decoder(MaxStreamData, 2),
    FrameType.MAX_STREAMS: _integer_decoder(MaxStreams, 1),
    FrameType.DATA_BLOCKED: _integer_decoder(DataBlocked, 1),
    FrameType.STREAM_DATA_BLOCKED: _integer_decoder(StreamDataBlocked, 2),
    FrameType.STREAMS_BLOCKED: _integer_decoder(StreamsBlocked, 1),
    FrameType.NEW_CONNECTION_ID: _decode_new_connection_id,
    FrameType.RETIRE_CONNECTION_ID: _integer_decoder(RetireConnectionId, 2),
    FrameType.PATH_CHALLENGE: decode_path_challenge,
    FrameType.PATH_RESPONSE: decode_path_response,
    FrameType.CONNECTION_CLOSE: decode_close,
    FrameType.APPLICATION_CLOSE: decode_application_close,
    FrameType.HANDSHAKE_DONE: _integer_decoder(HandshakeDone, 0),
    FrameType.IMMEDIATE_ACK: _integer_decoder(ImmediateAck, 0),
    FrameType.PATH_ABANDON: _integer_decoder(PathAbandon, 2),
    FrameType.PATH_STATUS: _decode_path_status,
    FrameType.MAX_PATH_ID: _integer_decoder(MaxPathId, 1),
    FrameType.OBSERVED_ADDRESS: _decode_observed_address,
    FrameType.ACK_FREQUENCY: _integer_decoder(AckFrequency, 3),
    FrameType.DATAGRAM: _decode_datagram,
}
