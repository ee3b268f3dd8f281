"""Tokens that prove an address, and those of stateless resets (RFC 9000 sections 8.1 and 10.3).

Stateless: a token is its facts and a MAC.  A Retry's is bound to address, port and the ids on the
packets, and carries the id that the client's first Initial went to; one for later connections
(NEW_TOKEN) is bound to the IPv4 address or the IPv6 /64 only, so that a NAT rebinding locks nobody
out.
"""

import enum
import hmac
import ipaddress
import struct
from typing import Final, NamedTuple

from p2pnode.clock import Instant
from p2pnode.machine import SocketAddr

RETRY_LIFETIME: Final = 15.0
"""seconds; chosen: a few lost round trips, and too short to collect tokens"""
ADDRESS_LIFETIME: Final = 24 * 3600.0
"""seconds; chosen: a day covers a laptop's night, and a leaked token proves little"""
MAC_SIZE: Final = 16
"""bytes"""
_HEAD: Final = struct.Struct(">Bd")
_LABEL: Final = b"p2pnode quic-v1 "


class TokenKind(enum.IntEnum):
    RETRY = 3
    ADDRESS = 4


class Proof(NamedTuple):
    """What a token proves."""

    kind: TokenKind
    original_destination: bytes
    """Of a Retry's: where the client's first Initial went."""


class QuicTokens:
    """Makes and checks them under keys derived from the node's secret."""

    __slots__ = ("_key", "_offset", "_reset_key")

    def __init__(self, secret: bytes, unix_offset: float) -> None:
        """`unix_offset` is the wall clock at the start less the monotonic one, in seconds: within a
        run no jump of the wall clock makes a token older."""
        self._key = hmac.digest(secret, _LABEL + b"token", "sha256")
        self._reset_key = hmac.digest(secret, _LABEL + b"reset", "sha256")
        self._offset = unix_offset

    def retry_token(
        self, remote: SocketAddr, original: bytes, retry_source: bytes, now: Instant
    ) -> bytes:
        head = _HEAD.pack(TokenKind.RETRY, now + self._offset) + original
        return head + self._mac(head + _exact(remote, retry_source))

    def address_token(self, remote: SocketAddr, now: Instant) -> bytes:
        head = _HEAD.pack(TokenKind.ADDRESS, now + self._offset)
        return head + self._mac(head + _prefix(remote))

    def check_untrusted(
        self, token: bytes, remote: SocketAddr, destination: bytes, now: Instant
    ) -> Proof | None:
        """Returns what the token of an Initial to `destination` proves, or None."""
        size = len(token) - MAC_SIZE
        if size < _HEAD.size:
            return None
        head = token[:size]
        kind, issued = _HEAD.unpack_from(head)
        original = head[_HEAD.size :]
        match kind:
            case TokenKind.RETRY:
                facts, lifetime = _exact(remote, destination), RETRY_LIFETIME
            case TokenKind.ADDRESS:
                facts, lifetime = _prefix(remote), ADDRESS_LIFETIME
            case _:
                return None
        if not hmac.compare_digest(token[size:], self._mac(head + facts)):
            return None
        age = now + self._offset - issued
        if kind == TokenKind.ADDRESS:
            age = abs(age)  # from one run to the next the clock may have gone back
        return Proof(TokenKind(kind), original) if 0 <= age <= lifetime else None

    def reset_token(self, connection_id: int) -> bytes:
        """Returns the stateless reset token of one of our connection ids."""
        raw = connection_id.to_bytes(8, "big")
        return hmac.digest(self._reset_key, raw, "sha256")[:MAC_SIZE]

    def _mac(self, text: bytes) -> bytes:
        return hmac.digest(self._key, text, "sha256")[:MAC_SIZE]


def _exact(remote: SocketAddr, retry_source: bytes) -> bytes:
    packed = ipaddress.ip_address(remote.ip).packed
    return packed + remote.port.to_bytes(2, "big") + retry_source


def _prefix(remote: SocketAddr) -> bytes:
    packed = ipaddress.ip_address(remote.ip).packed
    return packed if len(packed) == 4 else packed[:8]
