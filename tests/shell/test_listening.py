"""What a node can listen on: p2pnode/io/listening.py."""

import pytest

from p2pnode.errors import AddressError
from p2pnode.io.interfaces import InterfaceAddress
from p2pnode.io.listening import listen_address
from p2pnode.machine import SocketAddr
from tests.support.identities import peer_id

INTERFACES = (
    InterfaceAddress("127.0.0.1", 8, "lo", 1),
    InterfaceAddress("192.168.1.7", 24, "eth0", 2),
    InterfaceAddress("192.0.2.10", 31, "ptp0", 3),
    InterfaceAddress("192.0.2.255", 32, "vip0", 4),
    InterfaceAddress("fe80::1", 64, "eth0", 2),
)


def parsed(text: str) -> SocketAddr:
    return listen_address(text, lambda: INTERFACES)


@pytest.mark.parametrize(
    ("address", "advice"),
    [
        ("/ip4/224.0.0.1/udp/1/noise", "224.0.0.1 is a multicast address; give an address of"),
        ("/ip6/ff02::1/udp/1/noise", "ff02::1 is a multicast address; give an address of"),
        ("/ip4/255.255.255.255/udp/1/noise", "is the broadcast address; give an address of"),
        ("/ip4/192.168.1.255/udp/1/noise", "is the broadcast address of a network; give an"),
        ("/ip4/127.255.255.255/udp/1/noise", "is the broadcast address of a network; give an"),
        ("/ip6/fe80::1/udp/1/noise", "give it as /ip6zone/INTERFACE/ip6/fe80::1"),
        ("/ip6zone/4294967297/ip6/fe80::1/udp/1/noise", "no network interface '4294967297'"),
        (
            "/ip6/::ffff:127.0.0.1/udp/1/noise",
            "is the IPv4 address 127.0.0.1 in IPv6 form; give an address of",
        ),
        (f"/ip4/127.0.0.1/udp/1/noise/p2p/{peer_id('x')}", f"leave out /p2p/{peer_id('x')}"),
    ],
)
def test_what_is_no_address_of_a_machine_is_refused_with_advice(address: str, advice: str) -> None:
    with pytest.raises(AddressError) as caught:
        parsed(address)
    assert advice in str(caught.value)


@pytest.mark.parametrize(
    ("address", "bound"),
    [
        ("/ip4/0.0.0.0/udp/7/noise", SocketAddr("0.0.0.0", 7)),
        ("/ip6/::/udp/7/noise", SocketAddr("::", 7)),
        (" /ip4/192.168.1.7/udp/7/noise\n", SocketAddr("192.168.1.7", 7)),
        ("/ip4/192.0.2.11/udp/7/noise", SocketAddr("192.0.2.11", 7)),
        ("/ip4/192.0.2.255/udp/7/noise", SocketAddr("192.0.2.255", 7)),
        ("/ip4/192.168.1.8/udp/7/noise", SocketAddr("192.168.1.8", 7)),
        ("/ip6zone/2/ip6/fe80::1/udp/7/noise", SocketAddr("fe80::1", 7, 2)),
    ],
)
def test_what_a_machine_may_have_is_taken_without_blanks(address: str, bound: SocketAddr) -> None:
    assert parsed(address) == bound
