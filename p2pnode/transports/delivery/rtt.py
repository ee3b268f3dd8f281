"""Round-trip time of one path, as in RFC 9002 section 5 (specs/recovery.md, Round-trip time)."""

from typing import Final

from p2pnode.clock import Instant

INITIAL_RTT: Final = 0.333
"""s; RFC 9002 section 6.2.2"""
GRANULARITY: Final = 0.001
"""s; RFC 9002 section 6.1.2"""


class RttEstimator:
    """Durations are in seconds.  Before the first sample the values are guesses."""

    __slots__ = ("first_sample_at", "has_sample", "latest", "minimum", "smoothed", "variance")

    def __init__(self, initial_rtt: float = INITIAL_RTT) -> None:
        self.latest = initial_rtt
        self.smoothed = initial_rtt
        self.variance = initial_rtt / 2
        self.minimum = initial_rtt
        self.has_sample = False
        self.first_sample_at: Instant | None = None

    def update(self, sample: float, ack_delay: float, max_ack_delay: float, now: Instant) -> None:
        """Takes one sample; `ack_delay` is what the peer says it held the ACK back (untrusted)."""
        self.latest = sample
        if not self.has_sample:
            self.has_sample = True
            self.first_sample_at = now
            self.minimum = sample
            self.smoothed = sample
            self.variance = sample / 2
            return
        if sample < self.minimum:
            self.minimum = sample
        delay = min(ack_delay, max_ack_delay)
        # a delay that would lead below the minimum is not believed: RFC 9002 section 5.3
        adjusted = sample - delay if sample >= self.minimum + delay else sample
        self.variance += (abs(self.smoothed - adjusted) - self.variance) / 4
        self.smoothed += (adjusted - self.smoothed) / 8

    def reset_minimum(self) -> None:
        """Forgets a minimum that the path may not have any more (RFC 9002 section 5.2)."""
        self.minimum = self.latest

    def pto_interval(self, max_ack_delay: float) -> float:
        """Returns how long to wait for an ACK before probing, without backoff (section 6.2.1)."""
        return self.smoothed + max(4 * self.variance, GRANULARITY) + max_ack_delay
