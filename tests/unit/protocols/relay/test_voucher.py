"""Vouchers count for one relay and one peer."""

import pytest

from p2pnode.errors import DecodeError
from p2pnode.identity.signed_envelope import seal_envelope
from p2pnode.protocols.relay.voucher import (
    DOMAIN,
    PAYLOAD_TYPE,
    Voucher,
    check_voucher_untrusted,
    open_voucher_untrusted,
    seal_voucher,
)
from tests.support.identities import peer_id, private_key

RELAY, ALICE, BOB = peer_id("r"), peer_id("a"), peer_id("b")
SEALED = seal_voucher(private_key("r"), ALICE, 1000)


@pytest.mark.spec("RELAY-6")
def test_a_voucher_names_relay_peer_and_end() -> None:
    assert SEALED.payload_type == b"\x03\x02"
    assert SEALED.is_signed_for("libp2p-relay-rsvp")
    assert SEALED.payload == (
        b"\x0a\x26" + RELAY.multihash + b"\x12\x26" + ALICE.multihash + b"\x18\xe8\x07"
    )
    assert open_voucher_untrusted(SEALED.encode()) == Voucher(RELAY, ALICE, 1000)


@pytest.mark.spec("RELAY-6")
def test_a_voucher_counts_only_for_its_relay_and_peer() -> None:
    data = SEALED.encode()
    assert check_voucher_untrusted(data, relay=RELAY, peer=ALICE).peer == ALICE

    for relay, peer in [(BOB, ALICE), (RELAY, BOB)]:
        with pytest.raises(DecodeError):
            check_voucher_untrusted(data, relay=relay, peer=peer)


@pytest.mark.spec("RELAY-6")
def test_a_voucher_by_anybody_else_or_for_anything_else_does_not_open() -> None:
    foreign = seal_envelope(
        private_key("b"), domain=DOMAIN, payload_type=PAYLOAD_TYPE, payload=SEALED.payload
    )
    other_domain = seal_envelope(
        private_key("r"),
        domain="libp2p-peer-record",
        payload_type=PAYLOAD_TYPE,
        payload=SEALED.payload,
    )
    other_type = seal_envelope(
        private_key("r"), domain=DOMAIN, payload_type=b"\x03\x01", payload=SEALED.payload
    )
    for envelope in (foreign, other_domain, other_type):
        with pytest.raises(DecodeError):
            open_voucher_untrusted(envelope.encode())
