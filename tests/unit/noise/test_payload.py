"""The handshake payload: a static key belongs to whoever signed it, and to nobody else."""

import re
from pathlib import Path

import pytest

from p2pnode.errors import DecodeError, HandshakeError, PeerIdMismatch
from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.peer_id import PeerId
from p2pnode.noise.payload import (
    MAX_PAYLOAD_SIZE,
    MAX_STREAM_MUXERS,
    HandshakePayload,
    decode_payload_untrusted,
    make_payload,
)

SPEC = Path(__file__).parents[3] / "specs" / "noise.md"
IDENTITY = PrivateKey(b"\x01" * 32)
STRANGER = PrivateKey(b"\x02" * 32)
STATIC = b"\x33" * 32
KEY_MESSAGE = IDENTITY.public_key.encode()


@pytest.mark.spec("NOISE-10")
def test_the_bytes_are_libp2ps() -> None:
    """Field 1 the PublicKey message, field 2 the signature, both length-delimited."""
    signature = IDENTITY.sign(b"noise-libp2p-static-key:" + STATIC)

    encoded = make_payload(IDENTITY, STATIC).encode()

    assert encoded == b"\x0a\x24" + KEY_MESSAGE + b"\x12\x40" + signature


@pytest.mark.spec("NOISE-10")
def test_the_worked_example_of_the_spec_is_what_we_write() -> None:
    example = SPEC.read_text().split("A worked example")[1].split("```")[1]
    written = re.findall(r"^ *((?:[0-9a-f]{2} ?)+)", example, re.MULTILINE)

    assert "".join(written).replace(" ", "") == make_payload(IDENTITY, STATIC).encode().hex()


def test_stream_muxers_are_extension_field_2() -> None:
    payload = make_payload(IDENTITY, STATIC, stream_muxers=(b"/yamux/1.0.0",))

    assert payload.encode().endswith(b"\x22\x0e\x12\x0c/yamux/1.0.0")
    assert decode_payload_untrusted(payload.encode()) == payload


@pytest.mark.spec("NOISE-11")
def test_the_owner_of_a_static_key_is_whoever_signed_it() -> None:
    payload = decode_payload_untrusted(make_payload(IDENTITY, STATIC).encode())
    owner = PeerId.from_public_key(IDENTITY.public_key)

    assert payload.authenticate(STATIC, expected=None) == owner
    assert payload.authenticate(STATIC, expected=owner) == owner


@pytest.mark.spec("NOISE-11")
@pytest.mark.parametrize("remote_static", [b"\x34" * 32, b"", None])
def test_a_signature_over_another_static_key_proves_nothing(remote_static: bytes | None) -> None:
    payload = make_payload(IDENTITY, STATIC)

    with pytest.raises(HandshakeError, match="not signed"):
        payload.authenticate(remote_static, expected=None)


@pytest.mark.spec("NOISE-11")
def test_a_signature_by_another_identity_proves_nothing() -> None:
    stolen = HandshakePayload(IDENTITY.public_key, make_payload(STRANGER, STATIC).signature)

    with pytest.raises(HandshakeError, match="not signed"):
        stolen.authenticate(STATIC, expected=None)


@pytest.mark.spec("NOISE-11")
def test_a_signature_for_another_purpose_proves_nothing() -> None:
    payload = HandshakePayload(IDENTITY.public_key, IDENTITY.sign(STATIC))

    with pytest.raises(HandshakeError, match="not signed"):
        payload.authenticate(STATIC, expected=None)


@pytest.mark.spec("NOISE-12")
def test_a_true_peer_that_was_not_expected_is_named_beside_the_expected_one() -> None:
    ours, other = (PeerId.from_public_key(key.public_key) for key in (IDENTITY, STRANGER))

    with pytest.raises(PeerIdMismatch) as caught:
        make_payload(IDENTITY, STATIC).authenticate(STATIC, expected=other)

    assert (caught.value.expected, caught.value.actual) == (other, ours)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x0a\x24" + KEY_MESSAGE,
        b"\x12\x01s",
        b"\x0a\x24" + KEY_MESSAGE[:-1],
        b"\x0a\x01\x08\x12\x01s",
        b"\xff" * 40,
        bytes(MAX_PAYLOAD_SIZE + 1),
        make_payload(IDENTITY, STATIC, stream_muxers=(b"m",) * (MAX_STREAM_MUXERS + 1)).encode(),
    ],
)
def test_what_is_not_a_payload_raises_a_decode_error(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_payload_untrusted(data)


def test_unknown_fields_are_skipped() -> None:
    payload = make_payload(IDENTITY, STATIC)

    assert decode_payload_untrusted(payload.encode() + b"\x1a\x01x") == payload
