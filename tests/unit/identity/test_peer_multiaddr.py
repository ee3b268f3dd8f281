"""Multiaddrs with peer ids, and the addresses of noise-udp."""

import pytest

from p2pnode.errors import AddressError
from p2pnode.identity.peer_multiaddr import (
    UdpNoiseAddr,
    split_peer_id,
    udp_noise_addr,
    udp_noise_multiaddr,
    with_peer_id,
)
from p2pnode.machine import SocketAddr
from p2pnode.wire.multiaddr import parse_multiaddr
from tests.support.identities import peer_id

ALICE, BOB = peer_id("alice"), peer_id("bob")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("/ip4/1.2.3.4/udp/4001/noise", UdpNoiseAddr("ip4", "1.2.3.4", 4001)),
        (
            f"/ip6/2a00:0::1/udp/4001/noise/p2p/{ALICE}",
            UdpNoiseAddr("ip6", "2a00::1", 4001, peer_id=ALICE),
        ),
        (
            "/ip6zone/eth0/ip6/fe80::1/udp/1/noise",
            UdpNoiseAddr("ip6", "fe80::1", 1, zone="eth0"),
        ),
        ("/dns/example.com/udp/1/noise", UdpNoiseAddr("dns", "example.com", 1)),
        ("/dns4/example.com/udp/1/noise", UdpNoiseAddr("dns4", "example.com", 1)),
        ("/dns6/example.com/udp/1/noise", UdpNoiseAddr("dns6", "example.com", 1)),
    ],
)
def test_noise_udp_addresses_are_taken_apart(text: str, parts: UdpNoiseAddr) -> None:
    assert udp_noise_addr(parse_multiaddr(text)) == parts


@pytest.mark.parametrize(
    "text",
    [
        "/ip4/1.2.3.4/udp/4001",
        "/ip4/1.2.3.4/tcp/4001/noise",
        "/ip4/1.2.3.4/udp/4001/quic-v1",
        "/noise",
        "/udp/1/noise",
        f"/p2p/{ALICE}",
        f"/ip4/1.2.3.4/udp/1/noise/p2p/{ALICE}/p2p-circuit",
        f"/ip4/1.2.3.4/udp/1/noise/p2p/{ALICE}/p2p-circuit/p2p/{BOB}",
        "/dnsaddr/example.com/udp/1/noise",
        "/ip6zone/eth0/dns6/a.example/udp/1/noise",
        "/ip6zone/eth0",
    ],
)
def test_other_addresses_are_none(text: str) -> None:
    assert udp_noise_addr(parse_multiaddr(text)) is None


@pytest.mark.spec("IDENTITY-15")
@pytest.mark.parametrize(
    ("addr", "text"),
    [
        (SocketAddr("1.2.3.4", 4001), "/ip4/1.2.3.4/udp/4001/noise"),
        (SocketAddr("2a00::1", 1), "/ip6/2a00::1/udp/1/noise"),
        (SocketAddr("fe80::1", 1, 3), "/ip6zone/3/ip6/fe80::1/udp/1/noise"),
    ],
)
def test_udp_addresses_become_multiaddrs_and_come_back(addr: SocketAddr, text: str) -> None:
    made = udp_noise_multiaddr(addr)
    parts = udp_noise_addr(made)

    assert str(made) == text
    assert parts is not None
    assert SocketAddr(parts.host, parts.port, int(parts.zone or 0)) == addr
    assert udp_noise_multiaddr(addr, ALICE) == with_peer_id(made, ALICE)


@pytest.mark.parametrize("addr", [SocketAddr("example.com", 1), SocketAddr("1.2.3.4", 65536)])
def test_an_impossible_udp_address_is_refused(addr: SocketAddr) -> None:
    with pytest.raises(AddressError):
        udp_noise_multiaddr(addr)


def test_a_peer_id_is_added_once_and_never_replaced() -> None:
    plain = parse_multiaddr("/ip4/1.2.3.4/udp/1/noise")
    named = with_peer_id(plain, ALICE)

    assert split_peer_id(named) == (plain, ALICE)
    assert split_peer_id(plain) == (plain, None)
    assert with_peer_id(named, ALICE) == named
    with pytest.raises(AddressError):
        with_peer_id(named, BOB)


def test_at_a_circuit_the_last_id_counts() -> None:
    relayed = parse_multiaddr(f"/ip4/1.2.3.4/udp/1/noise/p2p/{ALICE}/p2p-circuit")

    assert split_peer_id(relayed) == (relayed, None)
    assert split_peer_id(with_peer_id(relayed, BOB)) == (relayed, BOB)
