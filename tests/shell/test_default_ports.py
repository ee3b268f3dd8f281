"""Which ports a node has that is not told any: p2pnode/io/default_ports.py."""

import logging
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random

import pytest

from p2pnode.io.default_ports import listen_by_default
from p2pnode.io.folder.data_folder import DataFolder, choose_free_port
from p2pnode.io.listening import Listening


class Ports:
    """What a node listens on."""

    def __init__(self, listening: Listening) -> None:
        self.udp = {sock.local.port for sock in listening.sockets}
        self.tcp = {listener.local.port for listener in listening.listeners}


def ports_of(folder: Path | None, *, over_tcp: bool = True, seed: int = 1) -> Ports:
    """Returns what a node listens on that is started with this folder, and ended again."""
    with ExitStack() as stack:
        listening = Listening(stack)
        data = None if folder is None else DataFolder(folder)
        listen_by_default(listening, data, Random(seed), over_tcp=over_tcp)
        return Ports(listening)


@contextmanager
def other_program(port: int) -> Iterator[None]:
    """Has that TCP port."""
    with socket.create_server(("127.0.0.1", port)):
        yield


@pytest.fixture
def port(tmp_path: Path) -> int:
    """The UDP port of a data folder that is there already."""
    port = choose_free_port(Random("before"))
    (tmp_path / "port").write_bytes(b"%d\n" % port)
    return port


@pytest.mark.spec("LINK-10")
async def test_a_folder_keeps_one_number_for_udp_and_tcp(tmp_path: Path) -> None:
    first = ports_of(tmp_path)
    again = ports_of(tmp_path, seed=2)
    assert len(first.udp) == 1
    assert first.udp == first.tcp == again.udp == again.tcp


async def test_without_a_folder_it_is_one_number_as_well() -> None:
    ports = ports_of(None)
    assert len(ports.udp) == 1
    assert ports.udp == ports.tcp


@pytest.mark.spec("LINK-10")
async def test_a_folder_of_before_keeps_its_port(tmp_path: Path, port: int) -> None:
    ports = ports_of(tmp_path)
    assert ports.udp == ports.tcp == {port}
    assert not (tmp_path / "tcp-port").exists()


@pytest.mark.spec("LINK-10")
async def test_where_another_program_has_the_tcp_port_another_one_is_taken_and_remembered(
    tmp_path: Path, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    with other_program(port):
        ports = ports_of(tmp_path)
    assert ports.udp == {port}
    (other,) = ports.tcp
    assert other != port
    (said,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert said == (
        f"cannot listen on 0.0.0.0:{port}: TCP port {port} is in use by another program; this node "
        f"takes TCP port {other} instead from now on, and UDP goes on on port {port}"
    )
    caplog.clear()
    later = ports_of(tmp_path, seed=2)
    assert (later.udp, later.tcp) == ({port}, {other})
    assert not caplog.records


@pytest.mark.spec("LINK-10")
async def test_a_remembered_tcp_port_that_is_taken_is_replaced_too(
    tmp_path: Path, port: int
) -> None:
    with other_program(port):
        (second,) = ports_of(tmp_path).tcp
    with other_program(second):
        (third,) = ports_of(tmp_path, seed=2).tcp
    assert third not in (port, second)
    assert ports_of(tmp_path, seed=3).tcp == {third}


@pytest.mark.parametrize("content", [b"", b"0", b"65536", b"4001x", b"\xff"])
async def test_a_damaged_file_of_the_tcp_port_is_as_if_it_were_not_there(
    tmp_path: Path, port: int, content: bytes
) -> None:
    (tmp_path / "tcp-port").write_bytes(content)
    assert ports_of(tmp_path).tcp == {port}


async def test_without_a_transport_over_tcp_there_is_no_listener(tmp_path: Path, port: int) -> None:
    ports = ports_of(tmp_path, over_tcp=False)
    assert (ports.udp, ports.tcp) == ({port}, set())


@pytest.mark.spec("LINK-10")
async def test_where_no_tcp_port_is_to_be_had_it_is_udp_alone(
    tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(self: socket.socket, backlog: int = 0) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(socket.socket, "listen", refuse)
    ports = ports_of(tmp_path)
    assert (ports.udp, ports.tcp) == ({port}, set())
    (said,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert said.endswith(f"; this node listens over UDP alone, on port {port}")
    assert not (tmp_path / "tcp-port").exists()
