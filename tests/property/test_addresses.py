"""Addresses of transports: round trips, and no multiaddr that raises."""

import ipaddress
import string

from hypothesis import given
from hypothesis import strategies as st

from p2pnode.identity.peer_multiaddr import circuit_addr
from p2pnode.identity.transport_addr import TransportAddr, transport_addr, transport_multiaddr
from p2pnode.machine import SocketAddr
from p2pnode.wire.multiaddr import Code, Component, Multiaddr, join_components, parse_multiaddr
from p2pnode.wire.transport_name import TransportName
from tests.support.identities import peer_id

IDS = [peer_id(name) for name in range(4)]
peer_ids = st.sampled_from(IDS)
transports = st.sampled_from(TransportName)
ports = st.integers(0, 0xFFFF)
labels = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=10)
names = st.lists(labels, min_size=1, max_size=4).map(".".join)
zones = st.one_of(st.just(""), labels, st.integers(1, 2**31 - 1).map(str))

ip4 = st.builds(
    TransportAddr,
    st.just("ip4"),
    st.ip_addresses(v=4).map(str),
    ports,
    transports,
    st.just(""),
    st.none() | peer_ids,
)
ip6 = st.builds(
    TransportAddr,
    st.just("ip6"),
    st.ip_addresses(v=6).map(str),
    ports,
    transports,
    zones,
    st.none() | peer_ids,
)
named = st.builds(
    TransportAddr,
    st.sampled_from(("dns", "dns4", "dns6")),
    names,
    ports,
    transports,
    st.just(""),
    st.none() | peer_ids,
)

steps = st.one_of(
    st.builds(Component, st.just(Code.IP4), st.binary(min_size=4, max_size=4)),
    st.builds(Component, st.just(Code.IP6), st.binary(min_size=16, max_size=16)),
    st.builds(Component, st.sampled_from((Code.UDP, Code.TCP)), st.binary(min_size=2, max_size=2)),
    st.builds(
        Component,
        st.sampled_from((Code.DNS, Code.DNS4, Code.DNS6, Code.DNSADDR, Code.IP6ZONE)),
        names.map(str.encode),
    ),
    st.builds(Component, st.just(Code.P2P), peer_ids.map(lambda peer: peer.multihash)),
    st.builds(
        Component,
        st.sampled_from((Code.NOISE, Code.QUIC_V1, Code.P2P_CIRCUIT, 460, 465, 477)),
        st.just(b""),
    ),
)
multiaddrs = st.lists(steps, min_size=1, max_size=8).map(join_components)


def text_of(addr: TransportAddr) -> str:
    """Written by the words of the table of multicodecs, as a person would."""
    behind = {
        TransportName.NOISE_UDP: f"/udp/{addr.port}/noise",
        TransportName.QUIC_V1: f"/udp/{addr.port}/quic-v1",
        TransportName.TCP: f"/tcp/{addr.port}",
    }[addr.transport]
    zone = f"/ip6zone/{addr.zone}" if addr.zone else ""
    peer = f"/p2p/{addr.peer_id}" if addr.peer_id else ""
    return f"{zone}/{addr.kind}/{addr.host}{behind}{peer}"


@given(st.one_of(ip4, ip6, named))
def test_an_address_says_what_its_text_says(addr: TransportAddr) -> None:
    assert transport_addr(parse_multiaddr(text_of(addr))) == addr


@given(st.one_of(ip4, ip6))
def test_a_socket_address_of_every_transport_comes_back(addr: TransportAddr) -> None:
    at = addr.socket_addr
    assert at is not None
    made = transport_multiaddr(at, addr.transport, addr.peer_id)
    parts = transport_addr(made)

    assert parts is not None
    assert (parts.socket_addr, parts.transport, parts.peer_id) == (at, addr.transport, addr.peer_id)


@given(multiaddrs)
def test_no_multiaddr_raises_and_what_is_taken_apart_is_the_address(address: Multiaddr) -> None:
    parts = transport_addr(address)
    if parts is not None:
        assert parse_multiaddr(text_of(parts)) == address
    circuit = circuit_addr(address)
    if circuit is not None:
        assert parts is None
        reached = transport_addr(circuit.address)
        assert reached is not None
        assert reached.transport is circuit.transport
        behind = "" if circuit.peer_id is None else f"/p2p/{circuit.peer_id}"
        assert str(address) == f"{circuit.address}/p2p/{circuit.relay}/p2p-circuit{behind}"


@given(st.one_of(ip4, ip6, named), peer_ids, st.none() | peer_ids)
def test_a_relay_may_be_reached_by_any_transport(
    addr: TransportAddr, relay: object, peer: object
) -> None:
    at = text_of(addr._replace(peer_id=None))
    behind = "" if peer is None else f"/p2p/{peer}"

    parts = circuit_addr(parse_multiaddr(f"{at}/p2p/{relay}/p2p-circuit{behind}"))

    assert parts == (relay, parse_multiaddr(at), peer, addr.transport)


@given(st.ip_addresses(), ports, transports, st.integers(1, 2**31 - 1))
def test_a_scope_is_written_for_ipv6_only(
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address,
    port: int,
    transport: TransportName,
    scope: int,
) -> None:
    parts = transport_addr(transport_multiaddr(SocketAddr(str(ip), port, scope), transport))

    assert parts is not None
    assert parts.zone == ("" if ip.version == 4 else str(scope))
