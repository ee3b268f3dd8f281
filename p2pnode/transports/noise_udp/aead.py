"""The AEADs that a connection can run on, as values (specs/transport.md, Packet protection).

Message 2 offers, message 3 selects; both are encrypted and authenticated.
"""

import enum
import hashlib
import hmac
from collections.abc import Callable
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from p2pnode.machine import Buffer

KEY_SIZE: Final = 32
IV_SIZE: Final = 12
SECRET_SIZE: Final = 32

Seal = Callable[[Buffer, Buffer, Buffer | None], bytes]
"""(nonce, text, associated data) -> text; opening raises cryptography.exceptions.InvalidTag."""


class Aead(enum.IntEnum):
    """Numbers on the wire."""

    CHACHA20_POLY1305 = 1
    AES_256_GCM = 2


class AeadLimits(NamedTuple):
    """How much one key may do (RFC 9001 section 6.6, appendix B)."""

    packets: int
    """Packets to seal before a key update is begun."""
    octets: int
    """Bytes to seal before a key update is begun; packets here may be longer than QUIC's."""
    forgeries: int
    """Packets that failed to open, after which the connection must end."""


LIMITS: Final = {
    # 2^22 packets is half of RFC 9001's 2^23, 2^32 bytes keeps the advantage below 2^-60 at 64 kB.
    Aead.AES_256_GCM: AeadLimits(1 << 22, 1 << 32, 1 << 52),
    # No confidentiality limit that matters; updated all the same, so that the update is exercised.
    Aead.CHACHA20_POLY1305: AeadLimits(1 << 28, 1 << 38, 1 << 36),
}

DEFAULT_PREFERENCE: Final = (Aead.CHACHA20_POLY1305, Aead.AES_256_GCM)
"""Without AES hardware ChaCha20-Poly1305 is the faster one; the shell knows the hardware."""


class PacketKey(NamedTuple):
    """One direction's key of one key phase."""

    seal: Seal
    open: Seal
    iv: int
    """To be combined by exclusive or with path id << 64 | packet number."""


def hkdf_expand(secret: bytes, label: str, size: int) -> bytes:
    """Returns HKDF-Expand (RFC 5869, SHA-256) of at most 32 bytes."""
    assert size <= SECRET_SIZE
    info = b"p2pnode noise-udp " + label.encode() + b"\x01"
    return hmac.digest(secret, info, hashlib.sha256)[:size]


def packet_key(secret: bytes, aead: Aead) -> PacketKey:
    """Returns the key of a traffic secret."""
    key = hkdf_expand(secret, "key", KEY_SIZE)
    iv = int.from_bytes(hkdf_expand(secret, "iv", IV_SIZE), "big")
    match aead:
        case Aead.CHACHA20_POLY1305:
            chacha = ChaCha20Poly1305(key)
            return PacketKey(chacha.encrypt, chacha.decrypt, iv)
        case Aead.AES_256_GCM:
            gcm = AESGCM(key)
            return PacketKey(gcm.encrypt, gcm.decrypt, iv)


def next_secret(secret: bytes) -> bytes:
    """Returns the traffic secret of the next key phase."""
    return hkdf_expand(secret, "ku", SECRET_SIZE)
