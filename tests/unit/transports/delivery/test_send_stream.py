from array import array

import pytest

from p2pnode.errors import LocalProtocolError, StreamStopped
from p2pnode.transports.delivery.send_stream import SendQueues, SendState, SendStream
from tests.support.held import nothing_held

PLENTY = 1 << 40


def stream(max_data=1000, queues=None, **options):
    return SendStream(4, max_data, queues or SendQueues(nothing_held()), **options)


def finished(data=b"hello"):
    """Returns a stream of which everything was sent."""
    sender = stream()
    sender.write(data)
    sender.finish()
    assert sender.take(100, PLENTY) == (0, data, True)
    return sender


def test_data_goes_out_in_order_and_in_pieces():
    sender = stream()
    assert sender.write(b"hello world") == 11
    assert sender.take(5, PLENTY) == (0, b"hello", False)
    assert sender.take(100, PLENTY) == (5, b" world", False)
    assert sender.take(100, PLENTY) is None
    assert sender.state is SendState.SEND


def test_the_end_goes_with_the_last_bytes():
    sender = stream()
    sender.write(b"hello")
    sender.finish()
    assert sender.take(3, PLENTY) == (0, b"hel", False)
    assert sender.take(3, PLENTY) == (3, b"lo", True)
    assert sender.state is SendState.DATA_SENT


def test_the_end_goes_alone_when_everything_else_is_sent_and_needs_no_credit():
    sender = stream(max_data=5)
    sender.write(b"hello")
    assert sender.take(5, 5) == (0, b"hello", False)
    sender.finish()
    assert sender.has_pending
    assert sender.take(0, 0) == (5, b"", True)
    assert sender.state is SendState.DATA_SENT
    assert not sender.has_pending


def test_an_empty_stream_is_an_end():
    sender = stream()
    sender.finish()
    assert sender.take(10, PLENTY) == (0, b"", True)
    sender.on_acked(0, 0, 1)
    assert sender.state is SendState.DATA_RECVD


@pytest.mark.spec("STREAM-19")
def test_nothing_new_goes_beyond_the_limit_or_the_credit():
    sender = stream(max_data=4)
    sender.write(b"hello")
    assert sender.take(100, 3) == (0, b"hel", False)
    assert sender.take(100, 3) == (3, b"l", False)
    assert sender.take(100, 3) is None
    assert sender.is_blocked
    sender.on_max_stream_data(3)
    assert sender.is_blocked
    sender.on_max_stream_data(10)
    assert not sender.is_blocked
    assert sender.take(100, 3) == (4, b"o", False)


@pytest.mark.spec("STREAM-6")
def test_what_is_lost_goes_out_again_before_what_is_new():
    sender = stream()
    sender.write(b"0123456789")
    sender.take(2, PLENTY)
    sender.take(2, PLENTY)
    sender.take(2, PLENTY)
    sender.on_lost(2, 4, 0)
    sender.on_lost(0, 2, 0)
    assert sender.peek(PLENTY) == (0, 4)
    assert sender.take(3, 0) == (0, b"012", False)
    assert sender.take(3, 0) == (3, b"3", False)
    assert sender.take(3, PLENTY) == (6, b"678", False)


def test_a_lost_end_goes_out_again():
    sender = finished()
    sender.on_lost(0, 5, 1)
    assert sender.take(3, 0) == (0, b"hel", False)
    assert sender.take(3, 0) == (3, b"lo", True)
    sender.on_acked(3, 5, 1)
    sender.on_acked(0, 3, 0)
    assert sender.state is SendState.DATA_RECVD


def test_what_is_acknowledged_by_way_of_another_frame_is_not_sent_again():
    sender = stream()
    sender.write(b"0123456789")
    sender.take(10, PLENTY)
    sender.on_acked(4, 6, 0)
    sender.on_lost(2, 8, 0)
    assert sender.take(10, 0) == (2, b"23", False)
    assert sender.take(10, 0) == (6, b"67", False)
    assert not sender.has_pending


def test_a_late_acknowledgement_calls_the_repair_off():
    queues = SendQueues(nothing_held())
    sender = stream(queues=queues)
    sender.write(b"0123456789")
    sender.take(10, PLENTY)
    sender.on_lost(0, 10, 0)
    assert list(queues.repair) == [4]
    sender.on_acked(0, 10, 0)
    assert not sender.has_pending
    assert not queues.repair


def test_acknowledgements_in_any_order_end_the_stream():
    queues = SendQueues(nothing_held())
    sender = SendStream(4, 1000, queues)
    sender.write(b"0123456789")
    sender.finish()
    for _ in range(4):
        sender.take(3, PLENTY)
    for start, stop, fin in ((6, 9, 0), (9, 10, 1), (0, 3, 0), (0, 3, 0)):
        sender.on_acked(start, stop, fin)
        assert not queues.settled
    sender.on_acked(3, 6, 0)
    assert list(queues.settled) == [4]
    assert sender.is_terminal
    sender.on_acked(3, 6, 0)
    sender.on_lost(3, 6, 0)
    assert not sender.has_pending


def test_a_write_is_cut_at_the_buffer_and_told_when_half_of_it_is_free():
    queues = SendQueues(nothing_held(), 10)
    sender = SendStream(4, 1000, queues)
    assert sender.write(b"0123456789abc") == 10
    assert sender.write(b"abc") == 0
    assert not sender.is_writable
    sender.take(10, PLENTY)
    sender.on_acked(0, 4, 0)
    assert not queues.settled
    assert sender.is_writable
    sender.on_acked(4, 5, 0)
    assert list(queues.settled) == [4]
    assert sender.write(b"abcdefg") == 5


@pytest.mark.spec("STREAM-25")
def test_a_buffer_that_shrinks_takes_nothing_until_it_is_below_its_size_and_tells_then():
    queues = SendQueues(nothing_held(), 100)
    sender = SendStream(4, 1000, queues)
    assert sender.write(bytes(80)) == 80
    queues.buffer_size = 10
    assert not sender.is_writable
    assert sender.write(b"abc") == 0
    sender.take(80, PLENTY)
    sender.on_acked(0, 74, 0)
    assert not queues.settled
    sender.on_acked(74, 75, 0)
    assert list(queues.settled) == [4]
    assert sender.write(bytes(10)) == 5


def test_a_stream_that_was_never_short_is_not_told_of_room():
    queues = SendQueues(nothing_held(), 10)
    sender = SendStream(4, 1000, queues)
    sender.write(b"0123456789")
    sender.take(10, PLENTY)
    sender.on_acked(0, 10, 0)
    assert not queues.settled


@pytest.mark.spec("STREAM-14")
def test_a_reset_drops_everything_and_keeps_the_size_that_was_sent():
    queues = SendQueues(nothing_held())
    sender = stream(queues=queues)
    sender.write(b"0123456789")
    sender.take(4, PLENTY)
    sender.on_lost(0, 2, 0)
    assert sender.reset(7)
    assert sender.state is SendState.RESET_SENT
    assert (sender.sent_size, sender.reset_code) == (4, 7)
    assert not sender.has_pending
    assert not queues.fresh
    assert not queues.repair
    sender.on_lost(2, 4, 0)
    sender.on_acked(0, 4, 0)
    sender.on_max_stream_data(5000)
    assert not sender.has_pending
    assert not sender.reset(8)
    sender.on_reset_acked()
    assert sender.state is SendState.RESET_RECVD
    assert list(queues.settled) == [4]
    sender.on_reset_acked()


def test_a_reset_after_the_end_was_sent_keeps_the_size():
    sender = finished()
    assert sender.reset(7)
    assert sender.sent_size == 5


def test_a_reset_after_everything_arrived_does_nothing():
    sender = finished()
    sender.on_acked(0, 5, 1)
    assert not sender.reset(7)
    assert not sender.on_stop_sending(7)
    assert sender.state is SendState.DATA_RECVD
    assert sender.stop_code is None


@pytest.mark.spec("STREAM-16")
def test_stop_sending_resets_with_its_code_and_later_writes_say_so():
    sender = stream()
    sender.write(b"hello")
    assert sender.on_stop_sending(9)
    assert sender.reset_code == 9
    assert not sender.on_stop_sending(10)
    with pytest.raises(StreamStopped) as caught:
        sender.write(b"more")
    assert caught.value.code == 9


@pytest.mark.parametrize("end", [lambda s: s.finish(), lambda s: s.reset(1)])
def test_after_its_end_a_stream_takes_nothing(end):
    sender = stream()
    end(sender)
    for act in (lambda: sender.write(b"x"), sender.finish):
        with pytest.raises(LocalProtocolError):
            act()


def test_an_empty_write_is_nothing():
    sender = stream()
    assert sender.write(b"") == 0
    assert not sender.has_pending
    assert sender.state is SendState.READY


def test_the_end_waits_for_the_limit():
    sender = stream(max_data=2)
    sender.write(b"hello")
    sender.finish()
    assert sender.take(100, PLENTY) == (0, b"he", False)
    assert sender.take(100, PLENTY) is None
    sender.on_max_stream_data(5)
    assert sender.take(100, PLENTY) == (2, b"llo", True)


def test_a_write_counts_bytes_whatever_the_items_are():
    doubles = array("d", [1.5, 2.5, 3.5])
    sender = stream(queues=SendQueues(nothing_held(), 10))
    assert sender.write(doubles) == 10
    assert sender.take(100, PLENTY) == (0, doubles.tobytes()[:10], False)
    with pytest.raises(TypeError):
        sender.write("text")
