"""The messages of a file transfer: round trips, limits, and the worked example of the spec."""

import contextlib
import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.errors import DecodeError
from p2pnode.protocols.file_transfer import MAX_FILE_SIZE, MAX_NAME_SIZE, MAX_REASON_SIZE
from p2pnode.protocols.file_transfer.messages import (
    Digest,
    Offer,
    Reply,
    TransferStatus,
    decode_digest_untrusted,
    decode_offer_untrusted,
    decode_reply_untrusted,
    encode_digest,
    encode_offer,
    encode_reply,
)
from p2pnode.wire.pb.file_transfer_pb2 import FileDigest, FileOffer, FileReply

DECODERS: list[Callable[[bytes], object]] = [
    decode_offer_untrusted,
    decode_reply_untrusted,
    decode_digest_untrusted,
]


@given(st.text(min_size=1, max_size=200), st.integers(0, MAX_FILE_SIZE))
def test_an_offer_comes_back_as_it_was(name: str, size: int) -> None:
    assert decode_offer_untrusted(encode_offer(Offer(name, size))) == Offer(name, size)


@given(st.integers(1, 999), st.text(max_size=100))
def test_a_reply_comes_back_as_it_was(status: int, reason: str) -> None:
    assert decode_reply_untrusted(encode_reply(Reply(status, reason))) == Reply(status, reason)


def test_a_digest_comes_back_as_it_was() -> None:
    digest = Digest(hashlib.sha256(b"abc").digest())
    assert decode_digest_untrusted(encode_digest(digest)) == digest


def test_the_messages_are_those_of_the_spec() -> None:
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert encode_offer(Offer("a.txt", 3)).hex() == "0a05612e7478741003"
    assert encode_reply(Reply(TransferStatus.OK)).hex() == "0864"
    assert encode_digest(Digest(bytes.fromhex(digest))).hex() == "0a20" + digest
    assert encode_reply(Reply(TransferStatus.NO_SPACE, "disk full")).hex() == (
        "08ca0112096469736b2066756c6c"
    )


def test_long_texts_are_cut_between_characters() -> None:
    offer = decode_offer_untrusted(encode_offer(Offer("é" * MAX_NAME_SIZE, 1)))
    assert offer.name == "é" * (MAX_NAME_SIZE // 2)
    reply = decode_reply_untrusted(encode_reply(Reply(200, "x" + "é" * MAX_REASON_SIZE)))
    assert reply.reason == "x" + "é" * (MAX_REASON_SIZE // 2 - 1)


def test_a_name_that_the_system_could_not_decode_can_be_offered() -> None:
    assert decode_offer_untrusted(encode_offer(Offer("a\udcff", 1))).name == "a?"


@pytest.mark.spec("FILE-11")
@pytest.mark.parametrize(
    ("decode", "message"),
    [
        (decode_offer_untrusted, FileOffer(size=1)),
        (decode_offer_untrusted, FileOffer(name=b"x")),
        (decode_offer_untrusted, FileOffer(name=b"x" * (MAX_NAME_SIZE + 1), size=1)),
        (decode_offer_untrusted, FileOffer(name=b"x", size=MAX_FILE_SIZE + 1)),
        (decode_reply_untrusted, FileReply(reason=b"x")),
        (decode_reply_untrusted, FileReply(status=100, reason=b"x" * (MAX_REASON_SIZE + 1))),
        (decode_digest_untrusted, FileDigest()),
        (decode_digest_untrusted, FileDigest(sha256=bytes(31))),
    ],
)
def test_incomplete_and_oversized_messages_are_refused(
    decode: Callable[[bytes], object], message: FileOffer | FileReply | FileDigest
) -> None:
    with pytest.raises(DecodeError):
        decode(message.SerializeToString())


def test_an_unknown_status_is_a_failure() -> None:
    assert not decode_reply_untrusted(encode_reply(Reply(777))).is_ok
    assert decode_reply_untrusted(encode_reply(Reply(TransferStatus.OK))).is_ok


@pytest.mark.parametrize("decode", DECODERS)
@given(data=st.binary(max_size=200))
def test_no_bytes_raise_anything_but_decode_error(
    decode: Callable[[bytes], object], data: bytes
) -> None:
    with contextlib.suppress(DecodeError):
        decode(data)
