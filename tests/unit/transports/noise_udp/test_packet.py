import struct

import pytest

from p2pnode.errors import DecodeError
from p2pnode.transports.noise_udp.frame import MAX_TOKEN_SIZE
from p2pnode.transports.noise_udp.packet import (
    DATA_OVERHEAD,
    MAX_HANDSHAKE_SIZE,
    MAX_OFFERED_VERSIONS,
    MIN_INITIAL_SIZE,
    RESET_SIZE,
    FinalMessage,
    HandshakeType,
    Initial,
    Response,
    Retry,
    VersionNegotiation,
    data_destination,
    decode_initial_untrusted,
    decode_message_untrusted,
    decode_packet_number,
    decode_retry_untrusted,
    decode_stateless_reset_untrusted,
    decode_version_negotiation_untrusted,
    stateless_reset,
)
from tests.support import spec_tables

INITIAL = Initial(1, 1, 0x0102030405060708, 0x1112131415161718, b"tok", b"message")


def test_an_initial_is_laid_out_as_the_spec_draws_it():
    expected = "a101010102030405060708111213141516171803" + b"tok".hex() + "0007" + b"message".hex()
    assert INITIAL.encode() == bytes.fromhex(expected).ljust(1200, b"\0")
    assert decode_initial_untrusted(INITIAL.encode()) == INITIAL


def test_the_handshake_packets_are_laid_out_as_the_spec_draws_them():
    assert Response(5, b"abc").encode() == bytes.fromhex("a20100000000000000050003616263")
    assert FinalMessage(5, b"abc").encode() == bytes.fromhex("a30100000000000000050003616263")
    assert Retry(5, b"abc").encode() == bytes.fromhex("a401000000000000000503616263")
    assert VersionNegotiation(5, (1, 9)).encode() == bytes.fromhex("a50000000000000005020109")
    assert stateless_reset(5, bytes(range(16))) == bytes.fromhex(
        "880000000000000005000102030405060708090a0b0c0d0e0f"
    )


@pytest.mark.spec("TRANSPORT-3")
def test_the_datagram_of_an_initial_has_1200_bytes_and_a_smaller_one_is_refused():
    datagram = INITIAL.encode()
    assert len(datagram) == MIN_INITIAL_SIZE == 1200
    with pytest.raises(DecodeError):
        decode_initial_untrusted(datagram[:-1])
    assert decode_initial_untrusted(datagram + bytes(100)) == INITIAL


def test_an_initial_whose_fields_run_past_its_end_is_refused():
    datagram = INITIAL.encode()
    too_long_token = datagram[:19] + bytes([MAX_TOKEN_SIZE + 1]) + datagram[20:]
    too_long_message = datagram[:23] + b"\xff\xff" + datagram[25:]
    for broken in (too_long_token, too_long_message):
        with pytest.raises(DecodeError):
            decode_initial_untrusted(broken)


@pytest.mark.spec("TRANSPORT-4")
def test_handshake_messages_above_1100_bytes_are_refused():
    fits = Response(1, bytes(MAX_HANDSHAKE_SIZE - 12)).encode()
    assert len(fits) == MAX_HANDSHAKE_SIZE == 1100
    assert decode_message_untrusted(fits) == (1, bytes(MAX_HANDSHAKE_SIZE - 12), 1100)
    with pytest.raises(DecodeError):
        decode_message_untrusted(Response(1, bytes(MAX_HANDSHAKE_SIZE - 11)).encode())


@pytest.mark.spec("TRANSPORT-5")
def test_what_follows_a_message_in_its_datagram_is_somebody_elses():
    packet = FinalMessage(9, b"message").encode()
    assert decode_message_untrusted(packet + b"data packet") == (9, b"message", len(packet))


@pytest.mark.parametrize(
    ("decode", "packet"),
    [
        (decode_message_untrusted, Response(5, b"message").encode()),
        (decode_retry_untrusted, Retry(5, b"token").encode()),
        (decode_version_negotiation_untrusted, VersionNegotiation(5, (1, 2)).encode()),
        (decode_stateless_reset_untrusted, stateless_reset(5, bytes(16))),
    ],
)
@pytest.mark.spec("TRANSPORT-5")
def test_a_truncated_packet_does_not_parse(decode, packet):
    decode(packet)
    for size in range(1, len(packet)):
        with pytest.raises(DecodeError):
            decode(packet[:size])


@pytest.mark.parametrize(
    ("decode", "packet"),
    [
        (decode_message_untrusted, b"\xa2\x02" + Response(5, b"x").encode()[2:]),
        (decode_retry_untrusted, b"\xa4\x02" + Retry(5, b"x").encode()[2:]),
        (decode_retry_untrusted, Retry(5, b"").encode()),
        (decode_retry_untrusted, Retry(5, bytes(MAX_TOKEN_SIZE + 1)).encode()),
        (decode_retry_untrusted, Retry(5, b"x").encode() + b"x"),
        (decode_version_negotiation_untrusted, VersionNegotiation(5, ()).encode()),
        (
            decode_version_negotiation_untrusted,
            VersionNegotiation(5, tuple(range(MAX_OFFERED_VERSIONS + 1))).encode(),
        ),
        (decode_stateless_reset_untrusted, stateless_reset(5, bytes(17))),
    ],
)
def test_a_packet_of_another_version_or_beyond_its_limits_does_not_parse(decode, packet):
    with pytest.raises(DecodeError):
        decode(packet)


def test_the_decoders_give_back_what_was_encoded():
    assert decode_retry_untrusted(Retry(7, b"token").encode()) == Retry(7, b"token")
    offer = VersionNegotiation(7, (3, 1))
    assert decode_version_negotiation_untrusted(offer.encode()) == offer
    assert decode_stateless_reset_untrusted(stateless_reset(7, bytes(range(16)))) == bytes(
        range(16)
    )


def test_a_stateless_reset_is_shorter_than_any_data_packet():
    assert RESET_SIZE < DATA_OVERHEAD


def test_the_destination_of_a_data_packet_can_be_read_anywhere_in_a_buffer():
    assert data_destination(b"xx\x80" + bytes(range(1, 9)) + b"yy", 2) == 0x0102030405060708


def test_the_packet_number_of_rfc_9000_appendix_a_3_scaled_to_32_bits():
    # The RFC's example has 16 bits: expected 0xa82f30eb, 0x9b32 on the wire, gives 0xa82f9b32.
    assert decode_packet_number(0x9B32_0000, 0xA82F_30EB_0000) == 0xA82F_9B32_0000


@pytest.mark.parametrize("expected", [0, 1, 0x8000_0000, 0xFFFF_FFFF, 1 << 32, (5 << 32) + 7])
def test_the_number_nearest_to_the_expected_one_is_taken(expected):
    for distance in (-0x7FFF_FFFF, -5, 0, 1, 1000, 0x7FFF_FFFF, 0x8000_0000):
        number = max(0, expected + distance)
        assert decode_packet_number(number & 0xFFFF_FFFF, expected) == number


def test_the_first_bytes_are_the_specs():
    rows = {
        row[1]: int(row[0].strip("`"), 2)
        for row in spec_tables.tables("transport.md", "Packets")[0]
        if "K" not in row[0]
    }
    assert rows == {
        "stateless reset": stateless_reset(0, bytes(16))[0],
        "circuit packet ([relay.md](relay.md))": 0x90,
        "probe of a dial-back ([autonat.md](autonat.md))": 0x98,
        "Initial: handshake message 1": HandshakeType.INITIAL,
        "Response: message 2": HandshakeType.RESPONSE,
        "Final: message 3": HandshakeType.FINAL,
        "Retry": HandshakeType.RETRY,
        "Version Negotiation": HandshakeType.VERSION_NEGOTIATION,
    }
    assert all(128 <= first <= 191 for first in rows.values())


@pytest.mark.spec("TRANSPORT-15")
def test_of_an_unknown_version_only_what_all_versions_share_is_read():
    datagram = struct.pack(">BBBQQ", 0xA1, 9, 77, 1, 2) + b"\xff" * 1200
    assert decode_initial_untrusted(datagram) == Initial(9, 77, 1, 2, b"", b"")
