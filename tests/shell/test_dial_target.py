"""What is meant by a target, and what can be no target: p2pnode/io/dial_target.py."""

import pytest

from p2pnode.errors import AddressError
from p2pnode.io.dial_target import MAX_ZONE_INDEX, bootstrap_targets, dial_target
from tests.support.identities import peer_id

RELAY = peer_id("relay")


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("/ip4/224.0.0.1/udp/1/noise", "224.0.0.1 is a multicast address"),
        ("/ip6/ff02::1/udp/1/noise", "ff02::1 is a multicast address"),
        ("/ip4/255.255.255.255/udp/1/noise", "255.255.255.255 is the broadcast address"),
        ("/ip4/0.0.0.0/udp/1/noise", "0.0.0.0 is no address of one machine"),
        ("/ip6/::/udp/1/noise", ":: is no address of one machine"),
        (
            "/ip6/::ffff:192.0.2.1/udp/1/noise",
            "is the IPv4 address 192.0.2.1 in IPv6 form; give the peer's own",
        ),
        ("/ip6/fe80::1/udp/1/noise", "give it as /ip6zone/INTERFACE/ip6/fe80::1"),
        ("/ip4/192.0.2.1/udp/0/noise", "no peer has port 0; give the peer's own"),
        ("/ip4/192.0.2.1/tcp/0", "no peer has port 0; give the peer's own"),
        (f"/ip6zone/{MAX_ZONE_INDEX + 1}/ip6/fe80::1/udp/1/noise", "no network interface"),
        ("/ip6zone/0/ip6/fe80::1/udp/1/noise", "no network interface"),
        (f"/ip4/224.0.0.1/udp/1/noise/p2p/{RELAY}/p2p-circuit", "is a multicast address"),
    ],
)
def test_what_no_packet_can_be_sent_to_is_refused_at_once(address: str, reason: str) -> None:
    with pytest.raises(AddressError) as caught:
        dial_target(address)
    assert reason in str(caught.value)
    with pytest.raises(AddressError):
        bootstrap_targets([f"{address}/p2p/{peer_id('x')}"])


def test_blanks_around_what_was_copied_do_not_count() -> None:
    address = f"/ip4/192.0.2.1/udp/1/noise/p2p/{RELAY}"
    assert dial_target(f" {address}\n") == dial_target(address)
    assert dial_target(f"\t{RELAY} ") == dial_target(RELAY)


@pytest.mark.parametrize(
    "address",
    [
        "/ip6zone/1/ip6/fe80::1/udp/1/noise",
        "/ip4/127.0.0.1/udp/1/noise",
        "/ip4/203.0.113.1/udp/1/noise",
        "/dns4/example.com/udp/1/noise",
    ],
)
def test_addresses_of_one_host_are_taken(address: str) -> None:
    assert str(dial_target(address).address) == address
