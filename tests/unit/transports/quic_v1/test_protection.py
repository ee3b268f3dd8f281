"""Beside the vectors of RFC 9001 (tests/vectors): every suite, sizes, and what was changed."""

import pytest
from aioquic.quic.crypto import CryptoPair
from aioquic.tls import CipherSuite as OracleSuite
from cryptography.exceptions import InvalidTag
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pnode.transports.quic_v1.packet import (
    PacketType,
    decode_packet_number,
    long_header,
    short_header,
)
from p2pnode.transports.quic_v1.protection import (
    LIMITS,
    CipherSuite,
    header_mask,
    next_secret,
    open_packet,
    packet_key,
    seal_packet,
    unmask_header,
)

SUITES = list(CipherSuite)
OURS = b"our id 8"


def secret_of(suite):
    return bytes(range(48 if suite is CipherSuite.AES_256_GCM_SHA384 else 32))


def sealed(suite, header, number, payload):
    secret = secret_of(suite)
    key, mask = packet_key(suite, secret), header_mask(suite, secret)
    return b"".join(seal_packet(key, mask, header, number, payload))


def opened(suite, packet, number_at, expected):
    """Returns (first byte, packet number, payload)."""
    secret = secret_of(suite)
    unmasked = unmask_header(header_mask(suite, secret), packet, 0, number_at)
    number = decode_packet_number(unmasked[1], unmasked[2], expected)
    payload = open_packet(
        packet_key(suite, secret), packet, 0, number_at, len(packet), unmasked, number
    )
    return unmasked[0], number, payload


@given(
    suite=st.sampled_from(SUITES),
    number=st.integers(0, 1 << 50),
    size=st.integers(1, 4),
    phase=st.integers(0, 1),
    payload=st.binary(min_size=3, max_size=100),
    as_view=st.booleans(),
)
def test_what_was_sealed_is_opened(suite, number, size, phase, payload, as_view):
    for header in (
        short_header(OURS, number, size, phase),
        long_header(PacketType.HANDSHAKE, OURS, b"", number, size, len(payload)),
    ):
        packet = sealed(suite, header, number, payload)
        read = memoryview(packet) if as_view else packet
        assert opened(suite, read, len(header) - size, number) == (header[0], number, payload)


@settings(max_examples=30)
@given(
    suite=st.sampled_from(SUITES),
    number=st.integers(0, 1 << 30),
    size=st.integers(1, 4),
    payload=st.binary(min_size=3, max_size=60),
)
def test_aioquic_seals_the_same_bytes_and_opens_ours(suite, number, size, payload):
    oracle = CryptoPair()
    oracle.send.setup(cipher_suite=OracleSuite(suite), secret=secret_of(suite), version=1)
    oracle.recv.setup(cipher_suite=OracleSuite(suite), secret=secret_of(suite), version=1)
    header = short_header(OURS, number, size, 0)
    packet = sealed(suite, header, number, payload)
    assert oracle.encrypt_packet(header, payload, number) == packet
    assert oracle.decrypt_packet(packet, 1 + len(OURS), number) == (header, payload, number)


@pytest.mark.parametrize("suite", SUITES)
def test_a_packet_that_was_changed_anywhere_is_not_opened(suite):
    header = short_header(OURS, 77, 2, 0)
    packet = sealed(suite, header, 77, b"payload")
    for index in range(len(packet)):
        changed = bytearray(packet)
        changed[index] ^= 0x40
        with pytest.raises(InvalidTag):
            opened(suite, bytes(changed), 9, 77)


@pytest.mark.parametrize("suite", SUITES)
def test_another_packet_number_or_phase_does_not_open_it(suite):
    header = short_header(OURS, 77, 1, 0)
    packet = sealed(suite, header, 77, b"payload")
    with pytest.raises(InvalidTag):
        opened(suite, packet, 9, 77 + 256)
    secret = secret_of(suite)
    unmasked = unmask_header(header_mask(suite, secret), packet, 0, 9)
    following = packet_key(suite, next_secret(suite, secret))
    with pytest.raises(InvalidTag):
        open_packet(following, packet, 0, 9, len(packet), unmasked, 77)


def test_a_secret_keeps_its_size_over_updates():
    for suite in SUITES:
        secret = secret_of(suite)
        assert len(next_secret(suite, next_secret(suite, secret))) == len(secret)


@pytest.mark.spec("QUIC-2")
def test_the_limits_are_at_most_half_of_rfc_9001s():
    for suite, (packets, forgeries) in LIMITS.items():
        is_chacha = suite is CipherSuite.CHACHA20_POLY1305_SHA256
        assert packets <= (1 << 61 if is_chacha else 1 << 22)
        assert forgeries <= (1 << 36 if is_chacha else 1 << 52)
