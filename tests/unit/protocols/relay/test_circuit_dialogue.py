"""Datagram circuits: their messages and the dialogue that opens and ends them."""

import re

import pytest

from p2pnode.errors import DecodeError, LocalProtocolError
from p2pnode.machine import ResetStream, SendData, SendEof
from p2pnode.protocols.relay.circuit_dialogue import (
    MAX_NOTICES,
    TRANSITIONS,
    CircuitEnded,
    CircuitEnding,
    CircuitOffered,
    CircuitReady,
    CircuitRequester,
    CircuitResponder,
    DialogueState,
)
from p2pnode.protocols.relay.circuit_messages import (
    CircuitClosing,
    CircuitConnect,
    CircuitMessage,
    CircuitStatus,
    DatagramLimit,
    decode_circuit_untrusted,
    encode_circuit,
)
from p2pnode.protocols.relay.messages import Status
from p2pnode.wire.framing import encode_frame
from tests.support.identities import peer_id
from tests.support.spec_tables import block

ALICE, BOB = peer_id("a"), peer_id("b")
ID_A, ID_R = b"aaaaaaaa", b"rrrrrrrr"
LIMIT = DatagramLimit(1000, 60, 5000)
Machine = CircuitRequester | CircuitResponder


def move(source: Machine, target: Machine, now: float = 0.5) -> None:
    for output in source.poll_output():
        if isinstance(output, SendData):
            target.handle_data(output.data, now)
        elif isinstance(output, SendEof):
            target.handle_eof(now)
        else:
            target.handle_reset(output.code, now)


def opened() -> tuple[CircuitRequester, CircuitResponder]:
    asking, answering = CircuitRequester(BOB, ID_A, 0.0), CircuitResponder(0.0)
    move(asking, answering)
    answering.accept(ID_R, LIMIT, now=0.5)
    move(answering, asking)
    asking.poll_events()
    answering.poll_events()
    return asking, answering


@pytest.mark.parametrize(
    "message",
    [
        CircuitConnect(BOB, ID_A),
        CircuitConnect(BOB, ID_A, LIMIT),
        CircuitStatus(Status.OK, ID_R, LIMIT),
        CircuitStatus(Status.NO_RESERVATION),
        CircuitClosing(Status.CONNECTION_FAILED, 2.5),
    ],
)
def test_messages_survive_the_wire(message: CircuitMessage) -> None:
    assert decode_circuit_untrusted(encode_circuit(message)) == message


@pytest.mark.parametrize(
    "data",
    [b"", b"\x08\x00", b"\x08\x05", b"\x08\x01\x1a\x01a", b"\xff"],
    ids=["no type", "no peer", "unknown type", "short id", "garbage"],
)
def test_broken_messages_do_not_decode(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_circuit_untrusted(data)


@pytest.mark.spec("RELAY-11")
def test_each_side_names_the_id_that_it_receives_by() -> None:
    asking, answering = CircuitRequester(BOB, ID_A, 0.0), CircuitResponder(0.0)
    move(asking, answering)
    assert answering.poll_events() == [CircuitOffered(BOB, DatagramLimit())]
    assert answering.send_id == ID_A
    assert asking.poll_events() == []

    answering.accept(ID_R, LIMIT, now=0.5)
    move(answering, asking)

    assert answering.poll_events() == [CircuitReady(ID_A, ID_R, LIMIT)]
    assert asking.poll_events() == [CircuitReady(ID_R, ID_A, LIMIT)]
    assert asking.poll_timeout() is None
    assert not asking.is_done


def test_a_listener_is_told_the_limit_by_the_relay() -> None:
    relay, listener = CircuitRequester(ALICE, ID_R, 0.0, limit=LIMIT), CircuitResponder(0.0)
    move(relay, listener)
    listener.accept(ID_A, now=0.5)

    assert listener.poll_events() == [
        CircuitOffered(ALICE, LIMIT),
        CircuitReady(ID_R, ID_A, LIMIT),
    ]


@pytest.mark.spec("RELAY-13")
def test_the_end_of_the_stream_is_the_end_of_the_circuit() -> None:
    asking, answering = opened()
    asking.close()
    asking.close()
    move(asking, answering)
    move(answering, asking)
    assert asking.poll_events() == [CircuitEnded(None, "closed on this side")]
    assert answering.poll_events() == [CircuitEnded(None, "the other side closed the circuit")]

    asking, answering = opened()
    answering.handle_reset(0, 1.0)
    assert answering.poll_events() == [CircuitEnded(None, "the stream was reset")]


@pytest.mark.spec("RELAY-14")
def test_the_relay_says_when_a_circuit_will_end() -> None:
    asking, answering = opened()
    answering.announce_end(Status.CONNECTION_FAILED, 10.0)
    move(answering, asking)

    assert asking.poll_events() == [CircuitEnding(Status.CONNECTION_FAILED, 10.0)]
    assert asking.state is DialogueState.CLOSING
    assert not asking.is_done


def test_endless_notices_end_the_circuit() -> None:
    asking, _ = opened()
    notice = encode_frame(encode_circuit(CircuitClosing(203, 1.0)))
    asking.handle_data(notice * (MAX_NOTICES + 1), 1.0)

    assert asking.is_done
    assert asking.poll_output() == [ResetStream(0x1004)]


def test_refusals_reach_the_other_side() -> None:
    asking, answering = CircuitRequester(BOB, ID_A, 0.0), CircuitResponder(0.0)
    move(asking, answering)
    answering.refuse(Status.NO_RESERVATION)
    move(answering, asking)

    assert asking.poll_events() == [CircuitEnded(204, "NO_RESERVATION")]
    assert answering.poll_events()[-1] == CircuitEnded(None, "refused on this side")
    with pytest.raises(LocalProtocolError):
        answering.refuse(Status.NO_RESERVATION)


@pytest.mark.parametrize(
    "message",
    [CircuitConnect(BOB, ID_A), CircuitStatus(Status.OK), CircuitClosing(203, 1.0)],
)
def test_a_wrong_answer_ends_the_request(message: CircuitMessage) -> None:
    asking = CircuitRequester(BOB, ID_A, 0.0)
    asking.handle_data(encode_frame(encode_circuit(message)), 0.1)

    (ended,) = asking.poll_events()
    assert isinstance(ended, CircuitEnded)
    assert asking.poll_output()[-1] == ResetStream(0x1004)


def test_a_wrong_request_is_refused_and_wrong_words_later_end_the_circuit() -> None:
    answering = CircuitResponder(0.0)
    answering.handle_data(encode_frame(encode_circuit(CircuitStatus(100, ID_A))), 0.1)
    assert answering.poll_output() == [
        SendData(encode_frame(encode_circuit(CircuitStatus(Status.MALFORMED_MESSAGE)))),
        SendEof(),
    ]

    asking, answering = opened()
    answering.handle_data(encode_frame(encode_circuit(CircuitConnect(BOB, ID_A))), 1.0)
    asking.handle_data(encode_frame(encode_circuit(CircuitStatus(100, ID_A))), 1.0)
    assert answering.poll_output() == [ResetStream(0x1004)]
    assert asking.poll_output() == [ResetStream(0x1004)]


@pytest.mark.parametrize("machine", [CircuitRequester(BOB, ID_A, 0.0), CircuitResponder(0.0)])
def test_silence_ends_the_dialogue(machine: Machine) -> None:
    deadline = machine.poll_timeout()
    assert deadline is not None
    machine.handle_timeout(deadline.at)
    assert machine.is_done
    assert machine.state is DialogueState.ENDED


def test_the_diagram_of_the_spec_is_the_table() -> None:
    drawn = re.findall(
        r"^\s*(\w+) --> (\w+): (\w+)$", block("relay.md", "circuit dialogue"), re.MULTILINE
    )
    assert {(a, step): b for a, b, step in drawn} == {
        (state.value, step.value): target.value for (state, step), target in TRANSITIONS.items()
    }
