"""Messages on a stream, each behind its length as an unsigned varint (libp2p's usual framing).

Rule: nothing behind a message is touched until it is asked for, because what follows may belong to
another protocol (multistream-select, circuits); and nothing longer than the limit is buffered.
"""

from p2pnode.errors import DecodeError
from p2pnode.wire.varint import encode_uvarint, try_decode_uvarint_untrusted


def encode_frame(message: bytes) -> bytes:
    """Returns the message behind its length."""
    return encode_uvarint(len(message)) + message


class FrameReader:
    """Cuts a stream of bytes, which may arrive in any pieces, into its messages.

    The caller asks for the messages one by one and feeds more when there is none; so it holds at
    most one message and what arrived in the same pieces.
    """

    __slots__ = ("_buffer", "_max_size")

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Takes the next bytes of the stream."""
        self._buffer += data

    def next_frame_untrusted(self) -> bytes | None:
        """Returns the next message, or None while it is incomplete.

        Raises DecodeError for a bad length or one above the limit; the stream is lost then.
        """
        decoded = try_decode_uvarint_untrusted(self._buffer)
        if decoded is None:
            return None
        size, start = decoded
        if size > self._max_size:
            raise DecodeError(f"a message of {size} bytes is above the limit of {self._max_size}")
        if len(self._buffer) < start + size:
            return None
        message = bytes(self._buffer[start : start + size])
        del self._buffer[: start + size]
        return message

    def take_rest(self) -> bytes:
        """Returns what has arrived behind the messages taken so far, and forgets it."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    @property
    def buffered(self) -> int:
        """Bytes that have arrived behind the messages taken so far."""
        return len(self._buffer)

    @property
    def is_empty(self) -> bool:
        """True where no part of a message is waiting: the only good place for the stream to end."""
        return not self._buffer
