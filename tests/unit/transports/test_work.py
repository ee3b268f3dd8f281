"""A connection's account of work: what it may spend, what pays for it, and what ends it."""

import pytest

from p2pnode.transports.work import (
    BYTES_PER_UNIT,
    LOSS_PART,
    MAX_LOSS_PERIODS,
    MAX_SHORTAGE,
    OVERHEAD_BURST,
    OVERHEAD_RATE,
    OVERHEAD_RESERVE,
    SLOWED_PART,
    TURN_WORK,
    WORK_BURST,
    WORK_QUANTUM,
    WORK_RATE,
    Work,
)


def waiting(now=0.0):
    """Returns the work of a connection whose packets wait for the first time."""
    work = Work()
    work.grant(0, now)
    return work


def granted(work, carried=0, now=0.0):
    work.limit = work.spent
    work.grant(carried, now)
    return work.limit - work.spent


def test_a_round_gives_no_more_than_its_part_whatever_the_turn_had_left():
    work = Work()
    work.grant(0, 0.0)
    assert work.limit - work.spent == WORK_QUANTUM


def test_a_turn_begins_anew_where_nobody_waits():
    work = Work()
    work.spent += 10 * TURN_WORK
    work.renew()
    assert work.limit - work.spent == TURN_WORK


def test_what_was_spent_beyond_a_turn_is_made_up_for():
    work = Work()
    work.spent = work.limit + 3 * WORK_QUANTUM
    rounds = 0
    while work.spent >= work.limit:
        work.grant(0, 0.0)
        rounds += 1
    assert rounds == 4


@pytest.mark.spec("TRANSPORT-52")
def test_what_was_spent_before_anything_waited_is_no_matter():
    work = Work()
    work.spent += 10 * WORK_BURST
    assert granted(work) == WORK_QUANTUM


@pytest.mark.spec("TRANSPORT-52")
def test_beyond_the_budget_a_quarter_is_given():
    work = waiting()
    work.spent += WORK_BURST
    assert granted(work) == WORK_QUANTUM
    work.spent += 1
    assert granted(work) == WORK_QUANTUM // SLOWED_PART


@pytest.mark.spec("TRANSPORT-52")
def test_time_pays_for_work():
    work = waiting()
    for second in range(1, 100):
        work.spent += WORK_RATE
        assert granted(work, now=float(second)) == WORK_QUANTUM


@pytest.mark.spec("TRANSPORT-52")
def test_data_pays_for_work():
    work, carried = waiting(), 0
    for _ in range(100):
        work.spent += WORK_BURST
        carried += WORK_BURST * BYTES_PER_UNIT
        assert granted(work, carried) == WORK_QUANTUM


def test_a_budget_saves_up_and_owes_no_more_than_its_burst():
    work = waiting()
    work.grant(1 << 40, 1000.0)
    work.spent += WORK_BURST + 1
    work.grant(1 << 40, 1000.0)
    assert work.is_overdrawn

    work.spent += 100 * WORK_BURST
    work.grant(1 << 40, 1000.0)
    work.grant(1 << 40, 1000.0 + WORK_BURST / WORK_RATE)
    assert not work.is_overdrawn


def lose(work, seconds, came=1000, dropped=1000 // LOSS_PART + 1, start=100.0):
    """Lets packets come and be dropped ten times a second."""
    for step in range(int(seconds * 10) + 1):
        work.on_waiting(came, dropped, start + step / 10)


@pytest.mark.spec("TRANSPORT-52")
def test_who_goes_on_though_its_packets_are_dropped_is_flooding_after_a_while():
    work = waiting(100.0)
    work.spent += 2 * WORK_BURST
    work.grant(0, 100.0)
    lose(work, MAX_LOSS_PERIODS - 1)
    assert not work.is_flooding
    lose(work, 2, start=100.0 + MAX_LOSS_PERIODS - 0.9)
    assert work.is_flooding


@pytest.mark.spec("TRANSPORT-52")
def test_losses_that_congestion_control_lives_with_are_no_flood():
    work = waiting(100.0)
    work.spent += 2 * WORK_BURST
    work.grant(0, 100.0)
    lose(work, 30, dropped=1000 // LOSS_PART)
    assert not work.is_flooding


@pytest.mark.spec("TRANSPORT-52")
def test_losses_with_pauses_between_are_no_flood():
    work = waiting(100.0)
    work.spent += 2 * WORK_BURST
    work.grant(0, 100.0)
    for burst in range(10):
        lose(work, 3, start=100.0 + 6 * burst)
    assert not work.is_flooding


@pytest.mark.spec("TRANSPORT-52")
def test_losses_within_the_budget_are_no_flood():
    work = Work()
    lose(work, 30)
    assert not work.is_flooding


def idle(overhead, now=0.0):
    """Returns the work of a connection that began at 0 and has carried nothing, looked at."""
    work = Work(0.0)
    work.add_overhead(overhead)
    work.grant(0, now)
    return work


def test_overhead_is_work():
    work = Work(0.0)
    work.add_overhead(7)
    assert work.spent == 7


@pytest.mark.spec("TRANSPORT-58")
def test_beyond_the_budget_of_overhead_nothing_is_given_until_time_has_paid():
    work = idle(OVERHEAD_BURST + OVERHEAD_RATE)
    assert work.is_held
    assert work.limit <= work.spent
    work.grant(0, 0.9)
    assert work.is_held
    assert work.limit <= work.spent
    work.grant(0, 1.1)
    assert not work.is_held
    assert work.limit == work.spent + WORK_QUANTUM


@pytest.mark.spec("TRANSPORT-58")
def test_data_pays_for_overhead():
    work = idle(OVERHEAD_BURST + 1000)
    work.grant(1001 * BYTES_PER_UNIT, 0.0)
    assert not work.is_held


@pytest.mark.spec("TRANSPORT-58")
def test_turns_begin_anew_only_as_far_as_overhead_is_known_to_be_paid_for():
    work = Work(0.0)
    work.add_overhead(OVERHEAD_BURST)
    work.renew()
    assert work.limit == work.spent + TURN_WORK
    work.add_overhead(1)
    limit = work.limit
    work.renew()
    assert work.limit == limit
    work.grant(0, 1.0)
    work.renew()
    assert work.limit == work.spent + TURN_WORK


@pytest.mark.spec("TRANSPORT-58")
def test_work_that_carries_is_no_overhead_however_much_it_is():
    work = Work(0.0)
    work.spent += 100 * OVERHEAD_BURST
    work.renew()
    assert work.limit == work.spent + TURN_WORK


def keep_short(work, seconds, to_spare=0, start=0.0):
    """Spends what time pays for, and leaves so much."""
    for step in range(int(seconds * 10) + 1):
        now = start + step / 10
        work.grant(0, now)
        work.add_overhead(int(work._overhead.balance) + 1 - to_spare)
        work.grant(0, now)


@pytest.mark.spec("TRANSPORT-58")
def test_who_keeps_overhead_short_is_flooding_after_a_while_without_any_losses():
    work = idle(OVERHEAD_BURST)
    keep_short(work, MAX_SHORTAGE - 1)
    assert work.is_held
    assert not work.is_flooding
    keep_short(work, 1.5, start=MAX_SHORTAGE - 1)
    assert work.is_flooding


@pytest.mark.spec("TRANSPORT-58")
def test_a_second_of_calm_ends_a_shortage():
    work = idle(OVERHEAD_BURST)
    keep_short(work, MAX_SHORTAGE - 1)
    work.grant(0, MAX_SHORTAGE + OVERHEAD_RESERVE / OVERHEAD_RATE)
    keep_short(work, MAX_SHORTAGE - 1, start=MAX_SHORTAGE + 2)
    assert work.is_held
    assert not work.is_flooding
