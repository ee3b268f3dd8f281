"""How long a reservation counts for, and what is believed of a relay's clock."""

import pytest

from p2pnode.clock import UnixTime
from p2pnode.protocols.relay.auto_relay import REFRESH_PART, UNCERTAIN_REFRESH_PART
from p2pnode.protocols.relay.relay_clocks import (
    CLOCK_SLACK,
    MAX_LIFETIME,
    MAX_RELAYS,
    MIN_LIFETIME,
    USUAL_LIFETIME,
    Believed,
    RelayClocks,
)
from tests.support.identities import peer_id

RELAY = peer_id("r")
UNIX = 1_700_000_000
HOUR, YEAR = 3600.0, 365.25 * 86_400
UNCERTAIN = Believed(USUAL_LIFETIME, False)


def clocks(our_error: float = 0.0) -> RelayClocks:
    """At 100 by our clock it is UNIX in truth."""
    return RelayClocks(now=100.0, unix_now=UnixTime(UNIX + our_error))


def seq(unix: float) -> int:
    return int(unix) * 10**9


@pytest.mark.spec("RELAY-4")
@pytest.mark.parametrize("lifetime", [MIN_LIFETIME, 600.0, USUAL_LIFETIME])
def test_a_plausible_lifetime_is_believed(lifetime: float) -> None:
    made = clocks()
    assert made.judge(RELAY, int(UNIX + lifetime), 100.0) == (lifetime, True)
    assert made.judge(RELAY, int(UNIX + lifetime) + 40, 140.0) == (lifetime, True)
    assert made.ahead(RELAY) == 0


@pytest.mark.spec("RELAY-4")
def test_small_differences_are_none() -> None:
    made = clocks()
    expire = int(UNIX + USUAL_LIFETIME + CLOCK_SLACK)
    assert made.judge(RELAY, expire, 100.0) == (USUAL_LIFETIME, True)
    assert made.ahead(RELAY) == 0


@pytest.mark.spec("RELAY-4", "RELAY-37")
@pytest.mark.parametrize("ahead", [-HOUR, -8 * HOUR, -10 * YEAR, 8 * HOUR, 10 * YEAR])
@pytest.mark.parametrize("whose", ["ours", "theirs"])
def test_what_cannot_be_true_is_taken_for_an_hour_and_shows_the_difference(
    ahead: float, whose: str
) -> None:
    ours, theirs = (-ahead, 0.0) if whose == "ours" else (0.0, ahead)
    made = clocks(ours)
    assert made.judge(RELAY, int(UNIX + theirs + HOUR), 100.0) == UNCERTAIN
    assert made.ahead(RELAY) == ahead


@pytest.mark.spec("RELAY-37")
@pytest.mark.parametrize("age", [0, 50])
@pytest.mark.parametrize("ahead", [HOUR, 8 * HOUR, 10 * YEAR])
def test_a_record_from_ahead_shows_the_lead(ahead: float, age: int) -> None:
    made = clocks()
    made.note_record(RELAY, seq(UNIX + ahead - age), 100.0)
    believed = made.judge(RELAY, int(UNIX + 900 + ahead + HOUR), 1000.0)
    assert believed == (USUAL_LIFETIME, True)
    assert made.ahead(RELAY) == ahead - age


@pytest.mark.spec("RELAY-37")
def test_two_hours_without_a_record_may_be_the_truth() -> None:
    """js-libp2p grants them."""
    made = clocks()
    made.note_record(RELAY, UNIX * 1000, 100.0)  # in milliseconds, as js-libp2p counts
    assert made.judge(RELAY, int(UNIX + MAX_LIFETIME), 100.0) == UNCERTAIN
    assert made.ahead(RELAY) == 0


@pytest.mark.spec("RELAY-4")
def test_an_end_that_is_not_told_is_no_word_on_clocks() -> None:
    made = clocks()
    assert made.judge(RELAY, 0, 100.0) == UNCERTAIN
    assert made.ahead(RELAY) == 0


@pytest.mark.spec("RELAY-37")
def test_a_record_from_a_clock_that_has_gone_back_is_no_lead() -> None:
    """Its number stays above those of earlier, so it names a time that its clock does not show."""
    made = clocks()
    made.note_record(RELAY, seq(UNIX + 10 * YEAR), 100.0)
    assert made.judge(RELAY, int(UNIX + HOUR), 100.0) == (HOUR, True)
    assert made.ahead(RELAY) == 0


@pytest.mark.spec("RELAY-37")
def test_a_record_that_is_told_again_keeps_its_time() -> None:
    made = clocks()
    for now in (100.0, 5000.0):
        made.note_record(RELAY, seq(UNIX + 8 * HOUR), now)
    made.judge(RELAY, int(UNIX + 4900 + 9 * HOUR), 5000.0)
    assert made.ahead(RELAY) == 8 * HOUR
    made.note_record(RELAY, None, 5000.0)
    assert made.judge(RELAY, int(UNIX + 4900 + 2 * HOUR), 5000.0) == UNCERTAIN
    assert made.ahead(RELAY) == 0


@pytest.mark.spec("SWARM-26")
@pytest.mark.parametrize("step", [8 * HOUR, -8 * HOUR])
def test_what_is_known_of_relays_outlives_a_step_of_our_clock(step: float) -> None:
    made = clocks()
    made.note_record(RELAY, seq(UNIX + 8 * HOUR), 100.0)
    made.handle_clock_changed(UnixTime(UNIX + step), 100.0)
    assert made.judge(RELAY, int(UNIX + 9 * HOUR), 100.0).lifetime == HOUR
    assert made.ahead(RELAY) == 8 * HOUR - step


@pytest.mark.spec("RELAY-37")
@pytest.mark.parametrize("lead", [None, -YEAR, 0.0, HOUR, YEAR, 500 * YEAR])
@pytest.mark.parametrize("end", [-UNIX, -HOUR, 0, 1, MIN_LIFETIME, 5 * HOUR, YEAR, 2.0**63])
def test_no_expiry_and_no_record_delays_the_renewal(end: float, lead: float | None) -> None:
    made = clocks()
    made.note_record(RELAY, None if lead is None else seq(UNIX + lead), 100.0)
    lifetime, is_certain = made.judge(RELAY, int(UNIX + end), 100.0)
    part = REFRESH_PART if is_certain else UNCERTAIN_REFRESH_PART
    assert MIN_LIFETIME <= lifetime <= USUAL_LIFETIME
    assert part * lifetime <= 45 * 60


def test_so_many_relays_are_remembered() -> None:
    made = clocks()
    for relay in map(peer_id, range(MAX_RELAYS + 5)):
        made.note_record(relay, seq(UNIX + YEAR), 100.0)
        made.judge(relay, UNIX, 100.0)
    assert len(made._records) == len(made._ahead) == MAX_RELAYS
