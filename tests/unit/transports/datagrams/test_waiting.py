"""Queues of packets that wait: their order, and their bounds."""

from p2pnode.machine import Received, SocketAddr, SocketId
from p2pnode.transports.datagrams.waiting import MAX_WAIT, READ_OVERHEAD, Waiting

REMOTE = SocketAddr("192.0.2.9", 9)


def read(data):
    return Received(SocketId(0), None, REMOTE, 0, len(data), data)


def put(waiting, key, *datas, bound=1 << 20):
    return sum(waiting.put(key, read(data), bound, 0.0) for data in datas)


def taken(waiting):
    """Takes everything out, by turns of one read."""
    found = []
    while waiting.queues:
        key, queue = waiting.next()
        found.append((key, bytes(waiting.take(queue).buffer)))
        waiting.give_back(key, queue)
    return found


def test_each_has_its_turn_and_its_own_order():
    waiting = Waiting[str](1 << 20, 8)
    assert put(waiting, "a", b"1", b"2", b"3") == 0
    assert put(waiting, "b", b"4") == 0
    assert taken(waiting) == [("a", b"1"), ("b", b"4"), ("a", b"2"), ("a", b"3")]
    assert waiting.size == 0


def test_who_begins_to_wait_comes_before_those_that_had_turns():
    waiting = Waiting[str](1 << 20, 8)
    for key in "abc":
        put(waiting, key, b"1", b"2", b"3")
    for _ in range(3):
        key, queue = waiting.next()
        waiting.take(queue)
        waiting.give_back(key, queue)
    put(waiting, "new", b"1")
    assert "new" in [key for key, _ in taken(waiting)[:2]]


def test_who_begins_to_wait_again_and_again_shuts_nobody_out():
    waiting = Waiting[str](1 << 20, 8)
    put(waiting, "old", *[b"1"] * 10)
    turns = []
    for _ in range(20):
        put(waiting, "new", b"1")
        key, queue = waiting.next()
        waiting.take(queue)
        waiting.give_back(key, queue)
        turns.append(key)
    assert turns.count("old") >= 9


def test_what_a_turn_left_over_of_a_read_comes_first_again():
    waiting = Waiting[str](1 << 20, 8)
    put(waiting, "a", b"1+2", b"3")
    put(waiting, "b", b"4")
    key, queue = waiting.next()
    waiting.take(queue)
    put(waiting, "a", b"2")
    waiting.give_back(key, queue)
    assert taken(waiting) == [("b", b"4"), ("a", b"2"), ("a", b"3")]
    assert waiting.size == 0


def test_a_full_queue_drops_what_has_waited_longest():
    waiting = Waiting[str](1 << 20, 8)
    size = READ_OVERHEAD + 100
    for number in range(10):
        dropped = put(waiting, "a", bytes([number]) * 100, bound=3 * size)
        assert dropped == (size if number >= 3 else 0)
    assert waiting.size == 3 * size
    assert [data[0] for _, data in taken(waiting)] == [7, 8, 9]


def test_one_read_is_kept_however_long_it_is():
    waiting = Waiting[str](1 << 20, 8)
    assert put(waiting, "a", bytes(60_000), bound=100) == 0
    assert put(waiting, "a", bytes(50_000), bound=100) == 60_000 + READ_OVERHEAD


def test_where_all_are_too_much_the_longest_queues_drop():
    size = READ_OVERHEAD + 100
    waiting = Waiting[str](10 * size, 8)
    assert put(waiting, "greedy", *[bytes(100)] * 10) == 0
    assert put(waiting, "modest", *[bytes(100)] * 4) == 0
    assert put(waiting, "greedy", bytes(100)) == 5 * size
    assert put(waiting, "modest", bytes(100)) == 0


def test_all_together_never_hold_more_than_twice_their_bound():
    size = READ_OVERHEAD + 100
    waiting = Waiting[int](100 * size, 1000)
    for _ in range(20):
        for key in range(60):
            put(waiting, key, bytes(100), bytes(100))
            assert waiting.size <= 200 * size
    for key in range(60, 1000):
        put(waiting, key, bytes(100))


def test_for_one_queue_too_many_the_next_one_goes():
    waiting = Waiting[int](1 << 20, 3)
    for key in range(3):
        put(waiting, key, b"a", b"b")
    assert put(waiting, 3, b"c") == 2 * (READ_OVERHEAD + 1)
    assert list(waiting.queues) == [1, 2, 3]
    assert waiting.size == 5 * (READ_OVERHEAD + 1)


def test_a_dropped_queue_counts_no_longer():
    waiting = Waiting[str](1 << 20, 3)
    put(waiting, "a", b"a", b"b")
    waiting.drop(waiting.next()[1])
    assert waiting.size == 0


def test_what_waits_holds_no_memory_of_a_longer_read():
    waiting = Waiting[str](1 << 20, 3)
    datagram = bytes(1200)
    put(waiting, "a", datagram)
    _, queue = waiting.next()
    assert waiting.take(queue).buffer is not datagram


def test_what_waits_too_long_is_dropped_and_the_rest_is_not():
    waiting = Waiting[str](1 << 20, 3)
    for now in (0.0, 1.0, 2.0):
        waiting.put("a", read(b"%d" % now), 1 << 20, now)
    key, queue = waiting.next()
    assert waiting.drop_late(queue, MAX_WAIT) == 0
    assert waiting.drop_late(queue, MAX_WAIT + 1.5) == 2 * (READ_OVERHEAD + 1)
    waiting.give_back(key, queue)
    assert taken(waiting) == [("a", b"2")]
    assert waiting.size == 0


def test_what_is_held_has_no_turn_before_its_time_and_keeps_its_order():
    waiting = Waiting[str](1 << 20, 3)
    put(waiting, "a", b"1", b"2")
    key, queue = waiting.next()
    first = waiting.take(queue)
    put(waiting, "a", b"rest")
    waiting.hold(key, queue, 5.0)
    put(waiting, "a", b"3")
    assert not waiting.queues
    assert waiting.held_until == 5.0
    waiting.release(4.9)
    assert not waiting.queues
    waiting.release(5.0)
    assert not waiting.held
    assert first.buffer == b"1"
    assert taken(waiting) == [("a", b"rest"), ("a", b"2"), ("a", b"3")]
    assert waiting.size == 0


def test_what_is_held_is_bounded_with_what_waits():
    waiting = Waiting[str](1 << 20, 3)
    put(waiting, "a", b"1")
    waiting.hold(*waiting.next(), 5.0)
    size = READ_OVERHEAD + 1
    assert waiting.put("a", read(b"2"), size, 0.0) == size
    assert waiting.size == size


def test_nothing_is_held_of_a_queue_that_is_empty():
    waiting = Waiting[str](1 << 20, 3)
    put(waiting, "a", b"1")
    key, queue = waiting.next()
    waiting.take(queue)
    waiting.hold(key, queue, 5.0)
    assert not waiting.held
