"""DCUtR's messages and both sides of its dialogue, stepped by hand."""

import re

import pytest

from p2pnode.errors import DecodeError
from p2pnode.machine import ResetStream, SendData, SendEof
from p2pnode.protocols.dcutr.dialogue import (
    DIALOGUE_TIMEOUT,
    INITIATOR,
    RESPONDER,
    DcutrInitiator,
    DcutrResponder,
    DialogueStep,
    PunchAgreed,
    PunchNotAgreed,
    State,
)
from p2pnode.protocols.dcutr.messages import (
    MAX_ADDRS,
    MAX_MESSAGE_SIZE,
    Connect,
    HolePunch,
    Sync,
    decode_hole_punch_untrusted,
    encode_hole_punch,
)
from p2pnode.wire.framing import encode_frame
from p2pnode.wire.multiaddr import parse_multiaddr
from tests.support.identities import peer_id
from tests.support.spec_tables import block

ONE = parse_multiaddr("/ip4/1.2.3.4/udp/4001/noise")
TWO = parse_multiaddr("/ip6/2600::1/udp/4001/noise")
RELAYED = parse_multiaddr(f"/ip4/1.2.3.4/udp/4001/noise/p2p/{peer_id('r')}/p2p-circuit")
Machine = DcutrInitiator | DcutrResponder


def frame(message: HolePunch) -> bytes:
    return encode_frame(encode_hole_punch(message))


def move(source: Machine, target: Machine, now: float) -> None:
    for output in source.poll_output():
        if isinstance(output, SendData):
            target.handle_data(output.data, now)
        elif isinstance(output, SendEof):
            target.handle_eof(now)


def test_the_worked_example_of_the_spec_is_ours() -> None:
    connect, sync = block("dcutr.md", "messages").splitlines()
    assert frame(Connect((ONE,))) == bytes.fromhex(connect)
    assert frame(Sync()) == bytes.fromhex(sync)


@pytest.mark.spec("DCUTR-1")
@pytest.mark.spec("DCUTR-2")
@pytest.mark.parametrize("rtt", [0.0, 0.05, 0.3, 2.0])
def test_both_first_packets_leave_at_the_same_moment(rtt: float) -> None:
    initiator, responder = DcutrInitiator((ONE,), 100.0), DcutrResponder((TWO,), 100.0)
    move(initiator, responder, 100.0 + rtt / 2)
    move(responder, initiator, 100.0 + rtt)
    assert not responder.is_done
    move(initiator, responder, 100.0 + 1.5 * rtt)
    move(responder, initiator, 100.0 + 2 * rtt)

    first, second = initiator.outcome, responder.outcome
    assert isinstance(first, PunchAgreed)
    assert isinstance(second, PunchAgreed)
    assert first.addrs == (TWO,)
    assert second.addrs == (ONE,)
    assert first.rtt == pytest.approx(rtt)
    assert second.rtt is None
    assert first.start_at == pytest.approx(second.start_at)
    assert initiator.is_done
    assert responder.is_done
    assert initiator.poll_timeout() is None


@pytest.mark.spec("DCUTR-3")
@pytest.mark.parametrize(
    ("machine", "data"),
    [
        (DcutrInitiator((), 0.0), frame(Sync())),
        (DcutrInitiator((), 0.0), encode_frame(b"")),
        (DcutrInitiator((), 0.0), b"\xff\xff\x7f"),
        (DcutrResponder((), 0.0), frame(Sync())),
        (DcutrResponder((), 0.0), frame(Connect(())) * 2),
        (DcutrResponder((), 0.0), encode_frame(b"\x08\x01")),
    ],
)
def test_a_broken_dialogue_fails_once(machine: Machine, data: bytes) -> None:
    machine.handle_data(data, 0.1)
    outcome = machine.outcome
    assert isinstance(outcome, PunchNotAgreed)
    assert machine.state is State.FAILED
    assert machine.poll_output()[-1] == ResetStream(0x1004)

    machine.handle_data(frame(Connect(())) + frame(Sync()), 0.2)
    machine.handle_eof(0.2)
    machine.handle_reset(0, 0.2)
    machine.handle_timeout(99.0)
    assert machine.outcome is outcome
    assert machine.poll_output() == []


@pytest.mark.spec("DCUTR-3")
@pytest.mark.parametrize("kind", [DcutrInitiator, DcutrResponder])
def test_silence_fails_the_round(kind: type[Machine]) -> None:
    machine = kind((), 5.0)
    machine.handle_timeout(5.0 + DIALOGUE_TIMEOUT - 0.1)
    assert not machine.is_done
    machine.handle_timeout(5.0 + DIALOGUE_TIMEOUT)
    assert isinstance(machine.outcome, PunchNotAgreed)

    for end in (lambda m: m.handle_eof(6.0), lambda m: m.handle_reset(0, 6.0)):
        machine = kind((), 5.0)
        end(machine)
        assert isinstance(machine.outcome, PunchNotAgreed)


@pytest.mark.spec("DCUTR-4")
def test_relayed_and_broken_addresses_are_left_out() -> None:
    assert decode_hole_punch_untrusted(encode_hole_punch(Connect((RELAYED, ONE)))) == Connect(
        (ONE,)
    )
    relayed = RELAYED.to_bytes()
    data = b"\x08\x64\x12\x01\xff" + bytes([0x12, len(relayed)]) + relayed
    assert decode_hole_punch_untrusted(data) == Connect(())


@pytest.mark.spec("DCUTR-4")
def test_addresses_are_bounded_both_ways() -> None:
    many = tuple(parse_multiaddr(f"/dns/{'a' * 60}{i}.example/udp/1/noise") for i in range(100))
    assert len(encode_hole_punch(Connect(many))) <= MAX_MESSAGE_SIZE
    short = b"".join(
        b"\x12\x08\x04" + bytes([1, 1, 1, i]) + b"\x06\x00\x01" for i in range(MAX_ADDRS + 5)
    )
    decoded = decode_hole_punch_untrusted(b"\x08\x64" + short)
    assert isinstance(decoded, Connect)
    assert len(decoded.addrs) == MAX_ADDRS


def test_a_message_without_type_does_not_decode() -> None:
    with pytest.raises(DecodeError):
        decode_hole_punch_untrusted(b"")


@pytest.mark.parametrize(("marker", "table"), [("initiator", INITIATOR), ("responder", RESPONDER)])
def test_the_diagrams_of_the_spec_are_the_tables(
    marker: str, table: dict[tuple[State, DialogueStep], State]
) -> None:
    drawn = re.findall(r"^\s*(\w+) --> (\w+): (\w+)$", block("dcutr.md", marker), re.MULTILINE)
    assert {(a.upper(), step.upper()): b.upper() for a, b, step in drawn} == {
        (state.name, step.name): target.name for (state, step), target in table.items()
    }
