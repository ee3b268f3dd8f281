"""Tests of a stream with its negotiation, over two endpoints."""

import contextlib
import gc
import weakref
from collections.abc import Callable, Generator

import pytest

from p2pnode.errors import (
    ClosedLocally,
    LocalProtocolError,
    P2PNodeError,
    PeerBusy,
    ProtocolNotSupported,
    StreamReset,
    StreamStopped,
)
from p2pnode.swarm.events import StreamOpened
from p2pnode.swarm.inbound_streams import InboundLimit
from p2pnode.swarm.swarm_stream import NEGOTIATION_TIMEOUT, SwarmStream
from p2pnode.transports.delivery.stream_set import StreamSet
from p2pnode.wire.reset_code import StreamResetCode
from tests.support.table_pair import TablePair

X, Y = "/x/1.0.0", "/y/1.0.0"
ANSWER = b"\x13/multistream/1.0.0\n\x09/x/1.0.0\n"


def connected(*spoken: str) -> TablePair:
    pair = TablePair()
    pair.connect()
    for protocol in spoken:
        pair.far.table.handled[protocol] = InboundLimit(8)
    return pair


def accepted(pair: TablePair) -> SwarmStream:
    return [e.stream for e in pair.far.events if isinstance(e, StreamOpened)][-1]


def far_streams(pair: TablePair) -> StreamSet:
    """Returns the streams of the far connection, whose table is asleep from now on."""
    pair.far.run = lambda now: False  # type: ignore[method-assign]
    return pair.server.connection.streams


def failure_of(stream: SwarmStream) -> P2PNodeError:
    with pytest.raises(P2PNodeError) as told:
        stream.read(1)
    return told.value


@pytest.mark.spec("SWARM-6")
def test_with_one_protocol_data_and_the_end_follow_the_proposal_at_once() -> None:
    pair = connected(X)
    stream = pair.near.open(pair.now, X)
    assert stream.may_write
    assert stream.write(b"early") == 5
    stream.finish()
    pair.drive(seconds=1.5 * pair.latency)

    assert not stream.is_negotiated
    theirs = accepted(pair)
    assert theirs.read(2) == b"ea"
    assert not theirs.at_eof
    assert theirs.read(99) == b"rly"
    assert theirs.at_eof


@pytest.mark.parametrize("end", ["read", "release", "fail"])
def test_what_came_behind_the_proposal_is_accounted_for_until_it_is_read(end: str) -> None:
    pair = connected(X)
    stream = pair.near.open(pair.now, X)
    stream.write(bytes(1000))
    pair.drive(seconds=1.5 * pair.latency)
    theirs = accepted(pair)
    held = pair.server.connection.streams.held
    assert held.above == 1000

    match end:
        case "read":
            assert len(theirs.read(400)) == 400
            assert held.above == 600
            theirs.read(1000)
        case "release":
            theirs.release()
        case _:
            theirs.fail(LocalProtocolError("test"), 1)
    assert held.above == 0


@pytest.mark.spec("SWARM-6")
def test_with_several_protocols_nothing_is_taken_before_one_is_agreed_on() -> None:
    pair = connected(Y)
    stream = pair.near.open(pair.now, X, Y)
    assert not stream.may_write
    assert stream.write(b"early") == 0
    assert stream.read(1) == b""
    pair.run()

    assert stream.protocol == accepted(pair).protocol == Y
    assert stream.write(b"late") == 4


def test_a_proposal_that_is_refused_names_what_was_proposed() -> None:
    pair = connected()
    stream = pair.near.open(pair.now, X, Y)
    pair.run()

    failure = failure_of(stream)
    assert isinstance(failure, ProtocolNotSupported)
    assert failure.protocols == (X, Y)
    with pytest.raises(ProtocolNotSupported):
        stream.write(b"x")
    assert stream.is_over
    with pytest.raises(ProtocolNotSupported):
        stream.check_deliverable()


@pytest.mark.spec("SWARM-7")
def test_a_peer_that_does_not_answer_the_proposal_in_time_has_failed() -> None:
    pair = connected()
    far_streams(pair)
    stream = pair.near.open(pair.now, X)
    pair.run(NEGOTIATION_TIMEOUT - 0.1)
    assert stream.failure is None
    pair.run(0.2)

    assert isinstance(failure_of(stream), LocalProtocolError)
    assert "in time" in str(stream.failure)


@pytest.mark.parametrize(
    "answer", [b"\x05nope\n", b"\x13/multistream/1.0.0\n\x09/z/1.0.0\n"], ids=["header", "echo"]
)
def test_an_answer_that_is_no_answer_fails_the_stream(answer: bytes) -> None:
    pair = connected()
    streams = far_streams(pair)
    stream = pair.near.open(pair.now, X)
    pair.run()
    streams.write(stream.stream_id, answer)
    pair.run()

    assert "negotiation failed" in str(failure_of(stream))


# why the peer gives a stream up


@pytest.mark.spec("SWARM-25")
@pytest.mark.parametrize("code", [StreamResetCode.RESOURCE_LIMIT, StreamResetCode.RATE_LIMITED])
@pytest.mark.parametrize("answer", [b"", ANSWER[:20], ANSWER], ids=["none", "half", "agreed"])
def test_a_reset_for_want_of_room_before_the_protocols_first_byte_is_busy(
    answer: bytes, code: StreamResetCode
) -> None:
    pair = connected()
    streams = far_streams(pair)
    stream = pair.near.open(pair.now, X)
    pair.run()
    if answer:
        streams.write(stream.stream_id, answer)
        pair.run()
    streams.reset(stream.stream_id, code)
    streams.stop(stream.stream_id, code)
    pair.run()

    failure = failure_of(stream)
    assert isinstance(failure, PeerBusy)
    assert failure.protocols == (X,)
    with pytest.raises(PeerBusy):
        stream.write(b"x")
    with pytest.raises(PeerBusy):
        stream.finish()


@pytest.mark.spec("SWARM-25")
def test_the_same_reset_behind_an_answer_is_a_reset() -> None:
    pair = connected()
    streams = far_streams(pair)
    stream = pair.near.open(pair.now, X)
    pair.run()
    streams.write(stream.stream_id, ANSWER + b"first")
    pair.run()
    assert stream.read(99) == b"first"
    streams.reset(stream.stream_id, StreamResetCode.RESOURCE_LIMIT)
    streams.stop(stream.stream_id, StreamResetCode.RESOURCE_LIMIT)
    pair.run()

    with pytest.raises(StreamStopped):
        stream.write(b"x")
    assert isinstance(failure_of(stream), StreamReset)


def test_a_stream_that_was_given_up_keeps_its_reasons() -> None:
    pair = connected(X)
    stream = pair.near.open(pair.now, X)
    pair.run()
    accepted(pair).reset(77)
    pair.run()

    for _ in range(2):
        failure = failure_of(stream)
        assert isinstance(failure, StreamReset)
        assert failure.code == 77
        with pytest.raises((StreamReset, StreamStopped), match="0x4d"):
            stream.write(b"x")
        with pytest.raises((StreamReset, StreamStopped), match="0x4d"):
            stream.finish()


@pytest.mark.spec("SWARM-25")
def test_who_stops_reading_for_want_of_room_is_busy_before_its_reset_arrives() -> None:
    pair = connected()
    streams = far_streams(pair)
    stream = pair.near.open(pair.now, X)
    pair.run()
    streams.stop(stream.stream_id, StreamResetCode.RESOURCE_LIMIT)
    pair.run()

    with pytest.raises(PeerBusy):
        stream.write(b"x")


def test_a_peer_that_opened_a_stream_and_gives_it_up_for_want_of_room_is_not_busy() -> None:
    pair = connected(X)
    stream = pair.near.open(pair.now, X)
    pair.run()
    theirs = accepted(pair)
    stream.reset(StreamResetCode.RESOURCE_LIMIT)
    pair.run()

    assert isinstance(failure_of(theirs), StreamReset)


def test_a_refusal_that_is_overtaken_by_its_reset_is_still_a_refusal() -> None:
    pair = connected()
    streams = far_streams(pair)
    stream = pair.near.open(pair.now, X)
    pair.run()
    streams.reset(stream.stream_id, StreamResetCode.NEGOTIATION_FAILED)
    pair.run()

    assert isinstance(failure_of(stream), ProtocolNotSupported)


# the ends


def test_a_stream_that_is_released_early_is_over_once_its_proposal_is_answered() -> None:
    pair = connected(X)
    stream = pair.near.open(pair.now, X)
    stream.write(b"fire and forget")
    stream.finish()
    pair.near.table.release(stream)
    assert not stream.is_over
    pair.run()

    assert stream.is_over
    assert accepted(pair).read(99) == b"fire and forget"
    assert pair.near.table.open_streams() == {}


def test_what_was_written_before_a_release_is_still_delivered() -> None:
    pair = connected(X)
    stream = pair.near.open(pair.now, X)
    pair.run()
    stream.write(b"x" * 50_000)
    stream.finish()
    pair.near.table.release(stream)
    assert stream.is_over
    assert not stream.is_delivered
    pair.run()

    assert stream.is_delivered
    assert accepted(pair).read(99_999) == b"x" * 50_000


def test_what_came_before_a_connection_was_lost_is_read_first() -> None:
    pair = connected(X)
    stream = pair.near.open(pair.now, X)
    stream.write(b"last words")
    pair.run()
    theirs = accepted(pair)
    pair.server.connection.close(0, "", pair.now)

    assert theirs.read(99) == b"last words"
    assert isinstance(failure_of(theirs), ClosedLocally)
    with pytest.raises(ClosedLocally):
        theirs.write(b"x")
    with pytest.raises(ClosedLocally):
        theirs.check_deliverable()


@pytest.fixture
def no_collector() -> Generator[None, None, None]:
    """What is freed is freed with its last reference."""
    gc.disable()
    yield
    gc.enable()


class Batch:
    """Something large in a frame that a stream's error comes through."""


def left_behind(call: Callable[[], object]) -> Batch | None:
    """Returns what is still held of the frame that a call failed in, once the error is over."""

    def serve() -> weakref.ref[Batch]:
        batch = Batch()
        with contextlib.suppress(P2PNodeError):
            call()
            raise AssertionError("it did not fail")
        return weakref.ref(batch)

    return serve()()


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("gives_up", ["reset", "negotiation", "close"])
def test_a_failed_stream_holds_nothing_of_who_asked_it(gives_up: str) -> None:
    pair = connected(X)
    stream = pair.near.open(pair.now, X if gives_up != "negotiation" else Y)
    pair.run()
    if gives_up == "reset":
        accepted(pair).reset(77)
    elif gives_up == "close":
        pair.server.connection.close(0, "", pair.now)
    pair.run()

    assert left_behind(lambda: stream.read(1)) is None
    assert left_behind(lambda: stream.read(1)) is None
    assert left_behind(lambda: stream.write(b"x")) is None
