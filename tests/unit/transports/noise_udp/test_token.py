import hashlib
import hmac

import pytest

from p2pnode.machine import SocketAddr
from p2pnode.transports.noise_udp.token import (
    ADDRESS_LIFETIME,
    RETRY_LIFETIME,
    TokenIssuer,
    TokenKind,
    address_prefix,
)

SECRET = bytes(range(32))
ISSUER = TokenIssuer(SECRET)
REMOTE = SocketAddr("192.0.2.1", 4001)
REMOTE6 = SocketAddr("2001:db8:1:2::9", 4001)
NOW = 1_700_000_000.0


def check(token, *, remote=REMOTE, destination=1, source=2, now=NOW):
    return ISSUER.check_untrusted(token, remote, destination, source, now)


def test_a_retry_token_is_good_for_what_it_was_made_for():
    token = ISSUER.retry_token(REMOTE, 1, 2, NOW)
    assert check(token) is TokenKind.RETRY
    assert check(token, now=NOW + RETRY_LIFETIME) is TokenKind.RETRY


@pytest.mark.parametrize(
    "other",
    [
        {"remote": SocketAddr("192.0.2.2", 4001)},
        {"remote": SocketAddr("192.0.2.1", 4002)},
        {"remote": SocketAddr("::ffff:192.0.2.1", 4001)},
        {"destination": 3},
        {"source": 3},
        {"destination": 2, "source": 1},
        {"now": NOW + RETRY_LIFETIME + 0.001},
        {"now": NOW - 0.001},
    ],
)
def test_a_retry_token_is_bound_to_address_port_ids_and_time(other):
    assert check(ISSUER.retry_token(REMOTE, 1, 2, NOW), **other) is None


def test_an_address_token_outlives_ports_and_ids_for_a_day():
    token = ISSUER.address_token(REMOTE, NOW)
    other = {"remote": SocketAddr("192.0.2.1", 9), "destination": 8, "source": 9}
    assert check(token, **other, now=NOW + ADDRESS_LIFETIME) is TokenKind.ADDRESS
    assert check(token, **other, now=NOW + ADDRESS_LIFETIME + 1) is None
    assert check(token, remote=SocketAddr("192.0.2.2", 4001)) is None


def test_an_address_token_from_a_clock_that_was_ahead_is_good_for_as_long():
    """The issuer was started anew, and its clock went back in between."""
    token = ISSUER.address_token(REMOTE, NOW + 8 * 3600)
    assert check(token) is TokenKind.ADDRESS
    assert check(token, now=NOW + 8 * 3600 - ADDRESS_LIFETIME - 1) is None


def test_an_address_token_of_an_ipv6_host_is_good_for_its_64():
    token = ISSUER.address_token(REMOTE6, NOW)
    assert check(token, remote=SocketAddr("2001:db8:1:2:ffff::1", 1)) is TokenKind.ADDRESS
    assert check(token, remote=SocketAddr("2001:db8:1:3::9", 4001)) is None


def test_a_token_of_another_issuer_or_of_nobody_proves_nothing():
    other = TokenIssuer(bytes(32))
    assert check(other.retry_token(REMOTE, 1, 2, NOW)) is None
    token = ISSUER.retry_token(REMOTE, 1, 2, NOW)
    as_address = bytes([TokenKind.ADDRESS]) + token[1:]
    unknown = b"\x03" + token[1:]
    for forged in (b"", token[:-1], token + b"\0", as_address, unknown, bytes(25)):
        assert check(forged) is None


def test_no_bit_of_a_token_can_be_changed():
    for token in (ISSUER.retry_token(REMOTE, 1, 2, NOW), ISSUER.address_token(REMOTE, NOW)):
        for bit in range(8 * len(token)):
            forged = bytearray(token)
            forged[bit // 8] ^= 1 << bit % 8
            assert check(bytes(forged)) is None


def test_the_reset_token_is_an_hmac_of_the_id_under_a_key_of_the_secret():
    key = hmac.digest(SECRET, b"p2pnode noise-udp reset\x01", hashlib.sha256)
    expected = hmac.digest(key, (5).to_bytes(8, "big"), hashlib.sha256)[:16]
    assert ISSUER.reset_token(5) == TokenIssuer(SECRET).reset_token(5) == expected
    assert ISSUER.reset_token(6) != expected


def test_the_prefix_of_an_address_is_what_one_customer_has():
    assert address_prefix(REMOTE) == bytes([192, 0, 2, 1])
    assert address_prefix(REMOTE6) == bytes.fromhex("20010db800010002")
