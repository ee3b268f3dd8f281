"""libp2p's payload in Noise handshakes: who owns the static key (specs/noise.md, Payload).

The rule: a static key proves nothing about a peer until `HandshakePayload.authenticate` has held
its signature against the key that the handshake itself delivered.
"""

from dataclasses import dataclass

from p2pnode.errors import DecodeError, HandshakeError, PeerIdMismatch
from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.public_key import PublicKey, decode_public_key_untrusted
from p2pnode.wire.pb import noise_pb2
from p2pnode.wire.protobuf import parse_untrusted

SIGNATURE_DOMAIN = b"noise-libp2p-static-key:"
"""What is signed begins with this, so that the signature is good for nothing else (libp2p)."""
MAX_PAYLOAD_SIZE = 8192
"""bytes; chosen: the largest key and signature take 3 kB, a hundred muxer names another 4 kB"""
MAX_STREAM_MUXERS = 100  # go-libp2p's cap


def sign_static_key(identity: PrivateKey, static_public: bytes) -> bytes:
    """Returns the identity key's signature over a static key; it may be kept as long as both."""
    return identity.sign(SIGNATURE_DOMAIN + static_public)


@dataclass(frozen=True, slots=True)
class HandshakePayload:
    """What a side says of itself.  Proves nothing until `authenticate` has returned."""

    identity_key: PublicKey
    signature: bytes
    stream_muxers: tuple[bytes, ...] = ()
    """Protocol ids in the sender's order; used over byte streams, empty on noise-udp."""

    def encode(self) -> bytes:
        """Returns the NoiseHandshakePayload message."""
        message = noise_pb2.NoiseHandshakePayload(
            identity_key=self.identity_key.encode(), identity_sig=self.signature
        )
        if self.stream_muxers:
            extensions = noise_pb2.NoiseExtensions(stream_muxers=self.stream_muxers)
            message.extensions = extensions.SerializeToString()
        return message.SerializeToString()

    def authenticate(self, remote_static: bytes | None, *, expected: PeerId | None) -> PeerId:
        """Returns the id of the peer that owns `remote_static`, the handshake's `remote_static`.

        Raises HandshakeError where the static key is not signed by the identity key, and
        PeerIdMismatch where it is, but by somebody other than `expected` (None: anybody will do).
        """
        if remote_static is None or not self.identity_key.verify(
            SIGNATURE_DOMAIN + remote_static, self.signature
        ):
            raise HandshakeError("the peer's static key is not signed by its identity key")
        peer_id = PeerId.from_public_key(self.identity_key)
        if expected is not None and peer_id != expected:
            raise PeerIdMismatch(expected, peer_id)
        return peer_id


def make_payload(
    identity: PrivateKey, static_public: bytes, *, stream_muxers: tuple[bytes, ...] = ()
) -> HandshakePayload:
    """Returns our own payload; signs, which takes 20 us, so keep it."""
    signature = sign_static_key(identity, static_public)
    return HandshakePayload(identity.public_key, signature, stream_muxers)


def decode_payload_untrusted(data: bytes) -> HandshakePayload:
    """Returns the payload, its signature yet unchecked.  Raises DecodeError."""
    if len(data) > MAX_PAYLOAD_SIZE:
        raise DecodeError(f"a handshake payload of {len(data)} bytes is above {MAX_PAYLOAD_SIZE}")
    message = parse_untrusted(noise_pb2.NoiseHandshakePayload(), data, "the handshake payload")
    if not message.HasField("identity_key") or not message.HasField("identity_sig"):
        raise DecodeError("a handshake payload without identity key or signature")
    extensions = noise_pb2.NoiseExtensions()
    parse_untrusted(extensions, message.extensions, "the handshake payload's extensions")
    muxers = extensions.stream_muxers
    if len(muxers) > MAX_STREAM_MUXERS:
        raise DecodeError(f"a handshake payload names more than {MAX_STREAM_MUXERS} muxers")
    return HandshakePayload(
        identity_key=decode_public_key_untrusted(message.identity_key),
        signature=message.identity_sig,
        stream_muxers=tuple(muxers),
    )
