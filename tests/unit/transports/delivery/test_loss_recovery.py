from random import Random

import pytest

from p2pnode.errors import TransportError
from p2pnode.transports.delivery.cubic import Cubic
from p2pnode.transports.delivery.ecn import EcnState, EcnValidator
from p2pnode.transports.delivery.frame import Ack
from p2pnode.transports.delivery.loss_recovery import (
    MAX_KEPT_UNPROMPTED,
    MAX_PTO_INTERVAL,
    MAX_UNPROMPTED,
    PACKET_THRESHOLD,
    PTO_PROBES,
    LossRecovery,
    SentPacket,
)
from p2pnode.transports.delivery.mtu_discovery import MtuDiscovery
from p2pnode.transports.delivery.rtt import RttEstimator
from p2pnode.transports.error_code import ErrorCode

SIZE = 1200
RTT = 0.1


class Verdicts:
    """A FrameOwner that remembers what it was told, by the record's first integer."""

    def __init__(self):
        self.acked = []
        self.lost = []

    def on_acked(self, a, b, c):
        self.acked.append(a)

    def on_lost(self, a, b, c):
        self.lost.append(a)


class Sender:
    """One path's send side; every packet carries one frame, noted by its packet number."""

    def __init__(self, *, ecn=None, mtu=None):
        self.rtt = RttEstimator()
        self.controller = Cubic(SIZE)
        self.owner = Verdicts()
        self.ecn = ecn
        self.mtu = mtu
        self.recovery = LossRecovery(
            self.rtt, self.controller, rng=Random(1), ecn=ecn, mtu=mtu, max_ack_delay=0.025
        )
        self.next = 0

    def send(self, count=1, now=0.0, *, size=SIZE, eliciting=True, probe=False):
        for _ in range(count):
            records = ((self.owner, self.next, 0, 0),)
            packet = SentPacket(self.next, now, size, eliciting, records, probe)
            self.recovery.on_packet_sent(packet, now)
            self.next += 1

    def ack(self, *ranges, now=RTT, delay=0.0, ecn=None):
        return self.recovery.on_ack_received(Ack(0, round(delay * 1e6), ranges, ecn), 0.025, now)


def numbers(packets):
    return [packet.packet_number for packet in packets]


def test_acknowledged_packets_leave_the_flight_and_their_owners_learn_it():
    sender = Sender()
    sender.send(5)
    assert sender.recovery.bytes_in_flight == 5 * SIZE
    outcome = sender.ack((0, 3))
    assert numbers(outcome.newly_acked) == [0, 1, 2]
    assert outcome.largest_is_new
    assert sender.owner.acked == [0, 1, 2]
    assert sender.recovery.bytes_in_flight == 2 * SIZE
    assert sender.recovery.largest_acked == 2
    again = sender.ack((0, 3))
    assert again == ([], [], False, 0)
    assert sender.owner.acked == [0, 1, 2]


def test_the_window_has_room_for_what_is_not_in_flight():
    sender = Sender()
    sender.send(9)
    assert sender.recovery.window_room() == SIZE
    sender.send(2)
    assert sender.recovery.window_room() == 0


@pytest.mark.spec("RECOVERY-1")
def test_only_a_newly_acknowledged_largest_packet_gives_a_round_trip_sample():
    sender = Sender()
    sender.send(4)
    sender.ack((3, 4), now=0.1)
    assert sender.rtt.latest == pytest.approx(0.1)
    sender.ack((3, 4), (1, 2), now=0.4)
    assert sender.rtt.latest == pytest.approx(0.1)


@pytest.mark.spec("RECOVERY-1")
def test_packets_that_elicit_no_ack_give_no_sample():
    sender = Sender()
    sender.send(2, eliciting=False)
    assert sender.recovery.bytes_in_flight == 0
    sender.ack((0, 2), now=9.0)
    assert not sender.rtt.has_sample
    assert sender.owner.acked == [0, 1]


@pytest.mark.spec("RECOVERY-3")
def test_three_later_packets_acknowledged_make_a_loss():
    sender = Sender()
    sender.send(6)
    assert sender.ack((1, PACKET_THRESHOLD)).lost == []
    outcome = sender.ack((1, PACKET_THRESHOLD + 1))
    assert numbers(outcome.lost) == [0]
    assert sender.owner.lost == [0]
    assert sender.recovery.bytes_in_flight == 2 * SIZE
    assert sender.controller.window < 12_000


@pytest.mark.spec("RECOVERY-4")
def test_a_packet_is_lost_nine_eighths_of_a_round_trip_after_a_later_one_arrived():
    sender = Sender()
    sender.send(1, now=0.0)
    sender.send(1, now=0.01)
    sender.ack((1, 2), now=0.11)
    deadline = sender.recovery.poll_timeout()
    assert deadline.why == "loss time"
    assert deadline.at == pytest.approx(9 / 8 * RTT)
    assert sender.recovery.on_timeout(deadline.at - 0.001) == ([], 0)
    outcome = sender.recovery.on_timeout(deadline.at)
    assert numbers(outcome.lost) == [0]
    assert outcome.probes == 0
    assert sender.recovery.poll_timeout() is None


@pytest.mark.spec("RECOVERY-5")
def test_a_probe_timeout_lets_the_oldest_frames_go_again_without_a_loss():
    sender = Sender()
    sender.send(5)
    deadline = sender.recovery.poll_timeout()
    assert deadline.why == "probe timeout"
    assert deadline.at == pytest.approx(sender.rtt.pto_interval(0.025))
    assert sender.recovery.on_timeout(deadline.at - 0.001) == ([], 0)
    window = sender.controller.window
    assert sender.recovery.on_timeout(deadline.at) == ([], PTO_PROBES)
    assert sender.owner.lost == [0, 1]
    assert sender.recovery.bytes_in_flight == 5 * SIZE
    assert sender.controller.window == window


@pytest.mark.spec("RECOVERY-5")
def test_the_next_probe_timeout_takes_the_next_frames():
    sender = Sender()
    sender.send(5)
    for _ in range(3):
        sender.recovery.on_timeout(sender.recovery.poll_timeout().at)
    assert sender.owner.lost == [0, 1, 2, 3, 4]


def test_frames_that_went_again_are_not_reported_lost_twice():
    sender = Sender()
    sender.send(5)
    now = sender.recovery.poll_timeout().at
    sender.recovery.on_timeout(now)
    sender.send(2, now=now)
    outcome = sender.ack((5, 7), now=now + RTT)
    assert numbers(outcome.lost) == [0, 1, 2, 3, 4]
    assert sender.owner.lost == [0, 1, 2, 3, 4]
    assert sender.recovery.bytes_in_flight == 0


def test_frames_that_went_again_may_be_acknowledged_by_the_first_packet():
    sender = Sender()
    sender.send(2)
    now = sender.recovery.poll_timeout().at
    sender.recovery.on_timeout(now)
    sender.ack((0, 2), now=now + 0.01)
    assert (sender.owner.lost, sender.owner.acked) == ([0, 1], [0, 1])


@pytest.mark.spec("RECOVERY-6")
def test_probe_timeouts_double_up_to_a_bound_until_an_ack_comes():
    sender = Sender()
    sender.send(1)
    waits, now = [], 0.0
    for _ in range(12):
        at = sender.recovery.poll_timeout().at
        waits.append(at - now)
        now = at
        sender.recovery.on_timeout(now)
        sender.send(1, now=now)
    assert waits[1:4] == pytest.approx([waits[0], 2 * waits[0], 4 * waits[0]])
    assert waits[-1] == pytest.approx(MAX_PTO_INTERVAL)
    sender.ack((12, 13), now=now + RTT)
    assert sender.recovery.pto_count == 0


def test_nothing_in_flight_needs_no_timer():
    sender = Sender()
    assert sender.recovery.poll_timeout() is None
    sender.send(3, eliciting=False)
    assert sender.recovery.poll_timeout() is None
    assert sender.recovery.on_timeout(1000.0) == ([], 0)


@pytest.mark.spec("RECOVERY-7")
def test_an_ack_of_a_packet_never_sent_breaks_the_protocol():
    sender = Sender()
    sender.send(3)
    with pytest.raises(TransportError) as caught:
        sender.ack((0, 4))
    assert caught.value.code == ErrorCode.PROTOCOL_VIOLATION


@pytest.mark.spec("RECOVERY-7")
def test_an_ack_of_a_number_left_out_breaks_the_protocol():
    sender = Sender()
    sender.next = sender.recovery.skip_at
    assert sender.recovery.should_skip(sender.next)
    sender.recovery.mark_skipped(sender.next)
    left_out = sender.next
    sender.next += 1
    assert not sender.recovery.should_skip(sender.next)
    sender.send(3)
    sender.ack((left_out + 1, left_out + 3))
    with pytest.raises(TransportError):
        sender.ack((left_out, left_out + 3))


@pytest.mark.spec("RECOVERY-8")
def test_a_lost_mtu_probe_is_no_sign_of_congestion():
    sender = Sender(mtu=MtuDiscovery(maximum=1472))
    window = sender.controller.window
    sender.mtu.on_probe_sent(1472, 0.0)
    sender.send(1, size=1472, probe=True)
    assert sender.recovery.bytes_in_flight == 1472
    sender.send(5)
    sender.ack((1, 6))
    assert sender.recovery.bytes_in_flight == 0
    assert sender.controller.window >= window
    assert sender.mtu.probe_size(RTT) == 1452


def test_an_acknowledged_mtu_probe_raises_the_mtu_and_the_window():
    sender = Sender(mtu=MtuDiscovery(maximum=65_507))
    sender.mtu.on_probe_sent(65_507, 0.0)
    sender.send(1, size=65_507, probe=True)
    sender.ack((0, 1))
    assert sender.mtu.current == 65_507
    assert sender.controller.window >= 131_014


@pytest.mark.spec("RECOVERY-19")
def test_a_black_hole_for_large_packets_is_noticed_though_small_ones_arrive():
    sender = Sender(mtu=MtuDiscovery(maximum=1472))
    sender.mtu.on_probe_sent(1472, 0.0)
    sender.send(1, size=1472, probe=True)
    sender.ack((0, 1))
    sender.send(5, size=1472, now=1.0)
    sender.send(4, size=80, now=1.0)
    sender.ack((6, 10), (0, 1), now=1.0 + RTT)
    assert sender.mtu.current == 1200


@pytest.mark.spec("RECOVERY-9")
def test_losing_everything_for_three_ptos_leaves_the_minimum_window():
    sender = Sender()
    sender.send(1)
    sender.ack((0, 1), now=RTT)
    sender.send(1, now=0.2)
    sender.send(8, now=0.9)
    sender.send(1, now=2.0)
    sender.send(3, now=2.1)
    outcome = sender.ack((11, 14), (0, 1), now=2.2)
    assert numbers(outcome.lost) == list(range(1, 11))
    assert sender.controller.window < 3 * SIZE + 3 * SIZE
    assert sender.controller.in_slow_start


@pytest.mark.spec("RECOVERY-9")
def test_one_arrival_in_between_is_no_persistent_congestion():
    sender = Sender()
    sender.send(1)
    sender.ack((0, 1), now=RTT)
    sender.send(1, now=0.2)
    sender.send(1, now=1.0)
    sender.send(1, now=2.0)
    sender.send(3, now=2.1)
    outcome = sender.ack((4, 7), (2, 3), now=2.2)
    assert numbers(outcome.lost) == [1, 3]
    assert not sender.controller.in_slow_start


@pytest.mark.spec("RECOVERY-10")
def test_a_late_ack_of_a_lost_packet_is_recognised_and_makes_detection_slower():
    sender = Sender()
    sender.send(5)
    sender.ack((1, 5))
    assert sender.owner.lost == [0]
    outcome = sender.ack((0, 5), now=RTT + 0.001)
    assert outcome == ([], [], False, 1)
    assert sender.owner.acked == [1, 2, 3, 4, 0]
    assert sender.ack((0, 5)).spurious == 0
    sender.send(6, now=1.0)
    assert sender.ack((6, 10), (0, 5), now=1.1).lost == []
    assert numbers(sender.ack((6, 11), (0, 5), now=1.1).lost) == []
    sender.send(1, now=1.1)
    assert numbers(sender.ack((6, 12), (0, 5), now=1.1).lost) == [5]


@pytest.mark.spec("RECOVERY-10")
def test_late_acks_slow_detection_down_to_bounds():
    """96 packets, and two round trips."""
    sender = Sender()
    now = 0.0
    for _ in range(12):
        start = sender.next
        sender.send(200, now=now)
        sender.ack((start + 1, start + 200), now=now + RTT)
        assert start in sender.owner.lost
        sender.ack((start, start + 200), now=now + RTT + 0.001)
        now += 1.0
    start = sender.next
    sender.send(97, now=now)
    assert sender.ack((start + 1, start + 96), now=now + RTT / 2).lost == []
    assert numbers(sender.ack((start + 1, start + 97), now=now + RTT / 2).lost) == [start]
    now += 1.0
    start = sender.next
    sender.send(2, now=now)
    assert sender.ack((start + 1, start + 2), now=now + RTT).lost == []
    deadline = sender.recovery.poll_timeout()
    assert deadline is not None
    assert deadline.at - now == pytest.approx(2 * RTT, rel=0.05)


@pytest.mark.spec("TRANSPORT-31")
def test_a_new_route_forgets_how_much_the_old_one_reordered():
    sender = Sender()
    sender.send(5)
    sender.ack((1, 5))
    assert sender.ack((0, 5), now=RTT + 0.001).spurious == 1
    sender.recovery.restart(RttEstimator(), Cubic(SIZE), ecn=None, mtu=None)
    sender.send(4, now=1.0)
    outcome = sender.ack((6, 9), (0, 5), now=1.0 + RTT / 2)
    assert numbers(outcome.lost) == [5]
    sender.send(2, now=2.0)
    assert sender.ack((10, 11), (6, 9), (0, 5), now=2.0 + RTT / 2).lost == []
    deadline = sender.recovery.poll_timeout()
    assert deadline is not None
    assert deadline.at - 2.0 == pytest.approx(RTT / 2 * 9 / 8)


@pytest.mark.spec("RECOVERY-13")
def test_a_window_that_the_application_does_not_use_does_not_grow():
    sender = Sender()
    sender.recovery.is_app_limited = True
    sender.send(2)
    sender.ack((0, 2))
    assert sender.controller.window == 12_000
    sender.send(8, now=0.2)
    sender.ack((0, 10), now=0.3)
    assert sender.controller.window == 12_000 + 8 * SIZE


def test_discarded_packets_go_back_to_their_owners_without_congestion():
    sender = Sender()
    sender.send(5)
    window = sender.controller.window
    sender.recovery.discard_all()
    assert sender.owner.lost == [0, 1, 2, 3, 4]
    assert sender.recovery.bytes_in_flight == 0
    assert sender.recovery.poll_timeout() is None
    assert sender.controller.window == window
    outcome = sender.ack((0, 2), now=RTT)
    assert outcome.spurious == 0
    assert sender.owner.acked == [0, 1]


def test_a_new_route_begins_anew_with_the_same_packet_numbers():
    sender = Sender(ecn=EcnValidator())
    sender.send(5)
    sender.ack((0, 5), ecn=(4, 0, 1))
    sender.send(2, now=0.2)
    rtt, controller, ecn = RttEstimator(), Cubic(SIZE), EcnValidator()
    sender.recovery.restart(rtt, controller, ecn=ecn, mtu=None)
    assert sender.owner.lost == [5, 6]
    sender.send(2, now=1.0)
    sender.ack((0, 8), now=1.05, ecn=(7, 0, 1))
    assert rtt.latest == pytest.approx(0.05)
    assert sender.rtt.latest == pytest.approx(RTT)
    assert controller.window > 12_000
    assert ecn.state is EcnState.CAPABLE
    assert sender.owner.acked == [0, 1, 2, 3, 4, 5, 6, 7]


def test_acks_of_packets_of_an_old_route_teach_the_new_one_nothing():
    sender = Sender(ecn=EcnValidator())
    sender.send(5)
    rtt, controller, ecn = RttEstimator(), Cubic(SIZE), EcnValidator()
    sender.recovery.restart(rtt, controller, ecn=ecn, mtu=None)
    sender.send(1, now=1.0)
    sender.ack((0, 5), now=1.01, ecn=(5, 0, 0))
    assert not rtt.has_sample
    assert controller.window == 12_000
    assert sender.recovery.bytes_in_flight == SIZE


@pytest.mark.spec("RECOVERY-17")
def test_a_congestion_mark_shrinks_the_window():
    sender = Sender(ecn=EcnValidator())
    sender.send(10)
    sender.ack((0, 10), ecn=(8, 0, 2))
    assert sender.ecn.state is EcnState.CAPABLE
    assert sender.controller.window == int(0.7 * 12_000)


@pytest.mark.spec("RECOVERY-16")
def test_a_peer_that_reports_no_counts_ends_marking():
    sender = Sender(ecn=EcnValidator())
    sender.send(10)
    sender.ack((0, 10))
    assert sender.ecn.state is EcnState.FAILED


@pytest.mark.spec("RECOVERY-24")
def test_a_sender_of_acks_only_asks_for_an_ack_now_and_then():
    sender = Sender()
    sender.send(MAX_UNPROMPTED - 1, eliciting=False)
    assert not sender.recovery.wants_ping
    sender.send(1, eliciting=False)
    assert sender.recovery.wants_ping
    sender.send(1)
    assert not sender.recovery.wants_ping


@pytest.mark.spec("RECOVERY-24")
def test_packets_that_nobody_will_acknowledge_are_not_kept_for_ever():
    sender = Sender()
    sender.send(MAX_KEPT_UNPROMPTED + 10, eliciting=False)
    assert len(sender.owner.lost) == 10
    sender.ack((0, MAX_KEPT_UNPROMPTED + 10))
    assert len(sender.owner.acked) == MAX_KEPT_UNPROMPTED
