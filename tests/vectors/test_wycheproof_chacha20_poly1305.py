"""Wycheproof's ChaCha20-Poly1305 cases against the cipher that Noise and the transport key."""

import pytest
from cryptography.exceptions import InvalidTag

from p2pnode.noise.primitives import CHACHAPOLY, TAG_LEN
from tests.vectors import published_files

FILE = "wycheproof_chacha20_poly1305.json"
GROUPS = published_files.load(FILE)["testGroups"]
NONCE_BITS = 96
CASES = [case for g in GROUPS if g["ivSize"] == NONCE_BITS for case in g["tests"]]
OTHER_NONCES = [case for g in GROUPS if g["ivSize"] != NONCE_BITS for case in g["tests"]]

pytestmark = [
    pytest.mark.spec("NOISE-4"),
]


def fields(case: dict, *names: str) -> list[bytes]:
    return [bytes.fromhex(case[name]) for name in names]


def test_valid_cases_encrypt_to_their_bytes() -> None:
    wrong = []
    for case in CASES:
        key, nonce, ad, message, ciphertext, tag = fields(
            case, "key", "iv", "aad", "msg", "ct", "tag"
        )
        same = CHACHAPOLY.new(key).encrypt(nonce, message, ad) == ciphertext + tag
        if same != (case["result"] == "valid"):
            wrong.append(case["tcId"])

    assert wrong == []
    assert len(CASES) + len(OTHER_NONCES) == 325


def test_valid_cases_decrypt_and_invalid_ones_raise_invalid_tag() -> None:
    wrong = []
    for case in CASES:
        key, nonce, ad, message, ciphertext, tag = fields(
            case, "key", "iv", "aad", "msg", "ct", "tag"
        )
        assert len(tag) == TAG_LEN
        try:
            valid = CHACHAPOLY.new(key).decrypt(nonce, ciphertext + tag, ad) == message
        except InvalidTag:
            valid = False
        if valid != (case["result"] == "valid"):
            wrong.append(case["tcId"])

    assert wrong == []


def test_a_nonce_of_another_size_is_never_accepted() -> None:
    for case in OTHER_NONCES:
        key, nonce, ad, message = fields(case, "key", "iv", "aad", "msg")
        with pytest.raises(ValueError, match=r"(?i)nonce"):
            CHACHAPOLY.new(key).encrypt(nonce, message, ad)

    assert OTHER_NONCES


def test_the_nonces_that_noise_writes_have_the_accepted_size() -> None:
    assert CHACHAPOLY.nonce(1) == bytes(4) + b"\x01" + bytes(7)
    assert len(CHACHAPOLY.nonce(2**64 - 1)) * 8 == NONCE_BITS
