"""Signed envelopes: a payload with its type, signed for one purpose (libp2p RFC 0002).

Rule: the domain (the purpose) is signed but not sent, so that a signature made for one purpose
never counts for another.  specs/identity.md, Signed envelopes.
"""

from dataclasses import dataclass

from p2pnode.errors import DecodeError
from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.public_key import PublicKey, decode_public_key_untrusted
from p2pnode.wire.pb import envelope_pb2
from p2pnode.wire.protobuf import parse_untrusted
from p2pnode.wire.varint import encode_uvarint

MAX_ENVELOPE_SIZE = 12 * 1024
"""bytes; chosen: go-libp2p's 8 KiB for a peer record, and the largest RSA key and signature"""


@dataclass(frozen=True, slots=True)
class SignedEnvelope:
    """A payload and its signer.  Proves nothing until `is_signed_for` has said so."""

    public_key: PublicKey
    payload_type: bytes
    payload: bytes
    signature: bytes

    def encode(self) -> bytes:
        """Returns the Envelope message."""
        message = envelope_pb2.Envelope(
            public_key=self.public_key.encode(),
            payload_type=self.payload_type,
            payload=self.payload,
            signature=self.signature,
        )
        return message.SerializeToString()

    def is_signed_for(self, domain: str) -> bool:
        """Returns whether the signature is the key's, over this payload and type, for `domain`."""
        signed = _signed_bytes(domain, self.payload_type, self.payload)
        return self.public_key.verify(signed, self.signature)


def seal_envelope(
    key: PrivateKey, *, domain: str, payload_type: bytes, payload: bytes
) -> SignedEnvelope:
    """Returns the payload signed by `key` for `domain`."""
    signature = key.sign(_signed_bytes(domain, payload_type, payload))
    return SignedEnvelope(key.public_key, payload_type, payload, signature)


def decode_envelope_untrusted(data: bytes) -> SignedEnvelope:
    """Returns the envelope, its signature yet unchecked.  Raises DecodeError."""
    if len(data) > MAX_ENVELOPE_SIZE:
        raise DecodeError(f"an envelope of {len(data)} bytes is above {MAX_ENVELOPE_SIZE}")
    message = parse_untrusted(envelope_pb2.Envelope(), data, "the envelope")
    return SignedEnvelope(
        public_key=decode_public_key_untrusted(message.public_key),
        payload_type=message.payload_type,
        payload=message.payload,
        signature=message.signature,
    )


def _signed_bytes(domain: str, payload_type: bytes, payload: bytes) -> bytes:
    fields = (domain.encode(), payload_type, payload)
    return b"".join(encode_uvarint(len(field)) + field for field in fields)
