"""The multihashes that peer ids are made of: `identity` over a short key, or SHA-256.

Rule: no other hash function is a peer id (libp2p peer-ids.md), though multihash knows more.
"""

import hashlib

from p2pnode.errors import DecodeError

MAX_INLINE_SIZE = 42  # bytes; peer-ids.md: a longer public key message is hashed
_IDENTITY, _SHA2_256 = 0x00, 0x12  # multicodec numbers
_SHA2_256_SIZE = 32


def peer_multihash(public_key_message: bytes) -> bytes:
    """Returns the multihash that names the key."""
    if len(public_key_message) <= MAX_INLINE_SIZE:
        return bytes((_IDENTITY, len(public_key_message))) + public_key_message
    return bytes((_SHA2_256, _SHA2_256_SIZE)) + hashlib.sha256(public_key_message).digest()


def inlined_key(multihash: bytes) -> bytes | None:
    """Returns the public key message inside of a checked multihash, or None where it is a hash."""
    return multihash[2:] if multihash[0] == _IDENTITY else None


def check_peer_multihash_untrusted(multihash: bytes) -> None:
    """Raises DecodeError for what cannot be a peer id."""
    if len(multihash) < 2 or len(multihash) != 2 + multihash[1]:
        raise DecodeError("a peer id that is not a multihash")
    code, size = multihash[0], multihash[1]
    if code == _IDENTITY and 0 < size <= MAX_INLINE_SIZE:
        return
    if code == _SHA2_256 and size == _SHA2_256_SIZE:
        return
    raise DecodeError("a peer id that is neither a public key nor its SHA-256")
