"""Both sides of a NAT question, stepped by hand."""

import pytest

from p2pnode.machine import ResetStream, SendData, SendEof, StreamOutput
from p2pnode.protocols.nat_behaviour.dialogue import (
    ANSWER_TIMEOUT,
    RESPONDER_TIMEOUT,
    Answered,
    NatRequester,
    NatRequestFailed,
    NatResponder,
)
from p2pnode.protocols.nat_behaviour.messages import (
    MAX_ANSWER_SIZE,
    NatAnswer,
    NatStatus,
    ReportRequest,
    encode_answer,
    encode_request,
)
from p2pnode.wire.framing import encode_frame
from p2pnode.wire.reset_code import StreamResetCode
from p2pnode.wire.varint import encode_uvarint

REQUEST = encode_frame(encode_request(ReportRequest()))
ANSWER = NatAnswer(NatStatus.OK)


def data_of(output: list[StreamOutput]) -> bytes:
    return b"".join(each.data for each in output if isinstance(each, SendData))


@pytest.mark.spec("NATB-1")
@pytest.mark.parametrize("piece", [1, 3, 100])
def test_a_question_and_its_answer_however_they_are_cut(piece: int) -> None:
    asking, answering = NatRequester(ReportRequest(), 0.0), NatResponder(0.0)
    sent = asking.poll_output()
    assert isinstance(sent[-1], SendEof)
    for start in range(0, len(data_of(sent)), piece):
        answering.handle_data(data_of(sent)[start : start + piece], 0.1)
    answering.handle_eof(0.1)

    assert answering.request == ReportRequest()
    answering.answer(ANSWER)
    sent = answering.poll_output()
    assert answering.is_done
    for start in range(0, len(data_of(sent)), piece):
        asking.handle_data(data_of(sent)[start : start + piece], 0.2)

    assert asking.outcome == Answered(ANSWER)
    assert asking.is_done
    assert asking.poll_timeout() is None


@pytest.mark.spec("NATB-1")
def test_nothing_behind_a_message_is_looked_at() -> None:
    asking, answering = NatRequester(ReportRequest(), 0.0), NatResponder(0.0)

    answering.handle_data(REQUEST + b"\xff" * 50, 0.0)
    answering.handle_data(b"\xff" * 50, 0.0)
    asking.handle_data(encode_frame(encode_answer(ANSWER)) + b"\xff" * 50, 0.0)
    asking.handle_data(b"\xff" * 50, 0.0)

    assert answering.request is not None
    assert not answering.is_done
    assert asking.outcome == Answered(ANSWER)


@pytest.mark.spec("NATB-2")
@pytest.mark.parametrize("data", [b"\x01\xff", encode_uvarint(MAX_ANSWER_SIZE + 1), b"\xff" * 10])
def test_broken_messages_reset_the_stream(data: bytes) -> None:
    for machine in (NatRequester(ReportRequest(), 0.0), NatResponder(0.0)):
        machine.poll_output()
        machine.handle_data(data, 0.0)

        assert machine.is_done
        assert machine.poll_output() == [ResetStream(StreamResetCode.PROTOCOL_VIOLATION)]


@pytest.mark.spec("NATB-7")
def test_both_sides_wait_so_long() -> None:
    asking, answering = NatRequester(ReportRequest(), 1.0), NatResponder(1.0)
    for machine, timeout in ((asking, ANSWER_TIMEOUT), (answering, RESPONDER_TIMEOUT)):
        machine.poll_output()
        deadline = machine.poll_timeout()
        assert deadline is not None
        assert deadline.at == 1.0 + timeout
        machine.handle_timeout(deadline.at - 0.01)
        assert not machine.is_done
        machine.handle_timeout(deadline.at)
        assert machine.is_done
        assert machine.poll_output() == [ResetStream(StreamResetCode.NONE)]

    assert asking.outcome == NatRequestFailed("the answer about a NAT timed out")


@pytest.mark.spec("NATB-7")
def test_an_early_end_and_a_reset_are_failures_and_the_first_outcome_stays() -> None:
    ended, reset = NatRequester(ReportRequest(), 0.0), NatRequester(ReportRequest(), 0.0)
    ended.handle_eof(0.0)
    reset.handle_reset(7, 0.0)
    ended.handle_data(encode_frame(encode_answer(ANSWER)), 0.0)

    assert ended.outcome == NatRequestFailed("the peer ended the stream too early")
    assert reset.outcome == NatRequestFailed("the stream was reset")
    assert reset.poll_output() == []


def test_an_answer_that_comes_too_late_goes_nowhere() -> None:
    answering = NatResponder(0.0)
    answering.handle_data(REQUEST, 0.0)
    answering.handle_reset(0, 0.1)

    answering.answer(ANSWER)
    answering.refuse(StreamResetCode.RATE_LIMITED)

    assert answering.poll_output() == []


def test_a_refusal_says_why() -> None:
    answering = NatResponder(0.0)
    answering.handle_data(REQUEST, 0.0)

    answering.refuse(StreamResetCode.RATE_LIMITED)

    assert answering.poll_output() == [ResetStream(StreamResetCode.RATE_LIMITED)]
    assert answering.is_done
