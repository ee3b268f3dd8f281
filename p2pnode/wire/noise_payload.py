"""What libp2p's Noise handshake messages carry beside the Noise keys (libp2p noise/README.md).

Rule: a payload is data, not proof; whoever runs the handshake checks the signature.
"""

from dataclasses import dataclass

from p2pnode.errors import DecodeError
from p2pnode.wire.pb import noise_pb2
from p2pnode.wire.protobuf import parse_untrusted

MAX_NOISE_PAYLOAD_SIZE = 4096  # bytes; chosen: an RSA-8192 key and signature take 2.2 kB
MAX_STREAM_MUXERS = 100  # go-libp2p's cap
MAX_CERTHASHES = 100  # chosen: the same

STATIC_KEY_SIGNATURE_PREFIX = b"noise-libp2p-static-key:"
"""What the identity key signs is this, followed by the 32 bytes of the X25519 static public key."""


@dataclass(frozen=True, slots=True)
class NoisePayload:
    """The identity key as a PublicKey message, its signature, and what is offered."""

    identity_key: bytes
    identity_sig: bytes
    stream_muxers: tuple[str, ...] = ()
    webtransport_certhashes: tuple[bytes, ...] = ()


def encode_noise_payload(payload: NoisePayload) -> bytes:
    """Returns the NoiseHandshakePayload message; without extensions where there are none."""
    message = noise_pb2.NoiseHandshakePayload(
        identity_key=payload.identity_key, identity_sig=payload.identity_sig
    )
    if payload.stream_muxers or payload.webtransport_certhashes:
        extensions = noise_pb2.NoiseExtensions(
            webtransport_certhashes=payload.webtransport_certhashes,
            stream_muxers=[muxer.encode() for muxer in payload.stream_muxers],
        )
        message.extensions = extensions.SerializeToString()
    return message.SerializeToString()


def decode_noise_payload_untrusted(data: bytes) -> NoisePayload:
    """Returns the payload.  Raises DecodeError, also where key or signature is missing."""
    if len(data) > MAX_NOISE_PAYLOAD_SIZE:
        raise DecodeError(f"a Noise payload of {len(data)} bytes")
    message = parse_untrusted(noise_pb2.NoiseHandshakePayload(), data, "the Noise payload")
    if not message.identity_key or not message.identity_sig:
        raise DecodeError("a Noise payload without identity key or signature")
    extensions = parse_untrusted(
        noise_pb2.NoiseExtensions(), message.extensions, "the Noise extensions"
    )
    if len(extensions.stream_muxers) > MAX_STREAM_MUXERS:
        raise DecodeError("a Noise payload with too many muxers")
    if len(extensions.webtransport_certhashes) > MAX_CERTHASHES:
        raise DecodeError("a Noise payload with too many certificate hashes")
    try:
        muxers = tuple(muxer.decode() for muxer in extensions.stream_muxers)
    except UnicodeDecodeError as exc:
        raise DecodeError("a muxer name that is not UTF-8") from exc
    return NoisePayload(
        identity_key=message.identity_key,
        identity_sig=message.identity_sig,
        stream_muxers=muxers,
        webtransport_certhashes=tuple(extensions.webtransport_certhashes),
    )
