"""One connection to a control socket: lines first, then perhaps the frames of a stream.

    line     a JSON object, ended by LF
    frame    kind (1 byte), length (4 bytes, big-endian), payload

    DATA     bytes of the stream
    EOF      the sender of the frame has finished its direction
    RESET    the stream is gone; the payload is the JSON object of an error

Frames rather than bare bytes, because a Unix socket that just ends cannot say whether the stream
was finished or lost, and a pipe that takes the one for the other passes truncated data on as whole.
"""

import enum
import json
import struct
from typing import Any, NamedTuple

import trio

from p2pnode.errors import DecodeError, P2PNodeError
from p2pnode.io.control.fields import decode_object_untrusted
from p2pnode.io.control.messages import decode_error_untrusted
from p2pnode.machine import Buffer
from p2pnode.wire.byte_view import byte_view

MAX_FRAME_SIZE = 256 * 1024  # bytes of payload; chosen: few system calls, little memory

_HEADER = struct.Struct(">BI")


class FrameKind(enum.IntEnum):
    """What a frame says."""

    DATA = 0
    EOF = 1
    RESET = 2


class FrameHeader(NamedTuple):
    kind: FrameKind
    size: int
    """Bytes of payload that follow."""


class ControlChannel:
    """Lines and frames over a byte stream; the same at both ends.

    Methods raise trio's exceptions for streams, and DecodeError for what breaks the format.
    """

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._buffer = bytearray()
        self.is_between_frames = True
        """False while a frame is on its way out, and after that was cancelled."""

    async def receive_line(self, max_size: int) -> bytes | None:
        """Returns the next line without its end, or None where there is no more."""
        while (end := self._buffer.find(b"\n", 0, max_size + 1)) < 0:
            if len(self._buffer) > max_size:
                raise DecodeError(f"a line on the control socket is above {max_size} bytes")
            data = await self._stream.receive_some()
            if not data:
                return None
            self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    async def send_line(self, value: dict[str, Any]) -> None:
        """Sends a JSON object as a line."""
        await self._stream.send_all(json.dumps(value).encode() + b"\n")

    async def receive_header(self) -> FrameHeader | None:
        """Returns the next frame's header, or None at the end; its payload is read next."""
        while len(self._buffer) < _HEADER.size:
            data = await self._stream.receive_some(_HEADER.size - len(self._buffer))
            if not data:
                return None
            self._buffer += data
        kind, size = _HEADER.unpack_from(self._buffer)
        del self._buffer[: _HEADER.size]
        if size > MAX_FRAME_SIZE or kind not in tuple(FrameKind):
            raise DecodeError("a frame on the control socket is not valid")
        return FrameHeader(FrameKind(kind), size)

    async def receive_payload(self, max_bytes: int) -> bytes:
        """Returns some of a payload, at least one byte.  Raises BrokenResourceError at the end."""
        if self._buffer:
            data = bytes(self._buffer[:max_bytes])
            del self._buffer[:max_bytes]
            return data
        data = bytes(await self._stream.receive_some(max_bytes))
        if not data:
            raise trio.BrokenResourceError("the control socket was closed inside of a frame")
        return data

    async def receive_error(self, header: FrameHeader) -> P2PNodeError:
        """Returns what the payload of a RESET frame says."""
        payload = b""
        while len(payload) < header.size:
            payload += await self.receive_payload(header.size - len(payload))
        return decode_error_untrusted(decode_object_untrusted(payload))

    async def send_frame(self, kind: FrameKind, payload: Buffer = b"") -> None:
        """Sends a frame; the payload is at most MAX_FRAME_SIZE bytes."""
        payload = byte_view(payload)
        self.is_between_frames = False
        await self._stream.send_all(_HEADER.pack(kind, len(payload)) + payload)
        self.is_between_frames = True

    async def wait_closed(self) -> None:
        """Returns when the other side has closed the connection, or has said what it must not."""
        if not self._buffer:
            self._buffer += await self._stream.receive_some(1)

    def abandon(self) -> None:
        """Closes the connection at once, whatever is still on its way."""
        self._stream.socket.close()

    async def aclose(self) -> None:
        await self._stream.aclose()
