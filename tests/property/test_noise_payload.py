"""Handshake payloads: any bytes decode or raise one error, and what was encoded comes back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pnode.errors import DecodeError, HandshakeError
from p2pnode.identity.keys import PrivateKey
from p2pnode.noise.payload import decode_payload_untrusted, make_payload

STATIC = b"\x33" * 32
PAYLOAD = make_payload(PrivateKey(b"\x01" * 32), STATIC)
ENCODED = PAYLOAD.encode()


@settings(deadline=None)
@given(
    seed=st.binary(min_size=32, max_size=32), muxers=st.lists(st.binary(max_size=20), max_size=9)
)
def test_what_was_encoded_comes_back(seed: bytes, muxers: list[bytes]) -> None:
    payload = make_payload(PrivateKey(seed), STATIC, stream_muxers=tuple(muxers))

    assert decode_payload_untrusted(payload.encode()) == payload


@settings(deadline=None)
@given(data=st.binary(max_size=200))
def test_any_bytes_decode_or_raise_a_decode_error(data: bytes) -> None:
    try:
        payload = decode_payload_untrusted(data)
    except DecodeError:
        return
    with pytest.raises(HandshakeError):
        payload.authenticate(STATIC, expected=None)


@pytest.mark.spec("NOISE-11")
@settings(deadline=None)
@given(position=st.integers(0, len(ENCODED) - 1), bit=st.integers(0, 7))
def test_no_altered_payload_proves_another_key_or_signature(position: int, bit: int) -> None:
    damaged = bytearray(ENCODED)
    damaged[position] ^= 1 << bit
    try:
        payload = decode_payload_untrusted(bytes(damaged))
        payload.authenticate(STATIC, expected=None)
    except (DecodeError, HandshakeError):
        return
    raise AssertionError("an altered payload was taken")
