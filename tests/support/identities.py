"""Keys and addresses for tests, always the same."""

import hashlib

from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.peer_id import PeerId


def private_key(name: object) -> PrivateKey:
    """Returns the key of that name."""
    return PrivateKey(hashlib.sha256(repr(name).encode()).digest())


def peer_id(name: object) -> PeerId:
    """Returns the id of the key of that name."""
    return PeerId.from_public_key(private_key(name).public_key)
