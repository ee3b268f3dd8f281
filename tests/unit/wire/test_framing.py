"""Messages behind their length."""

import pytest

from p2pnode.errors import DecodeError
from p2pnode.wire.framing import FrameReader, encode_frame


def test_messages_come_out_one_by_one_and_the_rest_stays() -> None:
    reader = FrameReader(max_size=10)
    reader.feed(encode_frame(b"one") + encode_frame(b"") + b"tail that is no frame")

    assert reader.next_frame_untrusted() == b"one"
    assert reader.next_frame_untrusted() == b""
    assert reader.take_rest() == b"tail that is no frame"
    assert reader.is_empty


def test_an_incomplete_message_waits() -> None:
    reader = FrameReader(max_size=200)
    data = encode_frame(b"x" * 200)

    for index in range(len(data) - 1):
        reader.feed(data[index : index + 1])
        assert reader.next_frame_untrusted() is None
    assert not reader.is_empty
    reader.feed(data[-1:])
    assert reader.next_frame_untrusted() == b"x" * 200


def test_a_message_above_the_limit_is_refused_by_its_length_alone() -> None:
    reader = FrameReader(max_size=10)
    reader.feed(b"\x0b")

    with pytest.raises(DecodeError, match="11 bytes is above the limit of 10"):
        reader.next_frame_untrusted()
