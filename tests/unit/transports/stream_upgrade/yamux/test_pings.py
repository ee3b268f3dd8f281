"""Signs of life and round trips."""

import pytest

from p2pnode.errors import IdleTimeout
from p2pnode.transports.stream_upgrade.yamux import YamuxSession
from p2pnode.transports.stream_upgrade.yamux.pings import KEEP_ALIVE, MAX_ANSWERS, PING_TIMEOUT
from tests.support.yamux import ACK, DATA, GO_AWAY, PING, ROOM, SYN, Pair, frame, frames, said


@pytest.mark.spec("YAMUX-15")
def test_the_first_frame_is_a_ping_and_its_answer_tells_the_round_trip():
    session = YamuxSession(True, now=5.0)
    [(kind, flags, stream, number, _)] = frames(session.poll_output(ROOM, 5.0))
    assert (kind, flags, stream) == (PING, SYN, 0)
    assert session.rtt is None

    session.handle_data(frame(PING, ACK, 0, number), 5.25)

    assert session.rtt == 0.25
    assert not session.has_output


@pytest.mark.spec("YAMUX-14")
def test_a_ping_is_answered_with_its_number_before_anything_else():
    pair = Pair()
    stream = pair.open()
    pair.server.streams.write(stream, b"data")

    pair.server.handle_data(frame(PING, SYN, 0, 0xDEADBEEF), pair.now)

    first, second = said(pair.server, pair.now)
    assert first == (PING, ACK, 0, 0xDEADBEEF, b"")
    assert second[0] == DATA


@pytest.mark.spec("YAMUX-14")
def test_answers_that_were_not_asked_for_mean_nothing():
    session = YamuxSession(True, now=0.0)
    [(*_, number, _)] = frames(session.poll_output(ROOM, 0.0))

    session.handle_data(frame(PING, ACK, 0, number + 1), 1.0)
    assert session.rtt is None
    session.handle_data(frame(PING, ACK, 0, number) * 3, 2.0)

    assert session.rtt == 2.0
    assert not session.is_over


@pytest.mark.spec("YAMUX-14")
@pytest.mark.spec("YAMUX-18")
def test_a_flood_of_pings_is_bounded_and_paid_for():
    session = YamuxSession(False, now=0.0)
    flood = frame(PING, SYN, 0, 7) * 5000 + frame(PING, ACK, 0, 9) * 5000
    for _ in range(10):
        session.handle_data(flood, 0.0)

    assert session.work.spent >= 100_000 * 5
    assert len(said(session)) == MAX_ANSWERS
    assert not session.is_over


@pytest.mark.spec("YAMUX-15")
def test_a_silent_peer_is_pinged_and_then_given_up():
    pair = Pair()
    pair.exchange()
    quiet_since = pair.client.last_received
    deadline = pair.client.poll_timeout()
    assert deadline is not None
    assert deadline.at == quiet_since + KEEP_ALIVE

    pair.client.handle_timeout(deadline.at - 0.001)
    assert not pair.client.has_output
    pair.client.handle_timeout(deadline.at)
    [(kind, flags, *_)] = frames(pair.client.poll_output(ROOM, deadline.at))
    assert (kind, flags) == (PING, SYN)
    deadline = pair.client.poll_timeout()
    assert deadline is not None
    pair.client.handle_timeout(deadline.at)

    assert deadline.at == quiet_since + KEEP_ALIVE + PING_TIMEOUT
    assert pair.client.is_over
    assert isinstance(pair.client.failure, IdleTimeout)
    assert [found[0] for found in said(pair.client)] == [GO_AWAY]
    assert pair.client.poll_timeout() is None


def test_data_is_a_sign_of_life_while_an_answer_waits_behind_it():
    session = YamuxSession(True, now=0.0)
    session.poll_output(ROOM, 0.0)
    for second in range(1, 100, 10):
        session.handle_timeout(float(second))
        session.handle_data(frame(DATA, 0, 2, data=b"x"), float(second))

    assert not session.is_over


def test_a_ping_that_finds_no_room_does_not_keep_a_silent_session_alive_or_awake():
    session = YamuxSession(True, now=0.0)
    deadline = session.poll_timeout()
    assert deadline is not None
    assert session.poll_output(5, 0.0) == b""
    assert deadline.at == KEEP_ALIVE + PING_TIMEOUT

    session.handle_timeout(deadline.at)

    assert isinstance(session.failure, IdleTimeout)


@pytest.mark.spec("YAMUX-15")
def test_one_ping_is_on_its_way_at_a_time():
    session = YamuxSession(True, now=0.0)
    session.ping()
    [(*_, number, _)] = frames(session.poll_output(ROOM, 0.0))
    session.ping()
    session.ping()
    assert session.poll_output(ROOM, 0.0) == b""

    session.handle_data(frame(PING, ACK, 0, number), 0.1)

    assert len(frames(session.poll_output(ROOM, 0.1))) == 1
