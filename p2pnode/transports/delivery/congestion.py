"""What a path asks of its congestion controller, and the bounds that every controller keeps.

Windows are in bytes of UDP payload.  A controller never sees packets that do not count for
congestion: MTU probes that were lost, packets without ack-eliciting frames.
"""

from typing import Final, Protocol

from p2pnode.clock import Instant
from p2pnode.transports.delivery.rtt import RttEstimator

INITIAL_WINDOW_PACKETS: Final = 10
"""RFC 9002 section 7.2"""
INITIAL_WINDOW_FLOOR: Final = 14_720
"""bytes; RFC 9002 section 7.2: what large datagrams may always have, two of them at least"""
MINIMUM_WINDOW_PACKETS: Final = 2
"""RFC 9002 section 7.2"""
MAX_WINDOW: Final = 1 << 28
"""bytes; chosen: 10 Gbit/s over 200 ms"""
UNLIMITED: Final = 1 << 62
"""bytes; a slow start threshold that is not known yet"""


def initial_window(max_datagram_size: int) -> int:
    """Returns the window of a path about which nothing is known."""
    return min(
        INITIAL_WINDOW_PACKETS * max_datagram_size,
        max(INITIAL_WINDOW_FLOOR, MINIMUM_WINDOW_PACKETS * max_datagram_size),
    )


def minimum_window(max_datagram_size: int) -> int:
    """Returns what no congestion goes below."""
    return MINIMUM_WINDOW_PACKETS * max_datagram_size


class CongestionController(Protocol):
    """How much may be in flight on one path."""

    window: int
    ssthresh: int

    @property
    def in_slow_start(self) -> bool: ...

    def on_packets_acked(
        self,
        acked_bytes: int,
        largest_acked_pn: int,
        largest_acked_time_sent: Instant,
        app_limited: bool,
        rtt: RttEstimator,
        now: Instant,
    ) -> None:
        """One ACK newly acknowledged that many bytes; `app_limited`: the window was not used."""
        ...

    def on_congestion_event(self, time_sent_of_lost: Instant, now: Instant) -> None:
        """Packets were lost, the last of them sent at that time.  Once a round trip at most."""
        ...

    def on_ecn_ce(self, time_sent: Instant, now: Instant) -> None:
        """The network marked packets instead of dropping them."""
        ...

    def on_persistent_congestion(self) -> None:
        """Nothing got through for several PTOs (RFC 9002 section 7.6)."""
        ...

    def on_idle(self) -> None:
        """The path was unused for so long that its window proves nothing any more."""
        ...

    def on_mtu_changed(self, max_datagram_size: int) -> None:
        """The path carries larger (or only smaller) datagrams now."""
        ...
