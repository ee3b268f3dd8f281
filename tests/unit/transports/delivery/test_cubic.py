import pytest

from p2pnode.transports.delivery.congestion import (
    MAX_WINDOW,
    UNLIMITED,
    initial_window,
    minimum_window,
)
from p2pnode.transports.delivery.cubic import CUBIC_BETA, CUBIC_C, Cubic
from p2pnode.transports.delivery.rtt import RttEstimator

SIZE = 1200


def steady_rtt(rtt=0.1):
    estimator = RttEstimator()
    estimator.update(rtt, 0.0, 0.0, 0.0)
    return estimator


def ack_window(cubic, now, rtt, app_limited=False):
    """Acknowledges a window of packets sent one round trip before `now`."""
    cubic.on_packets_acked(cubic.window, 0, now - rtt.smoothed, app_limited, rtt, now)


def grown_to(window):
    cubic = Cubic(SIZE)
    cubic.on_packets_acked(window - cubic.window, 0, 0.0, False, steady_rtt(), 0.1)
    assert cubic.window == window
    return cubic


@pytest.mark.spec("RECOVERY-11")
@pytest.mark.parametrize(
    ("size", "window"), [(1200, 12_000), (1472, 14_720), (8972, 17_944), (65_507, 131_014)]
)
def test_the_initial_window_is_rfc_9002s(size, window):
    assert initial_window(size) == window
    assert Cubic(size).window == window


def test_slow_start_doubles_the_window_in_a_round_trip():
    cubic = Cubic(SIZE)
    ack_window(cubic, 0.1, steady_rtt())
    assert cubic.window == 2 * initial_window(SIZE)
    assert cubic.in_slow_start


@pytest.mark.spec("RECOVERY-12")
def test_a_loss_takes_three_tenths_once_in_a_round_trip():
    cubic = grown_to(100 * SIZE)
    cubic.on_congestion_event(0.2, 0.3)
    assert cubic.window == cubic.ssthresh == int(100 * SIZE * CUBIC_BETA)
    cubic.on_congestion_event(0.25, 0.31)
    cubic.on_ecn_ce(0.3, 0.32)
    assert cubic.window == int(100 * SIZE * CUBIC_BETA)
    cubic.on_congestion_event(0.33, 0.4)
    assert cubic.window < int(100 * SIZE * CUBIC_BETA)


@pytest.mark.spec("RECOVERY-17")
def test_a_congestion_mark_counts_as_a_loss():
    cubic = grown_to(100 * SIZE)
    cubic.on_ecn_ce(0.2, 0.3)
    assert cubic.window == int(100 * SIZE * CUBIC_BETA)


def test_what_was_sent_before_the_loss_does_not_grow_the_window():
    cubic = grown_to(100 * SIZE)
    cubic.on_congestion_event(0.2, 0.3)
    window = cubic.window
    cubic.on_packets_acked(50 * SIZE, 0, 0.29, False, steady_rtt(), 0.35)
    assert cubic.window == window


def test_the_window_follows_the_cubic_curve_back_to_where_the_loss_was():
    """The oracle is RFC 9438's equation 1, at times where Reno would be slower."""
    rtt = steady_rtt()
    cubic = grown_to(2000 * SIZE)
    cubic.on_congestion_event(0.2, 0.3)
    start = 0.4
    k = (2000 * (1 - CUBIC_BETA) / CUBIC_C) ** (1 / 3)
    now = start
    while now < start + k + 4:
        ack_window(cubic, now, rtt)
        expected = 2000 + CUBIC_C * (now + rtt.smoothed - start - k) ** 3
        assert cubic.window / SIZE == pytest.approx(expected, rel=0.03)
        now += rtt.smoothed


def test_with_short_round_trips_it_is_as_fast_as_reno():
    rtt = steady_rtt(0.005)
    cubic = grown_to(20 * SIZE)
    cubic.on_congestion_event(0.2, 0.3)
    now = 0.31
    for _ in range(40):
        ack_window(cubic, now, rtt)
        now += 0.005
    # 9/17 packets a round trip up to the 20 of before, then one (RFC 9438 section 4.3)
    rounds_to_prior = 6 / (9 / 17)
    assert cubic.window / SIZE == pytest.approx(20 + 40 - rounds_to_prior, rel=0.02)


def test_a_second_loss_below_the_first_leaves_room_for_others():
    cubic = grown_to(100 * SIZE)
    cubic.on_congestion_event(0.2, 0.3)
    cubic.on_congestion_event(0.4, 0.5)
    # the plateau is at 70 * (1 + beta) / 2 = 59.5 packets, not at 70
    plateau_at = ((59.5 - 49) / CUBIC_C) ** (1 / 3)
    rtt = steady_rtt(0.5)
    now = 1.0
    while now < 1.0 + plateau_at:
        ack_window(cubic, now, rtt)
        now += 0.5
    assert cubic.window / SIZE == pytest.approx(59.5, rel=0.01)


@pytest.mark.spec("RECOVERY-13")
def test_an_unused_window_does_not_grow_and_unused_time_is_not_on_the_curve():
    rtt = steady_rtt()
    cubic = grown_to(100 * SIZE)
    cubic.on_congestion_event(0.2, 0.3)
    ack_window(cubic, 0.5, rtt)
    window = cubic.window
    for tick in range(600):
        ack_window(cubic, 0.6 + tick / 10, rtt, app_limited=True)
    assert cubic.window == window
    ack_window(cubic, 60.7, rtt)
    assert cubic.window < 1.1 * window


def test_persistent_congestion_leaves_two_packets_and_slow_start():
    cubic = grown_to(100 * SIZE)
    cubic.on_congestion_event(0.2, 0.3)
    cubic.on_persistent_congestion()
    assert cubic.window == 2 * SIZE
    assert cubic.in_slow_start
    for tick in range(20):
        ack_window(cubic, 1 + tick / 10, steady_rtt())
    assert cubic.window >= 70 * SIZE


@pytest.mark.spec("RECOVERY-11")
def test_no_loss_goes_below_two_packets():
    cubic = Cubic(SIZE)
    for event in range(50):
        cubic.on_congestion_event(event + 0.5, event + 0.6)
    assert cubic.window == minimum_window(SIZE)


def test_a_larger_path_mtu_never_shrinks_the_window():
    cubic = Cubic(SIZE)
    cubic.on_mtu_changed(1472)
    assert cubic.window == 14_720
    cubic.on_mtu_changed(65_507)
    assert cubic.window == 131_014
    assert cubic.ssthresh == UNLIMITED
    cubic.on_mtu_changed(1200)
    assert cubic.window == 131_014


def test_a_larger_path_mtu_after_losses_leaves_room_for_two_packets():
    cubic = Cubic(SIZE)
    for event in range(50):
        cubic.on_congestion_event(event + 0.5, event + 0.6)
    cubic.on_mtu_changed(8972)
    assert cubic.window == 2 * 8972
    assert not cubic.in_slow_start


def test_an_idle_path_starts_again_but_keeps_its_threshold():
    cubic = grown_to(100 * SIZE)
    cubic.on_congestion_event(0.2, 0.3)
    threshold = cubic.ssthresh
    cubic.on_idle()
    assert cubic.window == initial_window(SIZE)
    assert cubic.ssthresh == threshold


def test_the_window_is_bounded():
    cubic = Cubic(SIZE)
    cubic.on_packets_acked(4 * MAX_WINDOW, 0, 0.0, False, steady_rtt(), 0.1)
    assert cubic.window == MAX_WINDOW


@pytest.mark.spec("RECOVERY-14")
def test_a_later_slow_start_ends_at_its_threshold_and_not_beyond():
    rtt = steady_rtt()
    cubic = grown_to(100 * SIZE)
    cubic.on_congestion_event(0.2, 0.3)
    threshold = cubic.ssthresh
    cubic.on_idle()
    assert cubic.window == initial_window(SIZE) < threshold
    now = 10.0
    windows = []
    while cubic.in_slow_start:
        ack_window(cubic, now, rtt)
        windows.append(cubic.window)
        now += 0.1
    assert windows[0] == 2 * initial_window(SIZE)
    assert windows[-1] == threshold
