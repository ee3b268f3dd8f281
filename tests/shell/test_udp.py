"""Real sockets on loopback: both paths, and what the kernel may refuse."""

import errno
import logging
import socket
import struct
import sys
from collections.abc import Iterator

import pytest
import trio

from p2pnode.errors import ListenError
from p2pnode.io.udp import plain as udp
from p2pnode.io.udp.buffers import WANTED_BUFFER, raise_buffers, warn_if_small
from p2pnode.io.udp.linux import MAX_GSO_SEGMENTS, LinuxUdpSocket
from p2pnode.io.udp.open import open_udp_socket
from p2pnode.io.udp.plain import UdpSocket
from p2pnode.machine import Ecn, Received, SocketAddr, SocketId, Transmit

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the fast path is Linux's")


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


LOOPBACKS = [
    pytest.param("127.0.0.1", id="ipv4"),
    pytest.param(
        "::1",
        id="ipv6",
        marks=pytest.mark.skipif(not has_ipv6(), reason="IPv6 is switched off"),
    ),
]


@pytest.mark.parametrize("ip", LOOPBACKS)
@pytest.mark.parametrize("kind", ["platform", "plain"])
async def test_a_datagram_arrives_with_its_sender(ip: str, kind: str) -> None:
    with sockets(ip, ip, kind=kind) as (a, b):
        assert a.send(one(b.local, b"hello")) is None
        [received] = await read(b, 1)
        assert received == (b.socket_id, ip, a.local, Ecn.NOT_ECT, 5, b"hello")
        assert (a.counters.datagrams_out, a.counters.bytes_out) == (1, 5)
        assert (b.counters.datagrams_in, b.counters.bytes_in) == (1, 5)


@pytest.mark.parametrize("ip", LOOPBACKS)
@pytest.mark.parametrize("kind", ["platform", "plain"])
@pytest.mark.parametrize(("count", "last"), [(2, 1200), (44, 1), (64, 700), (65, 1200), (150, 30)])
async def test_a_batch_arrives_datagram_by_datagram(
    ip: str, kind: str, count: int, last: int
) -> None:
    segments = [bytes([n % 256]) * 1200 for n in range(count - 1)] + [b"z" * last]
    with sockets(ip, ip, kind=kind) as (a, b):
        assert a.send(batch(b.local, 1200, segments)) is None
        assert await datagrams(b, count) == segments
        assert a.counters.datagrams_out == b.counters.datagrams_in == count


@linux_only
async def test_a_batch_is_one_write_and_one_read_where_the_kernel_can() -> None:
    with sockets("127.0.0.1", "127.0.0.1") as (a, b):
        assert isinstance(a, LinuxUdpSocket)
        assert isinstance(b, LinuxUdpSocket)
        if not (a.has_gso and b.has_gro):
            pytest.skip("the kernel has no GSO or GRO for UDP")
        a.send(batch(b.local, 1400, [bytes(1400)] * 44))
        [received] = await read(b, 1)
        assert (received.segment_size, len(received.buffer)) == (1400, 1400 * 44)
        assert (a.counters.writes, b.counters.reads) == (1, 1)


@linux_only
async def test_segments_too_large_to_join_go_one_by_one() -> None:
    segments = [b"a" * 40_000, b"b" * 40_000, b"c" * 10]
    with sockets("127.0.0.1", "127.0.0.1") as (a, b):
        a.send(batch(b.local, 40_000, segments))
        assert await datagrams(b, 3) == segments


@linux_only
@pytest.mark.parametrize("ip", LOOPBACKS)
@pytest.mark.parametrize("ecn", [Ecn.ECT_0, Ecn.ECT_1, Ecn.CE])
async def test_ecn_marks_arrive(ip: str, ecn: int) -> None:
    with sockets(ip, ip) as (a, b):
        a.send(one(b.local, b"marked")._replace(ecn=ecn))
        a.send(one(b.local, b"not marked"))
        assert [r.ecn for r in await read(b, 2)] == [ecn, Ecn.NOT_ECT]


@linux_only
async def test_a_wildcard_socket_knows_where_it_was_asked_and_answers_from_there() -> None:
    with sockets("127.0.0.1", "0.0.0.0") as (asker, wildcard):
        asker.send(one(SocketAddr("127.0.0.77", wildcard.local.port), b"question"))
        [question] = await read(wildcard, 1)
        assert question.local_ip == "127.0.0.77"
        wildcard.send(one(asker.local, b"answer")._replace(local_ip=question.local_ip))
        [answer] = await read(asker, 1)
        assert answer.remote == SocketAddr("127.0.0.77", wildcard.local.port)


@linux_only
@pytest.mark.skipif(not has_ipv6(), reason="IPv6 is switched off")
async def test_an_ipv6_wildcard_socket_knows_where_it_was_asked() -> None:
    with sockets("::1", "::") as (asker, wildcard):
        asker.send(one(SocketAddr("::1", wildcard.local.port), b"question"))
        [question] = await read(wildcard, 1)
        assert question.local_ip == "::1"
        wildcard.send(one(asker.local, b"answer")._replace(local_ip="::1"))
        assert [r.remote.ip for r in await read(asker, 1)] == ["::1"]


@linux_only
@pytest.mark.parametrize("kind", ["platform", "plain"])
async def test_the_time_to_live_holds_for_one_datagram(kind: str) -> None:
    ip_recvttl, ip_ttl = 12, 2
    peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with peer, sockets("127.0.0.1", "127.0.0.1", kind=kind) as (a, _):
        peer.bind(("127.0.0.1", 0))
        peer.setsockopt(socket.IPPROTO_IP, ip_recvttl, 1)
        to = SocketAddr(*peer.getsockname())
        a.send(one(to, b"low")._replace(ttl=3))
        a.send(one(to, b"usual"))
        ttls: list[int] = []
        for _ in range(2):
            await trio.lowlevel.wait_readable(peer)
            _, [(_, name, data)], _, _ = peer.recvmsg(100, 100)
            assert name == ip_ttl
            ttls += struct.unpack("@i", data)
        assert ttls[0] == 3
        assert ttls[1] > 3


@linux_only
@pytest.mark.parametrize("refusal", [errno.EIO, errno.EINVAL, errno.EMSGSIZE])
async def test_a_device_without_gso_gets_datagrams_one_by_one(refusal: int) -> None:
    segments = [b"a" * 1200, b"b" * 1200, b"c"]
    fake = FakeSocket(refuse_gso=refusal)
    with sockets("127.0.0.1", "127.0.0.1") as (_, b), wrapped(fake) as a:
        a.send(batch(b.local, 1200, segments))
        refused = fake.refused
        a.send(batch(b.local, 1200, segments))
        assert await datagrams(b, 6) == segments * 2
        assert fake.refused == refused > 0  # the second batch did not try again
        assert a.counters.send_errors == 0


@linux_only
async def test_a_size_that_no_datagram_may_have_does_not_turn_gso_off() -> None:
    fake = FakeSocket(refuse_all=errno.EMSGSIZE)
    with sockets("127.0.0.1", "127.0.0.1") as (_, b), wrapped(fake) as a:
        a.send(batch(b.local, 1200, [bytes(1200)] * 3))
        assert a.counters.send_errors == 3
        fake.refuse_all = None
        a.send(batch(b.local, 1200, [bytes(1200)] * 3))
        await datagrams(b, 3)
        assert a.counters.writes == 1


@linux_only
@pytest.mark.parametrize("gso", [True, False])
@pytest.mark.parametrize("room", [0, 1, 2])
async def test_a_full_socket_gives_back_what_it_did_not_take(gso: bool, room: int) -> None:
    count = 3 * MAX_GSO_SEGMENTS
    segments = [bytes([n]) * 100 for n in range(count)]
    fake = FakeSocket(room=room)
    with sockets("127.0.0.1", "127.0.0.1") as (_, b), wrapped(fake) as a:
        a.has_gso = a.has_gso and gso
        rest = a.send(batch(b.local, 100, segments))
        assert rest is not None
        assert len(rest.buffer) == 100 * (count - room * (MAX_GSO_SEGMENTS if a.has_gso else 1))
        fake.room = None
        assert a.send(rest) is None
        assert await datagrams(b, count) == segments


@linux_only
async def test_a_socket_that_fills_while_gso_is_refused_gives_back_the_rest() -> None:
    segments = [bytes([n]) * 100 for n in range(150)]
    fake = FakeSocket(refuse_gso=errno.EIO, room=70)
    with sockets("127.0.0.1", "127.0.0.1") as (_, b), wrapped(fake) as a:
        rest = a.send(batch(b.local, 100, segments))
        assert rest is not None
        fake.room = None
        assert a.send(rest) is None
        assert await datagrams(b, 150) == segments


async def test_the_plain_path_gives_back_what_a_full_socket_did_not_take() -> None:
    segments = [bytes([n]) * 100 for n in range(5)]
    fake = FakeSocket(room=2)
    fake.setblocking(False)
    fake.bind(("127.0.0.1", 0))
    a = UdpSocket(fake, SocketId(9))
    with sockets("127.0.0.1", "127.0.0.1") as (_, b):
        rest = a.send(batch(b.local, 100, segments))
        assert rest is not None
        fake.room = None
        assert a.send(rest) is None
        assert await datagrams(b, 5) == segments
    a.close()


@pytest.mark.parametrize("kind", ["platform", "plain"])
async def test_a_refused_port_is_a_loss_and_not_an_error(kind: str) -> None:
    with sockets("127.0.0.1", "127.0.0.1", kind=kind) as (a, b):
        nobody = free_address()
        for _ in range(3):
            assert a.send(one(nobody, b"anybody?")) is None
        b.send(one(a.local, b"still here"))
        assert [r.buffer for r in await read(a, 1)] == [b"still here"]


@pytest.mark.parametrize("kind", ["platform", "plain"])
@pytest.mark.parametrize(
    "remote",
    [
        SocketAddr("localhost", 9),  # names are never looked up here
        SocketAddr("::1", 9),
        SocketAddr("127.0.0.1", 0),
        SocketAddr("255.255.255.255", 9),  # broadcast is not allowed
    ],
)
async def test_an_address_that_cannot_be_sent_to_is_counted(kind: str, remote: SocketAddr) -> None:
    with sockets("127.0.0.1", "127.0.0.1", kind=kind) as (a, _):
        assert a.send(one(remote, b"x")) is None
        assert (a.counters.send_errors, a.counters.datagrams_out) == (1, 0)


@linux_only
async def test_a_local_address_that_is_gone_is_counted() -> None:
    with sockets("0.0.0.0", "127.0.0.1") as (a, b):
        a.send(one(b.local, b"x")._replace(local_ip="203.0.113.9"))
        a.send(one(b.local, b"x")._replace(local_ip="::1"))
        assert a.counters.send_errors == 2


@pytest.mark.parametrize("kind", ["platform", "plain"])
async def test_empty_datagrams_are_dropped(kind: str) -> None:
    with sockets("127.0.0.1", "127.0.0.1", kind=kind) as (_, b):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(b"", (b.local.ip, b.local.port))
            stranger.sendto(b"full", (b.local.ip, b.local.port))
        assert [r.buffer for r in await read(b, 1)] == [b"full"]
        assert b.counters.receive_errors == 1


@pytest.mark.parametrize("kind", ["platform", "plain"])
async def test_a_batch_of_reads_is_bounded(kind: str) -> None:
    with sockets("127.0.0.1", "127.0.0.1", kind=kind) as (a, b):
        for _ in range(udp.MAX_BATCH_READS + 1):
            a.send(one(b.local, b"small"))
        for _ in range(2):
            a.send(one(b.local, bytes(udp.MAX_BATCH_BYTES // 5)))
        await b.wait_readable()
        assert len(b.receive_batch()) == udp.MAX_BATCH_READS
        assert len(await read(b, 3)) == 3
        assert b.receive_batch() == []


@linux_only
async def test_the_kernels_drops_are_counted() -> None:
    with sockets("127.0.0.1", "127.0.0.1") as (a, b):
        b._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        for _ in range(100):
            a.send(one(b.local, bytes(500)))
        while len(b.receive_batch()) > 0:
            pass
        a.send(one(b.local, b"after"))
        await read(b, 1)
        assert b.counters.kernel_drops > 0


async def test_a_port_in_use_is_one_sentence() -> None:
    with (
        sockets("127.0.0.1", "127.0.0.1") as (a, _),
        pytest.raises(ListenError, match=rf"^cannot listen on {a.local}: .* in use by another"),
    ):
        open_udp_socket(a.local, SocketId(7))


async def test_an_address_of_another_machine_is_one_sentence() -> None:
    with pytest.raises(ListenError, match=r"^cannot listen on 203\.0\.113\.1:0: this machine does"):
        open_udp_socket(SocketAddr("203.0.113.1", 0), SocketId(7))


async def test_ipv4_and_ipv6_can_have_the_same_port() -> None:
    if not has_ipv6():
        pytest.skip("IPv6 is switched off")
    v6 = open_udp_socket(SocketAddr("::", 0), SocketId(1))
    v4 = open_udp_socket(SocketAddr("0.0.0.0", v6.local.port), SocketId(2))
    v4.close()
    v6.close()


async def test_closing_wakes_the_task_that_waits() -> None:
    sock = open_udp_socket(SocketAddr("127.0.0.1", 0), SocketId(1))

    async def wait() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await sock.wait_readable()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        sock.close()


@linux_only
def test_a_small_receive_buffer_is_said_once_with_the_sysctl(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            warn_if_small(100_001, WANTED_BUFFER)  # no system's default: not told before
        warn_if_small(WANTED_BUFFER, 0)
    assert len(caplog.records) == 1
    assert f"net.core.rmem_max={WANTED_BUFFER}" in caplog.text


# Fakes and helpers.


class FakeSocket(socket.socket):
    """A real socket whose kernel is short of room, or cannot cut datagrams."""

    def __init__(
        self, refuse_gso: int = 0, refuse_all: int | None = None, room: int | None = None
    ) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_DGRAM)
        self.refuse_gso = refuse_gso
        self.refuse_all = refuse_all
        self.room = room
        self.refused = 0

    def _take(self) -> None:
        if self.refuse_all is not None:
            raise OSError(self.refuse_all, "refused")
        if self.room == 0:
            raise BlockingIOError(errno.EAGAIN, "full")
        if self.room is not None:
            self.room -= 1

    def sendmsg(self, buffers, ancdata=(), flags=0, address=None):
        if self.refuse_gso and any(kind[:2] == (17, 103) for kind in ancdata):
            self.refused += 1
            raise OSError(self.refuse_gso, "cannot cut")
        self._take()
        return super().sendmsg(buffers, ancdata, flags, address)

    def sendto(self, data, address):
        self._take()
        return super().sendto(data, address)


class wrapped:
    """A LinuxUdpSocket over a fake."""

    def __init__(self, fake: FakeSocket) -> None:
        fake.setblocking(False)
        fake.bind(("127.0.0.1", 0))
        self._socket = LinuxUdpSocket(fake, SocketId(9))
        if not self._socket.has_gso:
            pytest.skip("the kernel has no GSO for UDP")

    def __enter__(self) -> LinuxUdpSocket:
        return self._socket

    def __exit__(self, *exc_info: object) -> None:
        self._socket.close()


class sockets:
    """Two sockets bound to these addresses."""

    def __init__(self, *ips: str, kind: str = "platform") -> None:
        self._sockets: list[UdpSocket] = []
        for number, ip in enumerate(ips):
            if kind == "platform":
                self._sockets.append(open_udp_socket(SocketAddr(ip, 0), SocketId(number)))
            else:
                self._sockets.append(UdpSocket(plain_socket(ip), SocketId(number)))

    def __enter__(self) -> Iterator[UdpSocket]:
        return iter(self._sockets)

    def __exit__(self, *exc_info: object) -> None:
        for sock in self._sockets:
            sock.close()


def plain_socket(ip: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_DGRAM)
    raise_buffers(sock)
    sock.setblocking(False)
    sock.bind((ip, 0))
    return sock


def one(remote: SocketAddr, data: bytes) -> Transmit:
    return batch(remote, len(data), [data])


def batch(remote: SocketAddr, segment_size: int, segments: list[bytes]) -> Transmit:
    return Transmit(SocketId(0), None, remote, 0, None, segment_size, b"".join(segments))


async def read(sock: UdpSocket, count: int) -> list[Received]:
    """Returns at least `count` reads."""
    reads: list[Received] = []
    while len(reads) < count:
        await sock.wait_readable()
        reads += sock.receive_batch()
    return reads


async def datagrams(sock: UdpSocket, count: int) -> list[bytes]:
    """Returns at least `count` datagrams, cut out of the reads."""
    cut: list[bytes] = []
    while len(cut) < count:
        for received in await read(sock, 1):
            size, data = received.segment_size, bytes(received.buffer)
            cut += [data[start : start + size] for start in range(0, len(data), size)]
    return cut


def free_address() -> SocketAddr:
    """Returns an address where nobody listens."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return SocketAddr(*sock.getsockname())
