import pytest

from p2pnode.errors import LocalProtocolError, StreamReset, TransportError
from p2pnode.transports.delivery.reassembly import GATHERED_CHUNK, MAX_GAPS, SMALL_CHUNK
from p2pnode.transports.delivery.recv_stream import RecvState, RecvStream
from p2pnode.transports.error_code import ErrorCode
from tests.support.held import nothing_held

LARGE = bytes(range(256)) * 4


def stream(window=10_000):
    return RecvStream(4, window, nothing_held())


def refused(act):
    with pytest.raises(TransportError) as caught:
        act()
    return caught.value.code


def test_bytes_in_order_are_read_in_order():
    receiver = stream()
    assert receiver.on_data(0, LARGE, False) == len(LARGE)
    assert receiver.on_data(len(LARGE), b"tail", False) == 4
    assert receiver.is_readable
    assert receiver.read(10) == LARGE[:10]
    assert receiver.read(2000) == LARGE[10:] + b"tail"
    assert receiver.read(10) == b""
    assert not receiver.is_readable


@pytest.mark.parametrize("step", [1, 7, SMALL_CHUNK, 1000, 5000])
@pytest.mark.parametrize("max_bytes", [1, 100, 1023, 100_000])
def test_any_chunking_reads_the_same(step, max_bytes):
    data = LARGE * 8
    receiver = stream()
    for offset in range(0, len(data), step):
        receiver.on_data(offset, data[offset : offset + step], offset + step >= len(data))
    read = []
    while piece := receiver.read(max_bytes):
        assert len(piece) <= max_bytes
        read.append(piece)
    assert b"".join(read) == data
    assert receiver.state is RecvState.DATA_READ


def test_what_comes_early_waits_for_what_is_missing():
    receiver = stream()
    assert receiver.on_data(5, b"fgh", True) == 8
    assert receiver.state is RecvState.SIZE_KNOWN
    assert not receiver.is_readable
    assert receiver.on_data(0, b"abcde", False) == 0
    assert receiver.state is RecvState.DATA_RECVD
    assert not receiver.at_eof
    assert receiver.read(100) == b"abcdefgh"
    assert receiver.at_eof
    assert receiver.state is RecvState.DATA_READ


@pytest.mark.spec("STREAM-7")
def test_at_each_offset_what_came_first_counts():
    receiver = stream()
    receiver.on_data(2, b"cd", False)
    receiver.on_data(1, b"BCDE", False)
    receiver.on_data(0, b"aXX", False)
    receiver.on_data(0, b"ZZZZZ", False)
    assert receiver.read(100) == b"aBcdE"


def test_duplicates_count_once():
    receiver = stream()
    assert receiver.on_data(0, LARGE, False) == len(LARGE)
    assert receiver.on_data(0, LARGE, False) == 0
    assert receiver.on_data(100, LARGE, False) == 100
    assert receiver.read(5000) == LARGE + LARGE[-100:]
    assert receiver.on_data(0, LARGE, False) == 0
    assert receiver.read(5000) == b""


def test_an_end_alone_is_the_end():
    receiver = stream()
    receiver.on_data(0, b"abc", False)
    assert receiver.read(10) == b"abc"
    assert receiver.on_data(3, b"", True) == 0
    assert receiver.at_eof
    assert receiver.is_readable
    assert receiver.state is RecvState.DATA_RECVD
    assert receiver.read(10) == b""
    assert receiver.state is RecvState.DATA_READ


@pytest.mark.spec("STREAM-8")
@pytest.mark.parametrize(
    "frame",
    [(0, b"abcdef", False), (5, b"", True), (6, b"", True), (3, b"", True), (9, b"x", False)],
)
def test_the_final_size_cannot_change(frame):
    receiver = stream()
    receiver.on_data(0, b"ab", True)
    assert refused(lambda: receiver.on_data(*frame)) == ErrorCode.FINAL_SIZE_ERROR


@pytest.mark.spec("STREAM-8")
def test_a_stream_cannot_end_before_what_was_received():
    receiver = stream()
    receiver.on_data(4, b"ef", False)
    assert refused(lambda: receiver.on_data(0, b"abc", True)) == ErrorCode.FINAL_SIZE_ERROR
    assert refused(lambda: receiver.on_reset(1, 5)) == ErrorCode.FINAL_SIZE_ERROR


@pytest.mark.spec("STREAM-8")
def test_a_reset_cannot_change_the_final_size():
    receiver = stream()
    receiver.on_data(4, b"ef", True)
    assert refused(lambda: receiver.on_reset(1, 7)) == ErrorCode.FINAL_SIZE_ERROR
    assert receiver.on_reset(1, 6) == 0


@pytest.mark.spec("STREAM-9")
@pytest.mark.parametrize("frame", [(0, bytes(101), False), (100, b"x", False), (101, b"", True)])
def test_data_beyond_the_limit_is_refused(frame):
    receiver = stream(window=100)
    assert refused(lambda: receiver.on_data(*frame)) == ErrorCode.FLOW_CONTROL_ERROR


@pytest.mark.spec("STREAM-9")
def test_a_reset_beyond_the_limit_is_refused():
    receiver = stream(window=100)
    assert refused(lambda: receiver.on_reset(1, 101)) == ErrorCode.FLOW_CONTROL_ERROR


def test_a_reset_drops_what_was_not_read_and_is_told():
    receiver = stream()
    receiver.on_data(0, LARGE, False)
    receiver.read(24)
    assert receiver.on_reset(9, 2000) == 2000 - len(LARGE)
    assert receiver.window.consumed == 2000
    assert receiver.is_readable
    assert not receiver.at_eof
    for _ in range(2):
        with pytest.raises(StreamReset) as caught:
            receiver.read(10)
        assert caught.value.code == 9
    assert receiver.state is RecvState.RESET_READ
    assert receiver.on_data(0, LARGE, False) == 0
    assert receiver.on_reset(9, 2000) == 0


def test_a_reset_after_everything_arrived_is_ignored():
    receiver = stream()
    receiver.on_data(0, b"abc", True)
    assert receiver.on_reset(9, 3) == 0
    assert receiver.read(10) == b"abc"


@pytest.mark.spec("STREAM-12")
def test_a_stopped_stream_drops_and_counts_what_comes_until_its_size_is_known():
    receiver = stream()
    receiver.on_data(0, LARGE, False)
    assert receiver.stop(3)
    assert not receiver.stop(4)
    assert receiver.stop_code == 3
    assert receiver.window.consumed == len(LARGE)
    assert receiver.on_data(len(LARGE), LARGE, False) == len(LARGE)
    assert receiver.window.consumed == 2 * len(LARGE)
    assert not receiver.is_readable
    assert not receiver.wants_credit
    with pytest.raises(LocalProtocolError):
        receiver.read(10)
    assert receiver.on_data(3000, b"x", True) == 3001 - 2 * len(LARGE)
    assert receiver.state is RecvState.DATA_READ


def test_a_stopped_stream_ends_with_the_reset_that_answers():
    receiver = stream()
    receiver.stop(3)
    assert receiver.on_reset(3, 50) == 50
    assert receiver.state is RecvState.RESET_READ
    assert receiver.window.consumed == 50


@pytest.mark.parametrize(
    ("act", "state"),
    [
        (lambda s: s.on_data(5, b"f", True), RecvState.DATA_READ),
        (lambda s: s.on_data(0, b"f", True), RecvState.DATA_READ),
        (lambda s: s.on_reset(1, 5), RecvState.RESET_READ),
    ],
)
def test_to_stop_what_needs_no_stop_sending_lets_go_of_it(act, state):
    receiver = stream()
    act(receiver)
    assert not receiver.stop(3)
    assert receiver.state is state
    assert not receiver.stop(3)


@pytest.mark.spec("STREAM-20")
def test_too_many_holes_are_refused():
    receiver = stream()
    for n in range(MAX_GAPS):
        receiver.on_data(2 * n + 1, b"x", False)
    code = refused(lambda: receiver.on_data(2 * MAX_GAPS + 1, b"x", False))
    assert code == ErrorCode.PROTOCOL_VIOLATION


def test_tiny_pieces_are_gathered():
    receiver = stream(window=100_000)
    for offset in range(0, 20_000, 2):
        receiver.on_data(offset, b"ab", False)
    assert receiver.read(100_000) == b"ab" * 10_000
    assert GATHERED_CHUNK > SMALL_CHUNK


def test_reading_half_of_the_window_makes_credit_due():
    receiver = stream(window=2000)
    receiver.on_data(0, LARGE, False)
    receiver.read(999)
    assert not receiver.wants_credit
    receiver.read(1)
    assert receiver.wants_credit
    receiver.on_data(len(LARGE), b"", True)
    assert not receiver.wants_credit


def test_to_read_nothing_returns_nothing():
    receiver = stream()
    receiver.on_data(0, LARGE, False)
    assert receiver.read(0) == b""
    assert receiver.available == len(LARGE)
