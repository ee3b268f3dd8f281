"""HyStart++ (RFC 9406): leaves slow start when the delay grows, before the queue overflows.

    SLOW_START --delay grew--------------------> CONSERVATIVE (a quarter of the growth)
    CONSERVATIVE --delay fell below baseline---> SLOW_START
    CONSERVATIVE --five rounds-----------------> is_finished: congestion avoidance

A round is the time until something sent after its start is acknowledged.  RFC 9406 delimits it by
sequence number; the time of sending says the same and needs no call for each packet sent.
"""

from math import inf
from typing import Final

from p2pnode.clock import Instant

# RFC 9406 section 4.3
MIN_RTT_THRESHOLD: Final = 0.004
"""s"""
MAX_RTT_THRESHOLD: Final = 0.016
"""s"""
MIN_RTT_DIVISOR: Final = 8
RTT_SAMPLES: Final = 8
"""samples in a round before its minimum is believed"""
CSS_GROWTH_DIVISOR: Final = 4
CSS_ROUNDS: Final = 5


class HyStart:
    """One slow start; meant for the first one of a path only (RFC 9406 section 4.3)."""

    __slots__ = (
        "_baseline",
        "_css_rounds",
        "_last_round_minimum",
        "_round_minimum",
        "_round_start",
        "_samples",
        "is_finished",
    )

    def __init__(self) -> None:
        self.is_finished = False
        self._round_start: Instant = -inf
        self._round_minimum = inf
        self._last_round_minimum = inf
        self._samples = 0
        self._baseline: float | None = None  # set while conservative
        self._css_rounds = 0

    def growth(
        self, acked_bytes: int, largest_acked_time_sent: Instant, rtt_sample: float, now: Instant
    ) -> int:
        """Returns by how many bytes the window grows for this ACK; may set `is_finished`."""
        if largest_acked_time_sent >= self._round_start:
            self._begin_round(now)
        self._round_minimum = min(self._round_minimum, rtt_sample)
        self._samples += 1
        if self._samples >= RTT_SAMPLES:
            self._judge()
        # no limit L on one ACK's growth: sending is paced (RFC 9406 section 4.3)
        return acked_bytes // CSS_GROWTH_DIVISOR if self._baseline is not None else acked_bytes

    def _begin_round(self, now: Instant) -> None:
        self._round_start = now
        self._last_round_minimum = self._round_minimum
        self._round_minimum = inf
        self._samples = 0
        if self._baseline is not None:
            self._css_rounds += 1
            self.is_finished = self._css_rounds >= CSS_ROUNDS

    def _judge(self) -> None:
        if self._baseline is not None:
            if self._round_minimum < self._baseline:
                self._baseline = None
            return
        last = self._last_round_minimum
        if last == inf:
            return
        threshold = max(MIN_RTT_THRESHOLD, min(last / MIN_RTT_DIVISOR, MAX_RTT_THRESHOLD))
        if self._round_minimum >= last + threshold:
            self._baseline = self._round_minimum
            self._css_rounds = 0
