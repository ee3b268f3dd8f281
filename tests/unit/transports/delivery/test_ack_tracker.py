import pytest

from p2pnode.machine import Ecn
from p2pnode.transports.delivery.ack_tracker import (
    MAX_ACK_DELAY,
    MAX_MAX_ACK_DELAY,
    MAX_SENT_RANGES,
    MAX_TRACKED_RANGES,
    AckTracker,
)


def after_packets(*numbers, ecn=Ecn.NOT_ECT, now=0.0):
    tracker = AckTracker()
    for number in numbers:
        tracker.on_packet(number, True, ecn, now)
    return tracker


def take(tracker, numbers, is_ack_eliciting, ecn, now):
    for number in numbers:
        tracker.on_packet(number, is_ack_eliciting, ecn, now)


@pytest.mark.spec("RECOVERY-20")
def test_every_second_packet_is_answered_at_once():
    tracker = after_packets(0)
    assert not tracker.wants_ack(0.0)
    assert tracker.has_unacked
    tracker.on_packet(1, True, 0, 0.001)
    assert tracker.wants_ack(0.001)
    tracker.build(0, 0.001)
    assert not tracker.wants_ack(100.0)
    assert not tracker.has_unacked


@pytest.mark.spec("RECOVERY-20")
def test_a_single_packet_is_answered_within_the_ack_delay():
    tracker = after_packets(0, now=1.0)
    assert tracker.poll_timeout().at == 1.0 + MAX_ACK_DELAY
    assert not tracker.wants_ack(1.0249)
    assert tracker.wants_ack(1.025)
    tracker.build(0, 1.025)
    assert tracker.poll_timeout() is None


def test_packets_that_elicit_no_ack_are_not_answered():
    tracker = AckTracker()
    tracker.on_packet(0, False, 0, 0.0)
    tracker.on_packet(5, False, Ecn.CE, 0.0)
    tracker.on_packet(3, False, 0, 0.0)
    assert not tracker.wants_ack(1000.0)
    assert not tracker.has_unacked
    assert tracker.largest == 5


@pytest.mark.spec("RECOVERY-21")
@pytest.mark.parametrize("number", [3, 12])
def test_reordering_and_gaps_are_reported_at_once(number):
    tracker = AckTracker()
    take(tracker, range(3), False, 0, 0.0)
    take(tracker, range(4, 10), False, 0, 0.0)
    tracker.on_packet(number, True, 0, 0.0)
    assert tracker.wants_ack(0.0)


@pytest.mark.spec("RECOVERY-21")
def test_a_congestion_mark_is_reported_at_once():
    assert after_packets(0, ecn=Ecn.CE).wants_ack(0.0)


@pytest.mark.spec("RECOVERY-21")
def test_the_peer_may_ask_for_an_ack_at_once():
    tracker = AckTracker()
    tracker.on_immediate_ack(0.0)
    assert not tracker.wants_ack(0.0)
    tracker.on_packet(0, True, 0, 0.0)
    tracker.on_immediate_ack(0.0)
    assert tracker.wants_ack(0.0)


def test_the_peer_sets_how_often_acks_are_sent():
    tracker = AckTracker()
    tracker.set_frequency(9, 0.1)
    take(tracker, range(9), True, 0, 2.0)
    assert not tracker.wants_ack(2.09)
    assert tracker.poll_timeout().at == pytest.approx(2.1)
    tracker.on_packet(9, True, 0, 2.0)
    assert tracker.wants_ack(2.0)
    tracker.set_frequency(9, 1e9)
    tracker.build(0, 2.0)
    tracker.on_packet(10, True, 0, 3.0)
    assert tracker.poll_timeout().at == 3.0 + MAX_MAX_ACK_DELAY


def test_an_ack_has_ranges_delay_and_no_counts_where_nothing_was_marked():
    tracker = after_packets(0, 1, 2, 5, 6, 9, now=1.0)
    ack = tracker.build(7, 1.0125)
    assert ack == (7, 12_500, ((9, 10), (5, 7), (0, 3)), None)


def test_an_ack_counts_what_was_marked():
    tracker = AckTracker()
    take(tracker, range(3), True, Ecn.ECT_0, 0.0)
    tracker.on_packet(3, True, Ecn.CE, 0.0)
    tracker.on_packet(4, True, Ecn.ECT_1, 0.0)
    assert tracker.build(0, 0.0).ecn == (3, 1, 1)


@pytest.mark.spec("RECOVERY-22")
def test_a_number_is_taken_once():
    tracker = after_packets(0, 1, 5, 3)
    taken = [number for number in range(8) if tracker.is_duplicate(number)]
    assert taken == [0, 1, 3, 5]


def test_filled_gaps_become_one_range():
    tracker = after_packets(5, 6, 2, 3, 4)
    assert tracker.build(0, 0.0).ranges == ((2, 7),)
    for number in (0, 1):
        tracker.on_packet(number, True, 0, 0.0)
    assert tracker.build(0, 0.0).ranges == ((0, 7),)


def test_a_run_below_the_newest_is_taken_at_once():
    tracker = after_packets(10)
    take(tracker, range(4, 10), True, 0, 0.0)
    assert tracker.wants_ack(0.0)
    assert tracker.build(0, 0.0).ranges == ((4, 11),)


@pytest.mark.spec("RECOVERY-23")
def test_ranges_are_bounded_and_what_is_below_counts_as_taken():
    tracker = after_packets(*range(0, 1000, 2))
    ranges = tracker.build(0, 0.0).ranges
    assert len(ranges) == MAX_SENT_RANGES
    assert ranges[0] == (998, 999)
    kept = [number for number in range(1000) if not tracker.is_duplicate(number)]
    assert min(kept) == 999 - 2 * MAX_TRACKED_RANGES
    assert not tracker.is_duplicate(995)


@pytest.mark.spec("RECOVERY-23")
def test_what_the_peer_knows_to_be_acked_is_not_repeated():
    tracker = after_packets(0, 1, 4, 5, 8)
    tracker.on_ack_acked(5)
    assert tracker.build(0, 0.0).ranges == ((8, 9),)
    assert tracker.is_duplicate(2)
    assert not tracker.is_duplicate(7)
    tracker.on_ack_acked(8)
    assert tracker.build(0, 0.0).ranges == ((8, 9),)
