"""Addresses of transports, taken apart and put together."""

import pytest

from p2pnode.errors import AddressError
from p2pnode.identity.peer_multiaddr import with_peer_id
from p2pnode.identity.transport_addr import TransportAddr, transport_addr, transport_multiaddr
from p2pnode.machine import SocketAddr
from p2pnode.wire.multiaddr import parse_multiaddr
from p2pnode.wire.transport_name import TransportName
from tests.support.identities import peer_id

ALICE, BOB = peer_id("alice"), peer_id("bob")
NOISE, QUIC, TCP = TransportName.NOISE_UDP, TransportName.QUIC_V1, TransportName.TCP


@pytest.mark.spec("IDENTITY-18")
@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("/ip4/1.2.3.4/udp/4001/noise", TransportAddr("ip4", "1.2.3.4", 4001, NOISE)),
        ("/ip4/1.2.3.4/udp/4001/quic-v1", TransportAddr("ip4", "1.2.3.4", 4001, QUIC)),
        ("/ip4/1.2.3.4/tcp/4001", TransportAddr("ip4", "1.2.3.4", 4001, TCP)),
        (
            f"/ip6/2a00:0::1/udp/4001/noise/p2p/{ALICE}",
            TransportAddr("ip6", "2a00::1", 4001, NOISE, peer_id=ALICE),
        ),
        (
            f"/ip6/2a00:0::1/tcp/4001/p2p/{ALICE}",
            TransportAddr("ip6", "2a00::1", 4001, TCP, peer_id=ALICE),
        ),
        (
            "/ip6zone/eth0/ip6/fe80::1/udp/1/quic-v1",
            TransportAddr("ip6", "fe80::1", 1, QUIC, zone="eth0"),
        ),
        ("/dns/example.com/udp/1/noise", TransportAddr("dns", "example.com", 1, NOISE)),
        ("/dns4/example.com/udp/1/quic-v1", TransportAddr("dns4", "example.com", 1, QUIC)),
        ("/dns6/example.com/tcp/1", TransportAddr("dns6", "example.com", 1, TCP)),
    ],
)
def test_addresses_of_every_transport_are_taken_apart(text: str, parts: TransportAddr) -> None:
    assert transport_addr(parse_multiaddr(text)) == parts


@pytest.mark.spec("IDENTITY-18")
@pytest.mark.parametrize(
    "text",
    [
        "/ip4/1.2.3.4/udp/4001",
        "/ip4/1.2.3.4/tcp/4001/noise",
        "/ip4/1.2.3.4/tcp/4001/ws",
        "/ip4/1.2.3.4/udp/4001/quic-v1/webtransport",
        "/ip4/1.2.3.4/udp/4001/quic",
        "/ip4/1.2.3.4",
        "/noise",
        "/udp/1/noise",
        "/tcp/1",
        f"/p2p/{ALICE}",
        f"/ip4/1.2.3.4/udp/1/noise/p2p/{ALICE}/p2p-circuit",
        f"/ip4/1.2.3.4/tcp/1/p2p/{ALICE}/p2p-circuit/p2p/{BOB}",
        "/dnsaddr/example.com/udp/1/noise",
        "/ip6zone/eth0/dns6/a.example/udp/1/noise",
        "/ip6zone/eth0",
    ],
)
def test_other_addresses_are_none(text: str) -> None:
    assert transport_addr(parse_multiaddr(text)) is None


@pytest.mark.spec("IDENTITY-15")
@pytest.mark.parametrize(
    ("addr", "transport", "text"),
    [
        (SocketAddr("1.2.3.4", 4001), NOISE, "/ip4/1.2.3.4/udp/4001/noise"),
        (SocketAddr("2a00::1", 1), QUIC, "/ip6/2a00::1/udp/1/quic-v1"),
        (SocketAddr("fe80::1", 1, 3), TCP, "/ip6zone/3/ip6/fe80::1/tcp/1"),
    ],
)
def test_socket_addresses_become_multiaddrs_and_come_back(
    addr: SocketAddr, transport: TransportName, text: str
) -> None:
    made = transport_multiaddr(addr, transport)
    parts = transport_addr(made)

    assert str(made) == text
    assert parts is not None
    assert (parts.socket_addr, parts.transport) == (addr, transport)
    assert transport_multiaddr(addr, transport, ALICE) == with_peer_id(made, ALICE)


@pytest.mark.parametrize("addr", [SocketAddr("example.com", 1), SocketAddr("1.2.3.4", 65536)])
@pytest.mark.parametrize("transport", TransportName)
def test_an_impossible_socket_address_is_refused(
    addr: SocketAddr, transport: TransportName
) -> None:
    with pytest.raises(AddressError):
        transport_multiaddr(addr, transport)


def test_a_name_is_no_socket_address_before_it_is_looked_up() -> None:
    named = TransportAddr("dns4", "example.com", 1, NOISE)

    assert not named.is_ip
    assert named.socket_addr is None


@pytest.mark.parametrize("zone", ["eth0", "\u00b2", "\u0663"])
def test_a_zone_that_is_no_index_is_left_to_who_can_look_it_up(zone: str) -> None:
    addr = TransportAddr("ip6", "fe80::1", 1, NOISE, zone)

    assert addr.socket_addr == SocketAddr("fe80::1", 1)
