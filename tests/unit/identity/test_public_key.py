"""Other peers' public keys: four kinds, strictly read."""

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from p2pnode.errors import DecodeError
from p2pnode.identity.public_key import (
    MAX_PUBLIC_KEY_SIZE,
    KeyType,
    PublicKey,
    decode_public_key_untrusted,
)
from tests.support.identities import private_key

MESSAGE = b"a message"
RSA_KEY = rsa.generate_private_key(65537, 2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
K1_KEY = ec.generate_private_key(ec.SECP256K1())


def spki(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def compressed(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)


def sign_rsa(message: bytes) -> bytes:
    return RSA_KEY.sign(message, padding.PKCS1v15(), hashes.SHA256())


def sign_ecdsa(message: bytes) -> bytes:
    return EC_KEY.sign(message, ec.ECDSA(hashes.SHA256()))


def sign_secp256k1(message: bytes) -> bytes:
    return K1_KEY.sign(message, ec.ECDSA(hashes.SHA256()))


KEYS: list[tuple[PublicKey, Callable[[bytes], bytes]]] = [
    (private_key("a").public_key, private_key("a").sign),
    (PublicKey(KeyType.RSA, spki(RSA_KEY.public_key())), sign_rsa),
    (PublicKey(KeyType.ECDSA, spki(EC_KEY.public_key())), sign_ecdsa),
    (PublicKey(KeyType.SECP256K1, compressed(K1_KEY.public_key())), sign_secp256k1),
]
each_kind = pytest.mark.parametrize(("key", "sign"), KEYS, ids=lambda v: getattr(v, "key_type", ""))


@each_kind
def test_a_key_survives_its_encoding_and_verifies(
    key: PublicKey, sign: Callable[[bytes], bytes]
) -> None:
    signature = sign(MESSAGE)

    again = decode_public_key_untrusted(key.encode())

    assert again == key
    assert again.verify(MESSAGE, signature)
    assert not again.verify(MESSAGE + b"!", signature)


@pytest.mark.spec("IDENTITY-3")
@each_kind
def test_a_malformed_signature_is_a_wrong_one(
    key: PublicKey, sign: Callable[[bytes], bytes]
) -> None:
    signature = sign(MESSAGE)

    for wrong in (b"", b"x", signature[:-1], signature + b"x", bytes(len(signature)), b"x" * 5000):
        assert not key.verify(MESSAGE, wrong)


@pytest.mark.spec("IDENTITY-1")
@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data + b"\x18\x01",  # an unknown field
        lambda data: data[2:] + data[:2],  # the other order
        lambda data: b"\x08\x81\x00" + data[2:],  # a longer varint
        lambda data: data[:2],  # no Data
        lambda data: b"\x08\x04" + data[2:],  # an unknown kind
        lambda data: data + b"\x00" * MAX_PUBLIC_KEY_SIZE,
    ],
    ids=["empty", "cut", "unknown field", "order", "long varint", "no data", "kind", "long"],
)
def test_any_other_encoding_of_a_key_is_refused(change: Callable[[bytes], bytes]) -> None:
    with pytest.raises(DecodeError):
        decode_public_key_untrusted(change(private_key("a").public_key.encode()))


def test_der_that_is_not_canonical_is_refused() -> None:
    der = bytearray(spki(EC_KEY.public_key()))
    assert der[:2] == b"\x30\x59"
    longer = b"\x30\x81\x59" + bytes(der[2:])  # the same length in two bytes

    with pytest.raises(DecodeError):
        decode_public_key_untrusted(PublicKey(KeyType.ECDSA, longer).encode())


@pytest.mark.spec("IDENTITY-2")
@pytest.mark.parametrize(
    ("key_type", "data"),
    [
        (KeyType.ED25519, bytes(31)),
        (KeyType.ED25519, bytes(33)),
        (KeyType.SECP256K1, b"\x02" + b"\xff" * 32),
        (KeyType.SECP256K1, bytes(33)),
        (KeyType.SECP256K1, b"\x04" + bytes(64)),
        (KeyType.ECDSA, b"not DER"),
        (KeyType.ECDSA, spki(K1_KEY.public_key())),
        (KeyType.ECDSA, spki(RSA_KEY.public_key())),
        (KeyType.RSA, spki(EC_KEY.public_key())),
        (KeyType.RSA, spki(rsa.generate_private_key(65537, 1024).public_key())),
        (
            KeyType.RSA,
            spki(
                rsa.RSAPublicNumbers(
                    (1 << 32) + 1, RSA_KEY.public_key().public_numbers().n
                ).public_key()
            ),
        ),
    ],
    # the keys are made anew in each process: their bytes are no names
    ids=[
        "short ed25519",
        "long ed25519",
        "secp256k1 beyond the field",
        "secp256k1 all zeros",
        "secp256k1 uncompressed",
        "ecdsa not DER",
        "ecdsa on secp256k1",
        "ecdsa with an RSA key",
        "rsa with an EC key",
        "rsa of 1024 bits",
        "rsa with a huge exponent",
    ],
)
def test_unfit_keys_are_refused(key_type: KeyType, data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_public_key_untrusted(PublicKey(key_type, data).encode())


def test_a_small_order_ed25519_key_verifies_nothing() -> None:
    key = PublicKey(KeyType.ED25519, b"\x01" + bytes(31))

    assert not key.verify(b"anything", b"\x01" + bytes(63))
