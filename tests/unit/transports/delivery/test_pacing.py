from itertools import pairwise

import pytest

from p2pnode.transports.delivery.pacing import GAIN, QUANTUM_PACKETS, Pacer

MTU = 1200


def test_a_fresh_path_may_send_its_initial_flight_at_once():
    assert Pacer().budget(12_000, 0.333, MTU, 5.0) == QUANTUM_PACKETS * MTU


@pytest.mark.spec("RECOVERY-15")
@pytest.mark.parametrize(("gain", "in_slow_start"), [(GAIN, False), (2.0, True)])
def test_over_time_the_rate_is_the_windows_with_headroom(gain, in_slow_start):
    pacer = Pacer()
    window, rtt = 1_000_000, 0.1
    sent, now = 0, 0.0
    while now < 10.0:
        budget = pacer.budget(window, rtt, MTU, now, in_slow_start)
        if not budget:
            later = pacer.next_send_time(window, rtt, MTU, now, in_slow_start)
            assert later > now
            now = later
            continue
        pacer.on_sent(budget, now)
        sent += budget
    assert sent / 10.0 == pytest.approx(gain * window / rtt, rel=0.01)


@pytest.mark.spec("RECOVERY-15")
def test_no_timer_needs_to_be_finer_than_a_millisecond():
    pacer = Pacer()
    window, rtt, now = 10_000_000, 0.1, 0.0
    wakes = []
    while now < 1.0:
        budget = pacer.budget(window, rtt, MTU, now)
        if budget:
            pacer.on_sent(budget, now)
            continue
        now = pacer.next_send_time(window, rtt, MTU, now)
        wakes.append(now)
    assert min(b - a for a, b in pairwise(wakes)) > 0.00099


def test_a_late_caller_gets_one_quantum_and_no_more():
    pacer = Pacer()
    pacer.on_sent(pacer.budget(12_000, 0.1, MTU, 0.0), 0.0)
    assert pacer.budget(12_000, 0.1, MTU, 0.0) == 0
    assert pacer.budget(12_000, 0.1, MTU, 60.0) == QUANTUM_PACKETS * MTU
    fast = Pacer()
    assert fast.budget(10_000_000, 0.1, MTU, 0.0) == pytest.approx(0.002 * GAIN * 1e8)


def test_next_send_time_is_now_while_there_is_budget():
    assert Pacer().next_send_time(12_000, 0.1, MTU, 3.0) == 3.0


def test_a_short_round_trip_is_not_paced():
    pacer = Pacer()
    for _ in range(3):
        assert pacer.budget(131_072, 0.0002, MTU, 0.0) > 1 << 40
        pacer.on_sent(131_072, 0.0)
    assert pacer.next_send_time(131_072, 0.0002, MTU, 0.0) == 0.0


def test_probes_beyond_the_budget_are_owed_but_only_so_far():
    pacer = Pacer()
    rate = GAIN * 12_000 / 0.1
    pacer.budget(12_000, 0.1, MTU, 0.0)
    pacer.on_sent(1_000_000, 0.0)
    owed = QUANTUM_PACKETS * MTU + MTU
    assert pacer.next_send_time(12_000, 0.1, MTU, 0.0) == pytest.approx(owed / rate)
    assert pacer.budget(12_000, 0.1, MTU, owed / rate + 1e-9) == MTU
