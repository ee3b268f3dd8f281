"""Kademlia's metric: keys and peer ids are hashed, and the XOR of two hashes is their distance.

Rule: the hash is SHA-256 of the bytes on the wire, libp2p's; so nobody places an id near to a key
but by trying many keys.
"""

import hashlib
import heapq
from collections.abc import Iterable
from functools import lru_cache

from p2pnode.identity.peer_id import PeerId

_HASHES_KEPT = 8192  # entries; chosen: twice the peers of an address book


def closest(key: bytes, peers: Iterable[PeerId], count: int) -> list[PeerId]:
    """Returns the `count` peers whose ids are nearest to `key`, each once, nearest first."""
    target = _hash(key)
    distinct = dict.fromkeys(peers)
    return heapq.nsmallest(count, distinct, key=lambda peer: _hash_of_peer(peer.multihash) ^ target)


def _hash(key: bytes) -> int:
    return int.from_bytes(hashlib.sha256(key).digest(), "big")


@lru_cache(maxsize=_HASHES_KEPT)
def _hash_of_peer(multihash: bytes) -> int:
    return _hash(multihash)
