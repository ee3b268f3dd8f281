"""Which addresses are public, and which belong together."""

import pytest

from p2pnode.errors import AddressError
from p2pnode.wire.ip_ranges import (
    IpScope,
    dns_scope,
    ip_scope,
    is_link_local,
    is_nat64,
    owner_group,
    parse_ip,
    why_no_host,
)


@pytest.mark.parametrize(
    ("scope", "ips"),
    [
        (IpScope.LOOPBACK, ["127.0.0.1", "127.255.255.255", "::1"]),
        (
            IpScope.PRIVATE,
            ["10.0.0.1", "100.64.0.1", "172.31.255.255", "192.168.1.1", "169.254.0.1"],
        ),
        (IpScope.PRIVATE, ["fc00::1", "fdff::1", "fe80::1", "febf::1"]),
        (IpScope.PUBLIC, ["1.2.3.4", "100.63.255.255", "100.128.0.1", "172.32.0.1", "192.0.0.64"]),
        (IpScope.PUBLIC, ["2000::1", "2a00:1450::1", "64:ff9b::1.2.3.4", "64:ff9b:1::1"]),
        (
            IpScope.UNROUTABLE,
            ["0.0.0.0", "192.0.0.1", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.1"],
        ),
        (IpScope.UNROUTABLE, ["203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"]),
        (IpScope.UNROUTABLE, ["::", "ff02::1", "2001:db8::1", "4000::1", "::ffff:1.2.3.4"]),
    ],
)
def test_addresses_have_the_scope_that_libp2p_gives_them(scope: IpScope, ips: list[str]) -> None:
    assert {ip: ip_scope(ip) for ip in ips} == dict.fromkeys(ips, scope)


@pytest.mark.parametrize("text", ["", "1.2.3", "1.2.3.04", "fe80::1%eth0", "example.com"])
def test_what_is_no_plain_ip_address_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        parse_ip(text)


@pytest.mark.parametrize(
    ("name", "scope"),
    [
        ("example.com", IpScope.PUBLIC),
        ("Printer.LOCAL", IpScope.PRIVATE),
        ("localhost", IpScope.PRIVATE),
        ("router.home.arpa.", IpScope.PRIVATE),
        ("notlocal", IpScope.PUBLIC),
    ],
)
def test_names_are_judged_by_their_suffix(name: str, scope: IpScope) -> None:
    assert dns_scope(name) is scope


def test_one_customer_is_an_ipv4_address_or_an_ipv6_56() -> None:
    assert owner_group("1.2.3.4") == "1.2.3.4"
    assert owner_group("2a00:1:2:300::1") == owner_group("2a00:1:2:3ff::9") == "2a00:1:2:300::/56"
    assert owner_group("2a00:1:2:300::1", 64) != owner_group("2a00:1:2:301::1", 64)


def test_translated_and_link_local_addresses_are_known() -> None:
    assert is_nat64("64:ff9b::102:304")
    assert not is_nat64("2a00::1")
    assert is_link_local("fe80::1")
    assert not is_link_local("fc00::1")


@pytest.mark.parametrize(
    ("ip", "what"),
    [
        ("224.0.0.1", "a multicast address"),
        ("239.255.255.250", "a multicast address"),
        ("ff02::1", "a multicast address"),
        ("255.255.255.255", "the broadcast address"),
        ("0.0.0.0", "no address of one machine"),
        ("::", "no address of one machine"),
        ("::ffff:1.2.3.4", "the IPv4 address 1.2.3.4 in IPv6 form"),
        ("192.168.1.7", None),
        ("203.0.113.1", None),
        ("240.0.0.1", None),
        ("127.0.0.1", None),
        ("fe80::1", None),
        ("2001:db8::1", None),
    ],
)
def test_groups_everybody_and_nobody_are_no_host(ip: str, what: str | None) -> None:
    assert why_no_host(ip) == what
