from collections import deque

import pytest

from p2pnode.transports.delivery.cubic import Cubic
from p2pnode.transports.delivery.hystart import CSS_ROUNDS, RTT_SAMPLES, HyStart
from p2pnode.transports.delivery.rtt import RttEstimator


def one_round(hystart, rtt, at, samples=RTT_SAMPLES):
    """Acknowledges a round whose packets were all sent at `at`; returns the last growth."""
    return [hystart.growth(1000, at, rtt, at + rtt) for _ in range(samples)][-1]


def test_a_steady_delay_lets_slow_start_go_on():
    hystart = HyStart()
    assert [one_round(hystart, 0.05, at) for at in range(20)] == [1000] * 20
    assert not hystart.is_finished


@pytest.mark.spec("RECOVERY-14")
def test_a_grown_delay_makes_it_conservative_and_five_rounds_later_end():
    hystart = HyStart()
    one_round(hystart, 0.050, 0)
    assert one_round(hystart, 0.060, 1) == 250
    for at in range(2, 2 + CSS_ROUNDS):
        assert not hystart.is_finished
        one_round(hystart, 0.062, at)
    assert hystart.is_finished


def test_a_delay_that_falls_again_resumes_slow_start():
    hystart = HyStart()
    one_round(hystart, 0.050, 0)
    one_round(hystart, 0.060, 1)
    assert one_round(hystart, 0.060, 2) == 250
    assert one_round(hystart, 0.052, 3) == 1000


def test_a_few_samples_prove_nothing():
    hystart = HyStart()
    one_round(hystart, 0.050, 0)
    assert one_round(hystart, 0.100, 1, samples=RTT_SAMPLES - 1) == 1000


def test_one_fast_sample_in_a_round_excuses_slow_ones():
    hystart = HyStart()
    one_round(hystart, 0.050, 0)
    hystart.growth(1000, 1, 0.050, 1.05)
    assert one_round(hystart, 0.100, 1, samples=20) == 1000


class Doubling(Cubic):
    """Slow start without HyStart++, for comparison."""

    def on_packets_acked(self, acked_bytes, *_):
        self.window += acked_bytes


def run_slow_start(controller, *, base_rtt, bottleneck, queue, size=1200):
    """An independent model: a fixed rate, a drop-tail queue, an ACK for every second packet.

    Returns the window when slow start ended, or None where the queue overflowed before.
    """
    now = 0.0
    link_free_at = 0.0
    in_flight = 0
    arrivals = deque()  # (time of the ACK, time sent)
    rtt = RttEstimator()
    while controller.in_slow_start:
        while in_flight + size <= controller.window:
            if (link_free_at - now) * bottleneck > queue:
                return None
            link_free_at = max(link_free_at, now) + size / bottleneck
            arrivals.append((link_free_at + base_rtt, now))
            in_flight += size
        arrivals.popleft()
        now, sent = arrivals.popleft()
        in_flight -= 2 * size
        rtt.update(now - sent, 0.0, 0.0, now)
        controller.on_packets_acked(2 * size, 0, sent, False, rtt, now)
    return controller.window


@pytest.mark.spec("RECOVERY-14")
@pytest.mark.parametrize("base_rtt", [0.02, 0.05, 0.1, 0.2, 0.3])
def test_it_leaves_slow_start_before_a_deep_queue_overflows(base_rtt):
    bdp = 2_500_000 * base_rtt
    path = {"base_rtt": base_rtt, "bottleneck": 2_500_000, "queue": 16 * bdp}
    assert run_slow_start(Doubling(1200), **path) is None
    window = run_slow_start(Cubic(1200), **path)
    assert window is not None
    # a queue is seen two doublings after it began, then five rounds at a quarter follow
    assert bdp < window < 16 * bdp
