"""HandshakeState: messages take effect as a whole or not at all, and misuse is refused."""

import pytest

from p2pnode.errors import DecodeError, HandshakeError, LocalProtocolError
from p2pnode.noise import IK, MAX_MESSAGE_SIZE, XX, HandshakeState, KeyPair, NoiseProtocol
from tests.support.noise import (
    INITIATOR_STATIC,
    RESPONDER_STATIC,
    finish,
    make_pair,
    make_side,
)

LOW_ORDER = b"\x01" + bytes(31)
SECRET_SIZE = 32


def protocol(pattern: str) -> NoiseProtocol:
    return NoiseProtocol.from_name(f"Noise_{pattern}_25519_ChaChaPoly_SHA256")


@pytest.mark.parametrize("suite", ["ChaChaPoly_SHA512", "AESGCM_SHA256", "AESGCM_BLAKE2b"])
@pytest.mark.parametrize("pattern", [a + b for a in "NKXI" for b in "NKX"] + ["KNpsk0+psk2"])
def test_every_pattern_and_suite_leads_both_sides_to_the_same_keys(
    pattern: str, suite: str
) -> None:
    initiator, responder = make_pair(NoiseProtocol.from_name(f"Noise_{pattern}_25519_{suite}"))

    finish(initiator, responder)

    assert initiator.split_secrets() == responder.split_secrets()
    assert initiator.handshake_hash == responder.handshake_hash
    assert [len(secret) for secret in initiator.split_secrets()] == [SECRET_SIZE] * 2


def test_payloads_travel_both_ways_and_static_keys_are_learned() -> None:
    initiator, responder = make_pair(XX)

    assert responder.read_message(initiator.write_message(b"one")) == b"one"
    assert responder.remote_static is None
    assert initiator.read_message(responder.write_message(b"two")) == b"two"
    assert initiator.remote_static == RESPONDER_STATIC.public
    assert responder.read_message(initiator.write_message(b"three")) == b"three"
    assert responder.remote_static == INITIATOR_STATIC.public


def test_the_ciphers_of_split_have_the_keys_of_split_secrets() -> None:
    initiator, responder = make_pair(IK)
    finish(initiator, responder)

    to_responder, to_initiator = initiator.split()
    assert (
        responder.split()[0].decrypt_with_ad(b"", to_responder.encrypt_with_ad(b"", b"a")) == b"a"
    )
    assert (
        responder.split()[1].decrypt_with_ad(b"", to_initiator.encrypt_with_ad(b"", b"b")) == b"b"
    )

    reference = IK.cipher.new(initiator.split_secrets()[0])
    expected = reference.encrypt(bytes(12), b"c", b"")
    assert initiator.split()[0].encrypt_with_ad(b"", b"c") == expected


def test_turns_are_told_and_kept() -> None:
    initiator, responder = make_pair(XX)
    assert (initiator.is_initiator, responder.is_initiator) == (True, False)
    assert (initiator.is_our_turn, responder.is_our_turn) == (True, False)

    with pytest.raises(LocalProtocolError, match="not our turn"):
        responder.write_message()
    with pytest.raises(LocalProtocolError, match="expected"):
        initiator.read_message(bytes(100))

    finish(initiator, responder)
    assert not initiator.is_our_turn
    with pytest.raises(LocalProtocolError, match="not our turn"):
        initiator.write_message()
    with pytest.raises(LocalProtocolError, match="expected"):
        responder.read_message(bytes(100))


def test_nothing_of_the_outcome_is_given_before_the_end() -> None:
    initiator, _ = make_pair(XX)

    for ask in (
        lambda: initiator.handshake_hash,
        initiator.split,
        initiator.split_secrets,
    ):
        with pytest.raises(LocalProtocolError, match="not finished"):
            ask()


@pytest.mark.spec("NOISE-8")
def test_a_forged_message_leaves_the_state_as_it_was() -> None:
    initiator, responder = make_pair(XX)
    responder.read_message(initiator.write_message())
    good = responder.write_message(b"payload")

    for forged in (b"", good[:31], good[:40], good[:-1], good[:-1] + b"\0", bytes(len(good))):
        with pytest.raises((DecodeError, HandshakeError)):
            initiator.read_message(forged)
        assert initiator.remote_static is None

    assert initiator.read_message(good) == b"payload"
    responder.read_message(initiator.write_message())
    assert initiator.split_secrets() == responder.split_secrets()


@pytest.mark.spec("NOISE-8")
def test_a_copy_goes_its_own_way() -> None:
    initiator, responder = make_pair(XX)
    responder.read_message(initiator.write_message())
    message = responder.write_message(b"p")

    unwanted = initiator.copy()
    unwanted.read_message(message)
    assert unwanted.is_our_turn
    assert not initiator.is_our_turn
    assert initiator.remote_static is None

    initiator.read_message(message)
    responder.read_message(initiator.write_message())
    assert responder.is_finished


def test_the_same_entropy_writes_the_same_bytes() -> None:
    first, second = (make_side(XX, initiator=True, seed=7) for _ in range(2))

    assert first.write_message(b"x") == second.write_message(b"x")


@pytest.mark.spec("NOISE-9")
def test_different_prologues_do_not_meet() -> None:
    initiator = make_side(XX, initiator=True, prologue=b"p2pnode")
    responder = make_side(XX, initiator=False, prologue=b"another")
    responder.read_message(initiator.write_message())

    with pytest.raises(HandshakeError, match="authenticate"):
        initiator.read_message(responder.write_message())


def test_different_psks_do_not_meet() -> None:
    initiator = make_side(protocol("NNpsk0"), initiator=True, psks=[b"\x01" * 32])
    responder = make_side(protocol("NNpsk0"), initiator=False, psks=[b"\x02" * 32])

    with pytest.raises(HandshakeError, match="authenticate"):
        responder.read_message(initiator.write_message())


@pytest.mark.spec("NOISE-3")
def test_an_ephemeral_key_of_low_order_fails_the_answer_to_it() -> None:
    """XX reads message 1 without any DH; the first one, in our message 2, refuses."""
    responder = make_side(XX, initiator=False)
    responder.read_message(LOW_ORDER)

    with pytest.raises(HandshakeError, match="low order"):
        responder.write_message()


@pytest.mark.spec("NOISE-3")
def test_an_ephemeral_key_of_low_order_fails_a_read_that_uses_it() -> None:
    responder = make_side(IK, initiator=False)

    with pytest.raises(HandshakeError, match="low order"):
        responder.read_message(LOW_ORDER + bytes(96))


@pytest.mark.spec("NOISE-5")
def test_messages_end_at_65535_bytes() -> None:
    initiator, responder = make_pair(XX)
    longest = bytes(MAX_MESSAGE_SIZE - 32)

    with pytest.raises(LocalProtocolError, match="65535"):
        initiator.write_message(longest + b"\0")
    with pytest.raises(DecodeError, match="65535"):
        responder.read_message(bytes(MAX_MESSAGE_SIZE + 1))

    message = initiator.write_message(longest)
    assert len(message) == MAX_MESSAGE_SIZE
    assert responder.read_message(message) == longest


@pytest.mark.parametrize(
    ("pattern", "keys", "reason"),
    [
        ("XX", {}, "needs a static key"),
        ("NN", {"s": INITIATOR_STATIC}, "has no static key"),
        ("IK", {"s": INITIATOR_STATIC}, "needs the remote static key"),
        ("XX", {"s": INITIATOR_STATIC, "rs": RESPONDER_STATIC.public}, "does not know"),
        ("IK", {"s": INITIATOR_STATIC, "rs": bytes(31)}, "32 bytes"),
        ("NNpsk0", {}, "takes 1 psks"),
        ("NNpsk0", {"psks": [bytes(31)]}, "takes 1 psks"),
        ("NN", {"psks": [bytes(32)]}, "takes 0 psks"),
    ],
)
def test_keys_that_do_not_fit_the_pattern_are_refused(
    pattern: str, keys: dict, reason: str
) -> None:
    with pytest.raises(LocalProtocolError, match=reason):
        HandshakeState(
            protocol(pattern),
            initiator=True,
            prologue=b"",
            entropy=lambda size: bytes(size),
            **keys,
        )


def test_any_static_key_may_be_used_for_many_handshakes() -> None:
    static = KeyPair.from_secret(b"\x33" * 32)
    hashes = set()
    for seed in range(3):
        initiator = make_side(XX, initiator=True, seed=seed)
        responder = HandshakeState(
            XX, initiator=False, prologue=b"prologue", entropy=lambda n: b"\x44" * n, s=static
        )
        finish(initiator, responder)
        hashes.add(responder.handshake_hash)

    assert len(hashes) == 3
