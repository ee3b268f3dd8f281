from hypothesis import given
from hypothesis import strategies as st

from p2pnode.machine import Ecn
from p2pnode.transports.delivery.ack_tracker import MAX_SENT_RANGES, MAX_TRACKED_RANGES, AckTracker
from p2pnode.transports.noise_udp.frame import decode_frame_untrusted, encode_ack

arrivals = st.lists(
    st.tuples(st.integers(0, 300), st.sampled_from([0, Ecn.ECT_1, Ecn.ECT_0, Ecn.CE])),
    min_size=1,
    max_size=200,
)


def covered(ack):
    return [n for start, stop in reversed(ack.ranges) for n in range(start, stop)]


@given(arrivals)
def test_an_ack_says_exactly_what_arrived_and_survives_the_wire(packets):
    tracker, arrived, marks = AckTracker(), set(), [0, 0, 0, 0]
    for number, ecn in packets:
        duplicate = tracker.is_duplicate(number)
        assert number in arrived or not duplicate or len(arrived) > MAX_TRACKED_RANGES
        assert duplicate or number not in arrived
        if duplicate:
            continue
        tracker.on_packet(number, True, ecn, 1.0)
        arrived.add(number)
        marks[ecn] += 1
    ack = tracker.build(3, 1.5)
    said = covered(ack)
    assert said == [n for n in sorted(arrived) if n >= said[0]]
    assert len(ack.ranges) == MAX_SENT_RANGES or said == sorted(arrived)
    assert ack.ecn == ((marks[2], marks[1], marks[3]) if any(marks[1:]) else None)
    encoded = encode_ack(ack)
    assert decode_frame_untrusted(encoded, 0) == (ack, len(encoded))


@given(arrivals, st.integers(0, 300))
def test_pruning_never_lets_a_packet_in_twice(packets, acked):
    tracker, arrived = AckTracker(), set()
    for number, ecn in packets:
        if not tracker.is_duplicate(number):
            tracker.on_packet(number, True, ecn, 1.0)
            arrived.add(number)
    tracker.on_ack_acked(acked)
    assert all(tracker.is_duplicate(number) for number in arrived)
    assert tracker.build(0, 1.0).largest == max(arrived)
