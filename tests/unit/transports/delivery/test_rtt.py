import pytest

from p2pnode.transports.delivery.rtt import GRANULARITY, INITIAL_RTT, RttEstimator


def test_before_the_first_sample_the_initial_guess_holds():
    rtt = RttEstimator()
    assert not rtt.has_sample
    assert rtt.smoothed == INITIAL_RTT
    assert rtt.pto_interval(0.0) == pytest.approx(3 * INITIAL_RTT)


def test_the_first_sample_replaces_the_guess():
    rtt = RttEstimator()
    rtt.update(0.1, 0.05, 0.025, 7.0)
    assert (rtt.latest, rtt.smoothed, rtt.variance, rtt.minimum) == (0.1, 0.1, 0.05, 0.1)
    assert rtt.has_sample
    assert rtt.first_sample_at == 7.0


def test_later_samples_are_smoothed_as_rfc_9002_says():
    rtt = RttEstimator()
    rtt.update(0.1, 0.0, 0.025, 0.0)
    rtt.update(0.2, 0.0, 0.025, 1.0)
    assert rtt.variance == pytest.approx(0.75 * 0.05 + 0.25 * 0.1)
    assert rtt.smoothed == pytest.approx(7 / 8 * 0.1 + 1 / 8 * 0.2)


@pytest.mark.spec("RECOVERY-2")
def test_an_ack_delay_is_taken_out_of_the_sample():
    rtt = RttEstimator()
    rtt.update(0.1, 0.0, 0.025, 0.0)
    rtt.update(0.2, 0.02, 0.025, 1.0)
    assert rtt.smoothed == pytest.approx(7 / 8 * 0.1 + 1 / 8 * 0.18)


@pytest.mark.spec("RECOVERY-2")
def test_an_ack_delay_beyond_the_announced_maximum_is_cut():
    rtt = RttEstimator()
    rtt.update(0.1, 0.0, 0.025, 0.0)
    rtt.update(0.2, 5.0, 0.025, 1.0)
    assert rtt.smoothed == pytest.approx(7 / 8 * 0.1 + 1 / 8 * 0.175)


@pytest.mark.spec("RECOVERY-2")
def test_an_ack_delay_that_leads_below_the_minimum_is_not_believed():
    rtt = RttEstimator()
    rtt.update(0.1, 0.0, 0.025, 0.0)
    rtt.update(0.11, 0.02, 0.025, 1.0)
    assert rtt.smoothed == pytest.approx(7 / 8 * 0.1 + 1 / 8 * 0.11)


def test_the_minimum_follows_down_and_can_be_forgotten():
    rtt = RttEstimator()
    for sample in (0.1, 0.05, 0.2):
        rtt.update(sample, 0.0, 0.025, 0.0)
    assert rtt.minimum == 0.05
    rtt.reset_minimum()
    assert rtt.minimum == 0.2


def test_a_pto_waits_at_least_one_timer_granularity_beyond_the_round_trip():
    rtt = RttEstimator()
    for _ in range(200):
        rtt.update(0.0001, 0.0, 0.0, 0.0)
    assert rtt.pto_interval(0.025) == pytest.approx(0.0001 + GRANULARITY + 0.025)
