"""The primitives: sizes are checked before C sees the bytes, and secrets stay out of logs."""

import pytest

from p2pnode.errors import HandshakeError, LocalProtocolError
from p2pnode.noise.primitives import (
    AES256GCM,
    BLAKE2B,
    BLAKE2S,
    CHACHAPOLY,
    SHA256,
    SHA512,
    HashFunction,
    KeyPair,
    x25519,
)

# RFC 7748 section 6.1.
ALICE = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
BOB_PUBLIC = bytes.fromhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
SHARED = bytes.fromhex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")


def test_x25519_agrees_with_its_rfc() -> None:
    assert x25519(ALICE, BOB_PUBLIC) == SHARED


@pytest.mark.parametrize("size", [0, 31, 33])
def test_keys_of_a_wrong_size_never_reach_the_library(size: int) -> None:
    with pytest.raises(LocalProtocolError, match="32 bytes"):
        x25519(ALICE, bytes(size))
    with pytest.raises(LocalProtocolError, match="32 bytes"):
        x25519(bytes(size), BOB_PUBLIC)
    with pytest.raises(LocalProtocolError, match="32 bytes"):
        KeyPair.from_secret(bytes(size))


@pytest.mark.spec("NOISE-3")
@pytest.mark.parametrize("public", [bytes(32), b"\x01" + bytes(31)])
def test_a_public_key_of_low_order_is_refused(public: bytes) -> None:
    with pytest.raises(HandshakeError, match="low order"):
        x25519(ALICE, public)


def test_a_key_pair_is_made_of_32_bytes_of_entropy() -> None:
    asked: list[int] = []

    def entropy(size: int) -> bytes:
        asked.append(size)
        return ALICE

    assert KeyPair.generate(entropy) == KeyPair.from_secret(ALICE)
    assert asked == [32]


def test_a_key_pair_does_not_print_its_secret() -> None:
    pair = KeyPair.from_secret(ALICE)

    assert "secret" not in repr(pair)
    assert repr(pair.public) in repr(pair)


@pytest.mark.parametrize("function", [SHA256, SHA512, BLAKE2S, BLAKE2B])
def test_hkdf_outputs_have_the_length_of_the_hash_and_are_a_prefix(function: HashFunction) -> None:
    two = function.hkdf(b"key", b"material")
    three = function.hkdf3(b"key", b"material")

    assert three[:2] == two
    assert {len(output) for output in three} == {function.hash_len}
    assert len(set(three)) == 3


def test_hkdf_is_rfc_5869_with_an_empty_info() -> None:
    """RFC 5869 test case 3: zero-length salt and info."""
    first, second = SHA256.hkdf(b"", b"\x0b" * 22)

    assert first + second[:10] == bytes.fromhex(
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    )


def test_the_two_ciphers_write_nonces_in_opposite_byte_orders() -> None:
    assert CHACHAPOLY.nonce(0x0102) == bytes.fromhex("00000000 0201000000000000")
    assert AES256GCM.nonce(0x0102) == bytes.fromhex("00000000 0000000000000102")
