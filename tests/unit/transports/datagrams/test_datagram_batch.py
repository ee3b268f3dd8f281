from p2pnode.machine import SocketAddr, SocketId
from p2pnode.transports.datagrams.datagram_batch import MAX_BATCH_SIZE, MAX_SEGMENTS, DatagramBatch
from p2pnode.transports.route import Route

HERE = Route(SocketId(1), "192.0.2.9", SocketAddr("192.0.2.1", 1))
THERE = Route(SocketId(2), None, SocketAddr("192.0.2.2", 2))


def batch_of(*datagrams):
    batch = DatagramBatch()
    for route, ecn, data in datagrams:
        batch.add(route, ecn, len(data), data[:1], data[1:])
    return batch.finish()


def test_equal_datagrams_to_one_route_leave_in_one_call():
    (transmit,) = batch_of(*[(HERE, 2, b"abc")] * 3)
    assert transmit.buffer == b"abcabcabc"
    assert transmit.segment_size == 3
    assert (transmit.socket, transmit.local_ip, transmit.remote) == HERE
    assert (transmit.ecn, transmit.ttl) == (2, None)


def test_a_shorter_datagram_ends_a_call_and_a_longer_one_begins_the_next():
    transmits = batch_of((HERE, 0, b"abc"), (HERE, 0, b"d"), (HERE, 0, b"e"), (HERE, 0, b"fg"))
    assert [(t.segment_size, t.buffer) for t in transmits] == [(3, b"abcd"), (1, b"e"), (2, b"fg")]


def test_routes_and_ecn_marks_do_not_mix():
    transmits = batch_of((HERE, 0, b"a"), (THERE, 0, b"b"), (THERE, 2, b"c"), (HERE, 2, b"d"))
    assert [(t.remote, t.ecn, t.buffer) for t in transmits] == [
        (HERE.remote, 0, b"a"),
        (THERE.remote, 0, b"b"),
        (THERE.remote, 2, b"c"),
        (HERE.remote, 2, b"d"),
    ]


def test_a_call_is_no_longer_than_the_kernel_takes():
    transmits = batch_of(*[(HERE, 0, b"ab")] * (MAX_SEGMENTS + 1))
    assert [len(t.buffer) for t in transmits] == [2 * MAX_SEGMENTS, 2]
    transmits = batch_of(*[(HERE, 0, bytes(1400))] * 50)
    assert all(len(t.buffer) <= MAX_BATCH_SIZE for t in transmits)
    assert sum(len(t.buffer) for t in transmits) == 50 * 1400


def test_a_finished_batch_is_empty():
    batch = DatagramBatch()
    assert batch.finish() == []
    batch.add(HERE, 0, 1, b"a")
    assert len(batch.finish()) == 1
    assert batch.finish() == []
