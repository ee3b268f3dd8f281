"""Pings of a yamux session: signs of life, round-trip times, and proof of what the peer has.

One is on its way at a time.  The link is ordered, so whoever answers a ping has read all that was
sent before it.
"""

from collections.abc import Iterable
from typing import Final

from p2pnode.clock import Deadline, Instant
from p2pnode.transports.delivery.rtt import RttEstimator
from p2pnode.transports.stream_upgrade.yamux.frame import MAX_LENGTH
from p2pnode.transports.stream_upgrade.yamux.send_half import SendHalf

KEEP_ALIVE: Final = 30.0
"""seconds without anything from the peer before it is pinged; go-yamux"""
PING_TIMEOUT: Final = 30.0
"""seconds without anything from a peer that owes an answer; chosen: TCP has retransmitted five
times"""
MAX_ANSWERS: Final = 32
"""answers to the peer's pings that wait to be sent, beyond which pings are dropped; go-yamux"""


class Pings:
    """Ours and the peer's."""

    __slots__ = (
        "_covered",
        "_ended",
        "_number",
        "_rtt",
        "_sent_at",
        "answers",
        "is_wanted",
        "last_received",
    )

    def __init__(self, now: Instant) -> None:
        self.is_wanted = True
        """Whether one is to be sent, once none is on its way; the first tells the round trip."""
        self.answers: list[int] = []
        """What the peer's pings asked to have sent back."""
        self.last_received = now
        """When anything came last."""
        self._number = 0
        self._sent_at: Instant | None = None
        """When that was sent which is on its way."""
        self._rtt = RttEstimator()
        self._ended: dict[int, SendHalf] = {}
        """Halves whose end was sent after the last ping."""
        self._covered: dict[int, SendHalf] = {}
        """Halves whose end was sent before the ping that is on its way."""

    @property
    def rtt(self) -> float | None:
        """Smoothed, in seconds; None before the first answer."""
        return self._rtt.smoothed if self._rtt.has_sample else None

    @property
    def is_due(self) -> bool:
        """Whether `take` may be called."""
        return self.is_wanted and self._sent_at is None

    def note_end(self, half: SendHalf) -> None:
        """The end of a stream is in a frame: a ping behind it is to prove that it has arrived."""
        self._ended[half.stream_id] = half
        self.is_wanted = True

    def forget(self, stream_id: int) -> None:
        """The stream is gone: nobody asks for its end."""
        self._ended.pop(stream_id, None)
        self._covered.pop(stream_id, None)

    def take(self, now: Instant) -> int:
        """Returns the number that the next ping carries."""
        self._number = (self._number + 1) & MAX_LENGTH
        self._sent_at = now
        self.is_wanted = False
        self._covered, self._ended = self._ended, {}
        return self._number

    def is_answer(self, number: int) -> bool:
        """Whether a ping with that number is on its way."""
        return self._sent_at is not None and number == self._number

    def on_answer(self, number: int, now: Instant) -> Iterable[SendHalf]:
        """Takes an answer, and returns the halves whose end it covers.

        What was not asked for means nothing.
        """
        if self._sent_at is None or not self.is_answer(number):
            return ()
        self._rtt.update(max(0.0, now - self._sent_at), 0.0, 0.0, now)
        self._sent_at = None
        covered, self._covered = self._covered, {}
        return covered.values()

    def on_request(self, number: int) -> None:
        """The peer wants an answer."""
        if len(self.answers) < MAX_ANSWERS:
            self.answers.append(number)

    @property
    def deadline(self) -> Deadline:
        last = self.last_received
        if self._sent_at is not None:
            return Deadline(max(self._sent_at, last) + PING_TIMEOUT, "yamux: an answer to a ping")
        if self.is_wanted:
            # it waits for room on the link, which a peer that is gone does not make
            return Deadline(last + KEEP_ALIVE + PING_TIMEOUT, "yamux: room for a ping")
        return Deadline(last + KEEP_ALIVE, "yamux: keep-alive")

    def is_overdue(self, now: Instant) -> bool:
        """Wants a ping where the peer was silent; returns whether it was silent for too long."""
        if now < self.deadline.at:
            return False
        if self._sent_at is not None or self.is_wanted:
            return True
        self.is_wanted = True
        return False
