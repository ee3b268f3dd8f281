"""AutoNAT v1, stepped by hand."""

import pytest

from p2pnode.protocols.autonat import V1_LIMITS, Budget
from p2pnode.protocols.autonat.messages_v1 import (
    DialResponseV1,
    DialV1,
    StatusV1,
    decode_message_v1_untrusted,
    encode_message_v1,
)
from p2pnode.protocols.autonat.outcomes import Doubt, Inconclusive, NotReached, Prober, Reached
from p2pnode.protocols.autonat.v1_dialogue import V1Requester, V1Server
from tests.support.autonat import (
    ABILITY,
    ALICE,
    ASKER,
    OTHER_IP,
    PRIVATE_IP,
    RELAYED,
    SAME_IP,
    deliver,
    frame,
    outputs,
)
from tests.support.identities import peer_id


def server(now: float = 0.0, asker=ASKER, budget: Budget | None = None) -> V1Server:
    return V1Server(asker, ABILITY, budget or Budget(V1_LIMITS), now)


def answer_of(machine: V1Server) -> DialResponseV1:
    data, acts = outputs(machine)
    assert acts == ["eof"]
    answer = decode_message_v1_untrusted(data[1:])
    assert isinstance(answer, DialResponseV1)
    return answer


@pytest.mark.spec("AUTONAT-1")
def test_a_dial_that_succeeds_is_told_with_its_address() -> None:
    asking, answering = V1Requester(ALICE, (SAME_IP,), 0.0), server()
    assert deliver(asking, answering, 0.1) == ["eof"]

    order = answering.wants_dial
    assert order is not None
    assert (order.peer_id, order.addrs, order.deadline) == (ALICE, (SAME_IP,), 15.1)
    answering.on_dialled(SAME_IP, 0.2)
    deliver(answering, asking, 0.3)

    assert asking.outcome == Reached(SAME_IP, Prober.ACQUAINTANCE)
    assert asking.is_done
    assert answering.is_done
    assert answering.wants_dial is None


@pytest.mark.spec("AUTONAT-3")
@pytest.mark.parametrize("failed_at", [0.2, 14.0, None])
def test_a_failed_dial_is_answered_at_the_dial_timeout_and_not_before(
    failed_at: float | None,
) -> None:
    asking, answering = V1Requester(ALICE, (SAME_IP,), 0.0), server()
    deliver(asking, answering, 0.0)
    if failed_at is not None:
        answering.on_dialled(None, failed_at)
        assert answering.wants_dial is None
    answering.handle_timeout(14.9)
    assert answering.poll_output() == []
    deadline = answering.poll_timeout()
    assert deadline is not None
    assert deadline.at == 15.0

    answering.handle_timeout(15.0)
    deliver(answering, asking, 15.1)

    assert isinstance(asking.outcome, NotReached)


@pytest.mark.spec("AUTONAT-1")
def test_a_request_for_somebody_else_is_a_bad_one() -> None:
    machine = server()
    machine.handle_data(frame(encode_message_v1(DialV1(peer_id("b"), (SAME_IP,)))), 0.0)

    assert answer_of(machine).status == StatusV1.E_BAD_REQUEST


@pytest.mark.spec("AUTONAT-2")
@pytest.mark.spec("AUTONAT-22")
def test_other_ips_are_rewritten_and_relayed_requests_refused() -> None:
    dial = frame(encode_message_v1(DialV1(ALICE, (PRIVATE_IP, OTHER_IP))))
    direct, relayed = server(), server(asker=RELAYED)
    for machine in (direct, relayed):
        machine.handle_data(dial, 0.0)

    assert direct.wants_dial is not None
    assert direct.wants_dial.addrs == (SAME_IP,)
    assert answer_of(relayed).status == StatusV1.E_DIAL_REFUSED


@pytest.mark.spec("AUTONAT-23")
def test_above_the_limits_a_request_is_refused() -> None:
    budget = Budget(V1_LIMITS)
    dial = frame(encode_message_v1(DialV1(ALICE, (SAME_IP,))))
    statuses = []
    for _ in range(4):
        machine = server(budget=budget)
        machine.handle_data(dial, 0.0)
        if machine.wants_dial is not None:
            machine.on_dialled(SAME_IP, 0.0)
        statuses.append(answer_of(machine).status)

    assert statuses == [StatusV1.OK] * 3 + [StatusV1.E_DIAL_REFUSED]


@pytest.mark.parametrize("how", ["reset", "timeout"])
def test_a_lost_dialogue_gives_its_place_back(how: str) -> None:
    budget = Budget(V1_LIMITS)
    for at in (0.0, 70.0, 140.0, 210.0):
        machine = server(at, budget=budget)
        machine.handle_data(frame(encode_message_v1(DialV1(ALICE, (SAME_IP,)))), at)
        assert machine.wants_dial is not None
        if how == "reset":
            machine.handle_reset(0, at)
            assert machine.poll_output() == []
        else:
            machine.handle_timeout(at + 60.0)
        assert machine.is_done
        assert machine.wants_dial is None
        assert machine.poll_timeout() is None
        machine.on_dialled(SAME_IP, at)


@pytest.mark.parametrize(
    ("response", "doubt"),
    [
        (DialResponseV1(StatusV1.E_DIAL_REFUSED), Doubt.REFUSED),
        (DialResponseV1(StatusV1.E_BAD_REQUEST), Doubt.FAILED),
        (DialResponseV1(77), Doubt.FAILED),
        (DialV1(ALICE, ()), Doubt.FAILED),
        (None, Doubt.FAILED),
    ],
)
def test_answers_that_prove_nothing_are_inconclusive(
    response: DialResponseV1 | DialV1 | None, doubt: Doubt
) -> None:
    machine = V1Requester(ALICE, (SAME_IP,), 0.0)
    if response is None:
        machine.handle_eof(1.0)
    else:
        machine.handle_data(frame(encode_message_v1(response)), 1.0)

    assert isinstance(machine.outcome, Inconclusive)
    assert machine.outcome.doubt is doubt


def test_a_request_without_an_answer_ends_at_its_deadline() -> None:
    machine = V1Requester(ALICE, (SAME_IP,), 5.0)
    machine.handle_timeout(34.9)
    assert machine.outcome is None
    machine.handle_timeout(35.0)

    assert machine.outcome == Inconclusive(Doubt.FAILED, "an AutoNAT request timed out")


def test_an_answer_that_names_no_address_is_about_the_first_one() -> None:
    machine = V1Requester(ALICE, (SAME_IP,), 0.0)
    machine.handle_data(frame(encode_message_v1(DialResponseV1(StatusV1.OK))), 1.0)

    assert machine.outcome == Reached(SAME_IP, Prober.ACQUAINTANCE)
