"""The way that a connection's packets take, and what is measured along it.

The rule (RFC 9000 section 9.4): what was learned of one address does not hold for another, so a
move to another IP address starts congestion control, RTT and MTU anew; packet numbers go on.
"""

from typing import Final

from p2pnode.clock import Instant
from p2pnode.transports.delivery.cubic import Cubic
from p2pnode.transports.delivery.ecn import EcnValidator
from p2pnode.transports.delivery.mtu_discovery import BASE_SIZE, MtuDiscovery
from p2pnode.transports.delivery.pacing import Pacer
from p2pnode.transports.delivery.rtt import RttEstimator
from p2pnode.transports.route import Route

AMPLIFICATION_LIMIT: Final = 3
"""times of what came from an address that it gets before it is proved (RFC 9000 section 8.1)"""


class Path:
    """A route and its measurements."""

    __slots__ = (
        "_ecn_enabled",
        "controller",
        "ecn",
        "is_proven",
        "last_sent",
        "maximum_size",
        "mtu",
        "pacer",
        "received",
        "route",
        "rtt",
        "sent",
    )

    def __init__(
        self, route: Route, *, is_proven: bool, maximum_size: int, ecn: bool, now: Instant
    ) -> None:
        self.route = route
        self.is_proven = is_proven
        """Whether the peer has proved that it receives here."""
        self.received = 0
        self.sent = 0
        """bytes, both ways, while the address is not proved"""
        self.last_sent = now
        self.maximum_size = maximum_size
        self._ecn_enabled = ecn
        self.measure_anew()

    def measure_anew(self) -> None:
        self.rtt = RttEstimator()
        self.controller = Cubic(BASE_SIZE)
        self.pacer = Pacer()
        self.mtu = MtuDiscovery(maximum=self.maximum_size)
        self.ecn = EcnValidator(is_enabled=self._ecn_enabled)

    @property
    def budget(self) -> int:
        """Bytes that may go there now: an address that is not proved gets a multiple of its own."""
        if self.is_proven:
            return 1 << 62
        return AMPLIFICATION_LIMIT * self.received - self.sent
