"""The frames of streams and their credit, and what an ACK says (RFC 9000 section 19).

They are the same in every transport that shares this room.  One class a frame, with `encode` to
write it.  STREAM has no class: it is the hot path, written by `stream_header` and read by
`decode_stream_untrusted`.  How a transport writes an ACK is its own matter.
"""

import enum
from typing import Final, NamedTuple

from p2pnode.errors import DecodeError
from p2pnode.transports.delivery.varint import decode_varint_untrusted as varint
from p2pnode.transports.delivery.varint import encode_varint


class FrameType(enum.IntEnum):
    """All fit one byte; STREAM takes eight values, its low bits say which fields follow."""

    PADDING = 0x00
    PING = 0x01
    ACK = 0x02
    ACK_ECN = 0x03
    RESET_STREAM = 0x04
    STOP_SENDING = 0x05
    NEW_TOKEN = 0x07
    STREAM = 0x08
    MAX_DATA = 0x10
    MAX_STREAM_DATA = 0x11
    MAX_STREAMS = 0x12
    DATA_BLOCKED = 0x14
    STREAM_DATA_BLOCKED = 0x15
    STREAMS_BLOCKED = 0x16
    NEW_CONNECTION_ID = 0x18
    RETIRE_CONNECTION_ID = 0x19
    PATH_CHALLENGE = 0x1A
    PATH_RESPONSE = 0x1B
    CONNECTION_CLOSE = 0x1C
    APPLICATION_CLOSE = 0x1D
    HANDSHAKE_DONE = 0x1E
    IMMEDIATE_ACK = 0x1F
    PATH_ABANDON = 0x20
    PATH_STATUS = 0x21
    MAX_PATH_ID = 0x22
    OBSERVED_ADDRESS = 0x23
    ACK_FREQUENCY = 0x24
    DATAGRAM = 0x31


STREAM_OFF: Final = 0x04
STREAM_LEN: Final = 0x02
STREAM_FIN: Final = 0x01
STREAM_TYPES: Final = range(0x08, 0x10)


def stream_header(stream_id: int, offset: int, fin: bool, length: int | None) -> bytes:
    """Returns what precedes a STREAM frame's data.

    With `length` None the data must run to the end of the packet.
    """
    kind = 0x08 | fin  # FrameType.STREAM; looking up an enum member costs as much as the rest
    body = encode_varint(stream_id)
    if offset:
        kind |= STREAM_OFF
        body += encode_varint(offset)
    if length is not None:
        kind |= STREAM_LEN
        body += encode_varint(length)
    return bytes((kind,)) + body


def decode_stream_untrusted(buffer: bytes, position: int) -> tuple[int, int, bytes, bool, int]:
    """Returns (stream id, offset, data, fin, next position); `position` is at the type byte."""
    kind = buffer[position]
    stream_id, position = varint(buffer, position + 1)
    offset = 0
    if kind & STREAM_OFF:
        offset, position = varint(buffer, position)
    if kind & STREAM_LEN:
        length, position = varint(buffer, position)
        end = position + length
        if end > len(buffer):
            raise DecodeError("stream frame runs past its packet")
    else:
        end = len(buffer)
    return stream_id, offset, buffer[position:end], bool(kind & STREAM_FIN), end


def encode_integers(*values: int) -> bytes:
    return b"".join(map(encode_varint, values))


class Ack(NamedTuple):
    """Acknowledges packets of one path, 0 where there is but one.

    `ranges` are half-open, highest first, never empty.
    """

    path_id: int
    delay_us: int
    ranges: tuple[tuple[int, int], ...]
    ecn: tuple[int, int, int] | None = None
    """Cumulative counts of ECT(0), ECT(1) and CE."""

    @property
    def largest(self) -> int:
        return self.ranges[0][1] - 1


class ResetStream(NamedTuple):
    stream_id: int
    code: int
    final_size: int

    def encode(self) -> bytes:
        return encode_integers(FrameType.RESET_STREAM, *self)


class StopSending(NamedTuple):
    stream_id: int
    code: int

    def encode(self) -> bytes:
        return encode_integers(FrameType.STOP_SENDING, *self)


class MaxData(NamedTuple):
    maximum: int

    def encode(self) -> bytes:
        return encode_integers(FrameType.MAX_DATA, *self)


class MaxStreamData(NamedTuple):
    stream_id: int
    maximum: int

    def encode(self) -> bytes:
        return encode_integers(FrameType.MAX_STREAM_DATA, *self)


class MaxStreams(NamedTuple):
    """How many streams the receiver of this frame may open in all."""

    maximum: int

    def encode(self) -> bytes:
        return encode_integers(FrameType.MAX_STREAMS, *self)


class DataBlocked(NamedTuple):
    limit: int

    def encode(self) -> bytes:
        return encode_integers(FrameType.DATA_BLOCKED, *self)


class StreamDataBlocked(NamedTuple):
    stream_id: int
    limit: int

    def encode(self) -> bytes:
        return encode_integers(FrameType.STREAM_DATA_BLOCKED, *self)


class StreamsBlocked(NamedTuple):
    limit: int

    def encode(self) -> bytes:
        return encode_integers(FrameType.STREAMS_BLOCKED, *self)
