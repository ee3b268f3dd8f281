"""Peer records: a peer's own, signed list of its addresses (libp2p RFC 0003).

Rules: the signer is the peer that the record is about; of one peer the record that it handed out
last counts, whatever its sequence number, for its clock may have gone back; what does not parse
among the addresses is left out, the rest counts.
specs/identity.md, Peer records.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from p2pnode.clock import UnixTime
from p2pnode.errors import DecodeError
from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.signed_envelope import (
    SignedEnvelope,
    decode_envelope_untrusted,
    seal_envelope,
)
from p2pnode.wire.multiaddr import Multiaddr, decode_multiaddr_untrusted, without_zone
from p2pnode.wire.pb import envelope_pb2
from p2pnode.wire.protobuf import parse_untrusted

MAX_RECORD_ADDRS = 500  # go-libp2p: addresses kept of a connected peer
MAX_RECORD_SIZE = 8 * 1024  # bytes of payload; go-libp2p p2p/host/basic
MAX_SEQ = (1 << 64) - 1
MIN_DATED_SEQ = 10**17  # nanoseconds, March 1973; below, it may as well count milliseconds
_NANOSECONDS = 1_000_000_000


class RecordKind(NamedTuple):
    """What is signed together with the payload."""

    domain: str
    payload_type: bytes


CURRENT = RecordKind("libp2p-peer-record", b"\x03\x01")
"""What go, js and py-libp2p sign, and we.  Two raw bytes: not the varint of 0x0301."""
LEGACY = RecordKind("libp2p-routing-state", b"/libp2p/routing-state-record")
"""What RFC 0003 says, and rust-libp2p signs unless told otherwise."""


@dataclass(frozen=True, slots=True)
class PeerRecord:
    """Where a peer can be reached."""

    peer_id: PeerId
    seq: int
    """Grows with each record of a peer.  Its unit is the peer's own: nanoseconds, seconds, ..."""
    addrs: tuple[Multiaddr, ...]


def next_seq(unix_now: UnixTime, previous: int) -> int:
    """Returns a sequence number above `previous`: the time in nanoseconds, if that grew.

    At MAX_SEQ, which no clock of these centuries shows, it stays there.
    """
    return min(max(int(unix_now * _NANOSECONDS), previous + 1), MAX_SEQ)


def unix_time_of(seq: int) -> UnixTime | None:
    """Returns the time that a record was made at by its peer's clock, where `seq` tells it.

    go-libp2p's and ours do, in nanoseconds.  It is a hint: a peer whose clock went back counts on
    from where it was.
    """
    return UnixTime(seq / _NANOSECONDS) if seq >= MIN_DATED_SEQ else None


def seal_peer_record(
    key: PrivateKey, addrs: Iterable[Multiaddr], seq: int, kind: RecordKind = CURRENT
) -> SignedEnvelope:
    """Returns our own signed record.

    Addresses that would take it above MAX_RECORD_SIZE are left out, the last ones first.
    """
    assert 0 <= seq <= MAX_SEQ
    peer_id = PeerId.from_public_key(key.public_key)
    message = envelope_pb2.PeerRecord(peer_id=peer_id.multihash, seq=seq)
    size = message.ByteSize()
    for addr in addrs:
        raw = without_zone(addr).to_bytes()
        info = envelope_pb2.AddressInfo(multiaddr=raw).SerializeToString()
        size += len(info) + 3  # tag and length
        if size > MAX_RECORD_SIZE:
            break
        message.addresses.append(info)
    return seal_envelope(
        key,
        domain=kind.domain,
        payload_type=kind.payload_type,
        payload=message.SerializeToString(),
    )


def decode_peer_record_untrusted(data: bytes) -> PeerRecord:
    """Returns the record in an encoded envelope, checked in full.  Raises DecodeError."""
    return open_peer_record_untrusted(decode_envelope_untrusted(data))


def open_peer_record_untrusted(envelope: SignedEnvelope) -> PeerRecord:
    """Returns the record inside.

    Raises DecodeError where it is malformed, signed by anybody but its peer, or not signed as a
    peer record.
    """
    kind = next((k for k in (CURRENT, LEGACY) if k.payload_type == envelope.payload_type), None)
    if kind is None:
        raise DecodeError("an envelope that does not hold a peer record")
    message = parse_untrusted(envelope_pb2.PeerRecord(), envelope.payload, "the peer record")
    peer_id = PeerId.decode_untrusted(message.peer_id)
    if not peer_id.matches(envelope.public_key):
        raise DecodeError("a peer record that somebody else signed")
    if not envelope.is_signed_for(kind.domain):
        raise DecodeError("a peer record with a bad signature")
    return PeerRecord(peer_id, message.seq, _usable_addrs_untrusted(message.addresses))


def _usable_addrs_untrusted(infos: Iterable[bytes]) -> tuple[Multiaddr, ...]:
    addrs: list[Multiaddr] = []
    for info in infos:
        if len(addrs) == MAX_RECORD_ADDRS:
            break
        try:
            message = parse_untrusted(envelope_pb2.AddressInfo(), info, "an address")
            addrs.append(decode_multiaddr_untrusted(message.multiaddr))
        except DecodeError:
            continue
    return tuple(addrs)
