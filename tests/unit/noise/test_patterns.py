"""Patterns: what the Noise specification draws, and names that we understand."""

import pytest

from p2pnode.errors import LocalProtocolError
from p2pnode.noise import IK, XX, NoiseProtocol
from p2pnode.noise.primitives import AES256GCM, BLAKE2B, CHACHAPOLY, SHA256


def drawn(name: str) -> list[str]:
    pattern = NoiseProtocol.from_name(f"Noise_{name}_25519_ChaChaPoly_SHA256").pattern
    return [" ".join(token.value for token in message) for message in pattern.messages]


@pytest.mark.spec("NOISE-2")
def test_a_name_tells_pattern_cipher_and_hash() -> None:
    protocol = NoiseProtocol.from_name("Noise_NK_25519_AESGCM_BLAKE2b")

    assert protocol.pattern.name == "NK"
    assert protocol.cipher is AES256GCM
    assert protocol.hash_function is BLAKE2B


@pytest.mark.parametrize(
    ("protocol", "messages"), [(XX, ["e", "e ee s es", "s se"]), (IK, ["e es s ss", "e ee se"])]
)
def test_xx_and_ik_are_as_the_specification_draws_them(
    protocol: NoiseProtocol, messages: list[str]
) -> None:
    assert drawn(protocol.pattern.name) == messages
    assert protocol.cipher is CHACHAPOLY
    assert protocol.hash_function is SHA256


def test_the_letters_of_a_name_tell_who_has_a_static_key_and_who_knows_it() -> None:
    for first in "NKXI":
        for second in "NKX":
            name = first + second
            pattern = NoiseProtocol.from_name(f"Noise_{name}_25519_ChaChaPoly_SHA256").pattern

            assert pattern.sends_static(initiator=True) == (first in "XI")
            assert pattern.static_known(initiator=True) == (first == "K")
            assert pattern.sends_static(initiator=False) == (second == "X")
            assert pattern.static_known(initiator=False) == (second == "K")


@pytest.mark.parametrize(
    ("name", "messages"),
    [
        ("NNpsk0", ["psk e", "e ee"]),
        ("IKpsk2", ["e es s ss", "e ee se psk"]),
        ("XXpsk3", ["e", "e ee s es", "s se psk"]),
        ("NNpsk0+psk2", ["psk e", "e ee psk"]),
    ],
)
def test_psk_modifiers_put_their_token_where_the_number_says(
    name: str, messages: list[str]
) -> None:
    assert drawn(name) == messages


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Noise_XX_25519_ChaChaPoly",
        "noise_XX_25519_ChaChaPoly_SHA256",
        "Noise_XX_448_ChaChaPoly_SHA256",
        "Noise_XX_25519_AES_SHA256",
        "Noise_XX_25519_ChaChaPoly_MD5",
        "Noise_XXfallback_25519_ChaChaPoly_SHA256",
        "Noise_XXpsk4_25519_ChaChaPoly_SHA256",
        "Noise_NNpsk3_25519_ChaChaPoly_SHA256",
        "Noise_XXpsk_25519_ChaChaPoly_SHA256",
        "Noise_XX+psk1_25519_ChaChaPoly_SHA256",
        "Noise_N_25519_ChaChaPoly_SHA256",
        "Noise_X1X_25519_ChaChaPoly_SHA256",
    ],
)
def test_a_name_that_we_do_not_know_is_refused(name: str) -> None:
    with pytest.raises(LocalProtocolError, match=r"psk|no such Noise"):
        NoiseProtocol.from_name(name)
