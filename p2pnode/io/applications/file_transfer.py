"""What both ends of a file transfer share: limits, framing, failure (specs/file_transfer.md)."""

from typing import NamedTuple

from p2pnode.errors import DecodeError, P2PNodeError
from p2pnode.io.applications.peer_stream import PeerStream
from p2pnode.protocols.file_transfer import MAX_MESSAGE_SIZE
from p2pnode.wire.framing import FrameReader

BLOCK_SIZE = 256 * 1024
"""Bytes that go through a worker thread at once, to disk and to the hash.

A thread costs some 100 us each time; the stream's window covers the time that a block takes.
"""

OFFER_TIMEOUT = 10.0  # seconds from the stream's first byte to a whole offer; libp2p's usual
ANSWER_TIMEOUT = 60.0  # seconds; the receiver decides without asking anybody
PROMISE_TIMEOUT = 30.0
"""seconds in which a block of a file has to come, else its space is no longer kept for it; chosen:
9 kB/s, and who only promises must not keep others out"""
STALL_TIMEOUT = 60.0  # seconds without a byte of the file; chosen: a sleeping disk wakes in less
VERDICT_TIMEOUT = 300.0  # seconds; writing gigabytes back to a slow disk takes minutes
DRAIN_TIMEOUT = 10.0  # seconds for the sender to hear the verdict and to finish


class TransferError(P2PNodeError):
    """A file was not transferred; the text says why, and what to do."""


class Transferred(NamedTuple):
    """A file that has arrived whole."""

    size: int
    """Bytes."""
    sha256: str
    """In hexadecimal."""
    seconds: float
    """From the receiver's consent to its verdict."""


class MessageReader:
    """Reads the messages of a stream, and the bytes between them."""

    def __init__(self, stream: PeerStream) -> None:
        self._stream = stream
        self._frames = FrameReader(MAX_MESSAGE_SIZE)

    async def next_message(self) -> bytes:
        """Returns the next message.  Raises DecodeError, also where the stream ends before it."""
        while (message := self._frames.next_frame_untrusted()) is None:
            data = await self._stream.receive_some(MAX_MESSAGE_SIZE)
            if not data:
                raise DecodeError("the stream ended in the middle of the dialogue")
            self._frames.feed(bytes(data))
        return message

    def take_content(self, size: int) -> bytes:
        """Returns what came behind the last message, at most `size` bytes of it."""
        rest = self._frames.take_rest()
        self._frames.feed(rest[size:])
        return rest[:size]
