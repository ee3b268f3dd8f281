"""ping: both machines, stepped by hand."""

import random

import pytest

from p2pnode.errors import LocalProtocolError
from p2pnode.machine import ResetStream, SendData, SendEof
from p2pnode.protocols.ping import PingFailed, PingRequester, PingResponder, Pong


def requester() -> PingRequester:
    return PingRequester(random.Random(1).randbytes)


def sent(machine: PingRequester | PingResponder) -> bytes:
    return b"".join(o.data for o in machine.poll_output() if isinstance(o, SendData))


@pytest.mark.spec("PING-1")
@pytest.mark.spec("PING-2")
def test_pings_go_there_and_back_on_one_stream() -> None:
    ours, theirs = requester(), PingResponder(0.0)
    seen: list[bytes] = []
    for at in (0.0, 1.0, 2.0):
        ours.ping(at)
        data = sent(ours)
        theirs.handle_data(data, at + 0.02)
        ours.handle_data(sent(theirs), at + 0.05)
        seen.append(data)

    pongs = ours.poll_events()
    assert [(p.seq, round(p.rtt, 6)) for p in pongs if isinstance(p, Pong)] == [
        (0, 0.05),
        (1, 0.05),
        (2, 0.05),
    ]
    assert {len(data) for data in seen} == {32}
    assert len(set(seen)) == 3


@pytest.mark.spec("PING-2")
def test_a_second_ping_at_once_is_the_callers_mistake() -> None:
    ours = requester()
    ours.ping(0.0)

    assert not ours.can_ping
    with pytest.raises(LocalProtocolError):
        ours.ping(0.1)


@pytest.mark.spec("PING-1")
def test_the_responder_echoes_whole_pings_only() -> None:
    theirs = PingResponder(0.0)

    theirs.handle_data(b"a" * 31, 1.0)
    assert theirs.poll_output() == []
    theirs.handle_data(b"b" * 40, 2.0)

    assert theirs.poll_output() == [SendData(b"a" * 31 + b"b" * 33)]
    theirs.handle_data(b"c" * 25, 3.0)
    assert theirs.poll_output() == [SendData(b"b" * 7 + b"c" * 25)]


@pytest.mark.spec("PING-3")
@pytest.mark.parametrize("wrong", ["other", "longer", "at once longer"])
def test_a_wrong_answer_fails_and_resets(wrong: str) -> None:
    ours = requester()
    ours.ping(0.0)
    challenge = sent(ours)

    match wrong:
        case "other":
            ours.handle_data(challenge[:31] + bytes((challenge[31] ^ 1,)), 0.1)
        case "longer":
            ours.handle_data(challenge[:31], 0.1)
            ours.handle_data(challenge[31:] + b"x", 0.1)
        case _:
            ours.handle_data(challenge + challenge, 0.1)

    assert [type(event) for event in ours.poll_events()] == [PingFailed]
    assert ours.poll_output() == [ResetStream(0x1004)]
    assert ours.is_done
    assert not ours.can_ping


@pytest.mark.spec("PING-3")
def test_an_answer_to_no_ping_fails() -> None:
    ours = requester()

    ours.handle_data(b"", 0.0)
    assert not ours.is_done
    ours.handle_data(b"x", 0.0)

    assert ours.is_done


@pytest.mark.spec("PING-4")
def test_a_ping_fails_at_ten_seconds_and_not_before() -> None:
    ours = requester()
    ours.ping(5.0)
    deadline = ours.poll_timeout()

    ours.handle_timeout(14.9)
    assert ours.poll_events() == []
    ours.handle_timeout(15.0)

    assert deadline is not None
    assert deadline.at == 15.0
    assert ours.poll_events() == [PingFailed(0, "the ping timed out")]
    assert ours.poll_timeout() is None


@pytest.mark.spec("PING-5")
def test_the_end_of_either_direction_ends_the_pings() -> None:
    ours, theirs, waiting = requester(), PingResponder(0.0), requester()
    waiting.ping(0.0)

    ours.close()
    theirs.handle_eof(1.0)
    waiting.handle_eof(1.0)

    assert ours.poll_output() == theirs.poll_output() == [SendEof()]
    assert ours.poll_events() == []
    assert waiting.poll_events() == [PingFailed(0, "the peer ended the stream")]
    assert ours.is_done
    assert theirs.is_done
    assert waiting.is_done


def test_a_reset_fails_the_ping_on_its_way_only() -> None:
    idle, waiting, theirs = requester(), requester(), PingResponder(0.0)
    waiting.ping(0.0)

    for machine in (idle, waiting, theirs):
        machine.handle_reset(0, 1.0)
        machine.handle_data(b"late", 1.0)
        machine.handle_eof(1.0)

    assert idle.poll_events() == []
    assert waiting.poll_events() == [PingFailed(0, "the stream was reset")]
    assert idle.is_done
    assert theirs.is_done
    assert theirs.poll_output() == []


@pytest.mark.spec("PING-6")
def test_the_responder_gives_a_silent_stream_up() -> None:
    theirs = PingResponder(0.0)
    theirs.handle_data(b"x" * 32, 30.0)
    theirs.handle_data(b"x", 80.0)  # a piece of a ping is no ping
    theirs.poll_output()

    theirs.handle_timeout(89.9)
    assert not theirs.is_done
    theirs.handle_timeout(90.0)

    assert theirs.poll_output() == [ResetStream(0x1006)]
    assert theirs.poll_timeout() is None
