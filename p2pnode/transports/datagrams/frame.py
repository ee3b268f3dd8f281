"""Frames of a connection that are the same in all transports over datagrams (RFC 9000 section 19).

One class a frame, `encode` to write it; what reads them, and the fields of others.  Those of
streams and their credit are the delivery room's.
"""

from typing import Final, NamedTuple

from p2pnode.errors import DecodeError
from p2pnode.transports.delivery.frame import FrameType, encode_integers
from p2pnode.transports.delivery.varint import decode_varint_untrusted as varint

CHALLENGE_SIZE: Final = 8
"""bytes; RFC 9000 section 19.17"""
MAX_REASON_SIZE: Final = 256
"""bytes of a close reason that are sent, and that are kept of a longer one; chosen: one sentence"""
NOT_ACK_ELICITING_TYPES: Final = frozenset({0x00, 0x02, 0x03, 0x1C, 0x1D})


class Ping(NamedTuple):
    def encode(self) -> bytes:
        return b"\x01"


class NewToken(NamedTuple):
    token: bytes

    def encode(self) -> bytes:
        return encode_integers(FrameType.NEW_TOKEN, len(self.token)) + self.token


class PathChallenge(NamedTuple):
    data: bytes

    def encode(self) -> bytes:
        return b"\x1a" + self.data


class PathResponse(NamedTuple):
    data: bytes

    def encode(self) -> bytes:
        return b"\x1b" + self.data


class ConnectionClose(NamedTuple):
    code: int
    frame_type: int
    """What was wrong with which frame, 0 where none or unknown, and of applications."""
    reason: str
    is_application: bool

    def encode(self) -> bytes:
        # a cut inside a character is repaired by the receiver's "replace"
        reason = self.reason.encode("utf-8", "replace")[:MAX_REASON_SIZE]
        if self.is_application:
            return encode_integers(FrameType.APPLICATION_CLOSE, self.code, len(reason)) + reason
        return (
            encode_integers(FrameType.CONNECTION_CLOSE, self.code, self.frame_type, len(reason))
            + reason
        )


class HandshakeDone(NamedTuple):
    def encode(self) -> bytes:
        return b"\x1e"


def read_bytes(buffer: bytes, position: int, size: int) -> tuple[bytes, int]:
    """Returns a field of `size` bytes and the position behind it; raises DecodeError."""
    end = position + size
    if end > len(buffer):
        raise DecodeError("frame runs past its packet")
    return buffer[position:end], end


def read_integers(buffer: bytes, position: int, count: int) -> tuple[list[int], int]:
    """Returns so many integers in a row and the position behind them; raises DecodeError."""
    values: list[int] = []
    end = len(buffer)
    for _ in range(count):
        if position < end and buffer[position] < 0x40:
            values.append(buffer[position])  # most fields of an ACK are one byte
            position += 1
        else:
            value, position = varint(buffer, position)
            values.append(value)
    return values, position


def decode_path_challenge(buffer: bytes, position: int) -> tuple[PathChallenge, int]:
    """Like all decoders of a table, behind the type; raises DecodeError."""
    data, position = read_bytes(buffer, position, CHALLENGE_SIZE)
    return PathChallenge(data), position


def decode_path_response(buffer: bytes, position: int) -> tuple[PathResponse, int]:
    data, position = read_bytes(buffer, position, CHALLENGE_SIZE)
    return PathResponse(data), position


def decode_close(buffer: bytes, position: int) -> tuple[ConnectionClose, int]:
    (code, frame_type, size), position = read_integers(buffer, position, 3)
    text, position = _read_reason(buffer, position, size)
    return ConnectionClose(code, frame_type, text, False), position


def decode_application_close(buffer: bytes, position: int) -> tuple[ConnectionClose, int]:
    (code, size), position = read_integers(buffer, position, 2)
    text, position = _read_reason(buffer, position, size)
    return ConnectionClose(code, 0, text, True), position


def _read_reason(buffer: bytes, position: int, size: int) -> tuple[str, int]:
    reason, position = read_bytes(buffer, position, size)
    return reason[:MAX_REASON_SIZE].decode("utf-8", "replace"), position
