import pytest

from p2pnode.transports.delivery.flow_control import (
    MAX_STREAM_COUNT,
    ReceiveWindow,
    SendCredit,
    StreamLimits,
)


def consumed(window, count):
    window.received += count
    window.consumed += count
    return window


@pytest.mark.spec("STREAM-12")
def test_an_update_is_due_once_half_of_the_window_is_consumed():
    window = ReceiveWindow(1000, 4000, 0.0)
    assert not consumed(window, 499).is_update_due
    assert consumed(window, 1).is_update_due
    assert window.raise_limit(100.0, 0.1) == 1500
    assert not window.is_update_due


@pytest.mark.spec("STREAM-23")
def test_a_reserve_is_renewed_by_half_at_least_and_only_within_the_bound_of_what_is_held():
    window = ReceiveWindow(1000, 1500, 0.0, reserve=200)
    window.received = 900
    assert not window.is_update_due
    window.received = 901
    assert window.is_update_due
    assert window.raise_limit(0.0, 0.0) == 1101
    window.received = 1101
    assert window.raise_limit(0.0, 0.0) == 1301
    window.received = 1301
    assert window.raise_limit(0.0, 0.0) == 1500
    window.received = 1500
    window.consumed = 99
    assert not window.is_update_due
    window.consumed = 100
    assert window.is_update_due
    assert window.raise_limit(0.0, 0.0) == 1600


@pytest.mark.spec("STREAM-11")
def test_a_limit_never_falls():
    window = ReceiveWindow(1000, 4000, 0.0)
    assert window.raise_limit(0.0, 0.0) == 1000
    credit = SendCredit(100)
    credit.raise_limit(50)
    assert credit.available == 100
    limits = StreamLimits(4)
    assert limits.raise_local_limit(7)
    assert not limits.raise_local_limit(6)
    assert limits.local_limit == 7


@pytest.mark.spec("STREAM-13")
def test_a_window_consumed_in_under_four_round_trips_doubles_up_to_its_maximum():
    window = ReceiveWindow(1000, 3000, 0.0)
    # half of a window has half of the time: 2 round trips of 0.1 s
    assert consumed(window, 500).raise_limit(0.19, 0.1) == 500 + 2000
    assert consumed(window, 1000).raise_limit(0.38, 0.1) == 1500 + 3000
    assert consumed(window, 3000).raise_limit(0.39, 0.1) == 4500 + 3000


@pytest.mark.spec("STREAM-13")
@pytest.mark.parametrize(("now", "rtt"), [(0.2, 0.1), (0.01, 0.0)])
def test_a_window_consumed_slowly_or_on_a_path_unknown_stays(now, rtt):
    window = consumed(ReceiveWindow(1000, 3000, 0.0), 500)
    assert window.raise_limit(now, rtt) == 1500


def test_an_idle_time_before_a_burst_does_not_count_twice():
    window = consumed(ReceiveWindow(1000, 3000, 0.0), 500)
    assert window.raise_limit(100.0, 0.1) == 1500
    assert consumed(window, 500).raise_limit(100.1, 0.1) == 1000 + 2000


def test_a_window_grows_to_a_multiple_but_never_beyond_its_maximum():
    window = ReceiveWindow(1000, 3000, 0.0)
    window.grow(500)
    assert window.size == 1000
    window.grow(5000)
    assert window.size == 3000


@pytest.mark.spec("STREAM-15")
def test_streams_are_given_back_when_half_of_them_are_used_up_and_some_have_ended():
    limits = StreamLimits(8)
    limits.peer_opened = 3
    limits.peer_closed = 3
    assert not limits.is_update_due
    limits.peer_opened = 4
    assert limits.is_update_due
    assert limits.raise_peer_limit() == 11
    assert not limits.is_update_due
    limits.peer_opened = 11
    assert not limits.is_update_due


def test_the_number_of_streams_stays_below_what_an_id_can_hold():
    limits = StreamLimits(MAX_STREAM_COUNT)
    limits.peer_closed = 5
    assert limits.raise_peer_limit() == MAX_STREAM_COUNT
