"""Signed envelopes: one purpose, one signer."""

from dataclasses import replace

import pytest

from p2pnode.errors import DecodeError
from p2pnode.identity.signed_envelope import (
    MAX_ENVELOPE_SIZE,
    decode_envelope_untrusted,
    seal_envelope,
)
from tests.support.identities import private_key

SEALED = seal_envelope(private_key("a"), domain="d", payload_type=b"\x01", payload=b"payload")


def test_an_envelope_survives_its_encoding() -> None:
    again = decode_envelope_untrusted(SEALED.encode())

    assert again == SEALED
    assert again.is_signed_for("d")


@pytest.mark.spec("IDENTITY-9")
def test_domain_type_and_payload_are_signed_with_their_lengths() -> None:
    signed = b"\x01d" + b"\x01\x01" + b"\x07payload"

    assert SEALED.public_key.verify(signed, SEALED.signature)
    assert not SEALED.is_signed_for("e")
    assert not replace(SEALED, payload_type=b"\x02").is_signed_for("d")
    assert not replace(SEALED, payload=b"other").is_signed_for("d")
    assert not replace(SEALED, public_key=private_key("b").public_key).is_signed_for("d")
    # The lengths keep a byte from wandering from one field to the next.
    assert not replace(SEALED, payload_type=b"\x01p", payload=b"ayload").is_signed_for("d")


@pytest.mark.parametrize("data", [b"", b"\xff", b"\x0a\x00", b"x" * (MAX_ENVELOPE_SIZE + 1)])
def test_malformed_envelopes_are_a_decode_error(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_envelope_untrusted(data)
