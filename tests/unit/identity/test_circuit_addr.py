"""Addresses through relays taken apart: p2pnode/identity/peer_multiaddr.py, circuit_addr."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.identity.peer_multiaddr import circuit_addr, with_peer_id
from p2pnode.identity.transport_addr import transport_multiaddr
from p2pnode.machine import SocketAddr
from p2pnode.protocols.relay import circuit_addrs
from p2pnode.wire.multiaddr import parse_multiaddr
from p2pnode.wire.transport_name import TransportName
from tests.support.addresses import NOISE_UDP, QUIC_V1, TCP
from tests.support.identities import peer_id

RELAY, PEER, OTHER = peer_id("relay"), peer_id("peer"), peer_id("other")
HOST = "/ip4/7.0.0.1/udp/4001/noise"


def test_the_parts_of_an_address_behind_a_relay() -> None:
    parts = circuit_addr(parse_multiaddr(f"{HOST}/p2p/{RELAY}/p2p-circuit/p2p/{PEER}"))
    assert parts is not None
    assert parts.relay == RELAY
    assert str(parts.address) == HOST
    assert parts.peer_id == PEER
    assert parts.transport is NOISE_UDP


def test_the_peer_may_be_left_out() -> None:
    parts = circuit_addr(parse_multiaddr(f"{HOST}/p2p/{RELAY}/p2p-circuit"))
    assert parts is not None
    assert (parts.relay, parts.peer_id) == (RELAY, None)


def test_a_name_may_stand_for_the_relays_address() -> None:
    parts = circuit_addr(
        parse_multiaddr(f"/dns4/relay.example/udp/1/noise/p2p/{RELAY}/p2p-circuit")
    )
    assert parts is not None
    assert str(parts.address) == "/dns4/relay.example/udp/1/noise"


@pytest.mark.spec("IDENTITY-19")
@pytest.mark.parametrize(
    ("host", "transport"),
    [
        (HOST, NOISE_UDP),
        ("/ip6/2a00::1/udp/4001/quic-v1", QUIC_V1),
        ("/dns4/relay.example/tcp/4001", TCP),
    ],
)
def test_a_relay_may_be_reached_by_any_transport(host: str, transport: TransportName) -> None:
    parts = circuit_addr(parse_multiaddr(f"{host}/p2p/{RELAY}/p2p-circuit/p2p/{PEER}"))

    assert parts == (RELAY, parse_multiaddr(host), PEER, transport)


@pytest.mark.spec("SWARM-10")
@pytest.mark.parametrize(
    "text",
    [
        HOST,
        f"{HOST}/p2p/{RELAY}",
        f"{HOST}/p2p-circuit/p2p/{PEER}",  # a relay without a name
        f"/p2p/{RELAY}/p2p-circuit/p2p/{PEER}",  # a relay without an address
        f"/ip4/7.0.0.1/tcp/4001/ws/p2p/{RELAY}/p2p-circuit/p2p/{PEER}",
        f"/ip4/7.0.0.1/udp/4001/quic/p2p/{RELAY}/p2p-circuit/p2p/{PEER}",
        f"{HOST}/p2p/{OTHER}/p2p/{RELAY}/p2p-circuit/p2p/{PEER}",  # a host of two names
        f"{HOST}/p2p/{RELAY}/p2p-circuit/p2p/{OTHER}/p2p-circuit/p2p/{PEER}",  # two relays
        f"{HOST}/p2p/{RELAY}/p2p/{OTHER}/p2p-circuit/p2p/{PEER}/p2p/{OTHER}",
        f"{HOST}/p2p/{RELAY}/p2p-circuit/p2p/{PEER}/udp/1",
        f"/p2p-circuit/p2p/{PEER}",
        "/p2p-circuit",
    ],
)
def test_anything_else_is_none(text: str) -> None:
    assert circuit_addr(parse_multiaddr(text)) is None


@given(
    ip=st.ip_addresses(),
    port=st.integers(1, 65535),
    transport=st.sampled_from(TransportName),
    relay=st.integers(0, 9),
    peer=st.integers(0, 9),
)
def test_what_a_reservation_makes_is_read_back(
    ip: object, port: int, transport: TransportName, relay: int, peer: int
) -> None:
    host = transport_multiaddr(SocketAddr(str(ip), port), transport)
    (address,) = circuit_addrs((with_peer_id(host, peer_id(relay)),), peer_id(peer))

    assert circuit_addr(address) == (peer_id(relay), host, peer_id(peer), transport)
