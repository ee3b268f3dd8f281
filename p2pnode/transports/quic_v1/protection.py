"""Keys from secrets, and packets sealed and opened with them (RFC 9001 section 5).

A secret gives two things: a PacketKey, which a key update replaces, and a Mask for headers, which
stays.  Sealing costs one call of the AEAD and one of the cipher behind the mask.
"""

import enum
import hmac
from collections.abc import Callable
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import AES, ChaCha20
from cryptography.hazmat.primitives.ciphers.modes import ECB

from p2pnode.machine import Buffer
from p2pnode.transports.quic_v1.packet import LONG, NUMBER_SIZE

IV_SIZE: Final = 12
SAMPLE_SIZE: Final = 16
"""bytes (RFC 9001 section 5.4.2)"""
_SAMPLE_AT: Final = 4
"""bytes behind the beginning of the packet number, as if that had its full size"""
_INITIAL_SALT: Final = bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a")
"""version 1's (RFC 9001 section 5.2)"""
_ZEROS: Final = bytes(5)

Seal = Callable[[Buffer, Buffer, Buffer | None], bytes]
"""(nonce, text, associated data) -> text; opening raises cryptography.exceptions.InvalidTag."""
Mask = Callable[[Buffer], bytes]
"""Sample of 16 bytes -> at least 5 bytes that the header is combined with by exclusive or."""


class CipherSuite(enum.IntEnum):
    """TLS' numbers."""

    AES_128_GCM_SHA256 = 0x1301
    AES_256_GCM_SHA384 = 0x1302
    CHACHA20_POLY1305_SHA256 = 0x1303


class AeadLimits(NamedTuple):
    """How much one key may do (RFC 9001 section 6.6)."""

    packets: int
    """Packets to seal before a key update is begun."""
    forgeries: int
    """Packets that failed to open, with all keys of a connection, after which it must end."""


LIMITS: Final = {
    # Half of 2^23, so that an update is begun well before it is overdue.
    CipherSuite.AES_128_GCM_SHA256: AeadLimits(1 << 22, 1 << 52),
    CipherSuite.AES_256_GCM_SHA384: AeadLimits(1 << 22, 1 << 52),
    # More packets than there can be may be sealed; updated all the same, as a matter of hygiene.
    CipherSuite.CHACHA20_POLY1305_SHA256: AeadLimits(1 << 28, 1 << 36),
}


class PacketKey(NamedTuple):
    """One direction's key of one encryption level and key phase."""

    seal: Seal
    open: Seal
    iv: int
    """To be combined by exclusive or with the packet number."""


def initial_secrets(destination: bytes) -> tuple[bytes, bytes]:
    """Returns the client's and the server's; `destination` is that of the client's first Initial.

    They protect from chance only: whoever sees the packet can make them.
    """
    secret = hmac.digest(_INITIAL_SALT, destination, "sha256")
    return (
        expand_label(secret, b"client in", 32, "sha256"),
        expand_label(secret, b"server in", 32, "sha256"),
    )


INITIAL_SUITE: Final = CipherSuite.AES_128_GCM_SHA256


def packet_key(suite: CipherSuite, secret: bytes) -> PacketKey:
    """Returns the key of a traffic secret."""
    size, digest = _SUITES[suite]
    key = expand_label(secret, b"quic key", size, digest)
    iv = int.from_bytes(expand_label(secret, b"quic iv", IV_SIZE, digest), "big")
    if suite is CipherSuite.CHACHA20_POLY1305_SHA256:
        chacha = ChaCha20Poly1305(key)
        return PacketKey(chacha.encrypt, chacha.decrypt, iv)
    gcm = AESGCM(key)
    return PacketKey(gcm.encrypt, gcm.decrypt, iv)


def header_mask(suite: CipherSuite, secret: bytes) -> Mask:
    """Returns the header protection of a traffic secret; it survives key updates."""
    size, digest = _SUITES[suite]
    key = expand_label(secret, b"quic hp", size, digest)
    if suite is not CipherSuite.CHACHA20_POLY1305_SHA256:
        return Cipher(AES(key), ECB()).encryptor().update  # noqa: S305  # one block, no text
    stream = Cipher(ChaCha20(key, bytes(SAMPLE_SIZE)), None).encryptor()
    reset, update = stream.reset_nonce, stream.update

    def mask(sample: Buffer) -> bytes:
        reset(bytes(sample))  # counter and nonce, RFC 9001 section 5.4.4
        return update(_ZEROS)

    return mask


def next_secret(suite: CipherSuite, secret: bytes) -> bytes:
    """Returns the traffic secret of the next key phase."""
    return expand_label(secret, b"quic ku", len(secret), _SUITES[suite][1])


def seal_packet(
    key: PacketKey, mask: Mask, header: bytes, number: int, payload: bytes
) -> tuple[bytes, bytes]:
    """Returns the protected header and what follows it.

    `header` ends with the truncated packet number.  That and the payload have at least 4 bytes
    together: a smaller packet needs PADDING.
    """
    sealed = key.seal((key.iv ^ number).to_bytes(IV_SIZE, "big"), payload, header)
    first, length = header[0], len(header)
    size = (first & NUMBER_SIZE) + 1
    bits = mask(sealed[_SAMPLE_AT - size : _SAMPLE_AT - size + SAMPLE_SIZE])
    top = bits[0] & (0x0F if first & LONG else 0x1F)
    # The header as one number: its first byte and its last `size` are changed.
    change = top << 8 * (length - 1) | int.from_bytes(bits[1 : 1 + size], "big")
    return (int.from_bytes(header, "big") ^ change).to_bytes(length, "big"), sealed


def unmask_header(mask: Mask, packet: Buffer, start: int, number_at: int) -> tuple[int, int, int]:
    """Returns (first byte, truncated packet number, its size), as they were before protection.

    The caller knows that 20 bytes follow `number_at`.  Nothing is authenticated yet.
    """
    sample_at = number_at + _SAMPLE_AT
    bits = mask(packet[sample_at : sample_at + SAMPLE_SIZE])
    first = packet[start]
    first ^= bits[0] & (0x0F if first & LONG else 0x1F)
    size = (first & NUMBER_SIZE) + 1
    low = int.from_bytes(packet[number_at:sample_at], "big") ^ int.from_bytes(bits[1:5], "big")
    return first, low >> 32 - 8 * size, size


def open_packet(
    key: PacketKey,
    packet: Buffer,
    start: int,
    number_at: int,
    end: int,
    unmasked: tuple[int, int, int],
    number: int,
) -> bytes:
    """Returns the payload, authenticated with its header.

    `unmasked` is what `unmask_header` said, `number` the packet number that this led to.  Raises
    cryptography.exceptions.InvalidTag, after which nothing of the packet may be believed.
    """
    first, low, size = unmasked
    header = b"".join(
        (first.to_bytes(1, "big"), packet[start + 1 : number_at], low.to_bytes(size, "big"))
    )
    nonce = (key.iv ^ number).to_bytes(IV_SIZE, "big")
    return key.open(nonce, packet[number_at + size : end], header)


def expand_label(secret: bytes, label: bytes, size: int, digest: str) -> bytes:
    """Returns HKDF-Expand-Label (RFC 8446 section 7.1) without context, one block at the most."""
    info = b"%b%c%b%b" % (size.to_bytes(2, "big"), len(label) + 6, b"tls13 " + label, b"\0\x01")
    return hmac.digest(secret, info, digest)[:size]


_SUITES: Final[dict[CipherSuite, tuple[int, str]]] = {
    CipherSuite.AES_128_GCM_SHA256: (16, "sha256"),
    CipherSuite.AES_256_GCM_SHA384: (32, "sha384"),
    CipherSuite.CHACHA20_POLY1305_SHA256: (32, "sha256"),
}
"""Size of the AEAD's key and of the mask's in bytes, and the hash."""
