"""Which relays a node keeps, fact by fact."""

import re
from collections import Counter
from random import Random

import pytest

from p2pnode.protocols.relay.auto_relay import (
    CANDIDATE_LIFETIME,
    FIRST_REST,
    MAX_CANDIDATES,
    MAX_REST,
    REFRESH_RETRY,
    RESERVE_DEADLINE,
    TRANSITIONS,
    Advertise,
    AutoRelay,
    Command,
    FindCandidates,
    ProbeRelay,
    Release,
    Reserve,
    relay_network,
)
from tests.support.identities import peer_id
from tests.support.spec_tables import block

A, B, C, D = (peer_id(name) for name in "abcd")


def policy(seed: int = 0) -> AutoRelay:
    auto = AutoRelay(Random(seed))
    auto.set_needs_relay(True, 0.0)
    auto.poll_commands()
    return auto


def settled(now: float = 0.0) -> AutoRelay:
    """A and B are reserved for an hour; C is a candidate, all in different networks."""
    auto = policy()
    auto.add_candidate(A, "1", 0.01, now)
    auto.add_candidate(B, "2", 0.05, now)
    auto.handle_granted(A, 3600.0, now)
    auto.handle_granted(B, 3600.0, now)
    auto.add_candidate(C, "3", 0.02, now)
    auto.poll_commands()
    return auto


def run_to(auto: AutoRelay, end: float, alive: tuple[object, ...] = ()) -> list[Command]:
    """Steps to `end`; probes of the relays in `alive` are answered."""
    commands: list[Command] = []
    while (deadline := auto.poll_timeout()) is not None and deadline.at <= end:
        auto.handle_timeout(deadline.at)
        for command in auto.poll_commands():
            commands.append(command)
            if isinstance(command, ProbeRelay) and command.relay in alive:
                auto.handle_alive(command.relay, deadline.at)
    return commands


@pytest.mark.spec("RELAY-27")
def test_two_relays_of_different_networks_are_reserved_at_once() -> None:
    auto = AutoRelay(Random(0))
    auto.set_needs_relay(True, 0.0)
    assert auto.poll_commands() == [FindCandidates()]
    for peer, network in [(A, "1"), (B, "1"), (C, "2")]:
        auto.add_candidate(peer, network, 0.05, 0.0)
    # B is asked because there is nothing better, C because it is.
    assert auto.poll_commands() == [Reserve(A), Reserve(B), Reserve(C)]

    auto.handle_granted(A, 3600.0, 0.1)
    auto.handle_granted(B, 3600.0, 0.2)
    assert auto.poll_commands() == [Advertise((A,)), Advertise((A, B))]
    auto.handle_granted(C, 3600.0, 0.3)
    commands = auto.poll_commands()
    assert commands[0] in (Release(A), Release(B))
    assert C in auto.relays
    assert len(auto.relays) == 2


@pytest.mark.spec("RELAY-27")
def test_a_public_node_releases_its_relays_and_asks_for_none() -> None:
    auto = settled()
    auto.set_needs_relay(False, 1.0)
    assert auto.poll_commands() == [Release(A), Release(B), Advertise(())]
    auto.add_candidate(D, "4", 0.01, 2.0)
    assert run_to(auto, 10_000.0) == []

    auto = policy()
    auto.add_candidate(A, "1", 0.01, 0.0)
    auto.set_needs_relay(False, 0.1)
    auto.poll_commands()
    auto.handle_granted(A, 3600.0, 0.2)
    assert auto.poll_commands() == [Release(A)]


@pytest.mark.spec("RELAY-28")
def test_nearer_relays_are_likelier_but_not_certain() -> None:
    first: Counter[object] = Counter()
    for seed in range(300):
        auto = AutoRelay(Random(seed), wanted=1)
        for peer, rtt in [(A, 0.02), (B, 0.05), (C, None)]:
            auto.add_candidate(peer, str(peer), rtt, 0.0)
        auto.set_needs_relay(True, 0.0)
        (command,) = auto.poll_commands()
        assert isinstance(command, Reserve)
        first[command.relay] += 1

    assert first[A] > 2 * first[B] > 4 * first[C] > 0


@pytest.mark.spec("RELAY-29")
def test_reservations_are_refreshed_early_and_not_at_the_same_moment() -> None:
    auto = settled()
    moments: dict[object, float] = {}
    while len(moments) < 2:
        deadline = auto.poll_timeout()
        assert deadline is not None
        auto.handle_timeout(deadline.at)
        for command in auto.poll_commands():
            match command:
                case ProbeRelay(relay):
                    auto.handle_alive(relay, deadline.at)
                case Reserve(relay):
                    moments[relay] = deadline.at
                    auto.handle_granted(relay, 3600.0, deadline.at)
                case _:
                    pytest.fail(f"unexpected {command}")

    assert set(moments) == {A, B}
    assert all(0.65 * 3600 <= moment <= 0.75 * 3600 for moment in moments.values())
    assert moments[A] != moments[B]


@pytest.mark.spec("RELAY-29")
def test_a_refresh_that_fails_is_tried_again_while_the_reservation_lasts() -> None:
    auto = AutoRelay(Random(0), wanted=1)
    auto.set_needs_relay(True, 0.0)
    auto.add_candidate(A, "1", 0.01, 0.0)
    auto.handle_granted(A, 100.0, 0.0)
    auto.poll_commands()
    moments: list[float] = []
    while auto.relays:
        deadline = auto.poll_timeout()
        assert deadline is not None
        auto.handle_timeout(deadline.at)
        for command in auto.poll_commands():
            if isinstance(command, ProbeRelay):
                auto.handle_alive(A, deadline.at)
            elif isinstance(command, Reserve):
                moments.append(deadline.at)
                auto.handle_failed(A, deadline.at)
                assert auto.relays or len(moments) == 2

    assert len(moments) == 2
    assert moments[1] - moments[0] == pytest.approx(REFRESH_RETRY)
    assert moments[1] < 100.0


@pytest.mark.spec("RELAY-30")
def test_a_silent_relay_is_given_up_in_15_seconds_and_the_other_one_is_there() -> None:
    auto = settled()
    commands = run_to(auto, 14.5, alive=(B,))

    assert commands.count(ProbeRelay(A)) == 3
    assert commands[-2:] == [Reserve(C), Advertise((B,))]
    assert auto.relays == (B,)
    auto.handle_granted(C, 3600.0, 14.6)
    assert auto.poll_commands() == [Advertise((C, B))]


@pytest.mark.spec("RELAY-30")
def test_a_relay_that_answers_stays() -> None:
    auto = settled()
    commands = run_to(auto, 300.0, alive=(A, B))
    assert set(map(type, commands)) == {ProbeRelay}
    assert auto.relays == (A, B)


@pytest.mark.spec("RELAY-30")
def test_a_lost_connection_brings_the_next_relay_at_once() -> None:
    auto = settled()
    auto.handle_lost(A, 5.0)
    assert auto.poll_commands() == [Reserve(C), Advertise((B,))]


@pytest.mark.spec("RELAY-31")
def test_a_relay_that_fails_rests_longer_each_time() -> None:
    auto = AutoRelay(Random(0), wanted=1)
    auto.set_needs_relay(True, 0.0)
    now, rests = 0.0, list[float]()
    auto.add_candidate(A, "1", 0.01, now)
    for _ in range(12):
        auto.poll_commands()
        auto.handle_failed(A, now)
        failed_at = now
        while Reserve(A) not in auto.poll_commands():
            deadline = auto.poll_timeout()
            assert deadline is not None
            now = deadline.at
            auto.add_candidate(A, "1", 0.01, now)
            auto.handle_timeout(now)
        rests.append(now - failed_at)

    assert rests[:4] == [FIRST_REST, 2 * FIRST_REST, 4 * FIRST_REST, 8 * FIRST_REST]
    assert rests[-1] == MAX_REST


@pytest.mark.spec("RELAY-31")
def test_no_answer_is_a_failure_too() -> None:
    auto = AutoRelay(Random(0), wanted=1)
    auto.set_needs_relay(True, 0.0)
    auto.add_candidate(A, "1", 0.01, 0.0)
    auto.poll_commands()
    auto.add_candidate(B, "2", 0.5, 0.0)
    assert run_to(auto, RESERVE_DEADLINE) == [Reserve(B)]


def test_candidates_are_bounded_old_ones_forgotten_and_those_in_use_kept() -> None:
    auto = settled()
    for index in range(2 * MAX_CANDIDATES):
        auto.add_candidate(peer_id(index), "9", 0.1, 0.0)
    run_to(auto, CANDIDATE_LIFETIME, alive=(A, B))
    assert auto.relays == (A, B)
    auto.handle_lost(A, CANDIDATE_LIFETIME)
    assert auto.poll_commands() == [FindCandidates(), Advertise((B,))]


def test_facts_about_strangers_change_nothing() -> None:
    auto = settled()
    auto.handle_failed(D, 0.0)
    auto.handle_lost(D, 0.0)
    auto.handle_alive(D, 0.0)
    auto.handle_failed(A, 0.0)
    assert auto.poll_commands() == []
    auto.handle_granted(D, 60.0, 0.0)
    assert auto.poll_commands() == [Release(D)]


@pytest.mark.spec("RELAY-4")
@pytest.mark.parametrize(("is_certain", "latest"), [(True, 0.75), (False, 0.5)])
def test_what_is_not_certain_is_renewed_at_half(is_certain: bool, latest: float) -> None:
    for seed in range(20):
        auto = AutoRelay(Random(seed))
        auto.set_needs_relay(True, 0.0)
        auto.add_candidate(A, "1", 0.05, 0.0)
        auto.handle_granted(A, 3600.0, 0.0, is_certain=is_certain)
        auto.poll_commands()
        renewals = []
        for now in range(0, 3600, 9):
            auto.handle_alive(A, now)
            auto.handle_timeout(now)
            renewals += [now for command in auto.poll_commands() if command == Reserve(A)]
        assert latest - 0.1 <= renewals[0] / 3600 <= latest + 0.003


def test_networks_are_wide() -> None:
    assert relay_network("1.2.3.4") == relay_network("1.2.9.9") != relay_network("1.3.3.4")
    assert relay_network("2600:1::1") == relay_network("2600:1:2::1") != relay_network("2600:2::")


def test_the_diagram_of_the_spec_is_the_table() -> None:
    drawn = re.findall(
        r"^\s*(\w+) --> (\w+): (\w+)$", block("relay.md", "relay slot"), re.MULTILINE
    )
    assert {(a, step): b for a, b, step in drawn} == {
        (state.value, step.value): target.value for (state, step), target in TRANSITIONS.items()
    }


@pytest.mark.spec("RELAY-31")
@pytest.mark.parametrize("has_refused", [False, True])
def test_a_new_connection_ends_a_rest_that_the_relay_did_not_ask_for(has_refused: bool) -> None:
    auto = policy()
    auto.add_candidate(A, "1", 0.05, 0.0)
    auto.poll_commands()
    auto.handle_failed(A, 1.0, has_refused=has_refused)
    auto.poll_commands()
    auto.handle_connected(A, 2.0)
    assert (Reserve(A) in auto.poll_commands()) is not has_refused
