"""What a peer may send that no friend would."""

import pytest

from p2pnode.errors import ClosedForViolation
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.stream_events import StreamOpened, StreamResetByPeer
from p2pnode.transports.stream_upgrade.yamux import YamuxSession
from p2pnode.transports.stream_upgrade.yamux.send_half import SEND_BUFFER_SIZE
from p2pnode.transports.stream_upgrade.yamux.streams import MAX_RESETS, MAX_STREAMS
from p2pnode.transports.work import CONTROL_FRAME_WORK, STREAM_WORK
from p2pnode.wire.reset_code import StreamResetCode
from tests.support.yamux import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    PING,
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


def violated(session: YamuxSession) -> int | None:
    """Returns the code of the violation that ended a session, which says GO_AWAY 1 and no more."""
    if session.failure is None:
        return None
    assert isinstance(session.failure, ClosedForViolation)
    assert session.is_over
    assert session.has_output
    assert frames(session.poll_output(ROOM, 0.0)) == [(GO_AWAY, 0, 0, 1, b"")]
    assert not session.has_output
    session.handle_data(frame(UPDATE, SYN, 101), 0.0)
    assert session.streams.open() is None
    return session.failure.code


@pytest.mark.spec("YAMUX-1")
@pytest.mark.parametrize(
    "wrong",
    [
        "010200010000000000000000",
        "ff0000010000000100000000",
        "000400000000000100000000",
        "00ff00000000000000000000",
        frame(DATA, SYN, 0).hex(),
        frame(DATA, 0, 0, data=b"x").hex(),
        frame(PING, SYN, 1).hex(),
        frame(GO_AWAY, 0, 1).hex(),
    ],
)
def test_what_is_no_frame_ends_the_session(wrong):
    session = YamuxSession(False, now=0.0)
    session.handle_data(bytes.fromhex(wrong), 0.0)

    assert violated(session) == ErrorCode.PROTOCOL_VIOLATION


@pytest.mark.spec("YAMUX-1")
def test_unknown_flags_and_a_window_update_of_the_session_are_ignored():
    session = YamuxSession(False, now=0.0)
    session.handle_data(frame(UPDATE, 0xFFF0 | SYN, 1) + frame(UPDATE, 0xFFFF, 0, 5), 0.0)
    session.handle_data(frame(PING, 0xFFF0, 0) + frame(DATA, 0x8000, 1, data=b"data"), 0.0)

    assert violated(session) is None
    assert session.streams.read(1, 10) == b"data"


@pytest.mark.spec("YAMUX-2")
@pytest.mark.parametrize("is_initiator", [True, False])
@pytest.mark.parametrize("kind", [DATA, UPDATE])
def test_a_stream_of_the_wrong_parity_ends_the_session(is_initiator, kind):
    session = YamuxSession(is_initiator, now=0.0)
    session.handle_data(frame(kind, SYN, 1 if is_initiator else 2), 0.0)

    assert violated(session) == ErrorCode.STREAM_STATE_ERROR


@pytest.mark.spec("YAMUX-2")
@pytest.mark.parametrize("between", [b"", frame(UPDATE, RST, 1)])
def test_a_stream_that_is_opened_twice_ends_the_session(between):
    session = YamuxSession(False, now=0.0)
    session.handle_data(frame(UPDATE, SYN, 1) + between + frame(DATA, SYN, 1), 0.0)

    assert violated(session) == ErrorCode.STREAM_STATE_ERROR


@pytest.mark.spec("YAMUX-7")
@pytest.mark.parametrize("sizes", [[WINDOW + 1], [WINDOW, 1], [2**32 - 1]])
def test_data_beyond_the_window_ends_the_session(sizes):
    session = YamuxSession(False, now=0.0)
    session.handle_data(frame(UPDATE, SYN, 1), 0.0)
    for size in sizes:
        assert not session.is_over
        session.handle_data(frame(DATA, 0, 1, size), 0.0)
        if size <= WINDOW:
            session.handle_data(bytes(size), 0.0)

    assert violated(session) == ErrorCode.FLOW_CONTROL_ERROR


@pytest.mark.spec("YAMUX-7")
def test_a_window_that_overflows_ends_the_session():
    pair = Pair()
    stream = pair.open()
    pair.client.handle_data(frame(UPDATE, 0, stream, 2**32 - 1 - WINDOW), pair.now)
    assert not pair.client.is_over
    pair.client.handle_data(frame(UPDATE, 0, stream, 1), pair.now)

    assert violated(pair.client) == ErrorCode.FLOW_CONTROL_ERROR


def test_data_behind_the_end_ends_the_session():
    session = YamuxSession(False, now=0.0)
    session.handle_data(frame(DATA, SYN | FIN, 1, data=b"all"), 0.0)
    session.handle_data(frame(DATA, 0, 1, data=b"more"), 0.0)

    assert violated(session) == ErrorCode.FINAL_SIZE_ERROR


@pytest.mark.spec("YAMUX-6")
def test_frames_for_streams_that_are_not_known_are_ignored():
    pair = Pair()
    stream = pair.open()
    pair.client.streams.reset(stream, 0)
    pair.client.streams.stop(stream, 0)
    other = pair.open()
    late = (
        frame(DATA, 0, stream, data=bytes(50_000))
        + frame(UPDATE, FIN, stream, 7)
        + frame(UPDATE, RST, stream)
        + frame(DATA, ACK, 777, data=b"never was")
        + frame(DATA, FIN, 778, data=b"never was")
        + frame(DATA, 0, other, data=b"here")
    )
    for at in range(0, len(late), 777):
        pair.client.handle_data(late[at : at + 777], pair.now)

    assert violated(pair.client) is None
    assert pair.client.streams.read(other, 10) == b"here"
    assert pair.client.streams.unread == 0


@pytest.mark.parametrize("kind", [DATA, UPDATE])
def test_a_length_that_lies_keeps_nothing(kind):
    session = YamuxSession(False, now=0.0)
    session.handle_data(frame(kind, SYN, 1) + frame(UPDATE, RST, 1), 0.0)
    session.handle_data(frame(DATA, 0, 1, 16 * 1024 * 1024), 0.0)
    for _ in range(200):
        session.handle_data(bytes(65_536), 0.0)

    assert session.streams.unread == 0
    assert violated(session) is None
    session.handle_data(bytes(56 * 65_536) + frame(DATA, 0, 1, 16 * 1024 * 1024 + 1), 0.0)
    assert violated(session) == ErrorCode.FLOW_CONTROL_ERROR


@pytest.mark.spec("YAMUX-5")
def test_more_streams_than_allowed_are_reset_and_the_session_goes_on():
    session = YamuxSession(False, now=0.0, max_streams=2)
    opening = b"".join(frame(DATA, SYN, n, data=b"abc") for n in (1, 3, 5))
    session.handle_data(opening + frame(DATA, 0, 3, data=b"def"), 0.0)

    assert [e for e in session.poll_events() if isinstance(e, StreamOpened)] == [
        StreamOpened(1),
        StreamOpened(3),
    ]
    assert said(session)[0] == (UPDATE, RST, 5, StreamResetCode.RESOURCE_LIMIT, b"")
    assert session.streams.read(3, 10) == b"abcdef"
    session.streams.reset(1, 0)
    session.streams.stop(1, 0)
    session.handle_data(frame(UPDATE, SYN, 7), 0.0)
    assert session.poll_events() == [StreamOpened(7)]


@pytest.mark.slow
@pytest.mark.spec("YAMUX-18")
def test_a_million_streams_opened_and_reset_leave_nothing_behind():
    session = YamuxSession(False, now=0.0)
    stream, count, batch = 1, 0, 1000
    while count < 1_000_000:
        data = b"".join(
            frame(UPDATE, SYN, n) + frame(UPDATE, RST, n)
            for n in range(stream, stream + 2 * batch, 2)
        )
        session.handle_data(data, 0.0)
        events = session.poll_events()
        assert len(events) <= 3 * MAX_STREAMS
        for event in events:
            if isinstance(event, StreamResetByPeer):
                session.streams.stop(event.stream_id, 0)
        session.poll_output(ROOM, 0.0)
        stream += 2 * batch
        count += batch
        assert len(session.streams) == 0
        assert session.streams.held.total == 0

    assert violated(session) is None
    assert session.work.spent >= 2 * 1_000_000 * CONTROL_FRAME_WORK + 1000 * STREAM_WORK
    assert not session.streams.has_pending


@pytest.mark.spec("YAMUX-18")
def test_resets_that_nobody_takes_are_bounded():
    session = YamuxSession(False, now=0.0)
    for n in range(1, 2 * (MAX_STREAMS + MAX_RESETS) + 1, 2):
        session.handle_data(frame(UPDATE, SYN, n), 0.0)
    assert not session.is_over
    assert len(session.streams.resets) == MAX_RESETS

    session.handle_data(frame(UPDATE, SYN, 2 * (MAX_STREAMS + MAX_RESETS) + 1), 0.0)

    assert violated(session) == ErrorCode.ENHANCE_YOUR_CALM


@pytest.mark.spec("YAMUX-18")
def test_empty_frames_are_paid_for():
    session = YamuxSession(False, now=0.0)
    session.handle_data(frame(UPDATE, SYN, 1), 0.0)
    before, held = session.work.spent, session.streams.held.total
    session.handle_data(frame(DATA, 0, 1) * 5000 + frame(UPDATE, 0, 1) * 5000, 0.0)

    assert session.work.spent - before == 10_000 * CONTROL_FRAME_WORK
    assert session.streams.held.total == held
    assert len(said(session)) == 1


def test_tiny_pieces_are_held_as_they_are_accounted_for():
    session = YamuxSession(False, now=0.0)
    session.handle_data(frame(UPDATE, SYN, 1), 0.0)
    for _ in range(1000):
        session.handle_data(frame(DATA, 0, 1, data=b"x"), 0.0)

    assert len(session.streams._recv[1]._chunks) == 1
    assert session.streams.held.total == session.streams.count_held()


def test_a_peer_that_reads_nothing_stops_the_writer_at_a_bound():
    session = YamuxSession(True, now=0.0)
    stream = session.streams.open()
    assert stream is not None
    taken = sum(session.streams.write(stream, bytes(100_000)) for _ in range(100))
    session.poll_output(5 * WINDOW, 0.0)
    taken += sum(session.streams.write(stream, bytes(100_000)) for _ in range(100))

    assert taken == SEND_BUFFER_SIZE + WINDOW
    assert session.streams.held.to_send <= SEND_BUFFER_SIZE + WINDOW


def test_ends_that_are_never_acknowledged_are_forgotten_with_their_streams():
    session = YamuxSession(False, now=0.0)
    for n in range(1, 2001, 2):
        session.handle_data(frame(DATA, SYN | FIN, n), 0.0)
        session.streams.finish(n)
        session.streams.read(n, 1)
        session.poll_output(ROOM, 0.0)
        session.handle_data(frame(UPDATE, RST, n), 0.0)
        session.streams.stop(n, 0)
        session.poll_events()

    assert len(session.streams) == 0
    assert not session._pings._ended
    assert not session._pings._covered
