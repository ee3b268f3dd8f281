"""Streams over a session that behaves, and bytes made by hand from the format."""

import pytest

from p2pnode.errors import ClosedByPeer, ClosedLocally, LocalProtocolError, StreamReset
from p2pnode.errors import StreamStopped as Stopped
from p2pnode.transports.stream_events import (
    StreamFinished,
    StreamOpened,
    StreamReadable,
    StreamResetByPeer,
    StreamsAvailable,
    StreamStoppedByPeer,
    StreamWritable,
)
from p2pnode.transports.stream_upgrade.yamux import YamuxSession
from p2pnode.transports.stream_upgrade.yamux.frame import GoAwayCode
from p2pnode.transports.stream_upgrade.yamux.send_half import SEND_BUFFER_SIZE
from p2pnode.transports.stream_upgrade.yamux.streams import MAX_DROPPED, MAX_UNACKNOWLEDGED
from p2pnode.transports.stream_upgrade.yamux.writer import MAX_FRAME, QUANTUM
from p2pnode.wire.reset_code import StreamResetCode
from tests.support.yamux import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    ROOM,
    RST,
    SYN,
    UPDATE,
    WINDOW,
    Pair,
    frame,
    frames,
    said,
)


@pytest.mark.spec("YAMUX-3")
@pytest.mark.spec("YAMUX-13")
def test_the_bytes_of_a_stream_are_those_of_the_page():
    session = YamuxSession(True, now=0.0)
    stream = session.streams.open()
    assert stream == 1
    session.streams.write(stream, b"hello")
    session.streams.finish(stream)
    output = session.poll_output(ROOM, 0.0)

    assert output[12:].hex() == (
        "000100010000000100000000"
        + "00000000000000010000000568656c6c6f"
        + "000100040000000100000000"
        # and behind the end the ping that proves it, once the first is answered
    )


def test_a_stream_carries_bytes_and_an_end_each_way():
    pair = Pair()
    stream = pair.open()
    assert [type(event) for event in pair.server_events] == [StreamOpened]
    pair.client.streams.write(stream, b"question")
    pair.client.streams.finish(stream)
    pair.exchange()
    assert pair.server.streams.read(stream, 100) == b"question"
    assert pair.server.streams.at_eof(stream)
    pair.server.streams.write(stream, b"answer")
    pair.server.streams.finish(stream)
    pair.exchange()

    assert pair.client.streams.read(stream, 3) == b"ans"
    assert pair.client.streams.read(stream, 100) == b"wer"
    assert pair.client.streams.at_eof(stream)
    kinds = [type(event) for event in pair.server_events]
    assert kinds.count(StreamOpened) == kinds.count(StreamFinished) == 1
    assert StreamReadable in kinds
    assert len(pair.client.streams) == len(pair.server.streams) == 0
    assert pair.client.streams.held.total == pair.server.streams.held.total == 0


@pytest.mark.spec("YAMUX-9")
def test_finished_is_said_when_a_ping_behind_the_end_is_answered():
    pair = Pair()
    stream = pair.open()
    ending = pair.client.streams.sending(stream)
    pair.client.streams.finish(stream)
    there = pair.client.poll_output(ROOM, pair.now)
    assert not ending.is_delivered
    assert pair.client.poll_events() == []

    pair.server.handle_data(there, pair.now)
    pair.exchange()

    assert [type(event) for event in pair.client_events] == [StreamFinished]
    assert ending.is_delivered


@pytest.mark.spec("YAMUX-9")
def test_one_ping_proves_the_ends_of_many_streams():
    pair = Pair()
    streams = [pair.open() for _ in range(10)]
    for stream in streams:
        pair.client.streams.finish(stream)
    output = frames(pair.client.poll_output(ROOM, pair.now))

    assert [(kind, flags) for kind, flags, *_ in output] == [(UPDATE, FIN)] * 10 + [(2, SYN)]


@pytest.mark.spec("YAMUX-3")
@pytest.mark.parametrize("kind", [DATA, UPDATE])
def test_a_stream_is_opened_by_either_kind_of_frame(kind):
    session = YamuxSession(False, now=0.0)
    session.handle_data(frame(kind, SYN, 1), 0.0)

    assert session.poll_events() == [StreamOpened(1)]
    assert said(session) == [(UPDATE, ACK, 1, 0, b"")]


@pytest.mark.spec("YAMUX-3")
def test_data_may_come_with_the_opening_and_the_end():
    session = YamuxSession(False, now=0.0)
    session.handle_data(frame(DATA, SYN | FIN, 1, data=b"all"), 0.0)

    assert [type(event) for event in session.poll_events()] == [StreamOpened, StreamReadable]
    assert session.streams.read(1, 10) == b"all"
    assert session.streams.at_eof(1)


def test_bytes_may_be_cut_anywhere():
    data = (
        frame(DATA, SYN, 1, data=b"some")
        + frame(UPDATE, SYN, 3, 5)
        + frame(DATA, FIN, 1, data=b" more")
        + frame(DATA, FIN, 3)
    )
    for size in range(1, len(data) + 1):
        session = YamuxSession(False, now=0.0)
        events = []
        for at in range(0, len(data), size):
            session.handle_data(data[at : at + size], 0.0)
            events += session.poll_events()
        assert not session.is_over
        assert session.streams.read(1, 100) == b"some more"
        assert session.streams.at_eof(1)
        assert session.streams.read(3, 100) == b""
        assert session.streams.at_eof(3)
        told = [(type(event), event.stream_id) for event in events]
        assert told.count((StreamOpened, 1)) == told.count((StreamOpened, 3)) == 1
        assert (StreamReadable, 1) in told
        assert told[-1] == (StreamReadable, 3)


def test_readable_is_said_once_as_long_as_there_are_bytes():
    pair = Pair()
    stream = pair.open()
    for _ in range(3):
        pair.server.streams.write(stream, b"x")
        pair.exchange()
    assert [type(event) for event in pair.client_events] == [StreamReadable]
    pair.client.streams.read(stream, 2)
    assert pair.client.poll_events() == []
    pair.client.streams.read(stream, 2)
    pair.server.streams.write(stream, b"x")
    pair.exchange()

    assert [type(event) for event in pair.client_events] == [StreamReadable] * 2


@pytest.mark.parametrize("spare", [0, 1, 11, 12, 24])
def test_an_end_that_finds_no_room_follows(spare):
    pair = Pair()
    stream = pair.open()
    pair.client.streams.write(stream, bytes(5000))
    pair.client.streams.finish(stream)
    first = frames(pair.client.poll_output(12 + 5000 + spare, pair.now))
    assert [found[3] for found in first if found[0] == DATA] == [5000]
    assert pair.client.has_output is (spare < 24)
    rest = frames(pair.client.poll_output(ROOM, pair.now))

    assert [found[:3] for found in first + rest].count((UPDATE, FIN, stream)) == 1


@pytest.mark.spec("YAMUX-4")
@pytest.mark.parametrize("known_by", [(UPDATE, ACK), (DATA, ACK), (DATA, 0), (UPDATE, RST)])
def test_no_more_streams_than_may_be_unacknowledged(known_by):
    session = YamuxSession(True, now=0.0)
    for _ in range(MAX_UNACKNOWLEDGED):
        assert session.streams.open() is not None
    assert session.streams.open() is None
    session.poll_output(ROOM, 0.0)

    kind, flags = known_by
    session.handle_data(frame(kind, flags, 3), 0.0)

    assert session.poll_events().count(StreamsAvailable()) == 1
    assert session.streams.open() == 2 * MAX_UNACKNOWLEDGED + 1
    assert session.streams.open() is None


@pytest.mark.spec("YAMUX-7")
def test_no_more_is_sent_than_the_window():
    session = YamuxSession(True, now=0.0)
    stream = session.streams.open()
    assert stream is not None
    assert session.streams.write(stream, bytes(SEND_BUFFER_SIZE + 1)) == SEND_BUFFER_SIZE
    sent = [found for found in said(session) if found[0] == DATA]
    assert sum(found[3] for found in sent) == WINDOW
    assert not session.has_output

    session.handle_data(frame(UPDATE, ACK, stream, 1000), 0.0)

    assert [found[3] for found in said(session)] == [1000]


@pytest.mark.spec("YAMUX-8")
def test_credit_comes_back_for_what_was_read_and_not_before():
    pair = Pair()
    stream = pair.open()
    pair.client.streams.write(stream, bytes(SEND_BUFFER_SIZE))
    pair.exchange()
    assert pair.server.streams.unread == WINDOW
    assert said(pair.server, pair.now) == []

    assert len(pair.server.streams.read(stream, WINDOW // 2 - 1)) == WINDOW // 2 - 1
    assert said(pair.server, pair.now) == []
    pair.server.streams.read(stream, 1)

    assert said(pair.server, pair.now + 9) == [(UPDATE, 0, stream, WINDOW // 2, b"")]


@pytest.mark.spec("YAMUX-8")
def test_a_window_that_is_read_fast_grows_and_falls_back_where_memory_is_tight():
    pair = Pair()
    stream = pair.open()
    for _ in range(60):
        pair.client.streams.write(stream, bytes(SEND_BUFFER_SIZE))
        pair.exchange(1)
        pair.server.streams.read(stream, ROOM)
    grown = pair.server.streams._recv[stream].window
    assert grown.size >= 4 * WINDOW

    pair.server.streams.hold_back(True)
    before = grown.limit
    for _ in range(20):
        pair.client.streams.write(stream, bytes(SEND_BUFFER_SIZE))
        pair.exchange(1)
        pair.server.streams.read(stream, ROOM)

    assert grown.size == WINDOW
    assert grown.limit > before
    assert grown.limit - grown.consumed <= WINDOW


def test_writable_is_said_once_half_of_the_buffer_is_free():
    pair = Pair()
    stream = pair.open()
    assert pair.client.streams.write(stream, bytes(2 * SEND_BUFFER_SIZE)) == SEND_BUFFER_SIZE
    while StreamWritable not in map(type, pair.client_events):
        waiting = pair.client.streams.sending(stream).waiting
        pair.exchange(1)
        assert pair.server.streams.read(stream, ROOM) or pair.now < 1.0

    assert waiting > SEND_BUFFER_SIZE // 2
    assert pair.client.streams.sending(stream).waiting <= SEND_BUFFER_SIZE // 2


@pytest.mark.spec("YAMUX-10")
def test_a_reset_ends_both_directions_and_tells_the_code():
    pair = Pair()
    stream = pair.open()
    pair.server.streams.write(stream, b"unread")
    pair.exchange()
    pair.client.streams.reset(stream, 0x1004)
    assert pair.client.poll_events() == [StreamResetByPeer(stream, 0x1004)]
    with pytest.raises(StreamReset):
        pair.client.streams.read(stream, 1)
    assert not pair.client.streams.is_known(stream)
    pair.exchange()

    assert pair.server_events[-2:] == [(stream, 0x1004)] * 2
    kinds = [type(event) for event in pair.server_events[-2:]]
    assert kinds == [StreamResetByPeer, StreamStoppedByPeer]
    with pytest.raises(Stopped) as stopped:
        pair.server.streams.write(stream, b"x")
    assert stopped.value.code == 0x1004
    with pytest.raises(StreamReset):
        pair.server.streams.read(stream, 1)
    assert not pair.server.streams.is_known(stream)


@pytest.mark.spec("YAMUX-10")
def test_behind_our_end_a_reset_sends_nothing_and_the_peer_reads_all():
    pair = Pair()
    stream = pair.open()
    pair.client.streams.write(stream, b"last words")
    pair.client.streams.finish(stream)
    there = pair.client.poll_output(ROOM, pair.now)
    pair.client.streams.reset(stream, 1)
    pair.client.streams.stop(stream, 1)
    pair.server.handle_data(there + pair.client.poll_output(ROOM, pair.now), pair.now)

    assert pair.server.streams.read(stream, 100) == b"last words"
    assert pair.server.streams.at_eof(stream)


@pytest.mark.spec("YAMUX-10")
def test_a_code_that_does_not_fit_is_told_as_such():
    pair = Pair()
    stream = pair.open()
    pair.client.streams.reset(stream, 1 << 40)

    code = StreamResetCode.CODE_OUT_OF_RANGE
    assert said(pair.client, pair.now) == [(UPDATE, RST, stream, code, b"")]


def test_a_stream_that_is_given_up_before_its_first_frame_is_never_heard_of():
    session = YamuxSession(True, now=0.0)
    stream = session.streams.open()
    assert stream is not None
    session.streams.write(stream, b"x")
    session.streams.reset(stream, 0)
    session.streams.stop(stream, 0)

    assert said(session) == []
    assert len(session.streams) == 0
    assert session.streams.held.total == 0


@pytest.mark.spec("YAMUX-11")
def test_a_stream_that_nobody_reads_any_more_does_not_hang_its_writer():
    pair = Pair()
    stream = pair.open()
    pair.server.streams.stop(stream, 0)
    written = 0
    while written < 4 * MAX_DROPPED:
        written += pair.client.streams.write(stream, bytes(SEND_BUFFER_SIZE))
        pair.exchange()
        assert pair.now < 60.0, "the writer hangs"
    pair.client.streams.finish(stream)
    pair.server.streams.write(stream, b"answer")
    pair.exchange()

    assert pair.client.streams.read(stream, 10) == b"answer"
    assert pair.server.streams.unread == 0


@pytest.mark.spec("YAMUX-11")
def test_who_goes_on_sending_to_nobody_is_reset():
    pair = Pair()
    stream = pair.open()
    pair.server.streams.finish(stream)
    pair.exchange()
    pair.server.streams.stop(stream, 5)
    written = 0
    while StreamStoppedByPeer(stream, 5) not in pair.client_events:
        written += pair.client.streams.write(stream, bytes(WINDOW // 2))
        pair.exchange()
        assert written < 4 * MAX_DROPPED

    assert written > MAX_DROPPED
    assert len(pair.server.streams) == 0


@pytest.mark.spec("YAMUX-12")
def test_streams_have_a_frame_each_in_turn():
    session = YamuxSession(True, now=0.0)
    streams = [session.streams.open() for _ in range(3)]
    for stream in streams:
        assert stream is not None
        session.streams.write(stream, bytes(100_000))
    data = [found for found in said(session) if found[0] == DATA]

    assert [found[2] for found in data[:6]] == [1, 3, 5, 1, 3, 5]
    assert all(found[3] <= QUANTUM for found in data[:18])


@pytest.mark.spec("YAMUX-12")
@pytest.mark.parametrize("room", [13, 30, 100, 5000, 65519, ROOM])
def test_frames_are_whole_and_fit_the_room(room):
    session = YamuxSession(True, now=0.0)
    stream = session.streams.open()
    assert stream is not None
    data = bytes(range(256)) * 40
    session.streams.write(stream, data)
    got = b""
    for _ in range(20_000):
        output = session.poll_output(room, 0.0)
        assert len(output) <= room
        got += b"".join(found[4] for found in frames(output))
        if not output:
            break

    assert got == data


@pytest.mark.spec("YAMUX-12")
def test_one_stream_alone_sends_the_longest_frames():
    session = YamuxSession(True, now=0.0)
    stream = session.streams.open()
    assert stream is not None
    session.streams.write(stream, bytes(WINDOW))
    data = [found for found in said(session) if found[0] == DATA]

    assert data[0][3] + 12 == MAX_FRAME


@pytest.mark.spec("YAMUX-16")
def test_go_away_is_the_last_frame():
    pair = Pair()
    stream = pair.open()
    pair.client.streams.write(stream, b"lost")
    pair.client.go_away()

    assert pair.client.is_over
    assert isinstance(pair.client.failure, ClosedLocally)
    assert pair.client.poll_output(11, pair.now) == b""
    assert said(pair.client, pair.now) == [(GO_AWAY, 0, 0, 0, b"")]
    assert not pair.client.has_output
    assert pair.client.streams.open() is None


@pytest.mark.spec("YAMUX-16")
def test_a_peer_that_goes_takes_no_more_streams_and_ends_those_it_has():
    pair = Pair()
    stream = pair.open()
    pair.client.handle_data(frame(GO_AWAY, 0, 0, GoAwayCode.NORMAL), pair.now)
    assert pair.client.streams.open() is None
    pair.server.streams.write(stream, b"still")
    pair.exchange()

    assert pair.client.streams.read(stream, 10) == b"still"
    assert not pair.client.is_over


@pytest.mark.spec("YAMUX-16")
@pytest.mark.parametrize("code", [1, 2, 77])
def test_a_peer_that_goes_for_an_error_has_ended_the_session(code):
    pair = Pair()
    pair.client.handle_data(frame(GO_AWAY, 0, 0, code), pair.now)

    assert pair.client.is_over
    assert isinstance(pair.client.failure, ClosedByPeer)
    assert pair.client.failure.code == code
    assert not pair.client.has_output


@pytest.mark.spec("YAMUX-17")
def test_what_has_come_is_read_after_the_link_is_lost_and_has_no_end():
    pair = Pair()
    stream = pair.open()
    pair.server.streams.write(stream, b"have come")
    pair.exchange()
    pair.client.on_link_lost()

    assert pair.client.is_over
    assert pair.client.streams.is_left
    assert not pair.client.has_output
    assert pair.client.streams.read(stream, 100) == b"have come"
    assert not pair.client.streams.at_eof(stream)
    assert not pair.client.streams.has_pending


def test_what_the_state_forbids_is_the_callers_mistake():
    pair = Pair()
    stream = pair.open()
    pair.client.streams.finish(stream)
    with pytest.raises(LocalProtocolError):
        pair.client.streams.write(stream, b"x")
    with pytest.raises(LocalProtocolError):
        pair.client.streams.finish(stream)
    with pytest.raises(LocalProtocolError):
        pair.client.streams.write(99, b"x")
    pair.client.streams.reset(99, 0)
    pair.client.streams.stop(99, 0)
    assert pair.client.streams.read(99, 1) == b""
