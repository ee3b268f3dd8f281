import pytest

from p2pnode.errors import LocalProtocolError, StreamReset, StreamStopped, TransportError
from p2pnode.transports.delivery.flow_control import (
    HELD_BACK_WINDOW,
    LITTLE_DATA,
    MAX_CONNECTION_WINDOW,
    MAX_STREAM_COUNT,
)
from p2pnode.transports.delivery.frame import (
    DataBlocked,
    FrameType,
    MaxData,
    MaxStreamData,
    MaxStreams,
    ResetStream,
    StopSending,
    StreamDataBlocked,
    StreamsBlocked,
)
from p2pnode.transports.delivery.held_bytes import STREAM_SIZE
from p2pnode.transports.delivery.packet_builder import PacketBuilder
from p2pnode.transports.delivery.send_stream import LITTLE_BUFFER, MAX_TO_SEND, SEND_BUFFER_SIZE
from p2pnode.transports.delivery.stream_set import StreamSet
from p2pnode.transports.delivery.stream_writer import QUANTUM
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.stream_events import (
    StreamFinished,
    StreamOpened,
    StreamReadable,
    StreamResetByPeer,
    StreamsAvailable,
    StreamStoppedByPeer,
    StreamWritable,
)
from tests.support.stream_link import Limits, deliver, exchange, frames, packet, pair

WIDE = Limits(1 << 30, 1 << 30, 100)


def refused(act):
    with pytest.raises(TransportError) as caught:
        act()
    return ErrorCode(caught.value.code), FrameType(caught.value.frame_type)


def sent_frames(streams, **options):
    sent = packet(streams, **options)
    return [] if sent is None else frames(sent.payload)


def finish(streams, stream_id, data=b""):
    assert streams.write(stream_id, data) == len(data)
    streams.finish(stream_id)


def run_stream(a, b):
    """Opens a stream at `a` and takes it through its whole life."""
    stream_id = a.open()
    finish(a, stream_id, b"question")
    exchange(a, b)
    assert b.read(stream_id, 100) == b"question"
    finish(b, stream_id, b"answer")
    exchange(a, b)
    assert a.read(stream_id, 100) == b"answer"
    a.poll_events()
    b.poll_events()
    return stream_id


# opening and forgetting


@pytest.mark.spec("STREAM-1")
def test_ids_say_who_opened_and_count_from_zero():
    initiator, responder = pair()
    assert [initiator.open() for _ in range(3)] == [0, 2, 4]
    assert [responder.open() for _ in range(3)] == [1, 3, 5]


@pytest.mark.spec("STREAM-2")
def test_a_frame_opens_all_streams_below_its_own():
    _, responder = pair()
    responder.handle_stream(4, 0, b"x", False)
    assert responder.poll_events() == [
        StreamOpened(0),
        StreamOpened(2),
        StreamOpened(4),
        StreamReadable(4),
    ]
    assert len(responder) == 3


@pytest.mark.spec("STREAM-3")
@pytest.mark.parametrize(
    ("act", "kind"),
    [
        (lambda s: s.handle_stream(16, 0, b"x", False), FrameType.STREAM),
        (lambda s: s.handle_reset_stream(ResetStream(16, 0, 0)), FrameType.RESET_STREAM),
        (lambda s: s.handle_stop_sending(StopSending(16, 0)), FrameType.STOP_SENDING),
        (lambda s: s.handle_max_stream_data(MaxStreamData(16, 0)), FrameType.MAX_STREAM_DATA),
    ],
)
def test_more_streams_than_allowed_are_refused(act, kind):
    _, responder = pair(Limits(initial_max_streams=8))
    assert refused(lambda: act(responder)) == (ErrorCode.STREAM_LIMIT_ERROR, kind)
    assert responder.poll_events() == []


@pytest.mark.spec("STREAM-4")
@pytest.mark.parametrize(
    ("act", "kind"),
    [
        (lambda s: s.handle_stream(2, 0, b"x", False), FrameType.STREAM),
        (lambda s: s.handle_reset_stream(ResetStream(2, 0, 0)), FrameType.RESET_STREAM),
        (lambda s: s.handle_stop_sending(StopSending(2, 0)), FrameType.STOP_SENDING),
        (lambda s: s.handle_max_stream_data(MaxStreamData(2, 0)), FrameType.MAX_STREAM_DATA),
        (
            lambda s: s.handle_stream_data_blocked(StreamDataBlocked(2, 0)),
            FrameType.STREAM_DATA_BLOCKED,
        ),
    ],
)
def test_frames_for_streams_that_we_have_yet_to_open_are_refused(act, kind):
    initiator, _ = pair()
    initiator.open()
    assert refused(lambda: act(initiator)) == (ErrorCode.STREAM_STATE_ERROR, kind)


@pytest.mark.spec("STREAM-5")
def test_a_stream_that_has_ended_both_ways_is_forgotten_and_its_late_frames_mean_nothing():
    a, b = pair()
    stream_id = run_stream(a, b)
    for streams in (a, b):
        assert not streams.is_known(stream_id)
        assert len(streams) == 0
        assert streams.at_eof(stream_id)
        assert streams.read(stream_id, 10) == b""
        streams.reset(stream_id, 1)
        streams.stop(stream_id, 1)
        streams.handle_stream(stream_id, 0, b"question", True)
        streams.handle_reset_stream(ResetStream(stream_id, 0, 99))
        streams.handle_stop_sending(StopSending(stream_id, 0))
        streams.handle_max_stream_data(MaxStreamData(stream_id, 10**6))
        with pytest.raises(LocalProtocolError):
            streams.write(stream_id, b"x")
        assert streams.poll_events() == []
        assert not streams.has_pending


def test_a_stream_is_kept_until_the_application_has_read_its_end():
    a, b = pair()
    stream_id = a.open()
    finish(a, stream_id, b"question")
    exchange(a, b)
    finish(b, stream_id)
    exchange(a, b)
    assert b.is_known(stream_id)
    assert not b.at_eof(stream_id)
    b.stop(stream_id, 0)
    assert not b.is_known(stream_id)


def test_a_reset_and_a_stop_let_go_of_a_stream():
    a, b = pair()
    stream_id = a.open()
    a.write(stream_id, b"x" * 100)
    exchange(a, b)
    a.reset(stream_id, 5)
    a.stop(stream_id, 6)
    exchange(a, b)
    assert not a.is_known(stream_id)
    assert b.is_known(stream_id)
    with pytest.raises(StreamReset) as reset:
        b.read(stream_id, 10)
    assert reset.value.code == 5
    assert not b.is_known(stream_id)


# limits of streams


def test_open_returns_none_at_the_limit_and_says_so_once():
    a, _ = pair(Limits(initial_max_streams=1))
    assert a.open() == 0
    assert a.open() is None
    assert a.open() is None
    assert sent_frames(a) == [StreamsBlocked(1)]
    assert not a.has_pending
    a.handle_max_streams(MaxStreams(1))
    assert a.poll_events() == []
    a.handle_max_streams(MaxStreams(2))
    assert a.poll_events() == [StreamsAvailable()]
    assert a.open() == 2


def test_more_streams_are_no_event_where_none_was_refused():
    a, _ = pair(Limits(initial_max_streams=1))
    a.handle_max_streams(MaxStreams(5))
    assert a.poll_events() == []


@pytest.mark.spec("STREAM-15")
def test_streams_that_end_make_room_for_others():
    a, b = pair(Limits(initial_max_streams=4))
    for _ in range(20):
        run_stream(a, b)
    assert a.open() == 40


@pytest.mark.spec("STREAM-15")
def test_a_peer_that_uses_up_its_streams_later_is_told_of_those_that_ended_before():
    a, b = pair(Limits(initial_max_streams=8))
    for _ in range(3):
        run_stream(a, b)
    assert not b.has_pending
    for _ in range(5):
        a.write(a.open(), b"long-lived")
    exchange(a, b)
    assert a.open() is not None


def test_a_number_of_streams_that_no_id_could_have_is_refused():
    a, _ = pair()
    a.handle_max_streams(MaxStreams(MAX_STREAM_COUNT))
    assert refused(lambda: a.handle_max_streams(MaxStreams(MAX_STREAM_COUNT + 1))) == (
        ErrorCode.FRAME_ENCODING_ERROR,
        FrameType.MAX_STREAMS,
    )


# credit


@pytest.mark.spec("STREAM-10")
@pytest.mark.parametrize("size", [60, 61])
def test_the_connections_limit_counts_all_streams_ends_and_resets(size):
    _, b = pair(Limits(100, 80, 8))
    b.handle_stream(0, 0, b"x" * 30, False)
    b.handle_stream(2, 5, b"x" * 5, False)
    b.handle_stream(2, 0, b"x" * 10, False)
    if size == 60:
        b.handle_reset_stream(ResetStream(4, 0, size))
        return
    assert refused(lambda: b.handle_reset_stream(ResetStream(4, 0, size))) == (
        ErrorCode.FLOW_CONTROL_ERROR,
        FrameType.RESET_STREAM,
    )


@pytest.mark.spec("STREAM-10")
def test_data_beyond_the_connections_limit_is_refused():
    _, b = pair(Limits(100, 80, 8))
    b.handle_stream(0, 0, b"x" * 50, False)
    assert refused(lambda: b.handle_stream(2, 50, b"x", False)) == (
        ErrorCode.FLOW_CONTROL_ERROR,
        FrameType.STREAM,
    )


@pytest.mark.spec("STREAM-12")
def test_credit_comes_back_when_the_application_reads_and_not_before():
    a, b = pair(Limits(1500, 1000, 8))
    first, second = a.open(), a.open()
    assert a.write(first, b"x" * 3000) == 3000
    assert a.write(second, b"x" * 500) == 500
    exchange(a, b)
    assert not a.has_pending
    assert len(b.read(first, 499)) == 499
    assert not b.has_pending
    assert len(b.read(first, 1)) == 1
    assert sent_frames(b) == [MaxStreamData(first, 1500)]
    assert len(b.read(second, 250)) == 250
    assert sent_frames(b) == [MaxData(2250)]


@pytest.mark.spec("STREAM-12")
@pytest.mark.parametrize("end", ["reset", "stop"])
def test_credit_of_bytes_that_nobody_will_read_comes_back(end):
    a, b = pair(Limits(1000, 1000, 8))
    for _ in range(5):
        stream_id = a.open()
        assert a.write(stream_id, b"x" * 900) == 900
        exchange(a, b)
        if end == "reset":
            a.reset(stream_id, 1)
        else:
            b.stop(stream_id, 1)
        exchange(a, b)
    assert a._credit.used == 4500
    assert b._window.consumed == 4500


def test_bytes_for_a_stopped_stream_are_dropped_and_their_credit_returned():
    _, b = pair(Limits(1000, 1000, 8))
    b.handle_stream(0, 0, b"x", False)
    b.stop(0, 7)
    assert sent_frames(b) == [StopSending(0, 7)]
    b.handle_stream(0, 1, b"x" * 600, False)
    assert sent_frames(b) == [MaxData(1601)]
    b.handle_stream(0, 601, b"", True)
    assert not b.has_pending
    b.poll_events()
    b.reset(0, 1)
    packet(b).acked()
    assert b.poll_events() == []
    assert not b.is_known(0)


@pytest.mark.spec("STREAM-17")
def test_a_sender_out_of_stream_credit_says_so_once_for_each_limit():
    a, _ = pair(Limits(1000, 100, 8))
    stream_id = a.open()
    a.write(stream_id, b"x" * 300)
    assert [type(frame) for frame in sent_frames(a)] == [tuple]
    assert sent_frames(a) == [StreamDataBlocked(stream_id, 100)]
    a.write(stream_id, b"x")
    assert not a.has_pending
    a.handle_max_stream_data(MaxStreamData(stream_id, 200))
    packet(a)
    assert sent_frames(a) == [StreamDataBlocked(stream_id, 200)]


@pytest.mark.spec("STREAM-17")
def test_a_sender_out_of_the_connections_credit_says_so_once_for_each_limit():
    a, _ = pair(Limits(100, 1000, 8))
    first, second = a.open(), a.open()
    a.write(first, b"x" * 300)
    packet(a)
    assert sent_frames(a) == [DataBlocked(100)]
    a.write(second, b"x")
    assert not a.has_pending
    a.handle_max_data(MaxData(150))
    packet(a)
    assert sent_frames(a) == [DataBlocked(150)]


@pytest.mark.spec("STREAM-17")
def test_a_lost_blocked_frame_is_not_repeated_once_it_is_untrue():
    a, _ = pair(Limits(100, 50, 1))
    stream_id = a.open()
    a.write(stream_id, b"x" * 300)
    a.open()
    sent = [packet(a), packet(a)]
    assert sorted(type(f).__name__ for s in sent for f in frames(s.payload)) == [
        "StreamDataBlocked",
        "StreamsBlocked",
        "tuple",
    ]
    a.handle_max_streams(MaxStreams(2))
    a.handle_max_stream_data(MaxStreamData(stream_id, 60))
    for each in sent:
        each.lost()
    assert [f[:2] for f in sent_frames(a)] == [(stream_id, 0), (stream_id, 50)]


# delivery


def test_what_is_written_is_read_and_told_on_both_sides():
    a, b = pair()
    stream_id = a.open()
    finish(a, stream_id, b"hello")
    exchange(a, b)
    assert b.poll_events() == [StreamOpened(stream_id), StreamReadable(stream_id)]
    assert a.poll_events() == [StreamFinished(stream_id)]
    assert b.read(stream_id, 100) == b"hello"
    assert b.at_eof(stream_id)


def test_readable_is_told_once_until_everything_was_read_and_again_at_the_end():
    _, b = pair()
    b.handle_stream(0, 0, b"one", False)
    b.handle_stream(0, 3, b"two", False)
    assert b.poll_events() == [StreamOpened(0), StreamReadable(0)]
    b.read(0, 3)
    b.handle_stream(0, 6, b"x", False)
    assert b.poll_events() == []
    b.read(0, 10)
    b.handle_stream(0, 9, b"late", False)
    assert b.poll_events() == []
    b.handle_stream(0, 7, b"yy", False)
    assert b.poll_events() == [StreamReadable(0)]
    b.handle_stream(0, 13, b"", True)
    assert b.poll_events() == [StreamReadable(0)]
    b.handle_stream(0, 13, b"", True)
    assert b.poll_events() == []


def test_a_short_write_is_followed_by_writable():
    a, b = pair(WIDE)
    stream_id = a.open()
    block = bytes(1 << 20)
    taken = 0
    while (count := a.write(stream_id, block)) == len(block):
        taken += count
    taken += count
    received = 0
    while sent := packet(a, 60_000):
        deliver(sent.payload, b)
        sent.acked()
        received += len(b.read(stream_id, 1 << 20))
    assert received == taken
    assert a.poll_events() == [StreamWritable(stream_id)]


@pytest.mark.spec("STREAM-14")
def test_a_lost_reset_is_sent_again_until_it_is_acknowledged():
    a, _ = pair()
    stream_id = a.open()
    a.write(stream_id, b"x" * 10)
    packet(a)
    a.reset(stream_id, 9)
    for _ in range(3):
        sent = packet(a)
        assert frames(sent.payload) == [ResetStream(stream_id, 9, 10)]
        sent.lost()
    sent = packet(a)
    sent.acked()
    sent.lost()
    assert not a.has_pending


def test_a_reset_is_told_and_raised():
    a, b = pair()
    stream_id = a.open()
    a.write(stream_id, b"hello")
    exchange(a, b)
    b.poll_events()
    a.reset(stream_id, 9)
    exchange(a, b)
    assert b.poll_events() == [StreamResetByPeer(stream_id, 9)]
    b.handle_reset_stream(ResetStream(stream_id, 9, 5))
    assert b.poll_events() == []
    with pytest.raises(StreamReset):
        b.read(stream_id, 10)


@pytest.mark.spec("STREAM-16")
def test_stop_sending_is_answered_with_a_reset_of_the_same_code():
    a, b = pair()
    stream_id = a.open()
    a.write(stream_id, b"hello")
    exchange(a, b)
    b.stop(stream_id, 11)
    stop = packet(b)
    stop.lost()
    stop = packet(b)
    assert frames(stop.payload) == [StopSending(stream_id, 11)]
    deliver(stop.payload, a)
    a.write_frames(PacketBuilder(0), 0.0, 0.0)
    assert a.poll_events() == [StreamStoppedByPeer(stream_id, 11)]
    answer = packet(a)
    assert frames(answer.payload) == [ResetStream(stream_id, 11, 5)]
    with pytest.raises(StreamStopped) as stopped:
        a.write(stream_id, b"more")
    assert stopped.value.code == 11
    deliver(answer.payload, b)
    stop.lost()
    assert not b.has_pending
    assert b.poll_events() == [StreamOpened(stream_id), StreamReadable(stream_id)]


@pytest.mark.spec("STREAM-18")
def test_lost_limits_are_sent_again_with_current_values_and_only_the_latest():
    a, b = pair(Limits(1000, 1000, 8))
    stream_id = a.open()
    a.write(stream_id, b"x" * 5000)
    exchange(a, b)
    b.read(stream_id, 500)
    first = packet(b)
    assert frames(first.payload) == [MaxStreamData(stream_id, 1500), MaxData(2000)]
    deliver(first.payload, a)
    exchange(a, b)
    b.read(stream_id, 900)
    second = packet(b)
    assert frames(second.payload) == [MaxStreamData(stream_id, 2400), MaxData(2900)]
    first.lost()
    assert not b.has_pending
    b.read(stream_id, 50)
    second.lost()
    assert frames(packet(b).payload) == [MaxStreamData(stream_id, 2450), MaxData(2950)]


@pytest.mark.spec("STREAM-18")
def test_a_lost_stream_limit_is_pointless_once_the_end_is_known():
    a, b = pair(Limits(1000, 100, 8))
    stream_id = a.open()
    a.write(stream_id, b"x" * 100)
    exchange(a, b)
    b.read(stream_id, 100)
    sent = packet(b)
    assert frames(sent.payload) == [MaxStreamData(stream_id, 200)]
    b.handle_stream(stream_id, 100, b"", True)
    sent.lost()
    assert not b.has_pending


@pytest.mark.spec("STREAM-18")
def test_lost_stream_counts_are_sent_again():
    a, b = pair(Limits(initial_max_streams=2))
    stream_id = a.open()
    finish(a, stream_id)
    exchange(a, b)
    b.read(stream_id, 1)
    finish(b, stream_id)
    packet(b).acked()
    sent = packet(b)
    assert frames(sent.payload) == [MaxStreams(3)]
    sent.lost()
    assert sent_frames(b) == [MaxStreams(3)]


# packets


@pytest.mark.spec("STREAM-21")
@pytest.mark.parametrize("room", range(40, 140))
def test_a_frame_without_length_fills_its_packet(room):
    a, b = pair(WIDE)
    ids = [a.open() for _ in range(3)]
    data = {stream_id: bytes([stream_id]) * (70 + stream_id) for stream_id in ids}
    for stream_id in ids:
        finish(a, stream_id, data[stream_id])
    while sent := packet(a, room):
        deliver(sent.payload, b)
        assert len(sent.payload) <= room
    assert {stream_id: b.read(stream_id, 1000) for stream_id in ids} == data
    assert all(b.at_eof(stream_id) for stream_id in ids)


def test_control_frames_that_do_not_fit_wait_for_the_next_packet():
    a, _ = pair()
    ids = [a.open() for _ in range(8)]
    for stream_id in ids:
        a.reset(stream_id, 1 << 40)
    sent = []
    while a.has_pending:
        sent += sent_frames(a, room=40)
    assert [frame.stream_id for frame in sent] == ids


@pytest.mark.spec("STREAM-22")
def test_streams_take_turns():
    a, _ = pair(WIDE)
    ids = [a.open() for _ in range(4)]
    for stream_id in ids:
        a.write(stream_id, bytes(5000))
    order = [frame[0] for _ in range(12) for frame in sent_frames(a, room=500)]
    assert order == ids * 3


@pytest.mark.spec("STREAM-22")
def test_a_large_packet_is_shared():
    a, _ = pair(WIDE)
    ids = [a.open() for _ in range(3)]
    for stream_id in ids:
        a.write(stream_id, bytes(100_000))
    sent = sent_frames(a, room=60_000)
    assert [(frame[0], len(frame[2])) for frame in sent][:3] == [(i, QUANTUM) for i in ids]


@pytest.mark.spec("STREAM-6")
def test_lost_bytes_go_before_new_ones():
    a, _ = pair(WIDE)
    first, second = a.open(), a.open()
    a.write(first, b"x" * 100)
    sent = packet(a)
    a.write(second, b"y" * 100)
    sent.lost()
    assert [frame[0] for frame in sent_frames(a)] == [first, second]


# the hot path


def bulk(streams, room):
    chunk = streams.bulk_chunk(room)
    if chunk is None:
        return None
    head, data, record = chunk
    payload = head + data
    assert len(payload) == room
    (frame,) = frames(payload)
    assert record[1:] == (frame[1], frame[1] + len(frame[2]), 0)
    return payload


@pytest.mark.parametrize("room", [64, 1431, 60_000])
def test_bulk_chunks_and_packets_together_carry_everything(room):
    a, b = pair(WIDE)
    stream_id = a.open()
    data = bytes(n % 251 for n in range(200_000))
    for start in range(0, len(data), 30_000):
        a.write(stream_id, data[start : start + 30_000])
    a.finish(stream_id)
    count = 0
    while (payload := bulk(a, room)) is not None:
        deliver(payload, b)
        count += 1
    assert count >= len(data) // room - 1
    while sent := packet(a, room):
        deliver(sent.payload, b)
    assert b.read(stream_id, 1 << 20) == data
    assert b.at_eof(stream_id)


def test_bulk_chunks_of_several_streams_take_turns():
    a, _ = pair(WIDE)
    ids = [a.open() for _ in range(3)]
    for stream_id in ids:
        a.write(stream_id, bytes(10_000))
    order = [frames(bulk(a, 1000))[0][0] for _ in range(9)]
    assert order == ids * 3


def test_bulk_leaves_to_packets_what_needs_thought():
    a, _ = pair(Limits(5000, 4000, 8))
    assert a.bulk_chunk(1000) is None
    first, second = a.open(), a.open()
    a.write(first, bytes(900))
    assert a.bulk_chunk(1000) is None
    a.write(first, bytes(9000))
    for _ in range(3):
        assert bulk(a, 1000) is not None
    # less than a packet within the stream's limit
    assert a.bulk_chunk(1100) is None
    assert frames(packet(a, 1200).payload)[0][1:3] == (2982, bytes(1018))
    # STREAM_DATA_BLOCKED is due
    assert a.bulk_chunk(1000) is None
    packet(a)
    # more than the connection's credit
    a.write(second, bytes(4000))
    assert a.bulk_chunk(1100) is None
    assert bulk(a, 1000) is not None
    # a lost frame
    a.handle_max_data(MaxData(9000))
    assert a.bulk_chunk(1000) is not None
    a.reset(second, 1)
    assert a.bulk_chunk(1000) is None


def test_bulk_says_when_a_limit_is_reached():
    a, _ = pair(Limits(2000, 1 << 20, 8))
    stream_id = a.open()
    a.write(stream_id, bytes(5000))
    assert bulk(a, 1000) is not None
    assert bulk(a, 2000 - 994 + 6) is not None
    assert sent_frames(a) == [DataBlocked(2000)]


def test_far_offsets_are_written_in_eight_bytes():
    a, _ = pair(Limits(1 << 40, 1 << 40, 8))
    stream_id = a.open()
    a.write(stream_id, bytes(5000))
    stream = a._send[stream_id]
    stream.next_offset = stream._base = stream._buffer.end = 1 << 30
    stream._buffer._chunks.clear()
    stream._buffer._starts.clear()
    a.write(stream_id, bytes(5000))
    assert frames(bulk(a, 1000))[0][1] == 1 << 30


RESERVING = Limits(1 << 20, 1 << 20, 8)
"""Large enough for a reserve, of an eighth."""
RESERVE = RESERVING.initial_max_data // 8


def sent_until_blocked(streams, room=1200):
    """Returns how many bytes of data the streams send, and what they say besides."""
    count, said = 0, []
    while True:
        payload = bulk(streams, room)
        if payload is None:
            sent = packet(streams, room)
            if sent is None:
                return count, said
            payload = sent.payload
        for frame in frames(payload):
            if type(frame) is tuple:
                count += len(frame[2])
            else:
                said.append(frame)


@pytest.mark.spec("STREAM-24")
@pytest.mark.spec("STREAM-17")
def test_streams_with_much_to_send_keep_off_the_reserve_and_say_that_they_wait():
    a, _ = pair(RESERVING)
    ids = [a.open() for _ in range(2)]
    for stream_id in ids:
        a.write(stream_id, bytes(1 << 20))
    assert sent_until_blocked(a) == ((1 << 20) - RESERVE, [DataBlocked(1 << 20)])
    assert not a.has_pending
    little = a.open()
    a.write(little, bytes(1000))
    assert sent_until_blocked(a) == (1000, [])
    a.handle_max_data(MaxData(2 << 20))
    assert sent_until_blocked(a)[0] == (1 << 20) - 1000


@pytest.mark.spec("STREAM-24")
@pytest.mark.parametrize("room", [1200, 60_000])
def test_a_new_stream_with_much_to_send_gets_a_little_of_the_reserve(room):
    """Also where it is the only one that its own limit lets send."""
    a, _ = pair(RESERVING._replace(initial_max_stream_data=(1 << 20) - RESERVE))
    first, second = a.open(), a.open()
    a.write(first, bytes(1 << 20))
    sent_until_blocked(a)
    a.write(second, bytes(1 << 20))
    got, _ = sent_until_blocked(a, room)
    assert LITTLE_DATA <= got < LITTLE_DATA + 1200


@pytest.mark.spec("STREAM-23")
def test_the_reserve_is_renewed_once_half_of_it_is_gone_though_nothing_was_read():
    _, b = pair(RESERVING)
    size = RESERVING.initial_max_data
    b.handle_stream(0, 0, bytes(size - RESERVE // 2), False)
    assert sent_frames(b) == []
    b.handle_stream(2, 0, b"x", False)
    assert sent_frames(b) == [MaxData(size + RESERVE // 2 + 1)]
    assert sent_frames(b) == []


@pytest.mark.spec("STREAM-23")
def test_a_stream_that_ends_by_reset_renews_the_reserve_too():
    _, b = pair(Limits(1 << 20, 2 << 20, 8))
    size = 1 << 20
    b.handle_stream(0, 0, bytes(size - RESERVE), False)
    b.handle_reset_stream(ResetStream(2, 0, RESERVE // 2 + 1))
    assert MaxData(size + RESERVE // 2 + 1) in sent_frames(b)


@pytest.mark.spec("STREAM-23")
def test_a_window_too_small_for_a_reserve_has_none():
    a, _ = pair(Limits(100_000, 1 << 20, 8))
    a.write(a.open(), bytes(1 << 20))
    assert sent_until_blocked(a)[0] == 100_000


@pytest.mark.spec("STREAM-19")
def test_what_is_sent_again_and_an_end_need_no_credit():
    a, b = pair(Limits(1000, 1000, 8))
    first, second = a.open(), a.open()
    a.write(first, bytes(1000))
    lost = packet(a)
    assert len(frames(lost.payload)[0][2]) == 1000
    lost.lost()
    again = packet(a)
    assert frames(again.payload)[0] == (first, 0, bytes(1000), False)
    a.finish(first)
    a.finish(second)
    sent = frames(packet(a).payload)
    assert (first, 1000, b"", True) in sent
    assert (second, 0, b"", True) in sent
    deliver(again.payload, b)
    assert b.read(first, 2000) == bytes(1000)


@pytest.mark.spec("STREAM-25")
def test_a_peer_that_is_held_back_goes_on_with_a_small_window() -> None:
    a, b = pair(Limits(4 << 20, 4 << 20, 8))
    stream_id = a.open()
    window = b.held.window
    sent = read = 0
    for turn in range(400):
        b.hold_back(turn >= 20)
        sent += a.write(stream_id, bytes(200_000))
        exchange(a, b)
        read += len(b.read(stream_id, 100_000))
    assert window.size == HELD_BACK_WINDOW
    assert window.received - window.consumed <= HELD_BACK_WINDOW
    assert read > 20 << 20
    b.hold_back(False)
    assert window.maximum == MAX_CONNECTION_WINDOW


@pytest.mark.spec("STREAM-25")
def test_all_streams_of_a_connection_keep_no_more_to_send_than_a_peer_may_cost() -> None:
    a, b = pair(WIDE)
    ids = [a.open() for _ in range(100)]
    taken = [a.write(stream_id, bytes(SEND_BUFFER_SIZE)) for stream_id in ids]
    assert set(taken) == {SEND_BUFFER_SIZE, LITTLE_BUFFER}
    assert a.held.to_send <= MAX_TO_SEND + SEND_BUFFER_SIZE + 100 * LITTLE_BUFFER
    a.poll_events()
    exchange(a, b)
    writable = {e.stream_id for e in a.poll_events() if isinstance(e, StreamWritable)}
    short = [n for n, size in zip(ids, taken, strict=True) if size == LITTLE_BUFFER]
    assert writable == set(short)
    assert a.write(short[-1], bytes(SEND_BUFFER_SIZE)) == SEND_BUFFER_SIZE


def test_what_is_forsaken_is_freed_and_seems_neither_whole_nor_readable() -> None:
    a, b = pair(WIDE)
    stream_id = a.open()
    finish(a, stream_id, bytes(10_000))
    exchange(a, b)
    b.write(stream_id, bytes(10_000))
    b.handle_stream(stream_id + 2, 5000, bytes(1000), False)
    b.forsake()
    assert b.count_held() == 2 * STREAM_SIZE
    assert b.read(stream_id, 100) == b""
    assert not b.at_eof(stream_id)


@pytest.mark.spec("STREAM-1")
def test_ids_count_above_the_bits_of_their_kind_and_other_kinds_are_not_allowed() -> None:
    """As QUIC's: the second bit is that of unidirectional streams, which libp2p has none of."""
    a = StreamSet(True, WIDE, WIDE, 0.0, kind_bits=2)
    b = StreamSet(False, WIDE, WIDE, 0.0, kind_bits=2)
    assert [a.open(), a.open(), b.open(), b.open()] == [0, 4, 1, 5]
    b.handle_stream(8, 0, b"x", False)
    assert [e.stream_id for e in b.poll_events() if isinstance(e, StreamOpened)] == [0, 4, 8]
    refusals = [
        refused(lambda kind=kind: b.handle_stream(kind, 0, b"x", False)) for kind in (2, 3, 7)
    ]
    state, limit = ErrorCode.STREAM_STATE_ERROR, ErrorCode.STREAM_LIMIT_ERROR
    assert refusals == [(limit, FrameType.STREAM), *[(state, FrameType.STREAM)] * 2]
