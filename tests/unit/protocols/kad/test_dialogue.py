"""Both sides of FIND_NODE, stepped by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.errors import LocalProtocolError
from p2pnode.machine import ResetStream, SendData, SendEof, StreamMachine
from p2pnode.protocols.kad import (
    CloserPeer,
    FindNodeFailed,
    FindNodeRequester,
    FindNodeResponder,
    Found,
)
from p2pnode.protocols.kad.dialogue import (
    ANSWER_TIMEOUT,
    MAX_REQUESTS_PER_STREAM,
    RESPONDER_IDLE_TIMEOUT,
)
from p2pnode.protocols.kad.messages import (
    MAX_MESSAGE_SIZE,
    MAX_REQUEST_SIZE,
    encode_answer,
    encode_request,
)
from p2pnode.wire.framing import encode_frame
from p2pnode.wire.multiaddr import parse_multiaddr
from p2pnode.wire.reset_code import StreamResetCode
from tests.support.identities import peer_id

KEY = peer_id("wanted").multihash
PEERS = (CloserPeer(peer_id("a"), (parse_multiaddr("/ip4/1.2.3.4/udp/4001/noise"),)),)
REQUEST = encode_frame(encode_request(KEY))
ANSWER = encode_frame(encode_answer(PEERS))
BROKEN = encode_frame(b"\xff")


def move(source: StreamMachine, target: StreamMachine, now: float = 0.0) -> None:
    for output in source.poll_output():
        match output:
            case SendData(data):
                target.handle_data(data, now)
            case SendEof():
                target.handle_eof(now)
            case ResetStream(code):
                target.handle_reset(code, now)


def started() -> FindNodeRequester:
    requester = FindNodeRequester(KEY, 0.0)
    requester.poll_output()
    return requester


@pytest.mark.spec("KAD-7")
def test_a_request_is_answered_and_both_sides_end() -> None:
    requester, responder = FindNodeRequester(KEY, 0.0), FindNodeResponder(0.0)

    move(requester, responder)
    assert responder.poll_requests() == [KEY]
    assert not responder.is_done
    responder.answer(PEERS)
    move(responder, requester)

    assert requester.outcome == Found(PEERS)
    assert requester.is_done
    assert responder.is_done
    assert requester.poll_timeout() is responder.poll_timeout() is None


@pytest.mark.spec("KAD-7")
def test_nothing_behind_the_answer_is_looked_at() -> None:
    requester = started()
    requester.handle_data(ANSWER + BROKEN, 0.0)
    requester.handle_data(BROKEN, 0.0)
    requester.handle_eof(0.0)

    assert requester.outcome == Found(PEERS)
    assert requester.poll_output() == []


@pytest.mark.spec("KAD-8")
def test_one_stream_carries_several_requests_answered_in_order() -> None:
    responder = FindNodeResponder(0.0)
    other = b"other key"
    responder.handle_data(REQUEST + encode_frame(encode_request(other)), 0.0)
    assert responder.poll_requests() == [KEY, other]
    assert responder.poll_requests() == []

    responder.answer(PEERS)
    responder.answer(())
    assert responder.poll_output() == [
        SendData(ANSWER),
        SendData(encode_frame(encode_answer(()))),
    ]
    responder.handle_data(REQUEST, 9.0)
    responder.handle_eof(9.0)
    assert responder.poll_requests() == [KEY]
    responder.answer(PEERS)

    assert responder.poll_output() == [SendData(ANSWER), SendEof()]
    assert responder.is_done


@pytest.mark.spec("KAD-8")
def test_a_stream_ends_after_its_last_request() -> None:
    responder = FindNodeResponder(0.0)
    responder.handle_data(REQUEST * (MAX_REQUESTS_PER_STREAM + 1) + BROKEN, 0.0)
    requests = responder.poll_requests()
    assert len(requests) == MAX_REQUESTS_PER_STREAM
    responder.handle_data(BROKEN, 0.0)

    for _ in requests:
        responder.answer(())

    assert responder.poll_output()[-1] == SendEof()
    assert responder.is_done


def test_what_was_asked_before_the_end_of_the_stream_is_answered() -> None:
    responder = FindNodeResponder(0.0)
    responder.handle_data(REQUEST, 0.0)
    responder.handle_eof(0.0)
    responder.poll_requests()
    assert not responder.is_done
    responder.answer(PEERS)

    assert responder.poll_output() == [SendData(ANSWER), SendEof()]
    assert responder.is_done


def test_an_answer_without_a_request_is_a_mistake_of_ours() -> None:
    with pytest.raises(LocalProtocolError):
        FindNodeResponder(0.0).answer(())


def test_an_answer_after_the_stream_went_is_dropped() -> None:
    responder = FindNodeResponder(0.0)
    responder.handle_data(REQUEST, 0.0)
    responder.poll_requests()
    responder.handle_reset(0, 0.0)
    responder.answer(PEERS)

    assert responder.poll_output() == []
    assert responder.is_done


def test_a_refusal_resets_the_stream() -> None:
    responder = FindNodeResponder(0.0)
    responder.handle_data(REQUEST, 0.0)
    responder.refuse(StreamResetCode.RATE_LIMITED)

    assert responder.poll_output() == [ResetStream(StreamResetCode.RATE_LIMITED)]
    assert responder.poll_requests() == []
    assert responder.is_done


@pytest.mark.spec("KAD-9")
@pytest.mark.parametrize(
    "data",
    [BROKEN, encode_frame(bytes(MAX_REQUEST_SIZE + 1)), b"\xff" * 11],
    ids=["malformed", "too long", "no length"],
)
def test_a_broken_request_resets_the_stream(data: bytes) -> None:
    responder = FindNodeResponder(0.0)
    responder.handle_data(data, 0.0)

    assert responder.poll_output() == [ResetStream(StreamResetCode.PROTOCOL_VIOLATION)]
    assert responder.is_done


@pytest.mark.spec("KAD-9")
def test_a_request_that_is_cut_short_resets_the_stream() -> None:
    responder = FindNodeResponder(0.0)
    responder.handle_data(REQUEST[:-1], 0.0)
    responder.handle_eof(0.0)

    assert responder.poll_output() == [ResetStream(StreamResetCode.PROTOCOL_VIOLATION)]


@pytest.mark.spec("KAD-9")
@pytest.mark.parametrize(
    "data", [BROKEN, encode_frame(bytes(MAX_MESSAGE_SIZE + 1))], ids=["malformed", "too long"]
)
def test_a_broken_answer_fails_the_request(data: bytes) -> None:
    requester = started()
    requester.handle_data(data, 0.0)

    assert isinstance(requester.outcome, FindNodeFailed)
    assert requester.poll_output() == [ResetStream(StreamResetCode.PROTOCOL_VIOLATION)]


@pytest.mark.spec("KAD-9")
def test_an_early_end_and_a_reset_fail_the_request() -> None:
    ended, reset = started(), started()
    ended.handle_data(ANSWER[:-1], 0.0)
    ended.handle_eof(0.0)
    reset.handle_reset(0, 0.0)

    assert isinstance(ended.outcome, FindNodeFailed)
    assert reset.outcome == FindNodeFailed("the stream was reset")


@pytest.mark.spec("KAD-9")
def test_silence_fails_the_request() -> None:
    requester = started()
    requester.handle_timeout(ANSWER_TIMEOUT - 0.1)
    assert requester.outcome is None
    requester.handle_timeout(ANSWER_TIMEOUT)

    assert requester.outcome == FindNodeFailed("the Kademlia answer timed out")
    assert requester.poll_output() == [ResetStream(StreamResetCode.NONE)]


@pytest.mark.spec("KAD-9")
def test_a_stream_without_requests_is_given_up() -> None:
    responder = FindNodeResponder(0.0)
    responder.handle_data(REQUEST, 3.0)
    responder.poll_requests()
    responder.answer(())
    responder.poll_output()
    responder.handle_data(REQUEST[:5], 12.0)
    responder.handle_timeout(3.0 + RESPONDER_IDLE_TIMEOUT - 0.1)
    assert not responder.is_done
    responder.handle_timeout(3.0 + RESPONDER_IDLE_TIMEOUT)

    assert responder.poll_output() == [ResetStream(StreamResetCode.GARBAGE_COLLECTED)]


@given(st.lists(st.sampled_from([REQUEST, ANSWER, BROKEN, b"", b"\x01", b"\xff\xff"]), max_size=8))
def test_no_bytes_raise_in_either_machine(pieces: list[bytes]) -> None:
    requester, responder = started(), FindNodeResponder(0.0)
    for piece in pieces:
        for machine in (requester, responder):
            machine.handle_data(piece, 0.0)
        for _ in responder.poll_requests():
            responder.answer(PEERS)
    for machine in (requester, responder):
        machine.handle_eof(0.0)
        machine.poll_output()
        assert machine.is_done


@given(st.lists(st.integers(0, len(REQUEST)), max_size=5))
def test_any_chunking_gives_the_same_request(cuts: list[int]) -> None:
    responder = FindNodeResponder(0.0)
    points = sorted(cuts)
    for start, end in zip([0, *points], [*points, len(REQUEST)], strict=True):
        responder.handle_data(REQUEST[start:end], 0.0)

    assert responder.poll_requests() == [KEY]
