"""Peer records: signed by the peer itself, ordered by their numbers."""

import pytest

from p2pnode.clock import UnixTime
from p2pnode.errors import DecodeError
from p2pnode.identity.peer_record import (
    CURRENT,
    LEGACY,
    MAX_RECORD_ADDRS,
    MAX_RECORD_SIZE,
    MAX_SEQ,
    PeerRecord,
    RecordKind,
    decode_peer_record_untrusted,
    next_seq,
    open_peer_record_untrusted,
    seal_peer_record,
    unix_time_of,
)
from p2pnode.identity.signed_envelope import seal_envelope
from p2pnode.wire.multiaddr import parse_multiaddr
from p2pnode.wire.pb import envelope_pb2
from tests.support.identities import peer_id, private_key

ADDR = parse_multiaddr("/ip4/1.2.3.4/udp/4001/noise")
KEY = private_key("a")


def raw_record(owner: object, *addrs: bytes) -> bytes:
    infos = [envelope_pb2.AddressInfo(multiaddr=a).SerializeToString() for a in addrs]
    return envelope_pb2.PeerRecord(
        peer_id=peer_id(owner).multihash, seq=1, addresses=infos
    ).SerializeToString()


def sealed(payload: bytes, kind: RecordKind = CURRENT, domain: str | None = None) -> bytes:
    return seal_envelope(
        KEY, domain=domain or kind.domain, payload_type=kind.payload_type, payload=payload
    ).encode()


@pytest.mark.spec("IDENTITY-11")
@pytest.mark.parametrize("kind", [CURRENT, LEGACY])
def test_both_forms_of_a_record_are_read(kind: RecordKind) -> None:
    envelope = seal_peer_record(KEY, [ADDR], 7, kind)

    assert decode_peer_record_untrusted(envelope.encode()) == PeerRecord(peer_id("a"), 7, (ADDR,))


@pytest.mark.spec("IDENTITY-11")
def test_the_current_form_is_signed_unless_told_otherwise() -> None:
    assert seal_peer_record(KEY, [], 1).payload_type == b"\x03\x01"


@pytest.mark.spec("IDENTITY-10")
def test_a_record_of_another_peer_is_refused() -> None:
    with pytest.raises(DecodeError, match="somebody else"):
        decode_peer_record_untrusted(sealed(raw_record("b")))


def test_a_signature_for_another_purpose_is_refused() -> None:
    with pytest.raises(DecodeError, match="bad signature"):
        decode_peer_record_untrusted(sealed(raw_record("a"), domain="libp2p-relay-rsvp"))
    with pytest.raises(DecodeError, match="bad signature"):
        decode_peer_record_untrusted(sealed(raw_record("a"), LEGACY, domain=CURRENT.domain))


def test_another_payload_is_refused() -> None:
    voucher = RecordKind("libp2p-relay-rsvp", b"\x03\x02")

    with pytest.raises(DecodeError, match="does not hold"):
        decode_peer_record_untrusted(sealed(raw_record("a"), voucher))
    with pytest.raises(DecodeError):
        decode_peer_record_untrusted(sealed(b"\xff\xff"))


@pytest.mark.spec("IDENTITY-13")
def test_addresses_that_do_not_parse_are_left_out_and_the_rest_counts() -> None:
    payload = raw_record("a", b"", b"\xff", ADDR.to_bytes(), b"\x04\x01")

    assert decode_peer_record_untrusted(sealed(payload)).addrs == (ADDR,)


@pytest.mark.spec("IDENTITY-13")
def test_addresses_above_the_limit_are_left_out() -> None:
    payload = raw_record("a", *[b"\x06\x00\x01"] * (MAX_RECORD_ADDRS + 1))

    assert len(decode_peer_record_untrusted(sealed(payload)).addrs) == MAX_RECORD_ADDRS


def test_our_own_record_stays_within_its_size() -> None:
    addrs = [parse_multiaddr(f"/dns/{'a' * 60}/udp/{port}/noise") for port in range(200)]

    envelope = seal_peer_record(KEY, addrs, 1)

    kept = open_peer_record_untrusted(envelope).addrs
    assert MAX_RECORD_SIZE - 200 < len(envelope.payload) <= MAX_RECORD_SIZE
    assert list(kept) == addrs[: len(kept)]


@pytest.mark.spec("IDENTITY-15")
def test_zones_are_not_signed() -> None:
    zoned = parse_multiaddr("/ip6zone/eth0/ip6/fe80::1/udp/1/noise")

    (kept,) = open_peer_record_untrusted(seal_peer_record(KEY, [zoned], 1)).addrs

    assert str(kept) == "/ip6/fe80::1/udp/1/noise"


@pytest.mark.spec("IDENTITY-12")
def test_numbers_grow_with_the_time_and_without_it() -> None:
    first = next_seq(UnixTime(1_700_000_000.0), previous=0)

    assert first == 1_700_000_000_000_000_000
    assert next_seq(UnixTime(1_600_000_000.0), first) == first + 1
    assert next_seq(UnixTime(-5.0), 0) == 1
    assert next_seq(UnixTime(1e11), 0) == next_seq(UnixTime(1.0), MAX_SEQ) == MAX_SEQ


def test_a_number_tells_a_time_only_where_it_can_count_nanoseconds() -> None:
    assert unix_time_of(1_700_000_000_000_000_000) == 1_700_000_000.0
    for seq in (0, 1_700_000_000, 1_700_000_000_000):  # seconds and milliseconds, as others count
        assert unix_time_of(seq) is None
