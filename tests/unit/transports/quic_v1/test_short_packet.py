import pytest
from aioquic.quic.crypto import CryptoPair
from aioquic.tls import CipherSuite as OracleSuite
from cryptography.exceptions import InvalidTag
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.transports.quic_v1.packet import (
    KEY_PHASE,
    PacketType,
    decode_packet_number,
    decode_packet_untrusted,
    short_header,
)
from p2pnode.transports.quic_v1.protection import (
    CipherSuite,
    header_mask,
    packet_key,
    seal_packet,
)
from p2pnode.transports.quic_v1.short_packet import (
    CONNECTION_ID_SIZE,
    MIN_SHORT_SIZE,
    SHORT,
    header_layout,
    open_short,
    seal_short,
    short_overhead,
    unmask_short,
)

SUITES = list(CipherSuite)
OURS = b"our id 8"


def keys_of(suite):
    secret = bytes(range(48 if suite is CipherSuite.AES_256_GCM_SHA384 else 32))
    return packet_key(suite, secret), header_mask(suite, secret)


@given(
    suite=st.sampled_from(SUITES),
    destination=st.binary(max_size=20),
    number=st.integers(0, 1 << 50),
    phase=st.integers(0, 1),
    payload=st.binary(max_size=100),
)
def test_the_same_bytes_are_sealed_as_by_way_of_a_header(
    suite, destination, number, phase, payload
):
    key, mask = keys_of(suite)
    header = short_header(destination, number, 4, phase)
    first = SHORT | phase * KEY_PHASE
    assert first == header[0]
    layout = header_layout(len(destination))
    sealed = seal_short(key, mask, layout, first, destination, number, payload)
    assert sealed == seal_packet(key, mask, header, number, payload)
    assert sum(map(len, sealed)) == len(payload) + short_overhead(len(destination))


@given(
    suite=st.sampled_from(SUITES),
    number=st.integers(0, 1 << 30),
    size=st.integers(1, 4),
    phase=st.integers(0, 1),
    payload=st.binary(min_size=3, max_size=100),
    before=st.binary(max_size=20),
    behind=st.binary(max_size=20),
    as_view=st.booleans(),
)
def test_what_aioquic_sealed_with_a_number_of_any_size_is_opened(
    suite, number, size, phase, payload, before, behind, as_view
):
    oracle = CryptoPair()
    secret = bytes(range(48 if suite is CipherSuite.AES_256_GCM_SHA384 else 32))
    oracle.send.setup(cipher_suite=OracleSuite(suite), secret=secret, version=1)
    header = short_header(OURS, number, size, phase)
    packet = oracle.encrypt_packet(header, payload, number)
    read = before + packet + behind
    read = memoryview(read) if as_view else read
    start, end = len(before), len(before) + len(packet)
    key, mask = keys_of(suite)
    first, low, found_size, found = unmask_short(mask, read, start)
    assert (first, found_size, found) == (header[0], size, header)
    assert decode_packet_number(low, size, number) == number
    assert open_short(key, read, start, end, found, number) == payload
    with pytest.raises(InvalidTag):
        open_short(key, read, start, end, found, number + 1)


def test_the_smallest_packet_that_is_read_can_be_unmasked():
    _, mask = keys_of(SUITES[0])
    smallest = b"\x40" + OURS + bytes(20)
    assert len(smallest) == MIN_SHORT_SIZE
    packet = decode_packet_untrusted(smallest, 0, CONNECTION_ID_SIZE)
    assert packet.kind is PacketType.SHORT
    unmask_short(mask, smallest, 0)
