"""Nodes on real sockets and folders."""

import importlib
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import trio

import p2pnode
from p2pnode.errors import AddressError, DataFolderError, DialError, ListenError
from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.transport_addr import transport_addr
from p2pnode.io.aead_preference import has_aes, preferred_aeads
from p2pnode.io.control.client import ControlClient
from p2pnode.io.folder.data_folder import DataFolder
from p2pnode.io.node.config import NodeConfig, NodeSettings
from p2pnode.io.node.events import PeerConnected
from p2pnode.io.node.lifetime import open_node
from p2pnode.io.node.stream import Stream
from p2pnode.transports.noise_udp.aead import Aead
from p2pnode.wire.multiaddr import Multiaddr
from p2pnode.wire.transport_name import TransportName

LOOPBACK = "/ip4/127.0.0.1/udp/0/noise"
TIMEOUT = 20  # seconds; only a failure takes so long


def port_of(address: Multiaddr) -> int:
    parts = transport_addr(address)
    assert parts is not None
    return parts.port


async def echo(stream: Stream) -> None:
    async for data in stream:
        await stream.send_all(data)


async def test_bytes_go_to_a_peer_and_back_over_loopback() -> None:
    content = bytes(range(256)) * (8 * 1024)
    with trio.fail_after(TIMEOUT):
        async with open_node(listen=[LOOPBACK]) as server, open_node(listen=[]) as client:
            server.handle("/echo/1.0.0", echo)
            stream = await client.open_stream(server.addresses[0], "/echo/1.0.0")

            async def send() -> None:
                await stream.send_all(content)
                await stream.send_eof()

            received = bytearray()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send)
                async for data in stream:
                    received += data

            assert received == content
            await stream.aclose()


async def test_a_node_that_only_dials_has_no_addresses_and_is_reached_all_the_same() -> None:
    with trio.fail_after(TIMEOUT):
        async with open_node(listen=[LOOPBACK]) as server, open_node(listen=[]) as client:
            events = server.events()
            await client.connect(server.addresses[0])
            assert isinstance(await anext(events), PeerConnected)  # a moment later than there

            await server.ping(client.peer_id)

            assert client.addresses == []


async def test_a_name_is_looked_up_before_it_is_dialled() -> None:
    with trio.fail_after(TIMEOUT):
        async with open_node(listen=[LOOPBACK]) as server, open_node(listen=[]) as client:
            port = port_of(server.addresses[0])

            reached = await client.connect(f"/dns4/localhost/udp/{port}/noise")

            assert reached == server.peer_id
            with pytest.raises(DialError, match=r"nobody\.invalid"):
                await client.connect("/dns4/nobody.invalid/udp/4001/noise")


async def test_by_default_a_node_listens_on_all_interfaces_and_on_one_port() -> None:
    async with open_node() as node:
        assert len({port_of(address) for address in node.addresses}) == 1
        assert any("/ip4/127.0.0.1/" in str(address) for address in node.addresses)
        assert all(str(a).endswith(f"/p2p/{node.peer_id}") for a in node.addresses)


async def test_a_data_folder_keeps_identity_and_port(tmp_path: Path) -> None:
    async with open_node(data_folder=tmp_path) as node:
        first = node.peer_id, node.addresses
    async with open_node(data_folder=tmp_path) as node:
        assert (node.peer_id, node.addresses) == first


async def test_a_data_folder_serves_one_node_at_a_time(tmp_path: Path) -> None:
    async with open_node(data_folder=tmp_path, listen=[]):
        with pytest.raises(DataFolderError, match="in use by another node"):
            async with open_node(data_folder=tmp_path, listen=[]):
                pass
    async with open_node(data_folder=tmp_path, listen=[]):
        pass


async def test_an_identity_that_is_given_counts() -> None:
    key = PrivateKey(bytes(range(32)))
    async with open_node(NodeConfig(identity=key), listen=[]) as first:
        peer_id = first.peer_id
    async with open_node(identity=key, listen=[]) as second:
        assert second.peer_id == peer_id


async def test_a_port_in_use_is_told_in_one_sentence() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        with pytest.raises(ListenError, match=f"UDP port {port} is in use"):
            async with open_node(listen=[f"/ip4/127.0.0.1/udp/{port}/noise"]):
                pass


@pytest.mark.parametrize(
    "address", ["/ip4/127.0.0.1/tcp/4001/ws", "/dns4/localhost/udp/4001/noise", "127.0.0.1:4001"]
)
async def test_what_cannot_be_listened_on_is_refused(address: str) -> None:
    with pytest.raises(AddressError):
        async with open_node(listen=[address]):
            pass


async def test_a_node_that_listens_on_loopback_dials_elsewhere_too() -> None:
    async with open_node(listen=[LOOPBACK]) as node:
        with trio.move_on_after(0):
            await node.connect("/ip4/192.0.2.1/udp/4001/noise")  # begins, and is given up

        assert {str(a).split("/udp/")[0] for a in node.addresses} == {"/ip4/127.0.0.1"}


async def test_a_node_listens_over_tcp_alone_and_dials_over_udp_all_the_same() -> None:
    with trio.fail_after(TIMEOUT):
        async with (
            open_node(listen=["/ip4/127.0.0.1/tcp/0"]) as a,
            open_node(listen=[LOOPBACK]) as b,
        ):
            (address,) = a.addresses
            assert "/tcp/" in str(address)
            assert await a.connect(b.addresses[0]) == b.peer_id
            assert a.connection_info(b.peer_id).transport is TransportName.NOISE_UDP
            async with open_node(listen=[]) as c:
                assert await c.connect(address) == a.peer_id
                assert c.connection_info(a.peer_id).transport is TransportName.TCP


async def test_by_default_a_node_is_reached_over_tcp_on_the_number_of_its_udp_port() -> None:
    with trio.fail_after(TIMEOUT):
        async with open_node() as server, open_node(listen=[]) as client:
            assert "/noise/" in str(server.addresses[0]), "the preferred one comes first"
            port = port_of(server.addresses[0])
            assert await client.connect(f"/dns4/localhost/tcp/{port}") == server.peer_id
            assert client.connection_info(server.peer_id).transport is TransportName.TCP
            assert await client.ping(server.peer_id) > 0


async def test_udp_goes_on_on_the_port_of_before_where_another_program_has_it_over_tcp(
    tmp_path: Path,
) -> None:
    async with open_node(data_folder=tmp_path) as node:
        port = port_of(node.addresses[0])
    with socket.create_server(("0.0.0.0", port)):
        async with open_node(data_folder=tmp_path) as node:
            at = {("/tcp/" in str(address), port_of(address)) for address in node.addresses}
    assert (False, port) in at
    (other,) = {number for is_tcp, number in at if is_tcp}
    assert other != port


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no Unix sockets in Python")
async def test_other_processes_act_through_the_control_socket(tmp_path: Path) -> None:
    with trio.fail_after(TIMEOUT):
        async with open_node(data_folder=tmp_path, listen=[LOOPBACK], control_socket=True) as node:
            path = DataFolder(tmp_path).control_socket
            assert path is not None

            info = await ControlClient(path).try_info()

            assert info is not None
            assert info.peer_id == str(node.peer_id)
            assert info.addresses == tuple(str(address) for address in node.addresses)
        assert not path.exists()


def test_settings_and_config_have_the_same_fields() -> None:
    assert set(NodeSettings.__annotations__) == set(NodeConfig.__dataclass_fields__)


# the AEAD


@pytest.mark.parametrize(
    ("system", "machine", "cpu_info", "expected"),
    [
        ("linux", "x86_64", "flags\t\t: fpu aes avx\n", True),
        ("linux", "x86_64", "flags\t\t: fpu avx\n", False),
        ("linux", "aarch64", "Features\t: fp asimd aes\n", True),
        ("linux", "aarch64", "Features\t: fp asimd\n", False),
        ("linux", "riscv64", "flags : aes", False),
        ("darwin", "arm64", "", True),
        ("darwin", "x86_64", "", True),
        ("win32", "AMD64", "", True),
        ("freebsd14", "amd64", "", False),
    ],
)
def test_aes_is_preferred_where_the_processor_computes_it(
    system: str, machine: str, cpu_info: str, expected: bool
) -> None:
    assert has_aes(system, machine, cpu_info) is expected


def test_both_aeads_are_offered() -> None:
    assert sorted(preferred_aeads()) == sorted(Aead)
    assert NodeConfig().transport.aeads == preferred_aeads()


# the package


def test_every_public_name_is_there() -> None:
    for name in p2pnode.__all__:
        assert getattr(p2pnode, name) is not None
    assert dir(p2pnode) == p2pnode.__all__
    with pytest.raises(AttributeError):
        importlib.import_module("p2pnode").no_such_name  # noqa: B018


def test_the_layers_without_io_are_imported_without_trio() -> None:
    program = "import sys, p2pnode.swarm; assert 'trio' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
