"""FIND_NODE and its answer (specs/kad.md, Wire format).

Rules: a peer or an address that does not parse is left out, the rest counts; only as many as an
answer may hold are looked at.  What is sent is cut so that it leaves in the ten packets that a new
connection may send at once: a larger answer costs another round trip.
"""

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from p2pnode.errors import DecodeError
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.peer_multiaddr import split_peer_id
from p2pnode.wire.multiaddr import (
    Code,
    Multiaddr,
    components,
    decode_multiaddr_untrusted,
    without_zone,
)
from p2pnode.wire.pb import kad_pb2
from p2pnode.wire.protobuf import parse_untrusted

FIND_NODE = 4  # libp2p's Message.MessageType, of the request and of the answer
MAX_REQUEST_SIZE = 1024  # bytes; chosen: a key, and fields that we do not know
MAX_MESSAGE_SIZE = 16 * 1024  # bytes of an answer; rust-libp2p reads no more
MAX_KEY_SIZE = 80  # bytes; go-libp2p's bound for the keys of its other requests
MAX_CLOSER_PEERS = 20  # in an answer; Kademlia's k in libp2p
MAX_ADDRS_PER_PEER = 16  # in an answer; chosen: twice as many circuit addresses as fit
MAX_PEER_SIZE = 500  # bytes sent of a peer; chosen: twenty fit into a new connection's window
_MAX_FIELD_HEAD = 3  # bytes of a tag below 16 and of a length below 16 KiB


class ConnectionType(enum.IntEnum):
    """What the answering peer says of its own connection to the peer that it names."""

    NOT_CONNECTED = 0
    CONNECTED = 1
    CAN_CONNECT = 2
    CANNOT_CONNECT = 3


@dataclass(frozen=True, slots=True)
class CloserPeer:
    """One peer of an answer.  Hearsay: nobody vouches for any of it."""

    peer_id: PeerId
    addrs: tuple[Multiaddr, ...]
    """Without the peer's own /p2p at the end; also through one relay."""
    connection: ConnectionType = ConnectionType.NOT_CONNECTED


def encode_request(key: bytes) -> bytes:
    """Returns the question for the peers near to `key`, without a length."""
    return kad_pb2.Kad(type=FIND_NODE, key=key).SerializeToString()


def decode_request_untrusted(data: bytes) -> bytes:
    """Returns the key that is asked for.  Raises DecodeError, also for any other request."""
    message = parse_untrusted(kad_pb2.Kad(), data, "a Kademlia request")
    if message.type != FIND_NODE:
        raise DecodeError(f"a Kademlia request of the unsupported type {message.type}")
    if not 0 < len(message.key) <= MAX_KEY_SIZE:
        raise DecodeError(f"a Kademlia key of {len(message.key)} bytes")
    return message.key


def encode_answer(peers: Sequence[CloserPeer]) -> bytes:
    """Returns the answer without a length; what is too much is left out, from the end."""
    closer = [_encode_peer(peer) for peer in peers[:MAX_CLOSER_PEERS]]
    return kad_pb2.Kad(type=FIND_NODE, closerPeers=closer).SerializeToString()


def decode_answer_untrusted(data: bytes) -> tuple[CloserPeer, ...]:
    """Returns the peers of an answer, each once.  Raises DecodeError."""
    message = parse_untrusted(kad_pb2.Kad(), data, "a Kademlia answer")
    if message.type != FIND_NODE:
        raise DecodeError(f"a Kademlia answer of the unexpected type {message.type}")
    peers: dict[PeerId, CloserPeer] = {}
    for raw in message.closerPeers[:MAX_CLOSER_PEERS]:
        try:
            peer = _decode_peer_untrusted(raw)
        except DecodeError:
            continue
        peers.setdefault(peer.peer_id, peer)
    return tuple(peers.values())


def _encode_peer(peer: CloserPeer) -> bytes:
    out = kad_pb2.KadPeer(id=peer.peer_id.multihash, connection=peer.connection)
    size = out.ByteSize()
    for addr in peer.addrs:
        raw = without_zone(addr).to_bytes()
        added = len(raw) + _MAX_FIELD_HEAD
        if len(out.addrs) < MAX_ADDRS_PER_PEER and size + added <= MAX_PEER_SIZE:
            out.addrs.append(raw)
            size += added
    return out.SerializeToString()


def _decode_peer_untrusted(data: bytes) -> CloserPeer:
    message = parse_untrusted(kad_pb2.KadPeer(), data, "a peer of a Kademlia answer")
    peer_id = PeerId.decode_untrusted(message.id)
    addrs = _usable_addrs_untrusted(message.addrs[:MAX_ADDRS_PER_PEER], peer_id)
    try:
        connection = ConnectionType(message.connection)
    except ValueError:
        connection = ConnectionType.NOT_CONNECTED
    return CloserPeer(peer_id, addrs, connection)


def _usable_addrs_untrusted(raw_addrs: Iterable[bytes], owner: PeerId) -> tuple[Multiaddr, ...]:
    """Returns the addresses of `owner`: not another peer's, and through one relay at most."""
    addrs: dict[Multiaddr, None] = {}
    for raw in raw_addrs:
        try:
            addr, named = split_peer_id(decode_multiaddr_untrusted(raw))
        except DecodeError:
            continue
        codes = [code for code, _ in components(addr)]
        if codes and named in (None, owner) and codes.count(Code.P2P_CIRCUIT) <= 1:
            addrs[addr] = None
    return tuple(addrs)
