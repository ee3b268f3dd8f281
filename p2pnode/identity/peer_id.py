"""Peer ids, exactly as libp2p makes, prints and parses them (specs/identity.md, Peer ids).

Rule: a PeerId in hand is a well-formed multihash: `identity` over at most 42 bytes of public key
message, or SHA-256.  It prints as base58; CIDv1 text (base32, base36, base58, hex) is understood.
"""

import base64
import binascii
from dataclasses import dataclass
from functools import lru_cache

import base58

from p2pnode.errors import AddressError, DecodeError
from p2pnode.identity.public_key import PublicKey, decode_public_key_untrusted
from p2pnode.wire.multihash import (
    check_peer_multihash_untrusted,
    inlined_key,
    peer_multihash,
)

MAX_PEER_ID_TEXT = 128  # characters; the longest form, hexadecimal CIDv1, has 93
_CID_V1_LIBP2P_KEY = b"\x01\x72"  # version, multicodec libp2p-key
_PRINTED_IDS_KEPT = 1024  # entries; base58 costs 30 us


@dataclass(frozen=True, slots=True, order=True)
class PeerId:
    """The name of a peer: its public key, or the hash of it.  Sorts by bytes."""

    multihash: bytes

    def __post_init__(self) -> None:
        check_peer_multihash_untrusted(self.multihash)

    @classmethod
    def from_public_key(cls, key: PublicKey) -> "PeerId":
        """Returns the id that belongs to the key."""
        return cls(peer_multihash(key.encode()))

    @classmethod
    def decode_untrusted(cls, multihash: bytes) -> "PeerId":
        """Returns the id that a peer sent.  Raises DecodeError."""
        return cls(multihash)

    @classmethod
    def parse(cls, text: str) -> "PeerId":
        """Returns the id that a person wrote.  Raises AddressError."""
        return parse_peer_id(text)

    def public_key(self) -> PublicKey | None:
        """Returns the key inside, or None where the id is a hash or holds no valid key."""
        message = inlined_key(self.multihash)
        if message is None:
            return None
        try:
            return decode_public_key_untrusted(message)
        except DecodeError:
            return None

    def matches(self, key: PublicKey) -> bool:
        """Returns whether this is the key's id."""
        return PeerId.from_public_key(key) == self

    def to_bytes(self) -> bytes:
        """Returns the multihash, the form on the wire."""
        return self.multihash

    def to_cid(self) -> str:
        """Returns the CIDv1 form in base32, for where ids are written as CIDs."""
        cid = _CID_V1_LIBP2P_KEY + self.multihash
        return "b" + base64.b32encode(cid).decode().lower().rstrip("=")

    def short(self) -> str:
        """Returns the last eight characters, for logs and tables; nothing to rely on."""
        return "…" + str(self)[-8:]

    def __str__(self) -> str:
        return _print_base58(self.multihash)

    def __repr__(self) -> str:
        return f"PeerId({str(self)!r})"


def parse_peer_id(text: str) -> PeerId:
    """Returns the id that a person wrote, in base58 or as a CIDv1.  Raises AddressError.

    Blanks around it, as copying leaves them, do not count.
    """
    text = text.strip()
    if len(text) > MAX_PEER_ID_TEXT:
        raise AddressError("the peer id is too long")
    try:
        if text.startswith(("1", "Qm")):
            return PeerId(base58.b58decode(text.encode("ascii")))
        return PeerId(_multihash_of_cid(text))
    except (ValueError, DecodeError) as exc:
        raise AddressError(f"{text!r} is not a peer id") from exc


@lru_cache(maxsize=_PRINTED_IDS_KEPT)
def _print_base58(multihash: bytes) -> str:
    return base58.b58encode(multihash).decode()


def _multihash_of_cid(text: str) -> bytes:
    """Returns the multihash in a CIDv1 of codec libp2p-key.  Raises ValueError."""
    cid = _decode_multibase(text)
    if not cid.startswith(_CID_V1_LIBP2P_KEY):
        raise ValueError("not a CIDv1 of a libp2p key")
    return cid.removeprefix(_CID_V1_LIBP2P_KEY)


def _decode_multibase(text: str) -> bytes:
    """Returns the bytes of a multibase text, of the bases ids are seen in.  Raises ValueError."""
    base, digits = text[:1], text[1:]
    match base:
        case "b" | "B":
            if digits != (digits.lower() if base == "b" else digits.upper()):
                raise ValueError("base32 in mixed case")
            data = base64.b32decode(digits.upper() + "=" * (-len(digits) % 8))
            if base64.b32encode(data).decode().rstrip("=") != digits.upper():
                raise ValueError("base32 with loose bits")
            return data
        case "k" | "K":
            if not digits.isascii() or not digits.isalnum():
                raise ValueError("not base36")
            # A CID begins with a byte that is not zero: no leading zeros to keep.
            value = int(digits, 36)
            return value.to_bytes((value.bit_length() + 7) // 8, "big")
        case "z":
            return base58.b58decode(digits.encode("ascii"))
        case "f" | "F":
            try:
                return binascii.unhexlify(digits)
            except binascii.Error as exc:
                raise ValueError("not hexadecimal") from exc
        case _:
            raise ValueError("an unknown multibase prefix")
