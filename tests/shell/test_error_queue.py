"""ICMP errors on real sockets on loopback: p2pnode/io/udp/error_queue.py and its use."""

import errno
import select
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from p2pnode.io.udp import linux
from p2pnode.io.udp.error_queue import IcmpError
from p2pnode.io.udp.linux import LinuxUdpSocket
from p2pnode.machine import MAX_BEGINNING, Obstacle, SocketAddr, SocketId, Unreachable
from tests.shell.test_udp import LOOPBACKS, FakeSocket, batch, datagrams, one, read, sockets

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the error queue is Linux's")

DATA = bytes(range(200))


@pytest.mark.parametrize("ip", LOOPBACKS)
async def test_a_closed_port_is_told_with_the_beginning_of_the_datagram(ip: str) -> None:
    with linux_sockets(ip) as (a, _):
        remote = closed(ip)
        a.send(one(remote, DATA))
        await a.wait_readable()
        assert a.receive_batch() == []
        beginning = DATA[:MAX_BEGINNING]
        assert a.unreachable.take() == [
            Unreachable(a.socket_id, remote, Obstacle.PORT_CLOSED, False, beginning)
        ]
        assert not is_awake(a)


@pytest.mark.parametrize("ip", LOOPBACKS)
async def test_a_closed_port_costs_no_datagram_to_or_from_others(ip: str) -> None:
    with linux_sockets(ip) as (a, b):
        for number in range(5):
            a.send(one(closed(ip), DATA))
            a.send(one(b.local, b"to %d" % number))
            b.send(one(a.local, b"from %d" % number))
        assert await datagrams(b, 5) == [b"to %d" % number for number in range(5)]
        assert await datagrams(a, 5) == [b"from %d" % number for number in range(5)]
        assert a.counters.send_errors == 0
        assert len(a.unreachable.take()) == 5
        assert not is_awake(a)


async def test_a_closed_port_turns_segmentation_off_for_nobody() -> None:
    with linux_sockets("127.0.0.1") as (a, b):
        if not a.has_gso:
            pytest.skip("the kernel has no GSO for UDP")
        a.send(one(closed("127.0.0.1"), DATA))
        a.send(batch(b.local, 100, [DATA[:100], DATA[100:]]))
        assert (a.counters.writes, a.counters.datagrams_out) == (2, 3)
        assert [len(r.buffer) for r in await read(b, 1)] == [200]


async def test_errors_of_packets_too_large_for_the_path_turn_segmentation_off_for_nobody() -> None:
    """The queue may have been too full for what says whose error it is."""
    with fake(errors=[errno.EMSGSIZE]) as (sock, kernel):
        segments = [DATA[:100], DATA[100:]]
        sock.send(batch(sock.local, 100, segments))
        sock.send(batch(sock.local, 100, segments))
        assert kernel.writes == 3
        assert sock.counters.send_errors == 0


async def test_what_this_machine_cannot_send_is_told_as_its_own_word() -> None:
    with fake(errors=[errno.ENETUNREACH] * 9) as (sock, kernel):
        remote = SocketAddr("192.0.2.1", 7)
        sock.send(one(remote, b"x"))
        assert sock.unreachable.take() == [
            Unreachable(sock.socket_id, remote, Obstacle.NO_ROUTE, True, b"x")
        ]
        assert kernel.writes == 2
        assert sock.counters.send_errors == 1


async def test_a_full_device_is_not_asked_twice() -> None:
    """IP_RECVERR makes Linux tell of datagrams that the device's queue had no room for."""
    with fake(errors=[errno.ENOBUFS] * 9) as (sock, kernel):
        sock.send(one(SocketAddr("192.0.2.1", 7), b"x"))
        assert kernel.writes == 1
        assert not sock.unreachable


async def test_a_write_that_errors_of_others_keep_failing_is_lost_and_nobodys_fault() -> None:
    with fake(errors=[errno.ENETUNREACH] * 99) as (sock, kernel):
        remote, other = SocketAddr("192.0.2.1", 7), SocketAddr("192.0.2.2", 7)
        sock._error_queue = EndlessErrors(other)  # type: ignore[assignment]
        assert sock.send(one(remote, b"x")) is None
        assert kernel.writes == 1 + linux.MAX_REPEATS
        reports = sock.unreachable.take()
        assert {(r.remote, r.is_local) for r in reports if r.beginning} == {(other, False)}


# Fakes and helpers.


class EndlessErrors:
    """An error queue that has one more error each time."""

    def __init__(self, remote: SocketAddr) -> None:
        self._error = IcmpError(errno.ENETUNREACH, (remote.ip, remote.port), b"quoted")

    def take(self) -> list[IcmpError]:
        return [self._error]


class FailingSocket(FakeSocket):
    """A real socket whose kernel first has these errors to tell."""

    def __init__(self, errors: list[int]) -> None:
        super().__init__()
        self.errors = errors
        self.writes = 0

    def sendmsg(self, buffers, ancdata=(), flags=0, address=None):
        self.writes += 1
        if self.errors:
            raise OSError(self.errors.pop(), "an error")
        return super().sendmsg(buffers, ancdata, flags, address)


@contextmanager
def fake(errors: list[int]) -> Iterator[tuple[LinuxUdpSocket, FailingSocket]]:
    kernel = FailingSocket(errors)
    kernel.setblocking(False)
    kernel.bind(("127.0.0.1", 0))
    sock = LinuxUdpSocket(kernel, SocketId(9))
    try:
        yield sock, kernel
    finally:
        sock.close()


@contextmanager
def linux_sockets(ip: str) -> Iterator[tuple[LinuxUdpSocket, LinuxUdpSocket]]:
    with sockets(ip, ip) as (a, b):
        assert isinstance(a, LinuxUdpSocket)
        assert isinstance(b, LinuxUdpSocket)
        yield a, b


def is_awake(sock: LinuxUdpSocket) -> bool:
    """Whether the system says that there is something to read, or an error."""
    poll = select.poll()
    poll.register(sock._sock, select.POLLIN)
    return bool(poll.poll(0))


def closed(ip: str) -> SocketAddr:
    """Returns an address where nobody listens."""
    with socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((ip, 0))
        return SocketAddr(ip, sock.getsockname()[1])
