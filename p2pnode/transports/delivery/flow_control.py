"""Credit for bytes and for streams, both directions of both (specs/streams.md, Flow control).

The rule: a limit that was told to the peer never falls, and what the peer may send is always the
bytes that the application has consumed plus one window.  Windows start small and double while the
application consumes a window in less than four round trips, up to a maximum.

What one stream leaves unread must not take the connection's credit from the others.  So the last of
it is a reserve: the sender spends it on streams with little to send, and the receiver renews it
where unread bytes have used it up, as long as the connection holds no more than its maximum.
"""

from typing import Final

from p2pnode.clock import Instant

MAX_STREAM_WINDOW: Final = 16 * 1024 * 1024
"""bytes; chosen: 125 MB/s over 100 ms is 12.5 MB"""
MAX_CONNECTION_WINDOW: Final = 24 * 1024 * 1024
"""bytes; 1.5 times the above, so that one stalled stream does not stop the others"""
MAX_STREAM_GROWTH: Final = MAX_STREAM_WINDOW - 2 * 1024 * 1024
"""bytes by which the windows of all streams together may exceed their initial ones; chosen: one
stream may grow to its maximum, and four more of 2 MiB still fit into the connection's"""
CREDIT_RESERVE: Final = 256 * 1024
"""bytes of the connection's credit that are kept for streams with little to send; chosen: 16 of
them at once"""
RESERVE_SHARE: Final = 8
"""The reserve is at most this part of the connection's window at the start: far below the half that
has to be consumed before credit is returned, or both sides would wait."""
LITTLE_DATA: Final = 16 * 1024
"""bytes; a stream that has sent less, or that has no more left to send, may use the reserve"""
HELD_BACK_WINDOW: Final = 3 * CREDIT_RESERVE
"""bytes of a connection's window that is held back; chosen: twice the reserve for streams with much
to send, or they would wait for credit that half of a window has to be consumed for"""
TUNING_ROUND_TRIPS: Final = 4
"""A window consumed in fewer round trips than this is doubled; the figure that quic-go uses."""
MAX_STREAM_COUNT: Final = 1 << 61
"""streams of one opener; an id is `ordinal << 1 | opener` and must fit 62 bits"""


def reserve_of(initial_max_data: int) -> int:
    """Returns how many bytes of a connection's credit are kept for streams with little to send.

    0 where the window is so small that not even one of them could have its LITTLE_DATA.
    """
    reserve = min(CREDIT_RESERVE, initial_max_data // RESERVE_SHARE)
    return reserve if reserve >= LITTLE_DATA else 0


class ReceiveWindow:
    """What the peer may send, on one stream or on the connection.  All values in bytes."""

    __slots__ = (
        "_epoch_at",
        "_epoch_offset",
        "_reserve",
        "_usual_maximum",
        "consumed",
        "limit",
        "low_mark",
        "maximum",
        "received",
        "size",
    )

    def __init__(self, size: int, maximum: int, now: Instant, reserve: int = 0) -> None:
        """`reserve` is what the peer should always have left, as far as `maximum` allows."""
        self.size = size
        self.limit = size
        """What the peer was told last."""
        self.low_mark = size - reserve // 2
        """Where `received` is beyond this, the reserve is to be renewed."""
        self.received = 0
        """The highest offset; on the connection the sum of those of all streams."""
        self.consumed = 0
        """Bytes that the application has done with."""
        self.maximum = self._usual_maximum = maximum
        """How large the window may grow, and what may be held unread in all."""
        self._reserve = reserve
        self._epoch_at = now
        self._epoch_offset = 0

    @property
    def is_update_due(self) -> bool:
        """True once half of the window is consumed, or half of the reserve can be renewed."""
        return (self.limit - self.consumed) * 2 <= self.size or (
            self.received > self.low_mark and self._renewed - self.limit >= self._reserve // 2
        )

    @property
    def _renewed(self) -> int:
        """The limit that leaves the peer its whole reserve, within the bound of what is held."""
        return min(self.received + self._reserve, self.consumed + self.maximum)

    def raise_limit(self, now: Instant, rtt: float) -> int:
        """Tunes the window and returns the new limit, to be sent.  `rtt` 0 means not yet known."""
        count = self.consumed - self._epoch_offset
        if count * 2 >= self.size:
            if now - self._epoch_at < TUNING_ROUND_TRIPS * rtt * count / self.size:
                self.grow(self.size * 2)
            self._epoch_at = now
            self._epoch_offset = self.consumed
        self.limit = max(self.limit, self.consumed + self.size, self._renewed)
        self.low_mark = self.limit - self._reserve // 2
        return self.limit

    def hold_back(self, is_held_back: bool) -> None:
        """Gives no more than HELD_BACK_WINDOW from now on, beside what was told; or as usual again.

        For the connection's window, whose maximum changes by this alone.
        """
        if is_held_back:
            self.maximum = min(self._usual_maximum, HELD_BACK_WINDOW)
            self.size = min(self.size, self.maximum)
        else:
            self.maximum = self._usual_maximum

    def grow(self, size: int) -> None:
        """Makes the window at least `size`, but not more than its maximum."""
        self.size = max(self.size, min(size, self.maximum))


class SendCredit:
    """What the peer allows us on the connection, in bytes."""

    __slots__ = ("_reserve", "blocked_at", "bulk_limit", "limit", "used")

    def __init__(self, initial: int) -> None:
        self.limit = initial
        self._reserve = reserve_of(initial)
        self.bulk_limit = initial - self._reserve
        """`limit` without the reserve, which is for streams with little to send."""
        self.used = 0
        self.blocked_at = -1
        """The limit at which DATA_BLOCKED was queued last; once a limit is enough."""

    @property
    def available(self) -> int:
        return self.limit - self.used

    @property
    def is_low(self) -> bool:
        """Whether nothing but the reserve is left."""
        return self.used >= self.bulk_limit

    def raise_limit(self, limit: int) -> None:
        """Takes MAX_DATA; a lower value is an older frame and means nothing."""
        self.limit = max(self.limit, limit)
        self.bulk_limit = self.limit - self._reserve


class StreamLimits:
    """How many streams each side may open, and has opened."""

    __slots__ = (
        "_window",
        "blocked_at",
        "local_limit",
        "opened",
        "peer_closed",
        "peer_limit",
        "peer_opened",
    )

    def __init__(self, initial_max_streams: int) -> None:
        self._window = initial_max_streams
        self.opened = 0
        self.local_limit = 0
        """How many we may open in all."""
        self.blocked_at = -1
        self.peer_opened = 0
        self.peer_closed = 0
        """Streams of the peer's that are forgotten here."""
        self.peer_limit = initial_max_streams
        """How many the peer was told it may open in all."""

    @property
    def is_update_due(self) -> bool:
        """True once half of what the peer may still open is gone and there is more to give."""
        used = self.peer_opened * 2 >= self.peer_limit * 2 - self._window
        return used and self.peer_closed + self._window > self.peer_limit

    def raise_peer_limit(self) -> int:
        """Returns the new limit, to be sent: streams that ended plus one window."""
        self.peer_limit = min(self.peer_closed + self._window, MAX_STREAM_COUNT)
        return self.peer_limit

    def raise_local_limit(self, limit: int) -> bool:
        """Takes MAX_STREAMS; returns False for a lower value: an older frame means nothing."""
        if limit <= self.local_limit:
            return False
        self.local_limit = limit
        return True
