"""Frames: what packets carry (RFC 9000 section 19).

One class a frame, `encode` to write it, one table from type to decoder to read it.  Those of
streams and their credit are the delivery room's.  PADDING, STREAM and ACK are read by the packet's
receiver itself: they are too frequent for a table, and ACK needs to know the peer's exponent.
"""

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from p2pnode.errors import DecodeError, TransportError
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
from p2pnode.transports.delivery.varint import MAX_VARINT, encode_varint
from p2pnode.transports.delivery.varint import decode_varint_untrusted as varint
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.quic_v1.epoch import Epoch
from p2pnode.transports.quic_v1.packet import MAX_CONNECTION_ID_SIZE
from p2pnode.transports.quic_v1.parameters import (
    DEFAULT_ACK_DELAY_EXPONENT,
    MAX_STREAM_COUNT,
    RESET_TOKEN_SIZE,
)

MAX_ACK_RANGES: Final = 64
"""ranges in one ACK that are taken, the newest; chosen: quinn sends as many, quic-go 32"""

CRYPTO: Final = 0x06
MAX_STREAMS_UNI: Final = 0x13
STREAMS_BLOCKED_UNI: Final = 0x17
DATAGRAM_TYPES: Final = (0x30, 0x31)

EARLY_TYPES: Final = frozenset({0x00, 0x01, 0x02, 0x03, CRYPTO, 0x1C})
"""Frames that may be in Initial and Handshake packets (RFC 9000 section 12.4, table 3)."""
FROM_SERVERS: Final = frozenset({0x07, 0x1E})
"""NEW_TOKEN and HANDSHAKE_DONE, which only a server may send."""
PROBING_TYPES: Final = frozenset({0x00, 0x18, 0x1A, 0x1B})
"""Frames that do not move a connection to the path that they come by (RFC 9000 section 9.1)."""


class Crypto(NamedTuple):
    """Bytes of the TLS handshake; each encryption level has a stream of them."""

    offset: int
    data: bytes

    def encode(self) -> bytes:
        return crypto_header(self.offset, len(self.data)) + self.data


class MaxStreamsUni(NamedTuple):
    """How many unidirectional streams the receiver of this frame may open in all."""

    maximum: int

    def encode(self) -> bytes:
        return encode_integers(MAX_STREAMS_UNI, *self)


class StreamsBlockedUni(NamedTuple):
    limit: int

    def encode(self) -> bytes:
        return encode_integers(STREAMS_BLOCKED_UNI, *self)


class NewConnectionId(NamedTuple):
    """One more connection id under which the sender can be reached."""

    sequence: int
    retire_prior_to: int
    connection_id: bytes
    reset_token: bytes

    def encode(self) -> bytes:
        head = encode_integers(
            FrameType.NEW_CONNECTION_ID,
            self.sequence,
            self.retire_prior_to,
            len(self.connection_id),
        )
        return head + self.connection_id + self.reset_token


class RetireConnectionId(NamedTuple):
    sequence: int

    def encode(self) -> bytes:
        return encode_integers(FrameType.RETIRE_CONNECTION_ID, *self)


Frame: TypeAlias = (
    Ping
    | ResetStream
    | StopSending
    | Crypto
    | NewToken
    | MaxData
    | MaxStreamData
    | MaxStreams
    | MaxStreamsUni
    | DataBlocked
    | StreamDataBlocked
    | StreamsBlocked
    | StreamsBlockedUni
    | NewConnectionId
    | RetireConnectionId
    | PathChallenge
    | PathResponse
    | ConnectionClose
    | HandshakeDone
)


def crypto_header(offset: int, size: int) -> bytes:
    """Returns what precedes a CRYPTO frame's data."""
    return b"\x06" + encode_varint(offset) + encode_varint(size)


def encode_ack(ack: Ack, exponent: int = DEFAULT_ACK_DELAY_EXPONENT) -> bytes:
    """Returns the frame; `exponent` is what we declared, `ack.path_id` is not written."""
    start, stop = ack.ranges[0]
    fields = [stop - 1, ack.delay_us >> exponent, len(ack.ranges) - 1, stop - 1 - start]
    for next_start, next_stop in ack.ranges[1:]:
        # RFC 9000 section 19.3.1: the gap counts one less than the packets that are missing
        fields += (start - next_stop - 1, next_stop - 1 - next_start)
        start = next_start
    if ack.ecn is not None:
        fields += ack.ecn
    kind = b"\x02" if ack.ecn is None else b"\x03"
    return kind + b"".join(map(encode_varint, fields))


def decode_ack_untrusted(buffer: bytes, position: int, exponent: int) -> tuple[Ack, int]:
    """Returns the ACK at `position` and the position behind it; raises DecodeError.

    `exponent` is the peer's.  Of more than MAX_ACK_RANGES ranges the oldest are passed over.
    """
    with_ecn = buffer[position] == FrameType.ACK_ECN
    (largest, delay, count, first), position = read_integers(buffer, position + 1, 4)
    start = largest - first
    ranges = [(start, largest + 1)]
    if 2 * count > len(buffer) - position:
        raise DecodeError("an ACK runs past its packet")
    for index in range(1, count + 1):
        (gap, length), position = read_integers(buffer, position, 2)
        stop = start - gap - 1
        start = stop - 1 - length
        if index < MAX_ACK_RANGES:
            ranges.append((start, stop))
    if start < 0:
        raise DecodeError("an ACK of a negative packet number")
    ecn = None
    if with_ecn:
        (ect0, ect1, ce), position = read_integers(buffer, position, 3)
        ecn = ect0, ect1, ce
    return Ack(0, delay << exponent, tuple(ranges), ecn), position


def check_frame_type(kind: int, epoch: Epoch, *, is_client: bool) -> None:
    """Raises TransportError for a frame that may not be in a packet of this encryption level.

    `is_client` is this end.  Of 1-RTT packets only those types need to be looked at that are no
    STREAM, ACK or PADDING.
    """
    if epoch is not Epoch.APPLICATION:
        is_allowed = kind in EARLY_TYPES
    elif kind in FROM_SERVERS:
        is_allowed = is_client
    else:
        # RFC 9221 section 3: we declare that we take none
        is_allowed = kind not in DATAGRAM_TYPES
    if not is_allowed:
        raise TransportError(
            ErrorCode.PROTOCOL_VIOLATION, f"frame {kind:#x} where it may not be", kind
        )


def decode_frame_untrusted(buffer: bytes, position: int) -> tuple[Frame, int]:
    """Returns the frame at `position` and the position behind it.

    Raises DecodeError, for a FRAME_ENCODING_ERROR.  PADDING, STREAM and ACK are the caller's.
    """
    kind = buffer[position]
    decoder = _DECODERS.get(kind)
    if decoder is None:
        raise DecodeError(f"unknown frame type {kind:#x}")
    return decoder(buffer, position + 1)


def _decode_crypto(buffer: bytes, position: int) -> tuple[Crypto, int]:
    (offset, size), position = read_integers(buffer, position, 2)
    if offset + size > MAX_VARINT:
        raise DecodeError("a CRYPTO frame beyond 2^62-1")
    data, position = read_bytes(buffer, position, size)
    return Crypto(offset, data), position


def _decode_new_token(buffer: bytes, position: int) -> tuple[NewToken, int]:
    size, position = varint(buffer, position)
    if not size:
        raise DecodeError("an empty token")
    token, position = read_bytes(buffer, position, size)
    return NewToken(token), position


def _decode_new_connection_id(buffer: bytes, position: int) -> tuple[NewConnectionId, int]:
    (sequence, retire), position = read_integers(buffer, position, 2)
    (size,), position = read_bytes(buffer, position, 1)
    if retire > sequence or not 0 < size <= MAX_CONNECTION_ID_SIZE:
        raise DecodeError("a malformed NEW_CONNECTION_ID")
    connection_id, position = read_bytes(buffer, position, size)
    token, position = read_bytes(buffer, position, RESET_TOKEN_SIZE)
    return NewConnectionId(sequence, retire, connection_id, token), position


def _integer_decoder(
    make: Callable[..., Frame], count: int, maximum: int = MAX_VARINT
) -> Callable[[bytes, int], tuple[Frame, int]]:
    def decode(buffer: bytes, position: int) -> tuple[Frame, int]:
        values, position = read_integers(buffer, position, count)
        if count and values[-1] > maximum:
            raise DecodeError("more streams than there are ids")
        return make(*values), position

    return decode


_DECODERS: Final[dict[int, Callable[[bytes, int], tuple[Frame, int]]]] = {
    FrameType.PING: _integer_decoder(Ping, 0),
    FrameType.RESET_STREAM: _integer_decoder(ResetStream, 3),
    FrameType.STOP_SENDING: _integer_decoder(StopSending, 2),
    CRYPTO: _decode_crypto,
    FrameType.NEW_TOKEN: _decode_new_token,
    FrameType.MAX_DATA: _integer_decoder(MaxData, 1),
    FrameType.MAX_STREAM_DATA: _integer_decoder(MaxStreamData, 2),
    FrameType.MAX_STREAMS: _integer_decoder(MaxStreams, 1, MAX_STREAM_COUNT),
    MAX_STREAMS_UNI: _integer_decoder(MaxStreamsUni, 1, MAX_STREAM_COUNT),
    FrameType.DATA_BLOCKED: _integer_decoder(DataBlocked, 1),
    FrameType.STREAM_DATA_BLOCKED: _integer_decoder(StreamDataBlocked, 2),
    FrameType.STREAMS_BLOCKED: _integer_decoder(StreamsBlocked, 1, MAX_STREAM_COUNT),
    STREAMS_BLOCKED_UNI: _integer_decoder(StreamsBlockedUni, 1, MAX_STREAM_COUNT),
    FrameType.NEW_CONNECTION_ID: _decode_new_connection_id,
    FrameType.RETIRE_CONNECTION_ID: _integer_decoder(RetireConnectionId, 1),
    FrameType.PATH_CHALLENGE: decode_path_challenge,
    FrameType.PATH_RESPONSE: decode_path_response,
    FrameType.CONNECTION_CLOSE: decode_close,
    FrameType.APPLICATION_CLOSE: decode_application_close,
    FrameType.HANDSHAKE_DONE: _integer_decoder(HandshakeDone, 0),
}
