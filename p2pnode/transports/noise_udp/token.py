"""Address validation tokens: proof, carried by the initiator, that it receives at its address.

Stateless: a token is its facts and a MAC.  Retry tokens are bound to address, port and both
connection ids and live 15 s; tokens for later connections (NEW_TOKEN) are bound to the IPv4 address
or the IPv6 /64 only, so that a NAT rebinding locks nobody out.

Rule: within a run no jump of the wall clock makes a token older, for the caller's time is the wall
clock's at the start and goes on evenly.  From one run to the next the clock may have gone back: an
address token that seems to come from less than a lifetime ahead is as good as one so old.
"""

import enum
import hashlib
import hmac
import ipaddress
import struct
from typing import Final

from p2pnode.clock import UnixTime
from p2pnode.machine import SocketAddr
from p2pnode.transports.noise_udp.aead import hkdf_expand

RETRY_LIFETIME: Final = 15.0
"""seconds; chosen: a few lost round trips, and too short to collect tokens"""
ADDRESS_LIFETIME: Final = 24 * 3600.0
"""seconds; chosen: a day covers a laptop's night, and a leaked token proves little"""
MAC_SIZE: Final = 16
"""bytes"""
_HEAD: Final = struct.Struct(">Bd")


class TokenKind(enum.IntEnum):
    RETRY = 1
    ADDRESS = 2


class TokenIssuer:
    """Makes and checks tokens under a key derived from the node's secret."""

    __slots__ = ("_key", "_reset_key")

    def __init__(self, secret: bytes) -> None:
        self._key = hkdf_expand(secret, "token", 32)
        self._reset_key = hkdf_expand(secret, "reset", 32)

    def retry_token(
        self, remote: SocketAddr, destination: int, source: int, unix_now: UnixTime
    ) -> bytes:
        return self._seal(TokenKind.RETRY, unix_now, _exact(remote, destination, source))

    def address_token(self, remote: SocketAddr, unix_now: UnixTime) -> bytes:
        return self._seal(TokenKind.ADDRESS, unix_now, address_prefix(remote))

    def check_untrusted(
        self, token: bytes, remote: SocketAddr, destination: int, source: int, unix_now: UnixTime
    ) -> TokenKind | None:
        """Returns what the token proves, or None."""
        if len(token) != _HEAD.size + MAC_SIZE:
            return None
        kind, issued = _HEAD.unpack_from(token)
        match kind:
            case TokenKind.RETRY:
                facts, lifetime = _exact(remote, destination, source), RETRY_LIFETIME
            case TokenKind.ADDRESS:
                facts, lifetime = address_prefix(remote), ADDRESS_LIFETIME
            case _:
                return None
        if not hmac.compare_digest(token, self._seal(kind, issued, facts)):
            return None
        age = unix_now - issued
        if kind == TokenKind.ADDRESS:
            age = abs(age)
        return TokenKind(kind) if 0 <= age <= lifetime else None

    def reset_token(self, connection_id: int) -> bytes:
        """Returns the stateless reset token of one of our connection ids (RFC 9000 10.3.2)."""
        return _mac(self._reset_key, connection_id.to_bytes(8, "big"))

    def _seal(self, kind: int, issued: float, facts: bytes) -> bytes:
        head = _HEAD.pack(kind, issued)
        return head + _mac(self._key, head + facts)


def _mac(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, hashlib.sha256)[:MAC_SIZE]


def _exact(remote: SocketAddr, destination: int, source: int) -> bytes:
    return _packed(remote) + struct.pack(">HQQ", remote.port, destination, source)


def address_prefix(remote: SocketAddr) -> bytes:
    """Returns the IPv4 address or the IPv6 /64: what one customer has, and keeps."""
    packed = _packed(remote)
    return packed if len(packed) == 4 else packed[:8]


def _packed(remote: SocketAddr) -> bytes:
    return ipaddress.ip_address(remote.ip).packed
