"""Loss detection and recovery of one path (RFC 9002; specs/recovery.md, Loss).

Frames are sent again, not packets: whoever sent a frame gets `on_acked` or `on_lost` for its
record.  For each record there is at most one of each, and if both then `on_lost` first: a packet
that was given up may arrive after all.

The packets that are outstanding are a dict in order of their numbers.  What is lost is always a
prefix of it, because both thresholds grow with the number: detection looks at no more packets than
it removes, and one.
"""

from bisect import bisect_left
from collections.abc import Sequence
from math import inf
from operator import itemgetter
from random import Random
from typing import Final, NamedTuple

from p2pnode.clock import Deadline, Instant
from p2pnode.errors import TransportError
from p2pnode.transports.delivery.congestion import CongestionController
from p2pnode.transports.delivery.ecn import EcnValidator
from p2pnode.transports.delivery.frame import Ack, FrameType
from p2pnode.transports.delivery.mtu_discovery import MtuDiscovery
from p2pnode.transports.delivery.packet_builder import FrameRecord
from p2pnode.transports.delivery.rtt import GRANULARITY, RttEstimator
from p2pnode.transports.error_code import ErrorCode

PACKET_THRESHOLD: Final = 3
"""packets; RFC 9002 section 6.1.1"""
MAX_PACKET_THRESHOLD: Final = 96
"""packets; chosen: a path that reorders by more gains nothing from waiting"""
TIME_THRESHOLD: Final = 9 / 8
"""round trips; RFC 9002 section 6.1.2"""
MAX_TIME_THRESHOLD: Final = 2.0
"""round trips; chosen as RACK's reordering window of one more (RFC 8985 section 6.2)"""
PERSISTENT_CONGESTION_THRESHOLD: Final = 3
"""PTOs; RFC 9002 section 7.6.1"""
PTO_PROBES: Final = 2
"""packets; RFC 9002 section 6.2.4: one may be lost"""
MAX_PTO_INTERVAL: Final = 6.0
"""s, or one PTO where that is longer; chosen: a connection of 45 s idle timeout then has a dozen
tries, so that a burst of losses does not end it, and two packets in six seconds harm nobody"""
MAX_PTO_BACKOFF: Final = 16
"""doublings; chosen: beyond it MAX_PTO_INTERVAL holds anyway"""
MAX_REMEMBERED_LOST: Final = 256
"""packets; chosen: the losses of one round trip of a fast path, to know a late ACK"""
MAX_UNPROMPTED: Final = 16
"""packets without ack-eliciting frame in a row; chosen: then one of ours should ask for an ACK"""
MAX_KEPT_UNPROMPTED: Final = 256
"""the same, for a caller that cannot ask: what is beyond is given up at once"""
SKIP_INTERVAL: Final = (300, 900)
"""packets between two packet numbers left out; chosen: seldom enough to cost nothing"""
DEFAULT_MAX_ACK_DELAY: Final = 0.025
"""s; RFC 9000 section 18.2"""


class SentPacket(NamedTuple):
    packet_number: int
    time_sent: Instant
    size: int
    """bytes of UDP payload"""
    is_ack_eliciting: bool
    records: Sequence[FrameRecord]
    is_mtu_probe: bool = False


class AckOutcome(NamedTuple):
    newly_acked: list[SentPacket]
    """Ascending; without those that had been declared lost."""
    lost: list[SentPacket]
    largest_is_new: bool
    """The largest acknowledged number grew."""
    spurious: int
    """Packets that had been declared lost and were not."""


class TimeoutOutcome(NamedTuple):
    lost: list[SentPacket]
    probes: int
    """Ack-eliciting packets to send now, whatever the window says; 0 where no PTO expired."""


_number = itemgetter(0)


class LossRecovery:
    """What is in flight on one path.

    It tells everybody concerned itself: the frames' owners, the RTT estimator, the congestion
    controller, the ECN validator and MTU discovery.  `is_app_limited` is set by the caller whenever
    it had less to send than window and pacer allowed.
    """

    __slots__ = (
        "_controller",
        "_discarded_below",
        "_ecn",
        "_ecn_reported",
        "_loss_time",
        "_lost",
        "_mtu",
        "_next",
        "_packet_threshold",
        "_probed",
        "_progress_at",
        "_rng",
        "_rtt",
        "_sent",
        "_skipped",
        "_time_threshold",
        "_unprompted",
        "bytes_in_flight",
        "is_app_limited",
        "largest_acked",
        "max_ack_delay",
        "pto_count",
        "skip_at",
    )

    def __init__(
        self,
        rtt: RttEstimator,
        controller: CongestionController,
        *,
        rng: Random,
        ecn: EcnValidator | None = None,
        mtu: MtuDiscovery | None = None,
        max_ack_delay: float = DEFAULT_MAX_ACK_DELAY,
    ) -> None:
        self._rtt = rtt
        self._controller = controller
        self._rng = rng
        self._ecn = ecn
        self._mtu = mtu
        self.max_ack_delay = max_ack_delay
        self.bytes_in_flight = 0
        self.largest_acked = -1
        self.is_app_limited = False
        self.pto_count = 0
        self.skip_at = rng.randrange(*SKIP_INTERVAL)
        self._sent: dict[int, SentPacket] = {}
        self._lost: list[SentPacket] = []  # declared lost lately, ascending
        self._probed: dict[int, None] = {}  # outstanding, but their records went to on_lost
        self._skipped: tuple[int, ...] = ()
        self._next = 0
        self._ecn_reported = 0
        self._discarded_below = 0
        self._unprompted = 0
        self._progress_at: Instant = -inf
        """When the probe timeout began to run: something was acknowledged, or had to be."""
        self._loss_time: Instant | None = None
        self._packet_threshold = PACKET_THRESHOLD
        self._time_threshold = TIME_THRESHOLD

    # sending

    def on_packet_sent(self, packet: SentPacket, now: Instant) -> None:
        """Takes a packet whose number is above all before.  Hot path."""
        number = packet[0]
        self._sent[number] = packet
        self._next = number + 1
        if packet[3]:
            if not self.bytes_in_flight:
                self._progress_at = now
            self.bytes_in_flight += packet[2]
            self._unprompted = 0
            return
        self._unprompted += 1
        if self._unprompted > MAX_KEPT_UNPROMPTED:
            del self._sent[number]
            _give_up(packet)

    @property
    def wants_ping(self) -> bool:
        """True where the next packet should be ack-eliciting, though nothing asks for it.

        Else the peer never acknowledges our ACKs, and both sides keep them (RFC 9000 13.2.4).
        """
        return self._unprompted >= MAX_UNPROMPTED

    def should_skip(self, packet_number: int) -> bool:
        """True for a number to leave out: acknowledging it is a lie (RFC 9000 section 21.4)."""
        return packet_number >= self.skip_at

    def mark_skipped(self, packet_number: int) -> None:
        """The number was left out; draws when to do so next."""
        self._skipped = (*self._skipped[-1:], packet_number)
        self.skip_at = packet_number + self._rng.randrange(*SKIP_INTERVAL)

    def window_room(self) -> int:
        """Returns how many bytes the congestion window has left."""
        return max(0, self._controller.window - self.bytes_in_flight)

    # receiving

    def on_ack_received(self, ack: Ack, max_ack_delay: float, now: Instant) -> AckOutcome:
        """Takes a peer's ACK.  Raises TransportError where it acknowledges what was never sent."""
        largest = ack.ranges[0][1] - 1
        self._refuse_lies(ack, largest)
        self.max_ack_delay = max_ack_delay
        largest_is_new = largest > self.largest_acked
        if largest_is_new:
            self.largest_acked = largest
        flight_before = self.bytes_in_flight
        spurious = self._take_late(ack) if self._lost else 0
        newly_acked = self._take_acked(ack)
        if not newly_acked:
            self._report_ecn(0, ack, largest_is_new, now, now)
            # the thresholds grew: the timer is another
            lost = self._detect_lost(now) if spurious else []
            return AckOutcome(newly_acked, lost, largest_is_new, spurious)
        last = newly_acked[-1]
        acked_bytes = flight_before - self.bytes_in_flight
        if last[0] == largest and acked_bytes:
            self._rtt.update(now - last[1], ack.delay_us * 1e-6, max_ack_delay, now)
        if acked_bytes:
            self.pto_count = 0
            self._progress_at = now
        self._report_ecn(len(newly_acked), ack, largest_is_new, last[1], now)
        self._report_mtu(newly_acked, now)
        lost = self._detect_lost(now)
        if acked_bytes:
            self._controller.on_packets_acked(
                acked_bytes, last[0], last[1], self._is_underused(flight_before), self._rtt, now
            )
        return AckOutcome(newly_acked, lost, largest_is_new, spurious)

    def poll_timeout(self) -> Deadline | None:
        """Returns when `on_timeout` is due."""
        if self._loss_time is not None:
            return Deadline(self._loss_time, "loss time")
        if not self.bytes_in_flight:
            return None
        return Deadline(self._pto_at(), "probe timeout")

    def on_timeout(self, now: Instant) -> TimeoutOutcome:
        """Declares packets lost, or asks for probes; does nothing before it is due.

        For probes the records of the oldest packets go to `on_lost`, so that probes carry data;
        the packets stay in flight and no congestion is inferred (RFC 9002 section 6.2.4).
        """
        if self._loss_time is not None:
            if now < self._loss_time:
                return TimeoutOutcome([], 0)
            return TimeoutOutcome(self._detect_lost(now), 0)
        if not self.bytes_in_flight or now < self._pto_at():
            return TimeoutOutcome([], 0)
        self.pto_count += 1
        self._progress_at = now  # or a caller that may not send would spin
        if self._ecn is not None:
            self._ecn.on_probe_timeout(self.pto_count)
        if self._mtu is not None:
            before = self._mtu.current
            self._mtu.on_probe_timeout(self.pto_count, now)
            self._notice_mtu(before)
        self._release_oldest()
        return TimeoutOutcome([], PTO_PROBES)

    def discard_all(self) -> None:
        """Gives every outstanding record to `on_lost` and forgets the packets; no congestion.

        For a path that is left.  ACKs that still come are understood for the last packets.
        """
        packets = list(self._sent.values())
        self._discarded_below = self._next
        self._sent.clear()
        self.bytes_in_flight = 0
        self._loss_time = None
        self.pto_count = 0
        if self._mtu is not None:
            self._mtu.on_probe_forgotten()
        for packet in packets:
            if packet[0] not in self._probed:
                _give_up(packet)
        self._probed.clear()
        self._remember_lost(packets)

    def let_go(self) -> None:
        """Nothing will be acknowledged any more: lets go of the records, which hold their path."""
        self._sent.clear()
        self._lost.clear()

    def restart(
        self,
        rtt: RttEstimator,
        controller: CongestionController,
        *,
        ecn: EcnValidator | None,
        mtu: MtuDiscovery | None,
    ) -> None:
        """Goes on at another address: packet numbers do, what was measured does not (RFC 9000 9.4).

        What was in flight goes to `on_lost`; ACKs of it teach the new parts nothing.
        """
        self.discard_all()
        if ecn is not None and self._ecn is not None:
            ecn.continue_counts_of(self._ecn)
        self._rtt = rtt
        self._controller = controller
        self._ecn = ecn
        self._mtu = mtu
        self._packet_threshold = PACKET_THRESHOLD
        self._time_threshold = TIME_THRESHOLD

    # details

    def _refuse_lies(self, ack: Ack, largest: int) -> None:
        if largest >= self._next:
            raise TransportError(
                ErrorCode.PROTOCOL_VIOLATION, "ACK of a packet never sent", FrameType.ACK
            )
        for number in self._skipped:
            for start, stop in ack.ranges:
                if start <= number < stop:
                    raise TransportError(
                        ErrorCode.PROTOCOL_VIOLATION, "ACK of a number left out", FrameType.ACK
                    )

    def _take_acked(self, ack: Ack) -> list[SentPacket]:
        """Removes what is newly acknowledged and tells its owners.  Hot path."""
        sent = self._sent
        newly_acked: list[SentPacket] = []
        if not sent:
            return newly_acked
        oldest = next(iter(sent))
        take = sent.pop
        append = newly_acked.append
        in_flight = self.bytes_in_flight
        for start, stop in reversed(ack.ranges):
            if stop <= oldest:
                continue
            for number in range(max(start, oldest), stop):
                packet = take(number, None)
                if packet is None:
                    continue
                append(packet)
                _, _, size, is_ack_eliciting, records, _ = packet
                if is_ack_eliciting:
                    in_flight -= size
                for owner, a, b, c in records:
                    owner.on_acked(a, b, c)
        self.bytes_in_flight = in_flight
        if self._probed:
            for packet in newly_acked:
                self._probed.pop(packet[0], None)
        return newly_acked

    def _take_late(self, ack: Ack) -> int:
        """Finds packets that were declared lost; returns how many (RFC 9002 section 6.1)."""
        lost = self._lost
        late: list[SentPacket] = []
        for start, stop in ack.ranges:
            first = bisect_left(lost, start, key=_number)
            last = bisect_left(lost, stop, first, key=_number)
            if first < last:
                late += lost[first:last]
                del lost[first:last]
        spurious = 0
        for packet in late:
            if packet[0] >= self._discarded_below:
                spurious += 1
            for owner, a, b, c in packet[4]:
                owner.on_acked(a, b, c)
        if spurious:
            self._packet_threshold = min(2 * self._packet_threshold, MAX_PACKET_THRESHOLD)
            self._time_threshold = min(self._time_threshold + 1 / 8, MAX_TIME_THRESHOLD)
        return spurious

    def _is_underused(self, flight_before: int) -> bool:
        """True where the window is larger than what was sent (RFC 9002 section 7.8)."""
        if not self.is_app_limited:
            return False
        # slow start may go to twice of what was used, or short bursts would never find the path
        return not (self._controller.in_slow_start and 2 * flight_before > self._controller.window)

    def _report_ecn(
        self, count: int, ack: Ack, largest_is_new: bool, time_sent: Instant, now: Instant
    ) -> None:
        if self._ecn is None:
            return
        self._ecn.on_sent(self._next - self._ecn_reported)
        self._ecn_reported = self._next
        if self._ecn.on_ack(count, ack.ecn, largest_is_new):
            self._controller.on_ecn_ce(time_sent, now)

    def _report_mtu(self, newly_acked: list[SentPacket], now: Instant) -> None:
        mtu = self._mtu
        if mtu is None:
            return
        if mtu.current > mtu.base:
            for packet in reversed(newly_acked):
                if packet[2] > mtu.base:
                    mtu.on_packet_acked(packet[0], packet[2])
                    break
        if mtu.is_probing:
            for packet in newly_acked:
                if packet[5]:
                    before = mtu.current
                    mtu.on_packet_acked(packet[0], packet[2])
                    mtu.on_probe_acked(packet[2], now)
                    self._notice_mtu(before)

    def _notice_mtu(self, before: int) -> None:
        if self._mtu is not None and self._mtu.current != before:
            self._controller.on_mtu_changed(self._mtu.current)

    def _detect_lost(self, now: Instant) -> list[SentPacket]:
        """Declares lost what RFC 9002 section 6.1 says, and sets the timer for what is next."""
        self._loss_time = None
        largest = self.largest_acked
        lost_below = largest - self._packet_threshold
        rtt = self._rtt
        delay = max(self._time_threshold * max(rtt.latest, rtt.smoothed), GRANULARITY)
        lost: list[SentPacket] = []
        for packet in self._sent.values():
            number = packet[0]
            if number > largest:
                break
            if number > lost_below and packet[1] + delay > now:
                self._loss_time = packet[1] + delay
                break
            lost.append(packet)
        if lost:
            self._handle_lost(lost, now)
        return lost

    def _handle_lost(self, lost: list[SentPacket], now: Instant) -> None:
        mtu = self._mtu
        before = 0 if mtu is None else mtu.current
        congestion_at: Instant | None = None
        for packet in lost:
            number, time_sent, size, is_ack_eliciting, _, is_mtu_probe = packet
            del self._sent[number]
            if number in self._probed:
                del self._probed[number]
            else:
                _give_up(packet)
            if is_ack_eliciting:
                self.bytes_in_flight -= size
            if is_mtu_probe and mtu is not None:
                mtu.on_probe_lost(size, now)
            if is_mtu_probe or not is_ack_eliciting:
                continue
            congestion_at = time_sent
            if mtu is not None:
                mtu.on_packet_lost(number, size, now)
        self._remember_lost(lost)
        self._notice_mtu(before)
        if congestion_at is None:
            return
        self._controller.on_congestion_event(congestion_at, now)
        if self._is_persistent_congestion(lost):
            self._controller.on_persistent_congestion()
            self._rtt.reset_minimum()

    def _is_persistent_congestion(self, lost: list[SentPacket]) -> bool:
        """True where everything sent during some PTOs is lost (RFC 9002 section 7.6.2)."""
        since = self._rtt.first_sample_at
        if since is None:
            return False
        pto = self._rtt.pto_interval(self.max_ack_delay)
        duration = PERSISTENT_CONGESTION_THRESHOLD * pto
        if lost[-1][1] - lost[0][1] < duration:
            return False
        began: Instant | None = None
        expected = -1
        for number, time_sent, _, is_ack_eliciting, _, is_mtu_probe in lost:
            if number != expected and expected not in self._skipped:
                began = None  # something in between arrived
            expected = number + 1
            if not is_ack_eliciting or is_mtu_probe or time_sent < since:
                continue
            if began is None:
                began = time_sent
            elif time_sent - began >= duration:
                return True
        return False

    def _pto_at(self) -> Instant:
        interval = self._rtt.pto_interval(self.max_ack_delay)
        # The second one is as long as the first: after it, another path takes over.
        doublings = min(max(0, self.pto_count - 1), MAX_PTO_BACKOFF)
        backed_off = interval * (1 << doublings)
        return self._progress_at + max(interval, min(backed_off, MAX_PTO_INTERVAL))

    def _release_oldest(self) -> None:
        """Lets the frames of the oldest packets be sent again, as many as there are probes."""
        found: list[SentPacket] = []
        for packet in self._sent.values():
            if packet[4] and packet[3] and packet[0] not in self._probed:
                found.append(packet)
                if len(found) == PTO_PROBES:
                    break
        for packet in found:
            self._probed[packet[0]] = None
            _give_up(packet)

    def _remember_lost(self, packets: list[SentPacket]) -> None:
        self._lost += packets
        if len(self._lost) > MAX_REMEMBERED_LOST:
            del self._lost[:-MAX_REMEMBERED_LOST]


def _give_up(packet: SentPacket) -> None:
    for owner, a, b, c in packet[4]:
        owner.on_lost(a, b, c)
