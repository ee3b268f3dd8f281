import pytest

from p2pnode.machine import SocketId
from p2pnode.transports.datagrams.datagram_batch import DatagramBatch
from p2pnode.transports.noise_udp.path_validation import (
    AMPLIFICATION_LIMIT,
    FULL_SIZE,
    MAX_PROBES,
    TRANSITIONS,
    RouteState,
    RouteValidation,
)
from p2pnode.transports.punch import Punch, PunchProbe
from p2pnode.transports.route import Route
from tests.support import spec_tables
from tests.support.noise_udp import entropy, route


def validation(*, address_proven=False, now=10.0):
    return RouteValidation(route(), entropy("challenge"), now, address_proven=address_proven)


def run(subject, until=1000.0):
    """Returns [(time, padded size)] of the challenges up to a time."""
    sent = []
    while (deadline := subject.poll_timeout()) is not None and deadline.at <= until:
        subject.handle_timeout(deadline.at)
        challenge = subject.poll_challenge(deadline.at)
        if challenge is not None:
            sent.append((round(deadline.at - 10.0, 6), challenge[1]))
    return sent


@pytest.mark.spec("TRANSPORT-29")
def test_an_address_gets_12_challenges_and_then_has_failed():
    subject = validation()
    times = [at for at, _ in run(subject)]
    assert times == [0, 0.2, 0.5, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert len(times) == MAX_PROBES
    assert subject.state is RouteState.FAILED
    assert subject.poll_timeout() is None
    assert subject.poll_challenge(1e9) is None


@pytest.mark.spec("TRANSPORT-29")
def test_the_last_challenge_has_a_second_to_be_answered():
    subject = validation()
    run(subject, until=19.0)
    assert subject.state is RouteState.PROBING
    assert subject.poll_timeout().at == 20.0
    subject.handle_timeout(19.99)
    assert subject.state is RouteState.PROBING


@pytest.mark.spec("TRANSPORT-27")
def test_an_unproven_address_gets_small_challenges_only():
    subject = validation()
    assert {size for _, size in run(subject)} == {0}


@pytest.mark.spec("TRANSPORT-27")
def test_an_unproven_address_that_sent_enough_gets_a_full_sized_challenge():
    subject = validation()
    subject.received = FULL_SIZE // AMPLIFICATION_LIMIT - 1
    assert subject.poll_challenge(10.0)[1] == 0
    subject.on_heard(1, 10.0)
    assert subject.poll_challenge(10.2)[1] == FULL_SIZE
    subject.sent = 1
    assert subject.poll_challenge(10.5)[1] == 0


@pytest.mark.spec("TRANSPORT-27")
def test_a_small_answer_proves_the_address_and_only_a_full_one_the_path():
    subject = validation()
    frame, size, _ = subject.poll_challenge(10.0)
    assert size == 0
    assert subject.on_response(frame.data, 10.1)
    assert subject.state is RouteState.ADDRESS_PROVEN
    frame, size, _ = subject.poll_challenge(10.1)
    assert size == FULL_SIZE
    assert subject.on_response(frame.data, 10.3)
    assert subject.state is RouteState.VALIDATED
    assert subject.rtt == pytest.approx(0.2)
    assert subject.poll_timeout() is None


def test_a_proven_address_gets_full_sized_challenges_at_once():
    subject = validation(address_proven=True)
    assert subject.state is RouteState.ADDRESS_PROVEN
    assert {size for _, size in run(subject)} == {FULL_SIZE}
    assert subject.state is RouteState.FAILED


def test_the_address_proof_starts_a_new_round_of_challenges():
    subject = validation()
    frame, *_ = subject.poll_challenge(10.0)
    run(subject, until=18.5)
    assert subject.on_response(frame.data, 18.7)
    assert len(run(subject)) == MAX_PROBES


def test_an_answer_counts_once_and_only_for_a_challenge_of_this_route():
    subject, other = validation(), RouteValidation(route(), entropy("x"), 10.0, address_proven=True)
    foreign, *_ = other.poll_challenge(10.0)
    frame, *_ = subject.poll_challenge(10.0)
    assert not subject.on_response(foreign.data, 10.1)
    assert not subject.on_response(bytes(8), 10.1)
    assert subject.state is RouteState.PROBING
    assert subject.on_response(frame.data, 10.1)
    assert not subject.on_response(frame.data, 10.1)


def test_a_late_answer_to_an_early_challenge_counts():
    subject = validation(address_proven=True)
    first, *_ = subject.poll_challenge(10.0)
    subject.poll_challenge(10.2)
    assert subject.on_response(first.data, 10.4)
    assert subject.state is RouteState.VALIDATED
    assert subject.rtt == pytest.approx(0.4)


def test_a_challenge_is_not_repeated_before_its_time():
    subject = validation()
    assert subject.poll_challenge(9.9) is None
    first, *_ = subject.poll_challenge(10.0)
    assert subject.poll_challenge(10.1) is None
    second, *_ = subject.poll_challenge(10.2)
    assert first.data != second.data


def test_the_diagram_of_the_spec_is_the_table_of_transitions():
    drawn = spec_tables.diagram("transport.md", "address validation")
    assert drawn == {(s.name, e.name): t.name for (s, e), t in TRANSITIONS.items()}


def punched(*probes, start_at=10.0, gives_up_at=12.5):
    punch = Punch(start_at, probes, gives_up_at)
    return RouteValidation(route(), entropy("punch"), 5.0, address_proven=False, punch=punch)


@pytest.mark.spec("TRANSPORT-40")
def test_a_punch_has_a_schedule_of_its_own():
    subject = punched(PunchProbe(0.0, 4), PunchProbe(0.1, 4), PunchProbe(0.5))
    sent = []
    while (deadline := subject.poll_timeout()) is not None:
        subject.handle_timeout(deadline.at)
        challenge = subject.poll_challenge(deadline.at)
        if challenge is not None:
            sent.append((round(deadline.at, 6), challenge.size, challenge.ttl))
    assert sent == [(10.0, 0, 4), (10.1, 0, 4), (10.5, 0, None)]
    assert subject.state is RouteState.FAILED


@pytest.mark.spec("TRANSPORT-40")
def test_a_punch_has_failed_when_it_says_so_and_not_before():
    subject = punched(PunchProbe(0.0))
    subject.poll_challenge(10.0)
    subject.handle_timeout(12.4)
    assert subject.state is RouteState.PROBING
    subject.handle_timeout(12.5)
    assert subject.state is RouteState.FAILED


@pytest.mark.spec("TRANSPORT-41")
def test_who_is_heard_is_answered_at_once_and_with_a_full_time_to_live():
    subject = punched(PunchProbe(0.0, 4), PunchProbe(0.1, 4), PunchProbe(2.0))
    subject.poll_challenge(10.0)
    subject.on_heard(40, 10.05)
    assert subject.poll_timeout().at == 10.05
    assert subject.poll_challenge(10.05).ttl is None
    subject.on_heard(40, 10.06)
    assert subject.poll_challenge(10.06) is None


def test_datagrams_with_another_time_to_live_leave_in_a_call_of_their_own():
    batch = DatagramBatch()
    to = Route(SocketId(0), None, route().remote)
    batch.add(to, 0, 3, b"abc")
    batch.ttl = 4
    batch.add(to, 0, 3, b"def")
    batch.ttl = None
    batch.add(to, 0, 3, b"ghi")
    assert [(t.ttl, t.buffer) for t in batch.finish()] == [
        (None, b"abc"),
        (4, b"def"),
        (None, b"ghi"),
    ]
