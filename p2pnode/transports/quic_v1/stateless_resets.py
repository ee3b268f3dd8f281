"""Stateless resets: what tells a peer that its connection is forgotten (RFC 9000 section 10.3).

The rule: anyone can provoke them, so what one network gets is bounded, and each is shorter than the
packet that it answers.
"""

from typing import Final

from p2pnode.clock import Instant
from p2pnode.entropy import Entropy
from p2pnode.machine import Transmit
from p2pnode.rate_limit import KeyedRateLimit
from p2pnode.resources.networks import Network
from p2pnode.transports.places import origin
from p2pnode.transports.quic_v1.packet import FIXED
from p2pnode.transports.quic_v1.parameters import RESET_TOKEN_SIZE
from p2pnode.transports.quic_v1.token import QuicTokens
from p2pnode.transports.route import Route, transmit_of

MAX_RESETS: Final = 100
"""stateless resets that one network has at once, and a second after that; chosen: a restart with a
hundred peers behind one NAT is told within a second"""
MIN_RESET_SIZE: Final = 21
"""bytes; RFC 9000 section 10.3: five that look like a packet, and the token"""
MAX_RESET_SIZE: Final = 42
"""bytes; chosen: RFC 9000 section 10.3 has a packet of 43 bytes answered by 42"""


class StatelessResets:
    """Answers 1-RTT packets for connections that nobody knows here."""

    __slots__ = ("_entropy", "_rate", "_tokens")

    def __init__(self, tokens: QuicTokens, entropy: Entropy) -> None:
        self._tokens = tokens
        self._entropy = entropy
        self._rate = KeyedRateLimit[Network](MAX_RESETS, 1.0)

    def answer(self, destination: int, size: int, route: Route, now: Instant) -> list[Transmit]:
        """Returns the answer to a datagram of that size, or nothing."""
        size = min(size - 1, MAX_RESET_SIZE)
        if size < MIN_RESET_SIZE or not self._rate.take(origin(route)[-1], now):
            return []
        head = self._entropy(size - RESET_TOKEN_SIZE)
        packet = bytes((FIXED | head[0] & 0x3F,)) + head[1:] + self._tokens.reset_token(destination)
        return [transmit_of(route, packet)]


def reset_token_of(datagram: bytes) -> bytes | None:
    """Returns what would be the token, were this a stateless reset."""
    return datagram[-RESET_TOKEN_SIZE:] if len(datagram) >= MIN_RESET_SIZE else None
