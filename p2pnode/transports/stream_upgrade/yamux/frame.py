"""yamux frames: a header of 12 bytes, and data behind those of one type (specs/yamux.md)."""

import enum
import struct
from typing import Final, NamedTuple

VERSION: Final = 0
HEADER: Final = struct.Struct(">BBHII")
HEADER_SIZE: Final = HEADER.size
SESSION_ID: Final = 0
"""The stream id of frames that are about the session."""
MAX_LENGTH: Final = (1 << 32) - 1
"""The largest number in a header's last field."""


class FrameType(enum.IntEnum):
    DATA = 0
    WINDOW_UPDATE = 1
    PING = 2
    GO_AWAY = 3


class Flag(enum.IntEnum):
    """Bits.  No IntFlag: to mask a plain number with one costs as much as the rest of a frame."""

    SYN = 1
    ACK = 2
    FIN = 4
    RST = 8


class GoAwayCode(enum.IntEnum):
    NORMAL = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2


class Header(NamedTuple):
    """One frame's header, as it came: any value may be in any field."""

    version: int
    frame_type: int
    flags: int
    stream_id: int
    length: int


def encode_header(frame_type: int, flags: int, stream_id: int, length: int) -> bytes:
    """Returns a header of version 0."""
    return HEADER.pack(VERSION, frame_type, flags, stream_id, length)
