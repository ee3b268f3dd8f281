import re
from pathlib import Path

import pytest

from p2pnode.machine import Ecn
from p2pnode.transports.delivery.ecn import TESTING_PTOS, TRANSITIONS, EcnState, EcnValidator

SPEC = Path(__file__).parents[4] / "specs" / "recovery.md"


def after_sending(count):
    validator = EcnValidator()
    validator.on_sent(count)
    return validator


def capable():
    validator = after_sending(20)
    validator.on_ack(10, (10, 0, 0), True)
    assert validator.state is EcnState.CAPABLE
    return validator


def test_packets_are_marked_while_the_path_is_tested_and_after():
    validator = EcnValidator()
    assert validator.codepoint_to_send == Ecn.ECT_0
    assert capable().codepoint_to_send == Ecn.ECT_0


def test_switched_off_it_marks_nothing_and_ignores_counts():
    validator = EcnValidator(is_enabled=False)
    validator.on_sent(5)
    assert validator.codepoint_to_send == Ecn.NOT_ECT
    assert validator.on_ack(5, (0, 0, 5), True) == 0
    assert validator.state is EcnState.DISABLED


@pytest.mark.spec("RECOVERY-17")
def test_new_congestion_marks_are_counted_once():
    validator = capable()
    assert validator.on_ack(3, (11, 0, 2), True) == 2
    assert validator.on_ack(2, (13, 0, 2), True) == 0


@pytest.mark.spec("RECOVERY-16")
@pytest.mark.parametrize(
    ("newly_acked", "counts"),
    [
        (3, None),  # the marks were erased, or the peer cannot see them
        (3, (12, 0, 0)),  # one erased
        (3, (13, 1, 0)),  # ECT(1) was never sent
        (3, (9, 0, 4)),  # a count fell
        (1, (30, 0, 0)),  # more than was sent
    ],
)
def test_counts_that_cannot_be_true_end_marking_for_good(newly_acked, counts):
    validator = capable()
    assert validator.on_ack(newly_acked, counts, True) == 0
    assert validator.state is EcnState.FAILED
    assert validator.codepoint_to_send == Ecn.NOT_ECT
    validator.on_ack(1, (14, 0, 0), True)
    assert validator.state is EcnState.FAILED


def test_an_ack_that_was_overtaken_proves_nothing():
    validator = capable()
    assert validator.on_ack(1, (5, 0, 0), False) == 0
    assert validator.state is EcnState.CAPABLE


def test_an_ack_of_nothing_new_may_leave_the_counts_out():
    validator = capable()
    validator.on_ack(0, None, True)
    assert validator.state is EcnState.CAPABLE


@pytest.mark.spec("RECOVERY-16")
def test_a_path_that_is_silent_to_marked_packets_is_tried_without():
    validator = after_sending(10)
    for count in range(1, TESTING_PTOS):
        validator.on_probe_timeout(count)
        assert validator.codepoint_to_send == Ecn.ECT_0
    validator.on_probe_timeout(TESTING_PTOS)
    assert validator.codepoint_to_send == Ecn.NOT_ECT


def test_silence_of_a_validated_path_is_not_blamed_on_marks():
    validator = capable()
    validator.on_probe_timeout(TESTING_PTOS)
    assert validator.state is EcnState.CAPABLE


def test_the_diagram_of_the_spec_is_the_table_of_the_code():
    section = SPEC.read_text().split("## ECN", 1)[1]
    diagram = section.split("```mermaid", 1)[1].split("```", 1)[0]
    drawn = set(re.findall(r"^ *(\w+) --> (\w+) *: *(\w+)$", diagram, re.MULTILINE))
    coded = {(a.name, b.name, what.name) for (a, what), b in TRANSITIONS.items()}
    assert drawn == coded
