"""Offer, reply and digest: the messages around a file's bytes (specs/file_transfer.md, Messages).

Rule: what the decoders return is within the limits of this package, and is otherwise as hostile as
it came: names are not safe as paths, texts are not safe on a terminal.
"""

import enum
from dataclasses import dataclass

from p2pnode.errors import DecodeError
from p2pnode.protocols.file_transfer import (
    DIGEST_SIZE,
    MAX_FILE_SIZE,
    MAX_NAME_SIZE,
    MAX_REASON_SIZE,
)
from p2pnode.wire.pb.file_transfer_pb2 import FileDigest, FileOffer, FileReply
from p2pnode.wire.protobuf import parse_untrusted


class TransferStatus(enum.IntEnum):
    """What a receiver may say; everything but OK ends the transfer."""

    OK = 100
    REFUSED = 200
    BUSY = 201
    NO_SPACE = 202
    WRITE_FAILED = 300
    DIGEST_MISMATCH = 301
    BAD_MESSAGE = 400
    TIMED_OUT = 401
    SHUTTING_DOWN = 402


@dataclass(frozen=True, slots=True)
class Offer:
    """The first message: what the sender would like to send."""

    name: str
    """As the sender calls it; not safe as a path."""
    size: int
    """Exactly so many bytes follow when the receiver accepts."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The receiver's answer to the offer, and later its verdict on the file."""

    status: int
    """A `TransferStatus`, or a number unknown to this revision: a failure like the others."""
    reason: str = ""

    @property
    def is_ok(self) -> bool:
        return self.status == TransferStatus.OK


@dataclass(frozen=True, slots=True)
class Digest:
    """What the sender's bytes hash to; follows them."""

    sha256: bytes


def encode_offer(offer: Offer) -> bytes:
    """Returns the message; a name above the limit is cut."""
    return FileOffer(name=_cut(offer.name, MAX_NAME_SIZE), size=offer.size).SerializeToString()


def encode_reply(reply: Reply) -> bytes:
    """Returns the message; a reason above the limit is cut."""
    reason = _cut(reply.reason, MAX_REASON_SIZE) or None
    return FileReply(status=reply.status, reason=reason).SerializeToString()


def encode_digest(digest: Digest) -> bytes:
    """Returns the message."""
    return FileDigest(sha256=digest.sha256).SerializeToString()


def decode_offer_untrusted(data: bytes) -> Offer:
    """Raises DecodeError for an offer without name or size, or with one above its limit."""
    message = parse_untrusted(FileOffer(), data, "a file offer")
    if not message.name or not message.HasField("size"):
        raise DecodeError("a file offer lacks the file's name or size")
    if len(message.name) > MAX_NAME_SIZE or message.size > MAX_FILE_SIZE:
        raise DecodeError("a file offer is above the limits")
    return Offer(_text(message.name), message.size)


def decode_reply_untrusted(data: bytes) -> Reply:
    """Raises DecodeError for a reply without status, or with a reason above the limit."""
    message = parse_untrusted(FileReply(), data, "a file transfer's reply")
    if not message.status:
        raise DecodeError("a file transfer's reply lacks its status")
    if len(message.reason) > MAX_REASON_SIZE:
        raise DecodeError("a file transfer's reply is above the limits")
    return Reply(message.status, _text(message.reason))


def decode_digest_untrusted(data: bytes) -> Digest:
    """Raises DecodeError unless the message holds a digest of the right size."""
    message = parse_untrusted(FileDigest(), data, "a file's digest")
    if len(message.sha256) != DIGEST_SIZE:
        raise DecodeError(f"a file's digest is not {DIGEST_SIZE} bytes long")
    return Digest(message.sha256)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _cut(text: str, size: int) -> bytes:
    """Returns the text's UTF-8, cut between two characters where it is above `size` bytes."""
    # "replace": a name that the operating system could not decode carries surrogates.
    encoded = text.encode("utf-8", "replace")
    return encoded[:size].decode("utf-8", "ignore").encode()
