"""Frames of libp2p-noise on a link."""

import pytest

from p2pnode.errors import DecodeError
from p2pnode.noise import MAX_MESSAGE_SIZE, CipherState
from p2pnode.noise.primitives import CHACHAPOLY, TAG_LEN
from p2pnode.transports.stream_upgrade.noise_channel import (
    LENGTH_SIZE,
    MAX_PLAINTEXT_SIZE,
    NoiseChannel,
)


def channels() -> tuple[NoiseChannel, NoiseChannel]:
    there, back = bytes(32), bytes(range(32))

    def make(sending: bytes, receiving: bytes) -> NoiseChannel:
        return NoiseChannel(CipherState(CHACHAPOLY, sending), CipherState(CHACHAPOLY, receiving))

    return make(there, back), make(back, there)


@pytest.mark.spec("UPG-3")
def test_frames_are_as_large_as_they_may_be() -> None:
    alice, bob = channels()
    text = bytes(MAX_PLAINTEXT_SIZE) + b"x"

    sent = alice.encrypt(text)

    assert int.from_bytes(sent[:LENGTH_SIZE]) == MAX_MESSAGE_SIZE
    assert len(sent) == len(text) + 2 * (LENGTH_SIZE + TAG_LEN)
    assert bob.decrypt_untrusted(sent) == text
    assert alice.encrypt(b"") == b""


@pytest.mark.spec("UPG-3")
def test_what_is_held_is_less_than_a_frame() -> None:
    alice, bob = channels()
    sent = alice.encrypt(bytes(1000))

    assert bob.decrypt_untrusted(sent[:-1]) == b""
    assert bob.buffered == len(sent) - 1
    assert bob.decrypt_untrusted(sent[-1:]) == bytes(1000)
    assert bob.buffered == 0


@pytest.mark.spec("UPG-6")
@pytest.mark.parametrize("frame", [b"\0\0", b"\0\x0f" + bytes(15), b"\xff\xff" + bytes(65535)])
def test_a_frame_that_is_too_short_or_forged_ends_the_link(frame: bytes) -> None:
    _, bob = channels()

    with pytest.raises(DecodeError):
        bob.decrypt_untrusted(frame)
