"""Whatever arrives in a handshake: two errors at most, and never a spoilt state."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pnode.errors import DecodeError, HandshakeError
from p2pnode.noise import IK, XX, CipherState, HandshakeState, NoiseProtocol
from p2pnode.noise.primitives import CHACHAPOLY
from tests.support.noise import finish, make_pair

pytestmark = pytest.mark.spec("NOISE-8")

KKPSK0 = NoiseProtocol.from_name("Noise_KKpsk0_25519_ChaChaPoly_SHA256")

protocols = st.sampled_from([XX, IK, KKPSK0])
Damage = Callable[[bytes], bytes]


def flip(position: int, bit: int) -> Damage:
    def damaged(message: bytes) -> bytes:
        index = position % len(message)
        return message[:index] + bytes([message[index] ^ 1 << bit]) + message[index + 1 :]

    return damaged


damages: st.SearchStrategy[Damage] = st.one_of(
    st.builds(flip, st.integers(0, 500), st.integers(0, 7)),
    st.integers(0, 500).map(lambda cut: lambda message: message[: cut % len(message)]),
    st.binary(min_size=1, max_size=40).map(lambda tail: lambda message: message + tail),
    st.binary(max_size=300).map(lambda other: lambda _: other),
    st.just(lambda message: bytes(len(message))),
)


def progress(state: HandshakeState) -> tuple[object, ...]:
    return (state.is_finished, state.is_our_turn, state.remote_static)


def read_or_refuse(reader: HandshakeState, message: bytes) -> bool:
    """Tells whether the message was read; any other exception fails the test."""
    try:
        reader.read_message(message)
    except (DecodeError, HandshakeError):
        return False
    return True


@settings(max_examples=150, deadline=None)
@given(protocol=protocols, at=st.integers(0, 2), payload=st.binary(max_size=50), damage=damages)
def test_a_damaged_message_never_spoils_a_handshake(
    protocol: NoiseProtocol, at: int, payload: bytes, damage: Damage
) -> None:
    initiator, responder = make_pair(protocol)
    writer, reader = initiator, responder
    for _ in range(at % len(protocol.pattern.messages)):
        reader.read_message(writer.write_message())
        writer, reader = reader, writer
    good = writer.write_message(payload)
    before = progress(reader)

    probe = reader.copy()
    accepted = read_or_refuse(probe, damage(good))
    if not accepted:
        assert progress(probe) == before
        assert probe.read_message(good) == payload

    assert progress(reader) == before
    assert reader.read_message(good) == payload
    finish(initiator, responder)
    assert initiator.split_secrets() == responder.split_secrets()


@settings(max_examples=100, deadline=None)
@given(protocol=protocols, at=st.integers(1, 2), damage=damages)
def test_a_damaged_message_is_never_taken_once_there_is_a_key(
    protocol: NoiseProtocol, at: int, damage: Damage
) -> None:
    """Only message 1 of XX can be altered unnoticed; the next read of either side then fails."""
    initiator, responder = make_pair(protocol)
    writer, reader = initiator, responder
    for _ in range(at % len(protocol.pattern.messages)):
        reader.read_message(writer.write_message())
        writer, reader = reader, writer
    good = writer.write_message(b"payload")
    bad = damage(good)

    if bad == good or (protocol is XX and reader is responder and not writer.remote_static):
        return
    assert not read_or_refuse(reader, bad)


@settings(max_examples=100, deadline=None)
@given(position=st.integers(0, 31), bit=st.integers(0, 7))
def test_an_altered_ephemeral_key_fails_the_next_message(position: int, bit: int) -> None:
    initiator, responder = make_pair(XX)
    responder.read_message(flip(position, bit)(initiator.write_message()))

    assert not read_or_refuse(initiator, responder.write_message())


@settings(max_examples=100, deadline=None)
@given(text=st.binary(max_size=100), damage=damages)
def test_a_damaged_transport_message_never_spoils_a_cipher(text: bytes, damage: Damage) -> None:
    sender, receiver = (CipherState(CHACHAPOLY, b"\x05" * 32) for _ in range(2))
    good = sender.encrypt_with_ad(b"", text)
    bad = damage(good)

    if bad != good:
        with pytest.raises(DecodeError):
            receiver.decrypt_with_ad(b"", bad)
    assert receiver.decrypt_with_ad(b"", good) == text
