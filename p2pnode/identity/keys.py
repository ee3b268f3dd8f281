"""Our own private key: Ed25519, by PyNaCl (specs/identity.md, Keys).

Rule: the secret leaves this class only by `encode_private_key`, whose bytes are a key file's
content, the same as other libp2p implementations write.  Files are not touched here.
"""

import hmac

from nacl.signing import SigningKey

from p2pnode.entropy import Entropy
from p2pnode.errors import DecodeError, KeyFileError
from p2pnode.identity.public_key import KeyType, PublicKey
from p2pnode.wire.pb import crypto_pb2
from p2pnode.wire.protobuf import parse_untrusted

SEED_SIZE = 32  # bytes; RFC 8032
_PUBLIC_SIZE = 32
_PRIVATE_SIZE = SEED_SIZE + _PUBLIC_SIZE  # seed and public key
_LEGACY_SIZE = _PRIVATE_SIZE + _PUBLIC_SIZE  # the public key twice, from old go-libp2p
MAX_PRIVATE_KEY_SIZE = 8192  # bytes; an RSA-8192 key takes 4.7 kB and deserves its own message


class PrivateKey:
    """An Ed25519 key pair.  Its repr shows the public half only."""

    __slots__ = ("_signing_key", "public_key")

    def __init__(self, seed: bytes) -> None:
        assert len(seed) == SEED_SIZE
        self._signing_key = SigningKey(seed)
        self.public_key = PublicKey(KeyType.ED25519, bytes(self._signing_key.verify_key))

    @classmethod
    def generate(cls, entropy: Entropy) -> "PrivateKey":
        """Returns a new key."""
        return cls(entropy(SEED_SIZE))

    def sign(self, message: bytes) -> bytes:
        """Returns the signature, 64 bytes, always the same for the same message."""
        return self._signing_key.sign(message).signature

    def encode_private_key(self) -> bytes:
        """Returns the PrivateKey message: a key file's content.  Secret."""
        message = crypto_pb2.PrivateKey(
            Type=crypto_pb2.Ed25519, Data=bytes(self._signing_key) + self.public_key.data
        )
        return message.SerializeToString()

    def __repr__(self) -> str:
        return f"<PrivateKey of {self.public_key.data.hex()}>"


def decode_private_key(data: bytes) -> PrivateKey:
    """Returns the key of a key file's content.  Raises KeyFileError, never quoting the content."""
    if len(data) > MAX_PRIVATE_KEY_SIZE:
        raise KeyFileError("the key file is too large to be a libp2p private key")
    try:
        message = parse_untrusted(crypto_pb2.PrivateKey(), data, "the key")
    except DecodeError as exc:
        raise KeyFileError("the key file does not hold a libp2p private key") from exc
    if message.Type != crypto_pb2.Ed25519:
        kind = KeyType(message.Type).name
        raise KeyFileError(f"the key file holds a key of kind {kind}; only Ed25519 is supported")
    secret = message.Data
    if len(secret) not in (_PRIVATE_SIZE, _LEGACY_SIZE):
        raise KeyFileError("the key file holds an Ed25519 key of the wrong size")
    key = PrivateKey(secret[:SEED_SIZE])
    for start in range(SEED_SIZE, len(secret), _PUBLIC_SIZE):
        stored = secret[start : start + _PUBLIC_SIZE]
        if not hmac.compare_digest(stored, key.public_key.data):
            raise KeyFileError("the key file is damaged: its public half is not the private half's")
    return key
