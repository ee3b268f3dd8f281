"""CipherState: a nonce is used once, and a forgery changes nothing."""

import pytest

from p2pnode.errors import DecodeError, LocalProtocolError
from p2pnode.noise import MAX_MESSAGE_SIZE, CipherState
from p2pnode.noise.primitives import AES256GCM, CHACHAPOLY, MAX_NONCE, TAG_LEN, CipherFunction

KEY = bytes(range(32))
CIPHERS = pytest.mark.parametrize("cipher", [CHACHAPOLY, AES256GCM], ids=["ChaChaPoly", "AESGCM"])


def test_without_a_key_messages_pass_as_they_are() -> None:
    state = CipherState(CHACHAPOLY)

    assert not state.has_key
    assert state.encrypt_with_ad(b"ad", b"hello") == b"hello"
    assert state.decrypt_with_ad(b"ad", b"hello") == b"hello"
    assert state.nonce == 0


@CIPHERS
def test_what_one_state_encrypts_the_other_decrypts(cipher: CipherFunction) -> None:
    sender, receiver = CipherState(cipher, KEY), CipherState(cipher, KEY)

    for text in (b"first", b"", b"third"):
        assert receiver.decrypt_with_ad(b"ad", sender.encrypt_with_ad(b"ad", text)) == text
    assert sender.nonce == receiver.nonce == 3


@CIPHERS
@pytest.mark.spec("NOISE-4")
def test_a_forged_message_changes_nothing(cipher: CipherFunction) -> None:
    sender, receiver = CipherState(cipher, KEY), CipherState(cipher, KEY)
    good = sender.encrypt_with_ad(b"ad", b"text")

    for forged in (b"", good[:-1], good[: TAG_LEN - 1], b"\0" + good[1:], good + b"\0"):
        with pytest.raises(DecodeError):
            receiver.decrypt_with_ad(b"ad", forged)
    with pytest.raises(DecodeError):
        receiver.decrypt_with_ad(b"other", good)

    assert receiver.decrypt_with_ad(b"ad", good) == b"text"


@pytest.mark.spec("NOISE-5")
def test_messages_end_at_65535_bytes() -> None:
    sender, receiver = CipherState(CHACHAPOLY, KEY), CipherState(CHACHAPOLY, KEY)
    longest = bytes(MAX_MESSAGE_SIZE - TAG_LEN)

    with pytest.raises(LocalProtocolError, match="65535"):
        sender.encrypt_with_ad(b"", longest + b"\0")
    with pytest.raises(DecodeError, match="65535"):
        receiver.decrypt_with_ad(b"", bytes(MAX_MESSAGE_SIZE + 1))

    message = sender.encrypt_with_ad(b"", longest)
    assert len(message) == MAX_MESSAGE_SIZE
    assert receiver.decrypt_with_ad(b"", message) == longest


@pytest.mark.spec("NOISE-6")
def test_the_last_nonce_is_reserved_and_the_state_refuses_to_go_on() -> None:
    sender, receiver = CipherState(CHACHAPOLY, KEY), CipherState(CHACHAPOLY, KEY)
    sender.set_nonce(MAX_NONCE - 1)
    receiver.set_nonce(MAX_NONCE - 1)

    last = sender.encrypt_with_ad(b"", b"last")
    assert receiver.decrypt_with_ad(b"", last) == b"last"

    with pytest.raises(LocalProtocolError, match="used up"):
        sender.encrypt_with_ad(b"", b"one more")
    with pytest.raises(DecodeError, match="used up"):
        receiver.decrypt_with_ad(b"", last)
    assert sender.nonce == MAX_NONCE


@pytest.mark.parametrize("nonce", [-1, MAX_NONCE + 1])
def test_nonces_outside_64_bits_are_refused(nonce: int) -> None:
    with pytest.raises(LocalProtocolError, match="out of range"):
        CipherState(CHACHAPOLY, KEY).set_nonce(nonce)


def test_a_carried_nonce_lets_messages_arrive_in_any_order() -> None:
    sender, receiver = CipherState(CHACHAPOLY, KEY), CipherState(CHACHAPOLY, KEY)
    messages = [(sender.nonce, sender.encrypt_with_ad(b"", bytes([i]))) for i in range(3)]

    for nonce, message in reversed(messages):
        receiver.set_nonce(nonce)
        assert receiver.decrypt_with_ad(b"", message) == bytes([nonce])


@CIPHERS
@pytest.mark.spec("NOISE-7")
def test_rekey_changes_the_key_on_both_sides_alike_and_keeps_the_nonce(
    cipher: CipherFunction,
) -> None:
    sender, receiver = CipherState(cipher, KEY), CipherState(cipher, KEY)
    old = sender.copy()
    receiver.decrypt_with_ad(b"", sender.encrypt_with_ad(b"", b"before"))
    old.set_nonce(1)

    sender.rekey()
    receiver.rekey()

    assert sender.nonce == 1
    with pytest.raises(DecodeError):
        receiver.decrypt_with_ad(b"", old.encrypt_with_ad(b"", b"old key"))
    assert receiver.decrypt_with_ad(b"", sender.encrypt_with_ad(b"", b"after")) == b"after"


def test_rekey_without_a_key_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="no key"):
        CipherState(CHACHAPOLY).rekey()


def test_keys_of_a_wrong_size_are_refused() -> None:
    with pytest.raises(LocalProtocolError, match="32 bytes"):
        CipherState(CHACHAPOLY, bytes(31))


def test_a_copy_goes_its_own_way() -> None:
    state = CipherState(CHACHAPOLY, KEY)
    twin = state.copy()

    assert state.encrypt_with_ad(b"", b"same") == twin.encrypt_with_ad(b"", b"same")
    state.encrypt_with_ad(b"", b"more")
    assert (state.nonce, twin.nonce) == (2, 1)
