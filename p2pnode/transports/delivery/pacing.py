"""Spreads a window over its round trip (RFC 9002 section 7.7), in bursts that suit GSO and timers.

A token bucket.  It is filled at 1.25 windows a round trip (2 in slow start, which doubles the
window in one) and holds one quantum of max(10 packets, 2 ms of rate).  Nothing is released in
portions of less than 1 ms of rate: no timer has to be finer than that.
"""

from typing import Final

from p2pnode.clock import Instant

GAIN: Final = 1.25
"""windows a round trip; RFC 9002 section 7.7"""
SLOW_START_GAIN: Final = 2.0
"""windows a round trip; chosen: at less, pacing and not the path would set the growth"""
QUANTUM_PACKETS: Final = 10
"""packets that may leave together; RFC 9002 section 7.7: as many as the initial window"""
QUANTUM_TIME: Final = 0.002
"""s of rate that may leave together; chosen: fills a batch (GSO), far below a round trip"""
RELEASE_TIME: Final = 0.001
"""s of rate that are released at once at least; chosen: what timers can do"""
UNPACED_RTT: Final = 0.001
"""s; chosen: a window of a shorter round trip is a burst for every timer that we have"""
UNPACED: Final = 1 << 62
"""bytes: the window alone limits"""


class Pacer:
    """`budget` says what may go now, `on_sent` takes it, `next_send_time` says when to ask again.

    At most 64 segments a call are the caller's rule.  PTO probes and ACKs need not ask.
    """

    __slots__ = ("_capacity", "_filled_at", "_tokens")

    def __init__(self) -> None:
        self._capacity = 0.0
        self._tokens = 0.0
        self._filled_at: Instant | None = None

    def budget(
        self,
        window: int,
        smoothed_rtt: float,
        mtu: int,
        now: Instant,
        in_slow_start: bool = False,
    ) -> int:
        """Returns how many bytes may go now; 0 or at least one packet."""
        if smoothed_rtt < UNPACED_RTT:
            return UNPACED
        rate = (SLOW_START_GAIN if in_slow_start else GAIN) * window / smoothed_rtt
        capacity = max(QUANTUM_PACKETS * mtu, QUANTUM_TIME * rate)
        if self._filled_at is None:
            self._tokens = capacity
        elif now > self._filled_at:
            self._tokens = min(capacity, self._tokens + rate * (now - self._filled_at))
        self._filled_at = now
        self._capacity = capacity
        if self._tokens < max(mtu, RELEASE_TIME * rate) - 1:  # 1 byte: floats round
            return 0
        return max(int(self._tokens), mtu)

    def on_sent(self, size: int, now: Instant) -> None:
        """Takes the bytes of one packet, or of all packets of a batch."""
        # what went out unpaced (probes) is owed for one quantum at most
        self._tokens = max(self._tokens - size, -self._capacity)

    def next_send_time(
        self,
        window: int,
        smoothed_rtt: float,
        mtu: int,
        now: Instant,
        in_slow_start: bool = False,
    ) -> Instant:
        """Returns when `budget` will not be 0: `now` where it is not."""
        if self.budget(window, smoothed_rtt, mtu, now, in_slow_start):
            return now
        rate = (SLOW_START_GAIN if in_slow_start else GAIN) * window / smoothed_rtt
        missing = max(mtu, RELEASE_TIME * rate) - self._tokens
        return now + missing / rate
