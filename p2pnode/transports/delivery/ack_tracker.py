"""What arrived on one path and when to say so (RFC 9000 section 13.2; specs/recovery.md, ACKs).

Also the replay window: a packet number is taken once, and everything below the lowest range that
is still kept counts as taken.  The newest run of numbers is held apart from the other ranges, so
that in-order arrival changes two integers.
"""

from math import inf
from typing import Final

from p2pnode.clock import Deadline, Instant
from p2pnode.machine import Ecn
from p2pnode.transports.delivery.frame import Ack
from p2pnode.transports.delivery.ranges import RangeSet

MAX_TRACKED_RANGES: Final = 128
"""ranges kept for the replay window; chosen: more gaps than a window of lossy path has at a time"""
MAX_SENT_RANGES: Final = 32
"""ranges in an ACK we send; chosen: some 150 bytes, and MAX_ACK_RANGES is what others read"""
MAX_ACK_DELAY: Final = 0.025
"""s; RFC 9000 section 18.2"""
MAX_MAX_ACK_DELAY: Final = 16.384
"""s; RFC 9000 section 18.2: 2^14 ms; more is not granted to a peer that asks for it"""
ACK_THRESHOLD: Final = 1
"""ack-eliciting packets without an answer; RFC 9000 section 13.2.2: every second is answered"""


class AckTracker:
    """Ask `is_duplicate` before opening a packet, call `on_packet` after it proved authentic."""

    __slots__ = (
        "_ack_at",
        "_ecn_counts",
        "_eliciting",
        "_floor",
        "_largest_at",
        "_max_ack_delay",
        "_older",
        "_run_start",
        "_run_stop",
        "_threshold",
    )

    def __init__(self, max_ack_delay: float = MAX_ACK_DELAY) -> None:
        self._older = RangeSet()  # all below _run_start, and never touching it
        self._run_start = 0
        self._run_stop = 0
        self._floor = 0
        self._largest_at: Instant = 0.0
        self._ecn_counts = [0, 0, 0, 0]
        self._eliciting = 0  # since the last ACK
        self._ack_at: Instant = inf
        self._threshold = ACK_THRESHOLD
        self._max_ack_delay = max_ack_delay

    @property
    def largest(self) -> int:
        """The highest packet number that arrived, -1 where none did."""
        return self._run_stop - 1

    @property
    def has_unacked(self) -> bool:
        """True where an ACK that rides along would tell the peer something it waits for."""
        return self._eliciting > 0

    def is_duplicate(self, packet_number: int) -> bool:
        """True for a number that was taken, or is too old to tell."""
        if packet_number >= self._run_stop:
            return False
        if packet_number >= self._run_start or packet_number < self._floor:
            return True
        return packet_number in self._older

    def on_packet(self, packet_number: int, is_ack_eliciting: bool, ecn: int, now: Instant) -> None:
        """Takes one authentic packet, not a duplicate."""
        if ecn:
            self._ecn_counts[ecn] += 1
        if packet_number == self._run_stop:
            self._run_stop = packet_number + 1
            self._largest_at = now
            if is_ack_eliciting:
                self._eliciting += 1
                if self._eliciting > self._threshold or ecn == Ecn.CE:
                    self._ack_at = now
                elif self._ack_at == inf:
                    self._ack_at = now + self._max_ack_delay
            return
        self._take_out_of_order(packet_number, packet_number + 1, now)
        if is_ack_eliciting:
            self._eliciting += 1
            self._ack_at = now

    def set_frequency(self, threshold: int, max_ack_delay: float) -> None:
        """Takes what the peer's ACK_FREQUENCY asks for.

        `threshold`, as in the frame, is how many ack-eliciting packets may stay without an answer.
        """
        self._threshold = threshold
        self._max_ack_delay = min(max_ack_delay, MAX_MAX_ACK_DELAY)

    def on_immediate_ack(self, now: Instant) -> None:
        """The peer sent IMMEDIATE_ACK."""
        if self._run_stop:
            self._ack_at = now

    def wants_ack(self, now: Instant) -> bool:
        """True where an ACK is due even if there is nothing else to send."""
        return now >= self._ack_at

    def poll_timeout(self) -> Deadline | None:
        return None if self._ack_at == inf else Deadline(self._ack_at, "ack delay")

    def build(self, path_id: int, now: Instant) -> Ack:
        """Returns an ACK of what arrived (something must have); nothing is due after it."""
        assert self._run_stop, "nothing to acknowledge"
        self._eliciting = 0
        self._ack_at = inf
        ranges = [(self._run_start, self._run_stop)]
        if self._older:
            for found in reversed(self._older):
                ranges.append(found)
                if len(ranges) == MAX_SENT_RANGES:
                    break
        _, ect1, ect0, ce = self._ecn_counts
        delay = max(0, round((now - self._largest_at) * 1_000_000))
        ecn = (ect0, ect1, ce) if ect0 or ect1 or ce else None
        return Ack(path_id, delay, tuple(ranges), ecn)

    def on_ack_acked(self, largest_in_that_ack: int) -> None:
        """The peer has an ACK of ours: what it said need not be said again (section 13.2.4)."""
        while self._older and self._older[0][1] <= largest_in_that_ack + 1:
            self._drop_lowest()

    def _take_out_of_order(self, start: int, stop: int, now: Instant) -> None:
        older = self._older
        if start > self._run_stop:
            if self._run_stop > self._run_start:
                older.add(self._run_start, self._run_stop)
            self._run_start = start
            self._run_stop = stop
            self._largest_at = now
        else:
            older.add(start, stop)
            if older[-1][1] == self._run_start:
                self._run_start = older[-1][0]
                older.drop_last()
        if len(older) >= MAX_TRACKED_RANGES:
            self._drop_lowest()

    def _drop_lowest(self) -> None:
        self._floor = self._older[0][1]
        self._older.drop_first()
