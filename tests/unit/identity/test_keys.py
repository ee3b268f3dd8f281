"""Our private key and the content of a key file."""

import pytest

from p2pnode.errors import KeyFileError
from p2pnode.identity.keys import PrivateKey, decode_private_key
from tests.support.identities import private_key


def test_a_generated_key_is_made_of_the_entropy_alone() -> None:
    asked: list[int] = []

    def entropy(size: int) -> bytes:
        asked.append(size)
        return b"\x07" * size

    key = PrivateKey.generate(entropy)

    assert asked == [32]
    assert key.public_key == PrivateKey(b"\x07" * 32).public_key
    assert key.public_key.verify(b"m", key.sign(b"m"))


@pytest.mark.spec("IDENTITY-4")
def test_both_forms_of_a_key_file_are_read() -> None:
    key = private_key("a")
    content = key.encode_private_key()
    legacy = b"\x08\x01\x12\x60" + content[4:] + key.public_key.data

    assert content[:4] == b"\x08\x01\x12\x40"
    assert decode_private_key(content).public_key == key.public_key
    assert decode_private_key(legacy).public_key == key.public_key


@pytest.mark.spec("IDENTITY-4")
@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "does not hold"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----", "does not hold"),
        (b"\x08\x00\x12\x04" + bytes(4), "kind RSA"),
        (b"\x08\x01\x12\x20" + bytes(32), "wrong size"),
        (b"\x08\x01\x12\x40" + bytes(64), "damaged"),
        (b"x" * 10_000, "too large"),
    ],
)
def test_a_bad_key_file_is_one_sentence(content: bytes, why: str) -> None:
    with pytest.raises(KeyFileError, match=why):
        decode_private_key(content)


def test_the_second_public_half_of_the_legacy_form_counts_too() -> None:
    content = private_key("a").encode_private_key()

    with pytest.raises(KeyFileError, match="damaged"):
        decode_private_key(b"\x08\x01\x12\x60" + content[4:] + private_key("b").public_key.data)


def test_the_repr_shows_no_secret() -> None:
    key = private_key("a")

    assert key.encode_private_key()[4:36].hex() not in repr(key)
    assert key.public_key.data.hex() in repr(key)
