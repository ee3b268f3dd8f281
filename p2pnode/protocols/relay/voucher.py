"""Reservation vouchers: a relay's signed word that it relays for a peer (circuit-v2, RFC 0002).

Rule: a voucher counts only when the relay itself signed it, for this purpose and for this peer.
Its end is a time by the relay's clock, and is compared with no other.  specs/relay.md, Vouchers.
"""

from dataclasses import dataclass

from p2pnode.errors import DecodeError
from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.signed_envelope import (
    SignedEnvelope,
    decode_envelope_untrusted,
    seal_envelope,
)
from p2pnode.wire.pb import relay_pb2
from p2pnode.wire.protobuf import parse_untrusted

DOMAIN = "libp2p-relay-rsvp"
PAYLOAD_TYPE = b"\x03\x02"
"""Two raw bytes: not the varint of 0x0302."""


@dataclass(frozen=True, slots=True)
class Voucher:
    """`relay` relays for `peer` until `expiration`."""

    relay: PeerId
    peer: PeerId
    expiration: int
    """Unix time by the relay's clock, seconds."""


def seal_voucher(key: PrivateKey, peer: PeerId, expiration: int) -> SignedEnvelope:
    """Returns the voucher that the relay of this key gives to `peer`."""
    message = relay_pb2.ReservationVoucher(
        relay=PeerId.from_public_key(key.public_key).multihash,
        peer=peer.multihash,
        expiration=expiration,
    )
    return seal_envelope(
        key, domain=DOMAIN, payload_type=PAYLOAD_TYPE, payload=message.SerializeToString()
    )


def open_voucher_untrusted(data: bytes) -> Voucher:
    """Returns the voucher in an encoded envelope.

    Raises DecodeError where it is malformed, or signed by anybody but its relay or for anything
    else.  Whose it is is `check_voucher_untrusted`'s question.
    """
    envelope = decode_envelope_untrusted(data)
    if envelope.payload_type != PAYLOAD_TYPE:
        raise DecodeError("an envelope that does not hold a voucher")
    message = parse_untrusted(relay_pb2.ReservationVoucher(), envelope.payload, "the voucher")
    relay = PeerId.decode_untrusted(message.relay)
    peer = PeerId.decode_untrusted(message.peer)
    if not relay.matches(envelope.public_key):
        raise DecodeError("a voucher that somebody else signed")
    if not envelope.is_signed_for(DOMAIN):
        raise DecodeError("a voucher with a bad signature")
    return Voucher(relay, peer, message.expiration)


def check_voucher_untrusted(data: bytes, *, relay: PeerId, peer: PeerId) -> Voucher:
    """Returns the voucher if `relay` gave it to `peer`.  Raises DecodeError."""
    voucher = open_voucher_untrusted(data)
    if voucher.relay != relay:
        raise DecodeError("a voucher of another relay")
    if voucher.peer != peer:
        raise DecodeError("a voucher for another peer")
    return voucher
