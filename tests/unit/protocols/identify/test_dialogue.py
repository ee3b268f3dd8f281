"""identify and identify/push, stepped by hand."""

import pytest

from p2pnode.machine import ResetStream, SendData, SendEof
from p2pnode.protocols.identify import (
    Identified,
    IdentifyFailed,
    IdentifyInfo,
    IdentifyMessage,
    IdentifyRequester,
    IdentifyResponder,
    Pushed,
    PushReceiver,
    PushSender,
)
from p2pnode.wire.framing import encode_frame
from tests.support.identities import peer_id, private_key

ALICE = peer_id("a")
MESSAGE = IdentifyMessage(
    public_key=private_key("a").public_key,
    protocols=tuple(f"/protocol/{index}" for index in range(300)),
    agent_version="agent",
    signed_peer_record=b"not valid, and then not used",
)


def said(machine: IdentifyResponder) -> bytes:
    data, eof = machine.poll_output()
    assert isinstance(data, SendData)
    assert eof == SendEof()
    return data.data


@pytest.mark.spec("IDENTIFY-1")
def test_the_responder_speaks_and_the_requester_understands() -> None:
    asking, answering = IdentifyRequester(ALICE, 0.0), IdentifyResponder(MESSAGE)
    assert asking.poll_output() == [SendEof()]

    asking.handle_data(said(answering), 0.1)
    assert asking.outcome is None
    asking.handle_eof(0.1)

    assert asking.outcome == Identified(
        IdentifyInfo(ALICE, protocols=MESSAGE.protocols, agent_version="agent")
    )
    assert asking.is_done
    assert answering.is_done
    assert asking.poll_output() == []


@pytest.mark.spec("IDENTIFY-6")
def test_a_push_is_the_same_from_the_other_side() -> None:
    news = IdentifyMessage(protocols=("/a",))
    receiving = PushReceiver(ALICE, 0.0)

    receiving.handle_data(said(PushSender(news)), 0.1)
    receiving.handle_eof(0.1)

    assert receiving.outcome == Pushed(news)


@pytest.mark.spec("IDENTIFY-5")
@pytest.mark.parametrize("machine", [IdentifyRequester(ALICE, 0.0), PushReceiver(ALICE, 0.0)])
def test_somebody_elses_public_key_fails(machine: IdentifyRequester | PushReceiver) -> None:
    message = IdentifyMessage(public_key=private_key("b").public_key)

    machine.handle_data(said(IdentifyResponder(message)), 0.1)
    machine.handle_eof(0.1)

    assert isinstance(machine.outcome, IdentifyFailed)
    assert machine.poll_output() == [SendEof(), ResetStream(0x1004)]


@pytest.mark.spec("IDENTIFY-4")
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x05abc",
        b"\x81\x40",
        b"\x80\x00",
        b"\x02\xff\xff",
        encode_frame(b"") * 11,
    ],
    ids=["nothing", "cut", "too long", "bad length", "malformed", "too many"],
)
def test_a_bad_answer_fails_once(data: bytes) -> None:
    machine = IdentifyRequester(ALICE, 0.0)

    machine.handle_data(data, 0.1)
    machine.handle_eof(0.1)
    first = machine.outcome
    machine.handle_data(b"more", 0.2)
    machine.handle_eof(0.2)
    machine.handle_reset(7, 0.3)
    machine.handle_timeout(99.0)

    assert isinstance(first, IdentifyFailed)
    assert machine.outcome is first
    assert machine.poll_timeout() is None


@pytest.mark.spec("IDENTIFY-4")
def test_nothing_happens_before_the_deadline_and_failure_at_it() -> None:
    machine = IdentifyRequester(ALICE, 5.0)
    deadline = machine.poll_timeout()

    machine.handle_timeout(14.9)
    assert machine.outcome is None
    machine.handle_timeout(15.0)

    assert deadline is not None
    assert deadline.at == 15.0
    assert machine.outcome == IdentifyFailed("identify timed out")
    assert machine.poll_output() == [SendEof(), ResetStream(0)]


def test_a_reset_fails_the_reader_and_silences_the_speaker() -> None:
    asking, answering = IdentifyRequester(ALICE, 0.0), IdentifyResponder(MESSAGE)

    asking.handle_reset(0, 1.0)
    answering.handle_reset(0, 1.0)

    assert asking.outcome == IdentifyFailed("the stream was reset")
    assert asking.poll_output() == []
    assert answering.poll_output() == []
    assert answering.is_done


def test_the_speaker_ignores_whatever_it_hears() -> None:
    machine = IdentifyResponder(MESSAGE)

    machine.handle_data(b"\xff" * 1000, 0.0)
    machine.handle_eof(0.0)
    machine.handle_timeout(1e9)

    assert machine.poll_timeout() is None
    assert said(machine)
