"""AutoNAT v2, stepped by hand: the dial-request stream and the dial-back stream."""

import random

import pytest

from p2pnode.protocols.autonat import V2_LIMITS, Budget
from p2pnode.protocols.autonat.messages_v2 import (
    DialDataRequest,
    DialDataResponse,
    DialRequest,
    DialResponse,
    DialStatus,
    MessageV2,
    ResponseStatus,
    decode_message_v2_untrusted,
    encode_message_v2,
)
from p2pnode.protocols.autonat.outcomes import Doubt, Inconclusive, NotReached, Prober, Reached
from p2pnode.protocols.autonat.v2_requester import DialBackReceiver, V2Requester
from p2pnode.protocols.autonat.v2_server import (
    MAX_DIAL_DATA,
    MAX_DIAL_PAUSE,
    MIN_DIAL_DATA,
    DialBackSender,
    V2Server,
)
from p2pnode.wire.framing import FrameReader
from tests.support.autonat import (
    ABILITY,
    ALICE,
    ASKER,
    OTHER_IP,
    PRIVATE_IP,
    RELAYED,
    SAME_IP,
    addr,
    deliver,
    frame,
    outputs,
)

NONCE = 0x0102030405060708
LOCAL = addr("/ip4/192.168.1.2/udp/4001/noise")


def server(asker=ASKER, budget: Budget | None = None, seed: int = 1) -> V2Server:
    return V2Server(asker, ABILITY, budget or Budget(V2_LIMITS), random.Random(seed), 0.0)


def say(message: MessageV2) -> bytes:
    return frame(encode_message_v2(message))


def heard(machine: V2Server | V2Requester) -> tuple[list[MessageV2], list[str]]:
    data, acts = outputs(machine)
    reader = FrameReader(10_000)
    reader.feed(data)
    messages = []
    while (raw := reader.next_frame_untrusted()) is not None:
        messages.append(decode_message_v2_untrusted(raw))
    return messages, acts


def asked(addrs=(SAME_IP,), **others) -> V2Server:
    machine = server(**others)
    machine.handle_data(say(DialRequest(addrs, NONCE)), 0.0)
    return machine


@pytest.mark.spec("AUTONAT-4")
@pytest.mark.spec("AUTONAT-9")
def test_the_first_dialable_address_is_dialled_and_the_nonce_delivered() -> None:
    asking, answering = V2Requester((PRIVATE_IP, SAME_IP, OTHER_IP), NONCE, 0.0), server()
    deliver(asking, answering, 0.0)
    order = answering.wants_dial
    assert order is not None
    assert (order.peer_id, order.address, order.nonce) == (ALICE, SAME_IP, NONCE)
    assert order.deadline == 10.0

    sender, receiver = DialBackSender(order.nonce, 0.1), DialBackReceiver(0.1)
    deliver(sender, receiver, 0.1)
    assert receiver.nonce == NONCE
    assert asking.on_dial_back(NONCE, local=LOCAL, was_contacted=True, now=0.1)
    receiver.accept()
    assert deliver(receiver, sender, 0.2) == ["eof"]
    assert sender.status is DialStatus.OK
    answering.on_dialled(sender.status, 0.2)
    deliver(answering, asking, 0.3)

    assert asking.outcome == Reached(SAME_IP, Prober.ACQUAINTANCE)
    assert asking.is_done
    assert answering.is_done


@pytest.mark.spec("AUTONAT-5")
@pytest.mark.spec("AUTONAT-7")
@pytest.mark.spec("AUTONAT-8")
@pytest.mark.parametrize("seed", range(5))
def test_another_ip_is_dialled_after_the_dial_data_and_a_pause(seed: int) -> None:
    asking, answering = V2Requester((OTHER_IP,), NONCE, 0.0), server(seed=seed)
    deliver(asking, answering, 0.0)
    [wanted], acts = heard(answering)
    assert isinstance(wanted, DialDataRequest)
    assert MIN_DIAL_DATA <= wanted.num_bytes < MAX_DIAL_DATA
    assert (wanted.addr_index, acts, answering.wants_dial) == (0, [], None)

    asking.handle_data(say(wanted), 0.1)
    data, acts = heard(asking)
    assert sum(len(m.data) for m in data if isinstance(m, DialDataResponse)) == wanted.num_bytes
    assert acts == []
    for message in data[:-1]:
        answering.handle_data(say(message), 0.2)
    assert answering.wants_dial is None
    answering.handle_data(say(DialDataResponse(bytes(4096))), 0.2)  # the last one may overshoot
    assert answering.wants_dial is None
    answering.handle_timeout(0.2 + MAX_DIAL_PAUSE)

    assert answering.wants_dial is not None
    assert answering.wants_dial.address == OTHER_IP


@pytest.mark.spec("AUTONAT-7")
def test_the_pause_is_not_always_the_same() -> None:
    moments = set()
    for seed in range(5):
        machine = asked((OTHER_IP,), seed=seed)
        for _ in range(25):
            machine.handle_data(say(DialDataResponse(bytes(4096))), 0.1)
        deadline = machine.poll_timeout()
        assert deadline is not None
        moments.add(deadline.at)

    assert len(moments) == 5
    assert all(0.1 <= at <= 0.1 + MAX_DIAL_PAUSE for at in moments)


@pytest.mark.spec("AUTONAT-6")
def test_dial_data_in_tiny_pieces_ends_the_dialogue_without_a_dial() -> None:
    machine = asked((OTHER_IP,))
    machine.poll_output()
    machine.handle_data(say(DialDataResponse(bytes(99))), 0.1)

    assert outputs(machine) == (b"", ["reset 0x1004"])
    assert machine.wants_dial is None


@pytest.mark.spec("AUTONAT-6")
def test_dial_data_slower_than_the_least_rate_ends_the_dialogue() -> None:
    machine = asked((OTHER_IP,))
    machine.poll_output()
    now = 0.0
    for now in (1.0, 2.0, 2.9):
        machine.handle_timeout(now)
        machine.handle_data(say(DialDataResponse(bytes(2000))), now)
    machine.handle_timeout(3.4)
    assert not machine.is_done
    machine.handle_timeout(3.5)  # 2 s of grace, and 6000 bytes at 4000 bytes a second

    assert outputs(machine) == (b"", ["reset 0x1002"])
    assert machine.wants_dial is None


@pytest.mark.spec("AUTONAT-6")
def test_dial_data_must_be_complete_in_time_at_any_rate() -> None:
    machine = asked((OTHER_IP,), seed=3)
    [wanted], _ = heard(machine)
    assert isinstance(wanted, DialDataRequest)
    assert wanted.num_bytes > 45_000
    for step in range(1, 10):
        machine.handle_timeout(float(step))
        machine.handle_data(say(DialDataResponse(bytes(5000))), float(step))
    assert machine.wants_dial is None
    assert not machine.is_done
    machine.handle_timeout(10.0)

    assert machine.is_done


def test_dial_data_without_end_ends_the_dialogue() -> None:
    machine = asked((OTHER_IP,))
    for _ in range(60):
        machine.handle_data(say(DialDataResponse(bytes(4096))), 0.1)

    assert machine.is_done


@pytest.mark.parametrize(
    ("addrs", "asker", "status"),
    [
        ((PRIVATE_IP,), ASKER, ResponseStatus.E_DIAL_REFUSED),
        ((), ASKER, ResponseStatus.E_DIAL_REFUSED),
        ((SAME_IP,), RELAYED, ResponseStatus.E_REQUEST_REJECTED),
    ],
)
@pytest.mark.spec("AUTONAT-22")
def test_what_is_not_dialled_is_answered_at_once(addrs, asker, status) -> None:
    machine = asked(addrs, asker=asker)

    assert heard(machine) == ([DialResponse(status)], ["eof"])
    assert machine.wants_dial is None


@pytest.mark.spec("AUTONAT-23")
def test_above_the_limits_requests_are_rejected() -> None:
    budget = Budget(V2_LIMITS)
    running = [asked(budget=budget) for _ in range(3)]

    assert [machine.wants_dial is not None for machine in running] == [True, True, False]
    assert heard(running[2])[0] == [DialResponse(ResponseStatus.E_REQUEST_REJECTED)]
    running[0].handle_reset(0, 0.0)
    assert asked(budget=budget).wants_dial is not None


@pytest.mark.spec("AUTONAT-23")
def test_a_victim_named_by_many_is_dialled_only_so_often() -> None:
    budget = Budget(V2_LIMITS)
    wanted = 0
    for _ in range(20):
        machine = asked((OTHER_IP,), budget=budget)
        messages, _ = heard(machine)
        wanted += isinstance(messages[0], DialDataRequest)
        machine.handle_reset(0, 0.0)

    assert wanted == V2_LIMITS.per_target


def test_a_dial_that_its_owner_never_reports_is_a_failed_one() -> None:
    machine = asked()
    machine.handle_timeout(15.0)

    expected = DialResponse(ResponseStatus.OK, 0, DialStatus.E_DIAL_ERROR)
    assert heard(machine) == ([expected], ["eof"])
    machine.on_dialled(DialStatus.OK, 16.0)
    assert machine.poll_output() == []


@pytest.mark.spec("AUTONAT-8")
@pytest.mark.parametrize(("index", "size"), [(0, 100_001), (1, 30_000), (0, 2**63)])
def test_excessive_wishes_for_dial_data_are_not_fulfilled(index: int, size: int) -> None:
    machine = V2Requester((OTHER_IP,), NONCE, 0.0)
    machine.poll_output()
    machine.handle_data(say(DialDataRequest(index, size)), 0.1)

    assert outputs(machine) == (b"", ["reset 0x1004"])
    assert isinstance(machine.outcome, Inconclusive)


@pytest.mark.spec("AUTONAT-8")
def test_dial_data_is_sent_once() -> None:
    machine = V2Requester((OTHER_IP,), NONCE, 0.0)
    machine.poll_output()
    machine.handle_data(2 * say(DialDataRequest(0, 100)), 0.1)

    assert outputs(machine)[1] == ["reset 0x1004"]


@pytest.mark.spec("AUTONAT-9")
def test_foreign_and_second_nonces_do_not_count() -> None:
    machine = V2Requester((SAME_IP,), NONCE, 0.0)

    assert not machine.on_dial_back(NONCE + 1, local=LOCAL, was_contacted=False, now=0.1)
    assert machine.on_dial_back(NONCE, local=LOCAL, was_contacted=True, now=0.1)
    assert not machine.on_dial_back(NONCE, local=LOCAL, was_contacted=False, now=0.1)
    machine.handle_data(say(DialResponse(ResponseStatus.OK, 0, DialStatus.OK)), 0.2)
    assert machine.outcome == Reached(SAME_IP, Prober.ACQUAINTANCE)


@pytest.mark.spec("AUTONAT-9")
def test_a_dial_back_by_another_transport_proves_nothing() -> None:
    machine = V2Requester((SAME_IP,), NONCE, 0.0)
    machine.on_dial_back(NONCE, local=addr("/ip4/10.0.0.1/tcp/1"), was_contacted=False, now=0.1)
    machine.handle_data(say(DialResponse(ResponseStatus.OK, 0, DialStatus.OK)), 0.2)

    assert isinstance(machine.outcome, Inconclusive)
    assert machine.outcome.doubt is Doubt.CONTRADICTORY


@pytest.mark.spec("AUTONAT-12")
@pytest.mark.parametrize(
    "status", [DialStatus.OK, DialStatus.E_DIAL_BACK_ERROR, DialStatus.E_DIAL_ERROR]
)
def test_a_nonce_that_arrived_beats_what_the_server_says(status: DialStatus) -> None:
    machine = V2Requester((SAME_IP,), NONCE, 0.0)
    local = addr(f"/ip4/10.0.0.1/udp/1/noise/p2p/{ALICE}")
    machine.on_dial_back(NONCE, local=local, was_contacted=False, now=0.1)
    machine.handle_data(say(DialResponse(ResponseStatus.OK, 0, status)), 0.2)

    assert machine.outcome == Reached(SAME_IP, Prober.STRANGER)


@pytest.mark.spec("AUTONAT-12")
@pytest.mark.parametrize("arrives", [True, False])
def test_success_is_believed_only_when_the_nonce_arrives(arrives: bool) -> None:
    machine = V2Requester((SAME_IP,), NONCE, 0.0)
    machine.handle_data(say(DialResponse(ResponseStatus.OK, 0, DialStatus.OK)), 0.2)
    machine.handle_eof(0.2)
    machine.handle_timeout(5.1)
    assert machine.outcome is None
    if arrives:
        machine.on_dial_back(NONCE, local=LOCAL, was_contacted=False, now=5.1)
    machine.handle_timeout(5.2)

    if arrives:
        assert machine.outcome == Reached(SAME_IP, Prober.STRANGER)
    else:
        assert isinstance(machine.outcome, Inconclusive)
        assert machine.outcome.doubt is Doubt.CONTRADICTORY


@pytest.mark.parametrize(
    ("response", "doubt"),
    [
        (DialResponse(ResponseStatus.E_DIAL_REFUSED), Doubt.REFUSED),
        (DialResponse(ResponseStatus.E_REQUEST_REJECTED), Doubt.RATE_LIMITED),
        (DialResponse(ResponseStatus.E_INTERNAL_ERROR), Doubt.FAILED),
        (DialResponse(33), Doubt.FAILED),
        (DialResponse(ResponseStatus.OK, 0, 33), Doubt.FAILED),
        (DialResponse(ResponseStatus.OK, 1, DialStatus.OK), Doubt.CONTRADICTORY),
    ],
)
def test_answers_that_prove_nothing_are_inconclusive(response: DialResponse, doubt: Doubt) -> None:
    machine = V2Requester((SAME_IP,), NONCE, 0.0)
    machine.handle_data(say(response), 0.2)

    assert isinstance(machine.outcome, Inconclusive)
    assert machine.outcome.doubt is doubt


def test_dial_data_for_one_address_and_an_answer_for_another_prove_nothing() -> None:
    machine = V2Requester((SAME_IP, OTHER_IP), NONCE, 0.0)
    machine.handle_data(say(DialDataRequest(1, 100)), 0.1)
    machine.handle_data(say(DialResponse(ResponseStatus.OK, 0, DialStatus.E_DIAL_ERROR)), 0.2)

    assert isinstance(machine.outcome, Inconclusive)


def test_a_failed_dial_is_evidence_against_the_address_that_was_dialled() -> None:
    machine = V2Requester((PRIVATE_IP, SAME_IP), NONCE, 0.0)
    machine.handle_data(say(DialResponse(ResponseStatus.OK, 1, DialStatus.E_DIAL_ERROR)), 0.2)

    assert isinstance(machine.outcome, NotReached)
    assert machine.outcome.address == SAME_IP


@pytest.mark.parametrize("ending", ["eof", "reset", "timeout", "garbage", "reset after answer"])
def test_a_dialogue_that_breaks_off_proves_nothing(ending: str) -> None:
    machine = V2Requester((SAME_IP,), NONCE, 0.0)
    match ending:
        case "eof":
            machine.handle_eof(1.0)
        case "reset":
            machine.handle_reset(0, 1.0)
        case "timeout":
            machine.handle_timeout(30.0)
        case "garbage":
            machine.handle_data(b"\x01\xff", 1.0)
        case _:
            machine.handle_data(say(DialResponse(ResponseStatus.OK, 0, DialStatus.OK)), 1.0)
            machine.handle_reset(0, 1.0)

    assert isinstance(machine.outcome, Inconclusive)
    assert machine.is_done
    assert machine.poll_timeout() is None
    assert not machine.on_dial_back(NONCE, local=LOCAL, was_contacted=False, now=2.0)


@pytest.mark.spec("AUTONAT-10")
def test_an_accepted_dial_back_is_answered_and_closed_and_never_reset() -> None:
    machine = DialBackReceiver(0.0)
    machine.handle_data(b"\x09\x09\x01" + bytes(7), 0.1)
    assert machine.nonce == 1
    machine.accept()

    assert outputs(machine) == (b"\0", ["eof"])
    machine.handle_timeout(100.0)
    machine.handle_eof(100.0)
    machine.refuse()
    assert machine.poll_output() == []


@pytest.mark.spec("AUTONAT-10")
@pytest.mark.parametrize("ending", ["refuse", "timeout", "eof", "garbage"])
def test_a_dial_back_of_no_use_is_reset(ending: str) -> None:
    machine = DialBackReceiver(0.0)
    match ending:
        case "refuse":
            machine.handle_data(b"\x09\x09\x01" + bytes(7), 0.1)
            machine.handle_eof(0.1)
            machine.refuse()
        case "timeout":
            machine.handle_timeout(5.0)
        case "eof":
            machine.handle_eof(0.1)
        case _:
            machine.handle_data(b"\xff\x7f", 0.1)

    [reset] = outputs(machine)[1]
    assert reset.startswith("reset")
    assert machine.is_done


@pytest.mark.spec("AUTONAT-11")
@pytest.mark.parametrize("ending", ["eof", "reset", "byte"])
def test_any_end_after_the_nonce_has_gone_out_is_delivery(ending: str) -> None:
    sender = DialBackSender(NONCE, 0.0)
    assert outputs(sender)[1] == ["eof"]
    match ending:
        case "eof":
            sender.handle_eof(0.1)
        case "reset":
            sender.handle_reset(0, 0.1)
        case _:
            sender.handle_data(b"\0", 0.1)

    assert sender.status is DialStatus.OK


@pytest.mark.spec("AUTONAT-11")
def test_without_an_end_or_before_the_nonce_a_dial_back_has_failed() -> None:
    unsent, unanswered = DialBackSender(NONCE, 0.0), DialBackSender(NONCE, 0.0)
    unsent.handle_reset(0, 0.1)
    outputs(unanswered)
    unanswered.handle_timeout(5.0)

    assert unsent.status is unanswered.status is DialStatus.E_DIAL_BACK_ERROR
