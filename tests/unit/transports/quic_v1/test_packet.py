import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.errors import DecodeError
from p2pnode.transports.quic_v1.packet import (
    MAX_OFFERED_VERSIONS,
    MAX_PARTS,
    MIN_PROTECTED_SIZE,
    VERSION,
    PacketType,
    decode_invariants_untrusted,
    decode_packet_number,
    decode_packet_untrusted,
    decode_version_negotiation_untrusted,
    encode_retry,
    encode_version_negotiation,
    is_long,
    is_retry_intact,
    long_header,
    long_header_size,
    number_size,
    short_header,
    split_datagram_untrusted,
    truncated,
)

OURS = b"our id 8"
THEIRS = b"theirs"
ids = st.binary(max_size=20)


def long_packet(kind=PacketType.HANDSHAKE, destination=OURS, payload=4, token=b""):
    """A packet whose sealed part is zeros: nothing here looks into it."""
    return long_header(kind, destination, THEIRS, 1, 1, payload, token) + bytes(payload + 16)


def short_packet(destination=OURS, size=40):
    return short_header(destination, 1, 1, 0) + bytes(size)


@given(
    kind=st.sampled_from([PacketType.INITIAL, PacketType.ZERO_RTT, PacketType.HANDSHAKE]),
    destination=ids,
    source=ids,
    token=st.binary(max_size=200),
    number=st.integers(0, (1 << 62) - 1),
    size=st.integers(1, 4),
    payload=st.integers(3, 1400),
    behind=st.binary(max_size=30),
)
def test_a_long_header_is_read_as_it_was_written(
    kind, destination, source, token, number, size, payload, behind
):
    token = token if kind is PacketType.INITIAL else b""
    header = long_header(kind, destination, source, number, size, payload, token)
    assert len(header) == long_header_size(kind, destination, source, size, token)
    assert header[-size:] == truncated(number, size)
    assert is_long(header[0])
    datagram = b"before" + header + bytes(payload + 16) + behind
    packet = decode_packet_untrusted(datagram, 6, 8)
    assert packet == (
        kind, destination, source, token, 6, 6 + len(header) - size, len(datagram) - len(behind)
    )  # fmt: skip


@given(destination=ids, number=st.integers(0, (1 << 62) - 1), phase=st.integers(0, 9))
def test_a_short_header_is_read_as_it_was_written(destination, number, phase):
    header = short_header(destination, number, 2, phase)
    assert header[0] == 0x41 | (phase % 2) << 2
    assert not is_long(header[0])
    packet = decode_packet_untrusted(header + bytes(18), 0, len(destination))
    assert packet == (
        PacketType.SHORT, destination, b"", b"", 0, len(header) - 2, len(header) + 18
    )  # fmt: skip


def test_what_is_too_small_to_be_protected_is_no_packet():
    for header, number_at in [
        (short_header(OURS, 1, 1, 0), 9),
        (long_header(PacketType.HANDSHAKE, OURS, b"", 1, 1, 3), 17),
    ]:
        whole = header.ljust(number_at + MIN_PROTECTED_SIZE, b"\0")
        decode_packet_untrusted(whole, 0, 8)
        with pytest.raises(DecodeError):
            decode_packet_untrusted(whole[:-1], 0, 8)
    with pytest.raises(DecodeError):
        decode_packet_untrusted(long_packet(payload=2), 0, 8)


@pytest.mark.parametrize("packet", [long_packet(), long_packet(PacketType.INITIAL, token=b"abc")])
def test_a_packet_cut_anywhere_is_refused(packet):
    for size in range(len(packet)):
        with pytest.raises(DecodeError):
            decode_packet_untrusted(packet[:size], 0, 8)


def test_what_is_not_version_1_is_refused_by_all_but_the_invariants():
    with pytest.raises(DecodeError):
        decode_packet_untrusted(bytes([long_packet()[0] & ~0x40]) + long_packet()[1:], 0, 8)
    with pytest.raises(DecodeError):
        decode_packet_untrusted(bytes([short_packet()[0] & ~0x40]) + short_packet()[1:], 0, 8)
    with pytest.raises(DecodeError):
        decode_packet_untrusted(long_packet(destination=bytes(21), payload=30), 0, 8)
    other = b"\xc0\x6b\x33\x43\xcf" + b"\xff" + bytes(255) + b"\x02ab" + b"rest"
    assert decode_invariants_untrusted(other) == (0x6B3343CF, bytes(255), b"ab", 264)
    with pytest.raises(DecodeError):
        decode_packet_untrusted(other + bytes(100), 0, 8)


def test_invariants_that_are_cut_anywhere_are_refused():
    head = b"\xc0\x6b\x33\x43\xcf" + b"\x03abc" + b"\x02de"
    assert decode_invariants_untrusted(head).end == len(head)
    for size in range(len(head)):
        with pytest.raises(DecodeError):
            decode_invariants_untrusted(head[:size])


def test_a_length_or_token_beyond_the_datagram_is_refused():
    header = long_header(PacketType.INITIAL, OURS, b"", 1, 1, 4)
    token_at = 5 + 9 + 1
    huge = b"\xff" * 8
    for datagram in [
        header[:token_at] + huge + header[token_at + 1 :] + bytes(50),
        header[: token_at + 1] + huge + bytes(50),
    ]:
        with pytest.raises(DecodeError):
            decode_packet_untrusted(datagram, 0, 8)


def test_the_packets_of_a_datagram_are_told_apart():
    datagram = (
        long_packet(PacketType.INITIAL, token=b"t")
        + long_packet(PacketType.ZERO_RTT)
        + long_packet(PacketType.HANDSHAKE)
        + short_packet()
    )
    packets = split_datagram_untrusted(datagram, 8)
    assert [packet.kind for packet in packets] == [
        PacketType.INITIAL, PacketType.ZERO_RTT, PacketType.HANDSHAKE, PacketType.SHORT
    ]  # fmt: skip
    assert [packet.start for packet in packets[1:]] == [packet.end for packet in packets[:-1]]
    assert packets[-1].end == len(datagram)


@pytest.mark.spec("QUIC-1")
def test_packets_for_another_connection_are_left_out():
    datagram = long_packet() + long_packet(destination=b"another") + long_packet()
    packets = split_datagram_untrusted(datagram + short_packet(b"another8"), 8)
    assert [packet.destination for packet in packets] == [OURS, OURS]


@pytest.mark.spec("QUIC-1")
def test_what_follows_an_unreadable_packet_is_left_out():
    assert len(split_datagram_untrusted(long_packet() + b"\x80garbage" + long_packet(), 8)) == 1
    assert split_datagram_untrusted(b"", 8) == []
    assert split_datagram_untrusted(b"\x40short", 8) == []


@pytest.mark.spec("QUIC-1")
def test_more_packets_than_a_handshake_needs_are_left_out():
    packets = split_datagram_untrusted(long_packet() * (MAX_PARTS + 5), 8)
    assert len(packets) == MAX_PARTS


@given(st.binary(max_size=100), st.integers(0, 20))
def test_splitting_raises_nothing_and_its_parts_lie_within(datagram, id_size):
    position = 0
    for packet in split_datagram_untrusted(b"\xc0\0\0\0\1" + datagram, id_size):
        assert position <= packet.start < packet.number_at < packet.end <= len(datagram) + 5
        position = packet.end


def test_a_retry_is_read_and_one_that_was_changed_is_not_intact():
    datagram = encode_retry(THEIRS, OURS, b"token", b"original")
    packet = decode_packet_untrusted(datagram, 0, 8)
    assert packet.kind is PacketType.RETRY
    assert (packet.destination, packet.source, packet.token) == (THEIRS, OURS, b"token")
    assert is_retry_intact(datagram, b"original")
    assert not is_retry_intact(datagram, b"another")
    for index in range(len(datagram)):
        changed = bytearray(datagram)
        changed[index] ^= 1
        assert not is_retry_intact(bytes(changed), b"original")
    with pytest.raises(DecodeError):
        decode_packet_untrusted(encode_retry(THEIRS, OURS, b"", b"original"), 0, 8)


def test_version_negotiation_answers_with_the_ids_exchanged():
    asked = decode_invariants_untrusted(b"\xc0\x1a\x2a\x3a\x4a\x03abc\x02de" + bytes(9))
    answer = encode_version_negotiation(asked, 0x17)
    head = decode_invariants_untrusted(answer)
    assert answer[0] == 0xD7
    assert head[:3] == (0, b"de", b"abc")
    assert decode_version_negotiation_untrusted(answer, head.end) == (VERSION,)


def test_a_malformed_list_of_versions_is_refused_and_a_long_one_cut():
    for size in (0, 3, 5):
        with pytest.raises(DecodeError):
            decode_version_negotiation_untrusted(bytes(7 + size), 7)
    assert decode_version_negotiation_untrusted(b"\0\0\0\1\1\0\0\0", 0) == (1, 0x0100_0000)
    assert len(decode_version_negotiation_untrusted(bytes(1200), 0)) == MAX_OFFERED_VERSIONS


def test_the_examples_of_rfc_9000_appendix_a():
    assert number_size(0xAC5C02, 0xABE8B3) == 2
    assert number_size(0xACE8FE, 0xABE8B3) == 3
    assert decode_packet_number(0x9B32, 2, 0xA82F30EA + 1) == 0xA82F9B32


@given(
    acked=st.integers(-1, 1 << 61),
    ahead=st.integers(1, 1 << 30),
    lag=st.floats(0, 1),
)
def test_a_receiver_between_the_acked_and_the_newest_packet_finds_the_number(acked, ahead, lag):
    number = acked + ahead
    size = number_size(number, acked)
    # It has seen any number from the acknowledged one up to the one before this one.
    expected = acked + 1 + int(lag * (ahead - 1))
    low = int.from_bytes(truncated(number, size), "big")
    assert decode_packet_number(low, size, expected) == number


def test_a_packet_number_is_never_negative_nor_too_large():
    rng = random.Random(1)
    for _ in range(2000):
        size = rng.randint(1, 4)
        expected = rng.choice([0, 1, 200, (1 << 62) - 1, (1 << 62) - 300])
        number = decode_packet_number(rng.randrange(1 << 8 * size), size, expected)
        assert 0 <= number < 1 << 62
