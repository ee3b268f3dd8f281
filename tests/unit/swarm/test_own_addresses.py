"""Sockets and interfaces: p2pnode/swarm/own_addresses.py."""

import pytest

from p2pnode.errors import DialError
from p2pnode.machine import SocketAddr, SocketId
from p2pnode.swarm.own_addresses import OwnAddresses
from p2pnode.transports.route import ANY_PORT
from p2pnode.wire.transport_name import TransportName
from tests.support.addresses import NOISE_UDP, QUIC_V1, TCP


def with_sockets(*sockets: tuple[str, int, bool]) -> OwnAddresses:
    own = OwnAddresses((NOISE_UDP,))
    for i, (ip, port, is_listening) in enumerate(sockets):
        own.add_socket(SocketId(i), SocketAddr(ip, port), is_listening=is_listening)
    return own


def test_a_wildcard_stands_for_every_interface_loopback_last() -> None:
    own = with_sockets(("0.0.0.0", 4001, True), ("::", 4001, True))
    own.set_interfaces(("127.0.0.1", "192.168.1.5", "fd00::1"))
    assert list(map(str, own.listen_addresses())) == [
        "/ip4/192.168.1.5/udp/4001/noise",
        "/ip6/fd00::1/udp/4001/noise",
        "/ip4/127.0.0.1/udp/4001/noise",
    ]


@pytest.mark.spec("SWARM-34")
def test_transports_that_share_a_socket_are_found_at_one_address_each() -> None:
    own = OwnAddresses((NOISE_UDP, QUIC_V1, TCP))
    own.add_socket(SocketId(0), SocketAddr("192.168.1.5", 4001), is_listening=True)

    assert list(map(str, own.listen_addresses())) == [
        "/ip4/192.168.1.5/udp/4001/noise",
        "/ip4/192.168.1.5/udp/4001/quic-v1",
    ]
    assert list(map(str, own.multiaddrs(SocketAddr("7.0.0.1", 5000, 3)))) == [
        "/ip4/7.0.0.1/udp/5000/noise",
        "/ip4/7.0.0.1/udp/5000/quic-v1",
    ]


def test_a_socket_that_only_dials_is_no_address() -> None:
    own = with_sockets(("0.0.0.0", 5000, False))
    own.set_interfaces(("192.168.1.5",))
    assert own.listen_addresses() == ()


def test_dials_leave_from_the_listening_socket() -> None:
    own = with_sockets(("0.0.0.0", 5000, False), ("0.0.0.0", 4001, True), ("::", 4001, True))
    assert own.socket_for(SocketAddr("8.8.8.8", 1)) == 1
    assert own.socket_for(SocketAddr("2001:4860::1", 1)) == 2


def test_a_loopback_socket_reaches_loopback_only() -> None:
    own = with_sockets(("127.0.0.1", 4001, True), ("0.0.0.0", 5000, False))
    assert own.socket_for(SocketAddr("127.0.0.1", 1)) == 0
    assert own.socket_for(SocketAddr("8.8.8.8", 1)) == 1
    only = with_sockets(("127.0.0.1", 4001, True))
    assert only.socket_for(SocketAddr("8.8.8.8", 1)) is None
    assert own.socket_for(SocketAddr("::1", 1)) is None


def test_a_change_of_interfaces_is_noticed_once() -> None:
    own = OwnAddresses((NOISE_UDP,))
    assert own.set_interfaces(("1.1.1.1",))
    assert not own.set_interfaces(("1.1.1.1",))


@pytest.mark.spec("TRANSPORTS-10")
def test_a_number_is_a_sockets_or_a_listeners() -> None:
    local = SocketAddr("192.0.2.1", 4001)
    own = OwnAddresses((NOISE_UDP, TCP))
    own.add_socket(SocketId(1), local, is_listening=True)
    with pytest.raises(AssertionError):
        own.add_listener(SocketId(1), local)
    own.add_listener(SocketId(2), local)
    with pytest.raises(AssertionError):
        own.add_socket(SocketId(2), local, is_listening=False)


def of_all_transports() -> OwnAddresses:
    own = OwnAddresses((NOISE_UDP, QUIC_V1, TCP))
    own.add_socket(SocketId(0), SocketAddr("0.0.0.0", 4001), is_listening=True)
    own.add_listener(SocketId(1), SocketAddr("0.0.0.0", 4002))
    own.set_interfaces(("127.0.0.1", "192.168.1.5", "2001:4860::5"))
    return own


@pytest.mark.spec("SWARM-36")
@pytest.mark.parametrize(
    ("at", "transport", "why"),
    [
        (SocketAddr("7.0.0.1", 0), TCP, "nobody listens on port 0"),
        (SocketAddr("7.0.0.1", 0), NOISE_UDP, "nobody listens on port 0"),
        (SocketAddr("192.168.1.5", 4002), TCP, "that is an address of this node itself"),
        (SocketAddr("127.0.0.1", 4001), QUIC_V1, "that is an address of this node itself"),
        (SocketAddr("2001:4860::1", 1), QUIC_V1, "this node has no socket for IPv6"),
    ],
)
def test_what_cannot_be_dialled_is_one_sentence(
    at: SocketAddr, transport: TransportName, why: str
) -> None:
    with pytest.raises(DialError) as raised:
        of_all_transports().leaving_for(at, transport)
    assert str(raised.value) == why


@pytest.mark.spec("SWARM-36")
def test_sockets_of_one_network_do_not_lead_to_others() -> None:
    own = with_sockets(("127.0.0.1", 4001, True))
    with pytest.raises(DialError, match="bound to do not lead there"):
        own.leaving_for(SocketAddr("8.8.8.8", 1), NOISE_UDP)


def test_a_port_of_udp_is_another_one_than_that_of_tcp() -> None:
    own = of_all_transports()
    assert own.leaving_for(SocketAddr("192.168.1.5", 4001), TCP) == 1
    assert own.leaving_for(SocketAddr("192.168.1.5", 4002), NOISE_UDP) == 0


def test_links_leave_from_the_listeners_port_or_from_any() -> None:
    own = of_all_transports()
    assert own.leaving_for(SocketAddr("7.0.0.1", 1), TCP) == 1
    assert own.leaving_for(SocketAddr("2001:4860::1", 1), TCP) == ANY_PORT


@pytest.mark.spec("SWARM-39")
def test_a_listener_is_an_address_for_each_interface_and_is_seen_as_one() -> None:
    own = OwnAddresses((NOISE_UDP, QUIC_V1, TCP))
    own.add_listener(SocketId(1), SocketAddr("0.0.0.0", 4002))
    own.set_interfaces(("127.0.0.1", "192.168.1.5", "2001:4860::5"))
    assert list(map(str, own.listen_addresses())) == [
        "/ip4/192.168.1.5/tcp/4002",
        "/ip4/127.0.0.1/tcp/4002",
    ]
    assert own.is_listening
    assert own.listeners() == (1,)
    assert own.sockets() == ()
    seen = SocketAddr("7.0.0.1", 5000)
    assert list(map(str, own.multiaddrs(seen, SocketId(1)))) == ["/ip4/7.0.0.1/tcp/5000"]


def test_who_only_dials_does_not_listen() -> None:
    assert not with_sockets(("0.0.0.0", 5000, False)).is_listening
    assert with_sockets(("0.0.0.0", 5000, True)).is_listening


@pytest.mark.spec("SWARM-17", "SWARM-39")
def test_a_public_address_of_a_listener_is_not_near() -> None:
    own = of_all_transports()
    own.add_listener(SocketId(2), SocketAddr("::", 4002))
    assert "/ip6/2001:4860::5/tcp/4002" in map(str, own.listen_addresses())
    near = [str(address) for address in own.near_addresses() if "tcp" in str(address)]
    assert near == ["/ip4/192.168.1.5/tcp/4002", "/ip4/127.0.0.1/tcp/4002"]
