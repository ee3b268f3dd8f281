"""When rounds begin, fact by fact."""

import itertools
import re
from random import Random

import pytest

from p2pnode.machine import SocketAddr
from p2pnode.protocols.dcutr import policy as policy_module
from p2pnode.protocols.dcutr.plan import Strategy
from p2pnode.protocols.dcutr.policy import (
    EVIDENCE_DELAY,
    MIN_INTERVAL,
    RESPONDER_MEMORY,
    RETRY_INTERVAL,
    RETRY_JITTER,
    TRANSITIONS,
    PunchPolicy,
    ResponderRounds,
    StartRound,
    TryReversal,
)
from tests.support.addresses import noise_udp_multiaddr
from tests.support.identities import peer_id
from tests.support.spec_tables import block, constant, tables

A, B = peer_id("a"), peer_id("b")
PLAIN = StartRound(A, 1, Strategy.PLAIN)
OPENS = StartRound(A, 2, Strategy.INITIATOR_OPENS)


def failed_session(now: float = 0.0) -> PunchPolicy:
    policy = PunchPolicy(Random(1))
    policy.handle_relayed(A, "first")
    for _ in range(3):
        policy.handle_round_failed(A, now)
    policy.poll_commands()
    return policy


def due(policy: PunchPolicy) -> float:
    deadline = policy.poll_timeout()
    assert deadline is not None
    return deadline.at


@pytest.mark.spec("DCUTR-5")
def test_a_session_has_three_rounds_of_three_strategies() -> None:
    policy = PunchPolicy(Random(1))
    policy.handle_relayed(A, "first")
    assert policy.poll_commands() == [PLAIN]
    policy.handle_round_failed(A, 3.0)
    assert policy.poll_commands() == [OPENS]
    policy.handle_round_failed(A, 6.0)
    assert policy.poll_commands() == [StartRound(A, 3, Strategy.RESPONDER_OPENS)]
    policy.handle_round_failed(A, 9.0)
    assert policy.poll_commands() == []
    assert 9.0 + RETRY_INTERVAL <= due(policy) <= 9.0 + RETRY_INTERVAL * (1 + RETRY_JITTER)


@pytest.mark.spec("DCUTR-8")
def test_confirmed_addresses_are_probed_beside_the_first_round() -> None:
    addrs = (noise_udp_multiaddr(SocketAddr("1.2.3.4", 1)),)
    policy = PunchPolicy(Random(1))
    policy.handle_relayed(A, "first")
    policy.handle_public(A, addrs)
    policy.handle_public(A, addrs)
    assert policy.poll_commands() == [PLAIN, TryReversal(A, addrs)]


@pytest.mark.spec("DCUTR-13")
def test_without_new_evidence_there_is_one_round_an_hour() -> None:
    policy = failed_session()
    rounds: list[tuple[float, object]] = []
    for _ in range(4):
        now = due(policy)
        policy.handle_timeout(now - 0.1)
        assert policy.poll_commands() == []
        policy.handle_timeout(now)
        (command,) = policy.poll_commands()
        rounds.append((now, command))
        policy.handle_round_failed(A, now + 3.0)

    assert [command for _, command in rounds] == [PLAIN, OPENS, PLAIN, OPENS]
    moments = [0.0] + [now for now, _ in rounds]
    assert all(b - a >= RETRY_INTERVAL for a, b in itertools.pairwise(moments))


@pytest.mark.spec("DCUTR-13")
def test_each_change_of_evidence_is_worth_one_round() -> None:
    policy = failed_session(10.0)
    policy.handle_evidence(A, "second", 100.0)
    assert due(policy) == 100.0 + EVIDENCE_DELAY
    policy.handle_timeout(101.0)
    assert policy.poll_commands() == [PLAIN]
    policy.handle_round_failed(A, 104.0)
    assert policy.poll_commands() == []
    assert due(policy) >= 104.0 + RETRY_INTERVAL

    policy.handle_evidence(A, "third", 104.1)  # at once after a failure
    assert due(policy) == 104.0 + MIN_INTERVAL


@pytest.mark.spec("DCUTR-13")
def test_evidence_that_was_tried_before_is_none() -> None:
    policy = failed_session()
    policy.handle_evidence(A, "second", 10.0)
    policy.handle_timeout(11.0)
    policy.handle_round_failed(A, 14.0)
    policy.poll_commands()
    for now, evidence in [(20.0, "first"), (30.0, "second"), (40.0, "first"), (50.0, "first")]:
        policy.handle_evidence(A, evidence, now)
    assert due(policy) >= 14.0 + RETRY_INTERVAL


@pytest.mark.spec("DCUTR-13")
def test_evidence_that_comes_during_a_session_is_used_after_it() -> None:
    policy = PunchPolicy(Random(1))
    policy.handle_relayed(A, "first")
    for _ in range(2):
        policy.handle_round_failed(A, 3.0)
    policy.handle_evidence(A, "late", 4.0)
    # The third round has begun before; what it knew is the evidence of its beginning.
    policy.handle_round_failed(A, 6.0)
    assert due(policy) == 6.0 + MIN_INTERVAL


@pytest.mark.spec("DCUTR-14")
def test_a_direct_path_ends_the_session_and_its_loss_begins_another() -> None:
    policy = PunchPolicy(Random(1))
    policy.handle_relayed(A, "first")
    policy.poll_commands()
    policy.handle_direct(A)
    policy.handle_direct(A)
    policy.handle_round_failed(A, 3.0)
    policy.handle_evidence(A, "second", 4.0)
    assert policy.poll_commands() == []
    assert policy.poll_timeout() is None

    policy.handle_direct_lost(A, "second")
    policy.handle_direct_lost(A, "second")
    assert policy.poll_commands() == [PLAIN]


def test_a_direct_path_may_come_while_nobody_punches() -> None:
    policy = failed_session()
    policy.handle_direct(A)
    assert policy.poll_timeout() is None


def test_peers_that_are_gone_or_unknown_are_no_business() -> None:
    policy = failed_session()
    policy.handle_gone(A)
    policy.handle_gone(B)
    policy.handle_round_failed(B, 1.0)
    policy.handle_evidence(B, "x", 1.0)
    policy.handle_direct(B)
    policy.handle_direct_lost(B, "x")
    policy.handle_timeout(1e9)
    assert policy.poll_commands() == []
    assert policy.poll_timeout() is None


def test_peers_and_evidence_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy_module, "MAX_PEERS", 2)
    policy = PunchPolicy(Random(1))
    for index in range(5):
        policy.handle_relayed(peer_id(index), "first")
    assert len(policy.poll_commands()) == 2

    policy = failed_session()
    now = 0.0
    for index in range(40):
        now += 10.0
        policy.handle_evidence(A, f"evidence {index}", now)
        policy.handle_timeout(now + 1.0)
        policy.handle_round_failed(A, now + 2.0)
    assert len(policy.poll_commands()) == 40


@pytest.mark.spec("DCUTR-5")
def test_the_responder_counts_agreed_rounds_and_begins_anew_after_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rounds = ResponderRounds()
    assert [rounds.next_round(A, now) for now in (0.0, 3.0, 6.0)] == [1, 2, 3]
    assert rounds.next_round(B, 6.0) == 1
    assert rounds.next_round(A, 6.0 + RESPONDER_MEMORY + 0.1) == 1
    rounds.handle_gone(A)
    assert rounds.next_round(A, 67.0) == 1

    monkeypatch.setattr(policy_module, "MAX_PEERS", 2)
    for index in range(5):
        assert rounds.next_round(peer_id(index), 70.0) == 1


def test_the_diagram_of_the_spec_is_the_table() -> None:
    drawn = re.findall(r"^\s*(\w+) --> (\w+): (\w+)$", block("dcutr.md", "peer"), re.MULTILINE)
    assert {(a.upper(), step.upper()): b.upper() for a, b, step in drawn} == {
        (state.name, step.name): target.name for (state, step), target in TRANSITIONS.items()
    }


def test_the_constants_are_the_specs() -> None:
    units = {"": 1.0, "s": 1.0, "h": 3600.0, "KiB": 1024.0}
    for name, value, _source in tables("dcutr.md", "Limits and timers")[0]:
        found = constant(name, "p2pnode.protocols.dcutr")
        match = re.fullmatch(r"([0-9.]+) ?(\w*)", value)
        assert match, value
        assert found == float(match[1]) * units[match[2]], name
