"""CUBIC (RFC 9438) in bytes, with HyStart++ for the first slow start.

After a loss the window returns along a cubic curve to where the loss was, rests there, and then
probes beyond.  Time without data to send is taken out of the curve (RFC 9438 section 4.2).
"""

from math import inf
from typing import Final

from p2pnode.clock import Instant
from p2pnode.transports.delivery.congestion import (
    MAX_WINDOW,
    UNLIMITED,
    initial_window,
    minimum_window,
)
from p2pnode.transports.delivery.hystart import HyStart
from p2pnode.transports.delivery.rtt import RttEstimator

# RFC 9438 section 4.1, 4.6
CUBIC_C: Final = 0.4
"""packets/s^3"""
CUBIC_BETA: Final = 0.7
CUBIC_ALPHA: Final = 3 * (1 - CUBIC_BETA) / (1 + CUBIC_BETA)
"""packets a round trip at which a Reno with our beta would be as fast (section 4.3)"""
FAST_CONVERGENCE: Final = (1 + CUBIC_BETA) / 2
"""section 4.7: a flow that lost twice on its way up leaves room for new ones"""


class Cubic:
    """A CongestionController.  Windows are bytes, the curve is in packets as in RFC 9438."""

    __slots__ = (
        "_app_limited_since",
        "_epoch_start",
        "_exact_window",
        "_hystart",
        "_k",
        "_max_datagram_size",
        "_prior_window",
        "_recovery_start",
        "_reno_window",
        "_window_max",
        "ssthresh",
        "window",
    )

    def __init__(self, max_datagram_size: int) -> None:
        self._max_datagram_size = max_datagram_size
        self.window = initial_window(max_datagram_size)
        self.ssthresh = UNLIMITED
        self._exact_window = float(self.window)
        self._hystart = HyStart()
        self._recovery_start: Instant = -inf
        self._app_limited_since: Instant | None = None
        self._epoch_start: Instant | None = None
        self._window_max = 0.0
        self._prior_window = 0.0
        self._reno_window = 0.0
        self._k = 0.0

    @property
    def in_slow_start(self) -> bool:
        return self.window < self.ssthresh

    def on_packets_acked(
        self,
        acked_bytes: int,
        largest_acked_pn: int,
        largest_acked_time_sent: Instant,
        app_limited: bool,
        rtt: RttEstimator,
        now: Instant,
    ) -> None:
        if largest_acked_time_sent <= self._recovery_start:
            return
        if app_limited:
            if self._app_limited_since is None:
                self._app_limited_since = now
            return
        if self._app_limited_since is not None:
            if self._epoch_start is not None:
                self._epoch_start += now - self._app_limited_since
            self._app_limited_since = None
        if self.window >= self.ssthresh:
            self._set_window(self._avoid_congestion(acked_bytes, rtt.smoothed, now))
        elif self.ssthresh == UNLIMITED:
            grown = self._hystart.growth(acked_bytes, largest_acked_time_sent, rtt.latest, now)
            self._set_window(self._exact_window + grown)
            if self._hystart.is_finished:
                self.ssthresh = self.window
        else:
            self._set_window(min(self._exact_window + acked_bytes, float(self.ssthresh)))

    def on_congestion_event(self, time_sent_of_lost: Instant, now: Instant) -> None:
        if time_sent_of_lost <= self._recovery_start:
            return
        self._recovery_start = now
        window = self._exact_window
        self._prior_window = window
        self._window_max = window * FAST_CONVERGENCE if window < self._window_max else window
        self._epoch_start = None
        self._app_limited_since = None
        self._set_window(max(window * CUBIC_BETA, minimum_window(self._max_datagram_size)))
        self.ssthresh = self.window

    def on_ecn_ce(self, time_sent: Instant, now: Instant) -> None:
        self.on_congestion_event(time_sent, now)

    def on_persistent_congestion(self) -> None:
        self._recovery_start = -inf
        self._epoch_start = None
        self._app_limited_since = None
        self._set_window(minimum_window(self._max_datagram_size))

    def on_idle(self) -> None:
        """Starts again at the initial window; the threshold is kept (RFC 9438 section 4.10)."""
        self._epoch_start = None
        self._app_limited_since = None
        self._set_window(min(self._exact_window, initial_window(self._max_datagram_size)))

    def on_mtu_changed(self, max_datagram_size: int) -> None:
        self._max_datagram_size = max_datagram_size
        self._epoch_start = None  # the curve is in packets
        floor = minimum_window(max_datagram_size)
        if self.ssthresh == UNLIMITED:
            floor = initial_window(max_datagram_size)
        elif self.ssthresh < floor:
            self.ssthresh = floor
        self._set_window(max(self._exact_window, floor))

    def _set_window(self, window: float) -> None:
        self._exact_window = min(window, MAX_WINDOW)
        self.window = int(self._exact_window)

    def _avoid_congestion(self, acked_bytes: int, smoothed_rtt: float, now: Instant) -> float:
        """Returns the next window (RFC 9438 sections 4.2 to 4.5)."""
        size = self._max_datagram_size
        window = self._exact_window / size
        if self._epoch_start is None:
            self._begin_epoch(window, now)
        assert self._epoch_start is not None
        elapsed = now - self._epoch_start
        acked = acked_bytes / size
        alpha = CUBIC_ALPHA if self._reno_window < self._prior_window / size else 1.0
        self._reno_window += alpha * acked / window
        origin = self._window_max / size
        if origin + CUBIC_C * (elapsed - self._k) ** 3 < self._reno_window:
            return max(self._reno_window, window) * size
        target = origin + CUBIC_C * (elapsed + smoothed_rtt - self._k) ** 3
        target = max(window, min(target, 1.5 * window))
        # one ACK may stand for a whole window: the curve must not be overtaken
        return min(window + (target - window) / window * acked, max(target, window)) * size

    def _begin_epoch(self, window: float, now: Instant) -> None:
        self._epoch_start = now
        self._reno_window = window
        origin = self._window_max / self._max_datagram_size
        if origin > window:
            self._k = ((origin - window) / CUBIC_C) ** (1 / 3)
            return
        self._k = 0.0
        self._window_max = self._exact_window
