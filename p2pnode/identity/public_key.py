"""Public keys of peers, as libp2p encodes them (specs/identity.md, Keys).

Rule: a PublicKey in hand is well-formed and canonical, so equal keys have equal bytes, and a key
has one peer id only.  Ed25519 is checked by PyNaCl, the other three kinds by `cryptography`.
"""

import enum
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from p2pnode.errors import DecodeError
from p2pnode.wire.pb import crypto_pb2
from p2pnode.wire.protobuf import parse_untrusted

MAX_PUBLIC_KEY_SIZE = 2048  # bytes; an RSA-8192 key takes 1,062
MAX_SIGNATURE_SIZE = 1024  # bytes; RSA-8192
MIN_RSA_BITS, MAX_RSA_BITS = 2048, 8192  # go-libp2p core/crypto
MAX_RSA_EXPONENT = (1 << 31) - 1  # Go's crypto/rsa: a larger one makes each check slow
ED25519_PUBLIC_KEY_SIZE = 32  # bytes; RFC 8032
ED25519_SIGNATURE_SIZE = 64  # bytes; RFC 8032
SECP256K1_PUBLIC_KEY_SIZE = 33  # bytes; SEC 1, compressed point


class KeyType(enum.IntEnum):
    """The key kinds of libp2p with their numbers on the wire."""

    RSA = 0
    ED25519 = 1
    SECP256K1 = 2
    ECDSA = 3


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A peer's public key.  Made by `decode_public_key_untrusted` or `PrivateKey.public_key`."""

    key_type: KeyType
    data: bytes
    """What field Data holds: raw bytes (Ed25519), a compressed point, or DER SPKI."""

    def encode(self) -> bytes:
        """Returns the PublicKey message, which peer ids are made of."""
        # By hand: both fields are always there, and the order of bytes is part of the identity.
        return _encode_message(self.key_type, self.data)

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Returns whether `signature` over `message` is this key's."""
        if len(signature) > MAX_SIGNATURE_SIZE:
            return False
        match self.key_type:
            case KeyType.ED25519:
                return _verify_ed25519(self.data, message, signature)
            case KeyType.SECP256K1:
                return _verify_ec(_load_secp256k1(self.data), message, signature)
            case KeyType.ECDSA:
                return _verify_ec(_load_ecdsa(self.data), message, signature)
            case KeyType.RSA:
                return _verify_rsa(_load_rsa(self.data), message, signature)


def decode_public_key_untrusted(data: bytes) -> PublicKey:
    """Returns the key in a PublicKey message.

    Raises DecodeError for what is malformed, too large, weak, or not in canonical form.
    """
    if len(data) > MAX_PUBLIC_KEY_SIZE:
        raise DecodeError(f"a public key of {len(data)} bytes")
    message = parse_untrusted(crypto_pb2.PublicKey(), data, "the public key")
    key = PublicKey(KeyType(message.Type), message.Data)
    if key.encode() != data:
        raise DecodeError("a public key that is not in canonical form")
    _check_data(key)
    return key


def _encode_message(key_type: KeyType, data: bytes) -> bytes:
    size = len(data)
    assert size < 1 << 14
    length = bytes((size,)) if size < 0x80 else bytes((size & 0x7F | 0x80, size >> 7))
    return bytes((0x08, key_type, 0x12)) + length + data


def _check_data(key: PublicKey) -> None:
    match key.key_type:
        case KeyType.ED25519:
            if len(key.data) != ED25519_PUBLIC_KEY_SIZE:
                raise DecodeError("an Ed25519 public key of the wrong size")
        case KeyType.SECP256K1:
            _load_secp256k1(key.data)
        case KeyType.ECDSA:
            _load_ecdsa(key.data)
        case KeyType.RSA:
            _load_rsa(key.data)


def _load_secp256k1(data: bytes) -> ec.EllipticCurvePublicKey:
    if len(data) != SECP256K1_PUBLIC_KEY_SIZE:
        raise DecodeError("a secp256k1 public key that is not a compressed point")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), data)
    except (ValueError, UnsupportedAlgorithm) as exc:  # some OpenSSL builds lack the curve
        raise DecodeError("a secp256k1 public key that is not on the curve") from exc


def _load_ecdsa(data: bytes) -> ec.EllipticCurvePublicKey:
    key = _load_spki(data)
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise DecodeError("an ECDSA public key of another kind")
    if not isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1 | ec.SECP521R1):
        raise DecodeError("an ECDSA public key on an unusual curve")
    return key


def _load_rsa(data: bytes) -> rsa.RSAPublicKey:
    key = _load_spki(data)
    if not isinstance(key, rsa.RSAPublicKey):
        raise DecodeError("an RSA public key of another kind")
    if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
        raise DecodeError(f"an RSA public key of {key.key_size} bits")
    if key.public_numbers().e > MAX_RSA_EXPONENT:
        raise DecodeError("an RSA public key with a large exponent")
    return key


def _load_spki(data: bytes) -> object:
    try:
        key = serialization.load_der_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise DecodeError("a public key that is not DER SubjectPublicKeyInfo") from exc
    canonical = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    if canonical != data:
        raise DecodeError("a public key whose DER is not canonical")
    return key


def _verify_ed25519(data: bytes, message: bytes, signature: bytes) -> bool:
    if len(signature) != ED25519_SIGNATURE_SIZE:
        return False
    try:
        VerifyKey(data).verify(message, signature)
    except BadSignatureError:
        return False
    return True


def _verify_ec(key: ec.EllipticCurvePublicKey, message: bytes, signature: bytes) -> bool:
    try:
        key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _verify_rsa(key: rsa.RSAPublicKey, message: bytes, signature: bytes) -> bool:
    try:
        key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        return False
    return True
