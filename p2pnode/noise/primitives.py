"""Every cryptographic call that our Noise makes, and nothing else (specs/noise.md, Primitives).

The rule: whatever comes from a peer is length-checked here before it reaches a C library, and a
Diffie-Hellman result of all zeros never leaves `x25519`.  The Wycheproof files are run against
exactly these functions.
"""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import nacl.bindings
import nacl.exceptions
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from p2pnode.entropy import Entropy
from p2pnode.errors import HandshakeError, LocalProtocolError

DH_LEN = 32  # bytes of an X25519 key, secret or public, and of a result (RFC 7748)
KEY_LEN = 32  # bytes of a cipher key or psk (Noise sections 4.2, 9)
TAG_LEN = 16  # bytes that a ciphertext is longer than its plaintext (Noise section 4.2)
MAX_NONCE = 2**64 - 1  # reserved for `rekey` (Noise section 4.2)

_ZERO_RESULT = bytes(DH_LEN)


def x25519(secret: bytes, public: bytes) -> bytes:
    """Returns the shared secret.

    Raises HandshakeError where it would be all zeros: the public key is then a point of low order
    and the "secret" is known to everybody.
    """
    if len(secret) != DH_LEN or len(public) != DH_LEN:
        # PyNaCl hands both to C without looking at their length.
        raise LocalProtocolError(f"X25519 keys are {DH_LEN} bytes long")
    try:
        shared = nacl.bindings.crypto_scalarmult(secret, public)
    except nacl.exceptions.RuntimeError:
        raise HandshakeError("the peer's X25519 public key is of low order") from None
    if shared == _ZERO_RESULT:  # libsodium refuses it already; some builds may not
        raise HandshakeError("the peer's X25519 public key is of low order")
    return shared


@dataclass(frozen=True, slots=True)
class KeyPair:
    """An X25519 key pair."""

    secret: bytes = field(repr=False)
    public: bytes

    @classmethod
    def from_secret(cls, secret: bytes) -> "KeyPair":
        """Returns the pair of a 32-byte secret; X25519 clamps it, so any bytes will do."""
        if len(secret) != DH_LEN:
            raise LocalProtocolError(f"X25519 secret keys are {DH_LEN} bytes long")
        return cls(secret, nacl.bindings.crypto_scalarmult_base(secret))

    @classmethod
    def generate(cls, entropy: Entropy) -> "KeyPair":
        """Returns a fresh pair made of `entropy(32)`."""
        return cls.from_secret(entropy(DH_LEN))


class Aead(Protocol):
    """A keyed cipher of `cryptography`.  `decrypt` raises its `InvalidTag` on any forgery."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None, /) -> bytes: ...

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None, /) -> bytes: ...


def _little_endian_nonce(n: int) -> bytes:
    return b"\0\0\0\0" + n.to_bytes(8, "little")


def _big_endian_nonce(n: int) -> bytes:
    return b"\0\0\0\0" + n.to_bytes(8, "big")


class CipherFunction(NamedTuple):
    """A cipher of Noise section 12: how to key it and how it writes a nonce."""

    name: str
    new: Callable[[bytes], Aead]
    """Takes a key of `KEY_LEN` bytes."""
    nonce: Callable[[int], bytes]


CHACHAPOLY = CipherFunction("ChaChaPoly", ChaCha20Poly1305, _little_endian_nonce)
AES256GCM = CipherFunction("AESGCM", AESGCM, _big_endian_nonce)


@dataclass(frozen=True, slots=True)
class HashFunction:
    """A hash function of Noise section 12, with the HMAC and HKDF that section 4.3 builds on it."""

    name: str
    algorithm: str
    """Its name in hashlib."""
    hash_len: int

    def digest(self, data: bytes) -> bytes:
        return hashlib.new(self.algorithm, data).digest()

    def hmac(self, key: bytes, data: bytes) -> bytes:
        return hmac.digest(key, data, self.algorithm)

    def hkdf(self, chaining_key: bytes, material: bytes) -> tuple[bytes, bytes]:
        """Returns the first two outputs of Noise's HKDF, `hash_len` bytes each."""
        temp_key = self.hmac(chaining_key, material)
        output1 = self.hmac(temp_key, b"\x01")
        return output1, self.hmac(temp_key, output1 + b"\x02")

    def hkdf3(self, chaining_key: bytes, material: bytes) -> tuple[bytes, bytes, bytes]:
        """Returns the three outputs of Noise's HKDF, `hash_len` bytes each."""
        temp_key = self.hmac(chaining_key, material)
        output1 = self.hmac(temp_key, b"\x01")
        output2 = self.hmac(temp_key, output1 + b"\x02")
        return output1, output2, self.hmac(temp_key, output2 + b"\x03")


SHA256 = HashFunction("SHA256", "sha256", 32)
SHA512 = HashFunction("SHA512", "sha512", 64)
BLAKE2S = HashFunction("BLAKE2s", "blake2s", 32)
BLAKE2B = HashFunction("BLAKE2b", "blake2b", 64)
