"""What an address counts for."""

import pytest

from p2pnode.resources.networks import is_local, networks_of


def test_an_ipv4_address_stands_for_itself():
    assert [str(n) for n in networks_of("192.0.2.7")] == ["192.0.2.7"]
    assert networks_of("192.0.2.7") != networks_of("192.0.2.8")


def test_an_ipv6_address_counts_for_its_link_household_and_site():
    names = [str(n) for n in networks_of("2001:db8:1:2ff::9")]
    assert names == ["2001:db8:1:2ff::/64", "2001:db8:1:200::/56", "2001:db8:1::/48"]


def test_neighbours_share_what_they_share():
    one, other = networks_of("2001:db8:1:200::1"), networks_of("2001:db8:1:201::1")
    assert [a == b for a, b in zip(one, other, strict=True)] == [False, True, True]


def test_an_ipv4_address_is_the_same_in_ipv6s_clothes_and_a_zone_says_nothing():
    assert networks_of("::ffff:192.0.2.7") == networks_of("192.0.2.7")
    assert networks_of("fe80::1%3") == networks_of("fe80::1")


@pytest.mark.parametrize("ip", ["127.0.0.1", "::1", "10.1.2.3", "fe80::1", "fd00::1"])
def test_ones_own_networks_are_local(ip):
    assert is_local(ip)


@pytest.mark.parametrize("ip", ["8.8.8.8", "2a00::1"])
def test_others_are_not(ip):
    assert not is_local(ip)
