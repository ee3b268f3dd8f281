"""Stateless resets: what tells a peer that its connection is forgotten (specs/transport.md, Reset).

The rule: anyone can provoke them, so what one network gets is bounded.
"""

from typing import Final

from p2pnode.clock import Instant
from p2pnode.machine import Transmit
from p2pnode.rate_limit import KeyedRateLimit
from p2pnode.resources.networks import Network
from p2pnode.transports.noise_udp.packet import stateless_reset
from p2pnode.transports.noise_udp.token import TokenIssuer
from p2pnode.transports.places import origin
from p2pnode.transports.route import Route, transmit_of

MAX_RESETS: Final = 100
"""stateless resets that one network has at once, and a second after that, because anyone can
provoke them; chosen: a restart with a hundred peers behind one NAT is told within a second"""


class StatelessResets:
    """Answers data for connections that nobody knows here."""

    __slots__ = ("_rate", "_tokens")

    def __init__(self, tokens: TokenIssuer) -> None:
        self._tokens = tokens
        self._rate = KeyedRateLimit[Network](MAX_RESETS, 1.0)

    def answer(self, destination: int, route: Route, now: Instant) -> list[Transmit]:
        """Returns the answer to a data packet that came over a route, or nothing.

        Any data packet is longer than a reset, and who forges its source uses up the source's.
        """
        if not self._rate.take(origin(route)[-1], now):
            return []
        packet = stateless_reset(destination, self._tokens.reset_token(destination))
        return [transmit_of(route, packet)]
