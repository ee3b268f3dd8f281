"""Whom a search asks, and when it is over."""

from random import Random

import pytest

from p2pnode.protocols.kad import closest
from p2pnode.protocols.kad.lookup import (
    LOOKUP_TIMEOUT,
    MAX_ASKED,
    MAX_ASKED_LATE,
    MAX_ASKED_NEAREST,
    MIN_LOOKUP_TIME,
    Lookup,
)
from tests.support.identities import peer_id

WANTED = peer_id("wanted")
PEERS = [peer_id(n) for n in range(40)]


def lookup(count: int) -> Lookup:
    started = Lookup(WANTED, 0.0)
    started.start(PEERS[:count], Random(1))
    return started


@pytest.mark.spec("KAD-10")
def test_some_of_those_asked_are_the_nearest_and_others_come_by_lot() -> None:
    nearest = closest(WANTED.multihash, PEERS, MAX_ASKED_NEAREST)

    lots = [Lookup(WANTED, 0.0).start(PEERS, Random(seed)) for seed in range(5)]

    for asked in lots:
        assert asked[:MAX_ASKED_NEAREST] == nearest
        assert len(set(asked)) == MAX_ASKED
    assert len({frozenset(asked) for asked in lots}) == 5


@pytest.mark.spec("KAD-10")
def test_a_few_are_all_asked_nearest_first() -> None:
    asked = Lookup(WANTED, 0.0).start([*PEERS[:5], WANTED, *PEERS[:5]], Random(1))

    assert asked == closest(WANTED.multihash, PEERS[:5], 5)


@pytest.mark.spec("KAD-11")
def test_who_connects_meanwhile_is_asked_once_and_so_many_at_most() -> None:
    started = lookup(3)

    assert not started.ask_also(PEERS[0])
    assert not started.ask_also(WANTED)
    late = [peer for peer in PEERS[3:] if started.ask_also(peer)]
    assert late == PEERS[3 : 3 + MAX_ASKED_LATE]


@pytest.mark.spec("KAD-12")
def test_a_search_fails_when_everybody_has_answered_but_not_at_once() -> None:
    started = lookup(2)
    started.on_answer(PEERS[0])
    assert started.poll_timeout().at == LOOKUP_TIMEOUT
    started.on_failure(PEERS[1])

    assert not started.is_over(MIN_LOOKUP_TIME - 0.1)
    assert started.is_over(MIN_LOOKUP_TIME)
    assert started.ask_also(PEERS[2])
    assert not started.is_over(MIN_LOOKUP_TIME)


@pytest.mark.spec("KAD-12")
def test_a_search_fails_at_its_deadline() -> None:
    assert not lookup(2).is_over(LOOKUP_TIMEOUT - 0.1)
    assert lookup(2).is_over(LOOKUP_TIMEOUT)
    assert lookup(0).is_over(LOOKUP_TIMEOUT)


@pytest.mark.spec("KAD-12")
@pytest.mark.parametrize(
    ("asked", "answered", "reason"),
    [
        (0, 0, "no connected peer can be asked"),
        (1, 0, "the one peer that was asked did not answer"),
        (1, 1, "the one peer that was asked does not know it"),
        (3, 0, "none of the 3 peers that were asked answered"),
        (3, 2, "none of the 3 peers that were asked knows it; 1 did not answer"),
        (3, 3, "none of the 3 peers that were asked knows it"),
    ],
)
def test_the_reason_says_what_was_asked(asked: int, answered: int, reason: str) -> None:
    started = lookup(asked)
    for peer in PEERS[:answered]:
        started.on_answer(peer)
        started.on_answer(peer)

    assert started.reason == reason
