import pytest

from p2pnode.transports.delivery.mtu_discovery import (
    BLACK_HOLE_LOSSES,
    BLACK_HOLE_PTOS,
    COMMON_SIZES,
    MAX_PROBES,
    RAISE_INTERVAL,
    MtuDiscovery,
)


def search(discovery, path_carries, now=0.0):
    """Runs probes against a path until none is wanted; returns the sizes that were probed."""
    probed = []
    while (size := discovery.probe_size(now)) is not None:
        discovery.on_probe_sent(size, now)
        probed.append(size)
        if size <= path_carries:
            discovery.on_probe_acked(size, now)
        else:
            discovery.on_probe_lost(size, now)
    return probed


@pytest.mark.spec("RECOVERY-18")
@pytest.mark.parametrize("maximum", [1472, 8972, 65_507])
def test_a_path_that_carries_the_maximum_needs_one_probe(maximum):
    discovery = MtuDiscovery(maximum=maximum)
    assert discovery.current == 1200
    assert search(discovery, maximum) == [maximum]
    assert discovery.current == maximum
    assert discovery.poll_timeout() is None


@pytest.mark.spec("RECOVERY-18")
@pytest.mark.parametrize("path_carries", [1200, 1230, 1472, 9000, 65_000, *COMMON_SIZES])
def test_a_search_ends_at_the_largest_common_size_with_few_probes(path_carries):
    discovery = MtuDiscovery()
    probed = search(discovery, path_carries)
    assert discovery.current == max(s for s in (1200, *COMMON_SIZES) if s <= path_carries)
    assert len(probed) <= 10
    assert discovery.probe_size(0.0) is None


def test_an_ethernet_path_below_a_jumbo_interface_is_found_with_the_second_probe():
    discovery = MtuDiscovery(maximum=8972)
    assert search(discovery, 1460)[:2] == [8972, 1452]


@pytest.mark.spec("RECOVERY-18")
def test_a_probe_lost_by_bad_luck_is_repeated():
    discovery = MtuDiscovery(maximum=1472)
    for _ in range(MAX_PROBES - 1):
        size = discovery.probe_size(0.0)
        discovery.on_probe_sent(size, 0.0)
        discovery.on_probe_lost(size, 0.0)
    search(discovery, 1472)
    assert discovery.current == 1472


@pytest.mark.spec("RECOVERY-18")
def test_a_size_is_given_up_after_3_lost_probes():
    probed = search(MtuDiscovery(), 1230)
    assert 1 < max(probed.count(size) for size in probed) <= 3
    alone = MtuDiscovery(maximum=1216)
    assert search(alone, 1200) == [1216] * 3
    assert alone.probe_size(0.0) is None


def test_one_probe_is_in_flight_at_a_time():
    discovery = MtuDiscovery(maximum=1472)
    discovery.on_probe_sent(1472, 0.0)
    assert discovery.is_probing
    assert discovery.probe_size(0.0) is None
    discovery.on_probe_forgotten()
    assert discovery.probe_size(0.0) == 1472


def test_a_finished_search_is_repeated_upwards_after_ten_minutes():
    discovery = MtuDiscovery(maximum=1472)
    search(discovery, 1400, now=5.0)
    assert discovery.current == 1392
    assert discovery.poll_timeout().at == 5.0 + RAISE_INTERVAL
    assert discovery.probe_size(604.9) is None
    assert search(discovery, 1472, now=605.0) == [1472]
    assert discovery.poll_timeout() is None


def test_a_verdict_for_another_probe_changes_nothing():
    discovery = MtuDiscovery(maximum=1472)
    discovery.on_probe_sent(1472, 0.0)
    discovery.on_probe_lost(1452, 0.0)
    assert discovery.is_probing
    discovery.on_probe_lost(1472, 0.0)
    discovery.on_probe_lost(1472, 0.0)
    assert discovery.probe_size(0.0) == 1452


@pytest.mark.spec("RECOVERY-19")
def test_full_packets_lost_in_a_row_lead_back_to_the_base_and_a_new_search():
    discovery = MtuDiscovery(maximum=1472)
    search(discovery, 1472)
    for number in range(BLACK_HOLE_LOSSES):
        assert discovery.current == 1472
        discovery.on_packet_lost(number, 1472, 1.0)
        discovery.on_packet_acked(100, 60)
    assert discovery.current == 1200
    search(discovery, 1300, now=1.0)
    assert discovery.current == 1252


@pytest.mark.spec("RECOVERY-19")
def test_losses_before_a_full_packet_that_arrived_are_congestion():
    discovery = MtuDiscovery(maximum=1472)
    search(discovery, 1472)
    discovery.on_packet_acked(50, 1472)
    for number in range(40):
        discovery.on_packet_lost(number, 1472, 1.0)
    assert discovery.current == 1472


def test_an_arrived_full_packet_ends_a_row_of_losses():
    discovery = MtuDiscovery(maximum=1472)
    search(discovery, 1472)
    for number in range(0, 100, 2):
        discovery.on_packet_lost(number, 1472, 1.0)
        discovery.on_packet_acked(number + 1, 1400)
    assert discovery.current == 1472


def test_losses_of_small_packets_say_nothing_about_the_mtu():
    discovery = MtuDiscovery(maximum=1472)
    search(discovery, 1472)
    for number in range(40):
        discovery.on_packet_lost(number, 1200, 1.0)
    assert discovery.current == 1472


@pytest.mark.spec("RECOVERY-19")
def test_a_silent_path_goes_back_to_the_base():
    discovery = MtuDiscovery(maximum=1472)
    search(discovery, 1472)
    for count in range(1, BLACK_HOLE_PTOS + 1):
        assert discovery.current == 1472
        discovery.on_probe_timeout(count, 1.0)
    assert discovery.current == 1200
    assert discovery.probe_size(1.0) == 1472


def test_nothing_above_the_base_to_try_is_no_search():
    discovery = MtuDiscovery(maximum=1000)
    assert discovery.current == 1200
    assert discovery.probe_size(0.0) is None
    assert discovery.poll_timeout() is None
