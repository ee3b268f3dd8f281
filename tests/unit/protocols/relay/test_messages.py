"""Hop and stop messages, byte for byte as libp2p has them."""

import pytest

from p2pnode.errors import DecodeError
from p2pnode.protocols.relay.messages import (
    MAX_ADDRS,
    MAX_MESSAGE_SIZE,
    ConnectRequest,
    HopStatus,
    Limit,
    Reservation,
    ReserveRequest,
    Status,
    StopConnect,
    StopStatus,
    decode_hop_untrusted,
    decode_stop_untrusted,
    encode_hop,
    encode_stop,
    status_name,
)
from p2pnode.wire.multiaddr import parse_multiaddr
from tests.support.identities import peer_id
from tests.support.spec_tables import block

BOB = peer_id("b")
ADDR = parse_multiaddr("/ip4/1.2.3.4/udp/4001/noise")


def spec_bytes(spec: str, marker: str) -> bytes:
    lines = block(spec, marker).splitlines()
    return bytes.fromhex("".join(line.split("  ")[0] for line in lines))


@pytest.mark.spec("RELAY-2")
def test_zero_types_are_on_the_wire() -> None:
    assert encode_hop(ReserveRequest()) == bytes.fromhex("0800")
    assert encode_stop(StopConnect(BOB))[:2] == bytes.fromhex("0800")
    assert encode_stop(StopStatus(Status.OK)) == bytes.fromhex("08012064")


@pytest.mark.spec("RELAY-2")
@pytest.mark.parametrize("data", [b"", b"\x28\x64", b"\x08\x07", b"\xff"])
def test_a_message_without_a_known_type_is_malformed(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_hop_untrusted(data)
    with pytest.raises(DecodeError):
        decode_stop_untrusted(data)


@pytest.mark.parametrize(
    "message",
    [
        ReserveRequest(),
        ConnectRequest(BOB),
        HopStatus(Status.OK, Reservation(1_700_000_000, (ADDR,), b"voucher"), Limit(120, 1 << 17)),
        HopStatus(Status.OK, None, Limit()),
        HopStatus(Status.NO_RESERVATION),
    ],
)
def test_hop_messages_survive_the_wire(
    message: ReserveRequest | ConnectRequest | HopStatus,
) -> None:
    assert decode_hop_untrusted(encode_hop(message)) == message


@pytest.mark.parametrize(
    "message", [StopConnect(BOB), StopConnect(BOB, Limit(1, 2)), StopStatus(Status.OK)]
)
def test_stop_messages_survive_the_wire(message: StopConnect | StopStatus) -> None:
    assert decode_stop_untrusted(encode_stop(message)) == message


def test_the_worked_example_of_the_spec_is_ours() -> None:
    message = encode_hop(HopStatus(Status.OK, Reservation(1_700_000_000), Limit(120, 1 << 17)))

    assert bytes([len(message)]) + message == spec_bytes("relay.md", "reservation")


def test_an_unknown_status_is_kept_and_a_missing_one_is_no_success() -> None:
    assert decode_hop_untrusted(b"\x08\x02\x28\xad\x02") == HopStatus(301)
    assert decode_hop_untrusted(b"\x08\x02") == HopStatus(0)
    assert decode_stop_untrusted(b"\x08\x01") == StopStatus(0)
    assert status_name(301) == "status 301"
    assert status_name(204) == "NO_RESERVATION"


@pytest.mark.parametrize(
    "data",
    [
        bytes.fromhex("0801"),  # no peer
        bytes.fromhex("08011203" + "0a0100"),  # not a peer id
        bytes.fromhex("08021a00"),  # a reservation without an end
    ],
)
def test_a_message_that_lacks_what_it_is_about_is_malformed(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_hop_untrusted(data)


def test_bad_addresses_are_left_out_and_many_are_cut() -> None:
    good = ADDR.to_bytes()
    reservation = bytes([8, 1, 0x12, 1, 0xFF]) + bytes([0x12, len(good)]) + good
    message = bytes([8, 2, 0x1A, len(reservation)]) + reservation

    assert decode_hop_untrusted(message) == HopStatus(0, Reservation(1, (ADDR,)))

    many = tuple(parse_multiaddr(f"/dns/{'a' * 60}{i}.example/udp/1/noise") for i in range(100))
    encoded = encode_hop(HopStatus(Status.OK, Reservation(1, many)))
    decoded = decode_hop_untrusted(encoded)

    assert len(encoded) <= MAX_MESSAGE_SIZE
    assert isinstance(decoded, HopStatus)
    assert decoded.reservation is not None
    assert 0 < len(decoded.reservation.addrs) <= MAX_ADDRS
