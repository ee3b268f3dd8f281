"""What a node can listen on, and what it then has open."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from p2pnode.errors import AddressError, ListenError
from p2pnode.io.interfaces import InterfaceAddress
from p2pnode.io.listen_address import ListenAddress, listen_address
from p2pnode.io.listening import Listening
from p2pnode.machine import SocketAddr
from p2pnode.wire.transport_name import TransportName
from tests.support.identities import peer_id

INTERFACES = (
    InterfaceAddress("127.0.0.1", 8, "lo", 1),
    InterfaceAddress("192.168.1.7", 24, "eth0", 2),
    InterfaceAddress("192.0.2.10", 31, "ptp0", 3),
    InterfaceAddress("192.0.2.255", 32, "vip0", 4),
    InterfaceAddress("fe80::1", 64, "eth0", 2),
)


def parsed(text: str, *, spoken: tuple[TransportName, ...] = tuple(TransportName)) -> ListenAddress:
    return listen_address(text, lambda: INTERFACES, spoken)


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
        ("/ip4/224.0.0.1/tcp/1", "224.0.0.1 is a multicast address; give an address of"),
        (f"/ip4/127.0.0.1/tcp/1/p2p/{peer_id('x')}", f"leave out /p2p/{peer_id('x')}"),
        ("/ip4/127.0.0.1/udp/1", "not an address such as /ip4/0.0.0.0/udp/4001/noise or /ip4/"),
        ("/dns4/localhost/tcp/4001", "not an address such as /ip4/0.0.0.0/udp/4001/noise or"),
        ("/ip4/127.0.0.1/tcp/1/ws", "not an address such as /ip4/0.0.0.0/udp/4001/noise or"),
    ],
)
def test_what_is_no_address_of_a_machine_is_refused_with_advice(address: str, advice: str) -> None:
    with pytest.raises(AddressError) as caught:
        parsed(address)
    assert advice in str(caught.value)


@pytest.mark.parametrize(
    ("address", "bound"),
    [
        ("/ip4/0.0.0.0/udp/7/noise", ListenAddress("udp", SocketAddr("0.0.0.0", 7))),
        ("/ip4/0.0.0.0/udp/7/quic-v1", ListenAddress("udp", SocketAddr("0.0.0.0", 7))),
        ("/ip6/::/udp/7/noise", ListenAddress("udp", SocketAddr("::", 7))),
        (" /ip4/192.168.1.7/udp/7/noise\n", ListenAddress("udp", SocketAddr("192.168.1.7", 7))),
        ("/ip4/192.0.2.11/udp/7/noise", ListenAddress("udp", SocketAddr("192.0.2.11", 7))),
        ("/ip4/192.0.2.255/udp/7/noise", ListenAddress("udp", SocketAddr("192.0.2.255", 7))),
        ("/ip4/192.168.1.8/udp/7/noise", ListenAddress("udp", SocketAddr("192.168.1.8", 7))),
        ("/ip6zone/2/ip6/fe80::1/udp/7/noise", ListenAddress("udp", SocketAddr("fe80::1", 7, 2))),
        ("/ip4/0.0.0.0/tcp/0", ListenAddress("tcp", SocketAddr("0.0.0.0", 0))),
        ("/ip6zone/2/ip6/fe80::1/tcp/7", ListenAddress("tcp", SocketAddr("fe80::1", 7, 2))),
    ],
)
def test_what_a_machine_may_have_is_taken_without_blanks(
    address: str, bound: ListenAddress
) -> None:
    assert parsed(address) == bound


def test_a_transport_that_a_node_does_not_speak_is_no_place_to_listen() -> None:
    with pytest.raises(AddressError, match=r"/tcp/1: this node does not speak tcp$"):
        parsed("/ip4/0.0.0.0/tcp/1", spoken=(TransportName.NOISE_UDP, TransportName.QUIC_V1))


@contextmanager
def listening_at(*addresses: str) -> Iterator[Listening]:
    with ExitStack() as stack:
        listening = Listening(stack)
        listening.at(map(parsed, addresses))
        yield listening


@pytest.mark.spec("TRANSPORTS-10")
async def test_sockets_and_listeners_are_numbered_together() -> None:
    with listening_at("/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/noise") as listening:
        listening.for_dial_backs()
        sockets = [s.socket.socket_id for s in (*listening.sockets, *listening.probe_sockets)]
        numbers = [*sockets, *(each.socket_id for each in listening.listeners)]
        assert len(listening.listeners) == 1
        assert len(listening.probe_sockets) == 1
        assert len(set(numbers)) == len(numbers) > 2


async def test_over_tcp_alone_there_are_udp_sockets_that_only_dial() -> None:
    with listening_at("/ip4/127.0.0.1/tcp/0") as listening:
        listening.for_dial_backs()
        assert [each.local.ip for each in listening.listeners] == ["127.0.0.1"]
        assert listening.sockets
        assert not any(sock.is_listening for sock in listening.sockets)
        assert not listening.probe_sockets


async def test_over_udp_alone_nothing_listens_over_tcp() -> None:
    with listening_at("/ip4/127.0.0.1/udp/0/noise") as listening:
        assert not listening.listeners


async def test_transports_over_udp_share_a_socket() -> None:
    both = "/ip4/127.0.0.1/udp/0/noise", "/ip4/127.0.0.1/udp/0/quic-v1"
    with listening_at(*both) as listening:
        assert sum(sock.is_listening for sock in listening.sockets) == 1


async def test_port_0_of_tcp_is_the_number_that_udp_has_got() -> None:
    with listening_at("/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/noise") as listening:
        assert listening.listeners[0].local == listening.sockets[0].local


async def test_port_0_of_tcp_is_another_one_where_udps_is_taken() -> None:
    with taken_tcp_port() as port, ExitStack() as stack:
        listening = Listening(stack)
        given = f"/ip4/127.0.0.1/udp/{port}/noise", "/ip4/127.0.0.1/tcp/0"
        listening.at(map(parsed, given))
        assert listening.sockets[0].local.port == port
        assert listening.listeners[0].local.port not in (0, port)


async def test_a_tcp_port_that_another_program_has_is_one_sentence_with_the_next_step() -> None:
    with (
        taken_tcp_port() as port,
        pytest.raises(
            ListenError,
            match=rf"^cannot listen on 127\.0\.0\.1:{port}: TCP port {port} is in use by another "
            "program; end that one, or listen on another port$",
        ),
        listening_at(f"/ip4/127.0.0.1/tcp/{port}"),
    ):
        raise AssertionError


async def test_nothing_is_left_open_where_one_family_is_refused() -> None:
    with taken_tcp_port("::1") as port, ExitStack() as stack:
        listening = Listening(stack)
        with pytest.raises(ListenError, match=f"TCP port {port} is in use"):
            listening.everywhere_over_tcp(port)
        assert not listening.listeners
        with socket.create_server(("127.0.0.1", port)):
            pass


@contextmanager
def taken_tcp_port(ip: str = "127.0.0.1") -> Iterator[int]:
    """A TCP port that another program has, and nobody has of UDP."""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    with socket.create_server((ip, 0), family=family) as server:
        yield server.getsockname()[1]
