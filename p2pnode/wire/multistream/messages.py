"""The messages of multistream-select: lines of text behind their length (specs/multistream.md).

Rule: a message is at most MAX_MESSAGE_SIZE bytes, its newline included.
"""

from p2pnode.errors import DecodeError
from p2pnode.wire.framing import encode_frame

MULTISTREAM_PROTOCOL = "/multistream/1.0.0"
NOT_AVAILABLE = "na"
MAX_MESSAGE_SIZE = 1024  # bytes with the newline; go-multistream


def encode_message(text: str) -> bytes:
    """Returns one message with its length; `text` is a protocol id or a word of multistream."""
    line = text.encode() + b"\n"
    assert len(line) <= MAX_MESSAGE_SIZE
    return encode_frame(line)


def decode_message_untrusted(frame: bytes) -> str:
    """Returns the text in a message whose length is off already.  Raises DecodeError."""
    if not frame.endswith(b"\n"):
        raise DecodeError("a multistream message without a newline at its end")
    try:
        return frame[:-1].decode()
    except UnicodeDecodeError as exc:
        raise DecodeError("a multistream message that is not UTF-8") from exc
