"""Links over real sockets of the loopback: what the kernel does, and what it may refuse."""

import errno
import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby

import pytest
import trio
from trio.testing import MockClock

from p2pnode.errors import ListenError
from p2pnode.io.driver import Driver
from p2pnode.io.tcp import acceptor, links
from p2pnode.io.tcp import poller as polling
from p2pnode.io.tcp.descriptors import links_of, max_descriptors
from p2pnode.io.tcp.links import TcpLinks
from p2pnode.io.tcp.poller import Poller, TaskPoller, make_poller
from p2pnode.io.tcp.sockets import TcpListener, obstacle_of, open_tcp_listener
from p2pnode.links import (
    LINK_CREDIT,
    MAX_CLOSE_TIME,
    MAX_LINK_READ,
    LinkClosed,
    LinkData,
    LinkEof,
    LinkEvent,
    LinkFailed,
    LinkId,
    LinkObstacle,
)
from p2pnode.machine import SocketAddr, SocketId
from tests.support.link_machines import Deaf, EchoTalker, Flood, Talk, Talker
from tests.support.tcp_place import LISTENER, PATIENCE, Place, place


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


IPS = [
    pytest.param("127.0.0.1", id="ipv4"),
    pytest.param(
        "::1",
        id="ipv6",
        marks=pytest.mark.skipif(not has_ipv6(), reason="IPv6 is switched off"),
    ),
]
POLLERS = [
    pytest.param(make_poller, id="platform"),
    pytest.param(TaskPoller, id="plain"),
]
both_pollers = pytest.mark.parametrize("poller", POLLERS)
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="as Linux does it")

CONNECTING = 256
"""Links that connect at one time: the backlog of a listener is the kernel's to bound."""

MakePoller = Callable[[], Poller]


def noise(size: int) -> bytes:
    return bytes(n * n % 251 for n in range(size))


async def until_full(talk: Talk) -> int:
    """Returns what was written of a flood, once the kernels' buffers are full."""
    before = -1
    while before != talk.written or not before:
        before = talk.written
        await trio.sleep(0.3)
    return before


def failure(talker: Talker, link: LinkId) -> LinkObstacle | None:
    end = talker.links[link].end
    return end.obstacle if isinstance(end, LinkFailed) else None


@pytest.mark.spec("LINK-4")
@both_pollers
@pytest.mark.parametrize("ip", IPS)
@pytest.mark.parametrize("size", [1, 100_000, 3_000_000])
async def test_bytes_come_back_in_order(ip: str, poller: MakePoller, size: int) -> None:
    data = noise(size)
    async with (
        place(EchoTalker(), TcpLinks(poller()), ip) as b,
        place(Talker(), TcpLinks(poller()), ip) as a,
    ):
        link = a.machine.connect(b.addr)
        a.machine.write(link, data)
        a.machine.finish(link)
        a.drain()
        await a.until(lambda: a.machine.links[link].end is not None)
        accepted = await b.accepted()
        await b.until(lambda: b.machine.links[accepted].end is not None)

        talk, other = a.machine.links[link], b.machine.links[accepted]
        assert talk.received == data
        assert talk.end == LinkClosed(link, was_reset=False)
        assert other.end == LinkClosed(accepted, was_reset=False)
        assert (talk.local, other.local) == (other.remote, b.addr)
        assert max(len(e.data) for e in b.machine.told if isinstance(e, LinkData)) <= MAX_LINK_READ
        assert len(a.links) == len(b.links) == 0


@pytest.mark.spec("LINK-3")
@both_pollers
async def test_a_machine_that_never_reads_stops_its_peer_at_a_bound(poller: MakePoller) -> None:
    async with place(Deaf(), TcpLinks(poller())) as b, place(Flood(), TcpLinks(poller())) as a:
        link = a.machine.connect(b.addr)
        a.drain()
        talk = a.machine.links[link]
        before = await until_full(talk)

        assert 0 < talk.written < 16 * 1024 * 1024
        assert b.machine.received_bytes == 0
        held = a.links._links[link].unsent
        assert held is not None
        assert len(held) <= LINK_CREDIT

        b.machine.resume(await b.accepted())
        b.drain()
        await b.until(lambda: b.machine.received_bytes > before)


@pytest.mark.spec("LINK-5")
@both_pollers
async def test_who_has_half_closed_still_reads(poller: MakePoller) -> None:
    async with place(Talker(), TcpLinks(poller())) as b, place(Talker(), TcpLinks(poller())) as a:
        link = a.machine.connect(b.addr)
        a.machine.write(link, b"question")
        a.machine.finish(link)
        a.drain()
        accepted = await b.accepted()
        other = b.machine.links[accepted]
        await b.until(lambda: other.has_eof)
        assert other.received == b"question"

        b.machine.write(accepted, b"answer")
        b.machine.finish(accepted)
        b.drain()
        await a.until(lambda: a.machine.links[link].end is not None)
        assert a.machine.links[link].received == b"answer"
        assert a.machine.links[link].end == LinkClosed(link, was_reset=False)


@pytest.mark.spec("LINK-5")
async def test_what_did_not_fit_goes_before_a_half_close() -> None:
    async with place(Deaf()) as b, place(Flood()) as a:
        link = a.machine.connect(b.addr)
        a.drain()
        await a.until(lambda: a.links._links[link].unsent is not None)
        talk = a.machine.links[link]
        del talk.unsent[:]
        a.machine.finish(link)
        a.drain()
        accepted = await b.accepted()
        b.machine.resume(accepted)
        b.drain()
        await b.until(lambda: b.machine.links[accepted].has_eof)
        assert b.machine.received_bytes == talk.written


@pytest.mark.spec("LINK-6")
@both_pollers
async def test_a_link_that_is_closed_delivers_what_was_written(poller: MakePoller) -> None:
    async with place(Deaf(), TcpLinks(poller())) as b, place(Flood(), TcpLinks(poller())) as a:
        link = a.machine.connect(b.addr)
        a.drain()
        await a.until(lambda: a.links._links[link].unsent is not None)
        accepted = await b.accepted()
        b.machine.write(accepted, b"nobody reads this")
        b.drain()
        a.machine.close(link)
        a.drain()
        b.machine.resume(accepted)
        b.machine.finish(accepted)
        b.drain()
        await b.until(lambda: b.machine.links[accepted].end is not None)

        assert b.machine.links[accepted].end == LinkClosed(accepted, was_reset=False)
        assert b.machine.received_bytes == a.machine.links[link].written
        await a.until_empty()
        assert a.machine.links[link].end is None


@pytest.mark.spec("LINK-6")
@both_pollers
async def test_what_a_link_still_holds_when_all_ends_leaves_as_the_system_takes_it(
    poller: MakePoller,
) -> None:
    async with place(Deaf(), TcpLinks(poller())) as b:
        machine, carrier = Flood(), TcpLinks(poller())
        driver = Driver(machine, lambda event: None)
        driver.carry_links(carrier)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(driver.run)
            link = machine.connect(b.addr)
            driver.drain()
            accepted = await b.accepted()
            await until_full(machine.links[link])
            assert carrier._links[link].unsent is not None
            nursery.cancel_scope.cancel()
        machine.close(link)
        driver.drain()
        b.machine.resume(accepted)
        b.drain()
        await driver.finish()
        carrier.close()
        await b.until(lambda: b.machine.links[accepted].has_eof)
        assert b.machine.received_bytes == machine.links[link].written


@pytest.mark.spec("LINK-6")
@both_pollers
async def test_a_closed_link_whose_peer_does_not_end_is_reset_in_time(
    poller: MakePoller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "MAX_CLOSE_TIME", 0.2)
    async with place(Talker(), TcpLinks(poller())) as b, place(Talker(), TcpLinks(poller())) as a:
        link = a.machine.connect(b.addr)
        a.machine.write(link, b"last words")
        a.drain()
        await a.until(lambda: a.machine.links[link].is_connected)
        start = trio.current_time()
        a.machine.close(link)
        a.drain()
        accepted = await b.accepted()
        await b.until(lambda: b.machine.links[accepted].has_eof)
        assert b.machine.links[accepted].received == b"last words"
        await a.until_empty()
        assert trio.current_time() - start >= 0.2
        b.machine.write(accepted, b"anybody?")
        b.drain()
        await b.until(lambda: b.machine.links[accepted].end is not None)
        assert b.machine.links[accepted].end == LinkClosed(accepted, was_reset=True)


@pytest.mark.spec("LINK-6")
@both_pollers
async def test_what_comes_to_a_closed_link_is_thrown_away_until_its_end(
    poller: MakePoller,
) -> None:
    async with place(Talker(), TcpLinks(poller())) as b, place(Deaf(), TcpLinks(poller())) as a:
        link = a.machine.connect(b.addr)
        a.drain()
        accepted = await b.accepted()
        b.machine.write(accepted, bytes(8_000_000))
        b.machine.finish(accepted)
        b.drain()
        await trio.sleep(0.05)
        start = trio.current_time()
        a.machine.close(link)
        a.drain()
        await b.until(lambda: b.machine.links[accepted].end is not None)
        assert b.machine.links[accepted].end == LinkClosed(accepted, was_reset=False)
        await a.until_empty()
        assert trio.current_time() - start < MAX_CLOSE_TIME


@pytest.mark.spec("LINK-6")
@both_pollers
async def test_a_reset_reaches_the_peer(poller: MakePoller) -> None:
    async with place(Talker(), TcpLinks(poller())) as b, place(Talker(), TcpLinks(poller())) as a:
        link = a.machine.connect(b.addr)
        a.drain()
        accepted = await b.accepted()
        a.machine.close(link, reset=True)
        a.drain()
        assert len(a.links) == 0
        await b.until(lambda: b.machine.links[accepted].end is not None)
        assert b.machine.links[accepted].end == LinkClosed(accepted, was_reset=True)
        assert a.machine.links[link].end is None


# The state of a link at a, and what then ends it.
STATES: dict[str, Callable[[Place[Talker], LinkId, Place[Talker], LinkId], object]] = {
    "open": lambda a, link, b, other: None,
    "unread": lambda a, link, b, other: b.machine.write(other, bytes(100_000)),
    "full": lambda a, link, b, other: (
        b.machine.pause(other),
        b.drain(),
        a.machine.write(link, bytes(10**7)),
    ),
    "paused": lambda a, link, b, other: (
        a.machine.pause(link),
        b.machine.write(other, bytes(100_000)),
    ),
    "shut": lambda a, link, b, other: a.machine.finish(link),
    "eof": lambda a, link, b, other: b.machine.finish(other),
}
ENDS: dict[str, Callable[[Place[Talker], LinkId, Place[Talker], LinkId], object]] = {
    "close": lambda a, link, b, other: a.machine.close(link),
    "reset": lambda a, link, b, other: a.machine.close(link, reset=True),
    "closed": lambda a, link, b, other: b.machine.close(other),
    "was reset": lambda a, link, b, other: b.machine.close(other, reset=True),
    "both": lambda a, link, b, other: (
        a.machine.close(link, reset=True),
        b.machine.close(other, reset=True),
    ),
    "finish": lambda a, link, b, other: (a.machine.finish(link), b.machine.finish(other)),
}


@pytest.mark.spec("LINK-2")
@both_pollers
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("state", STATES)
async def test_a_link_ends_in_every_state_and_leaves_nothing(
    state: str, end: str, poller: MakePoller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "MAX_CLOSE_TIME", 0.05)
    async with place(Talker(), TcpLinks(poller())) as b, place(Talker(), TcpLinks(poller())) as a:
        link = a.machine.connect(b.addr)
        a.drain()
        await a.until(lambda: a.machine.links[link].is_connected)
        other = await b.accepted()
        for step in (STATES[state], ENDS[end]):
            step(a, link, b, other)
            a.drain()
            b.drain()
            await trio.sleep(0.02)
        for here, number in ((a, link), (b, other)):  # who does not know yet hears of it
            talk = here.machine.links[number]
            if talk.end is None and not talk.is_closed:
                here.machine.resume(number)
                here.machine.write(number, b"are you there?")
                here.drain()
        await trio.sleep(0.02)
        a.machine.close(link)
        b.machine.close(other)
        a.drain()
        b.drain()
        await a.until_empty()
        await b.until_empty()


@pytest.mark.parametrize(
    ("remote", "options", "obstacle"),
    [
        (None, {}, LinkObstacle.REFUSED),
        (SocketAddr("localhost", 9), {}, LinkObstacle.NO_ROUTE),
        (SocketAddr("127.0.0.1", 0), {}, LinkObstacle.NO_ROUTE),
        (SocketAddr("127.0.0.1", 70_000), {}, LinkObstacle.NO_ROUTE),
        (None, {"local_ip": "203.0.113.9"}, LinkObstacle.ADDRESS_NOT_AVAILABLE),
        (None, {"listener": SocketId(77)}, LinkObstacle.ADDRESS_NOT_AVAILABLE),
        (SocketAddr("::1", 9), {"listener": LISTENER}, LinkObstacle.ADDRESS_IN_USE),
    ],
)
async def test_a_link_that_cannot_be_says_why(
    remote: SocketAddr | None, options: dict[str, object], obstacle: LinkObstacle
) -> None:
    async with place(Talker()) as a:
        link = a.machine.connect(remote or free_address(), **options)  # type: ignore[arg-type]
        a.drain()
        await a.until(lambda: a.machine.links[link].end is not None)
        assert failure(a.machine, link) is obstacle
        assert len(a.links) == 0


@pytest.mark.parametrize(
    ("number", "obstacle"),
    [
        (errno.EHOSTUNREACH, LinkObstacle.NO_ROUTE),
        (errno.ETIMEDOUT, LinkObstacle.TIMED_OUT),
        (errno.EACCES, LinkObstacle.FORBIDDEN),
        (errno.EMFILE, LinkObstacle.TOO_MANY),
        (errno.EADDRINUSE, LinkObstacle.ADDRESS_IN_USE),
        (errno.EIO, LinkObstacle.NO_ROUTE),
        (None, LinkObstacle.NO_ROUTE),
    ],
)
def test_what_the_system_says_is_an_obstacle(number: int | None, obstacle: LinkObstacle) -> None:
    assert obstacle_of(number) is obstacle


@pytest.mark.spec("LINK-9")
@linux_only
@pytest.mark.parametrize("ip", IPS)
async def test_a_listener_lends_its_port_once_a_remote_address(ip: str) -> None:
    async with place(Talker(), ip=ip) as a, place(Talker(), ip=ip) as b:
        link, again = (a.machine.connect(b.addr, listener=LISTENER) for _ in range(2))
        a.drain()
        accepted = await b.accepted()
        await a.until(lambda: a.machine.links[again].end is not None)
        assert b.machine.links[accepted].remote == a.addr
        assert a.machine.links[link].local == a.addr
        assert failure(a.machine, again) is LinkObstacle.ADDRESS_IN_USE

        back = b.machine.connect(a.addr)  # its listener goes on
        b.drain()
        await b.until(lambda: b.machine.links[back].is_connected)


@pytest.mark.spec("LINK-9")
@linux_only
async def test_a_listener_that_dials_itself_is_refused_and_not_a_link_to_itself() -> None:
    async with place(Talker()) as a:
        link = a.machine.connect(a.addr, listener=LISTENER)
        a.drain()
        await a.until(lambda: a.machine.links[link].end is not None)
        assert failure(a.machine, link) is LinkObstacle.REFUSED


async def test_connecting_can_be_given_up() -> None:
    async with place(Talker()) as a:
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        with listener:
            link = a.machine.connect(SocketAddr(*listener.getsockname()))
            a.drain()
            a.machine.close(link)
            a.drain()
            await trio.sleep(0.05)
        assert a.machine.told == []
        assert len(a.links) == 0


@pytest.mark.spec("LINK-9")
async def test_a_port_in_use_is_one_sentence() -> None:
    first = open_tcp_listener(SocketAddr("127.0.0.1", 0), LISTENER)
    with pytest.raises(ListenError, match=rf"^cannot listen on {first.local}: TCP port \d+ is in"):
        open_tcp_listener(first.local, SocketId(2))
    first.close()


def test_an_address_of_another_machine_is_one_sentence() -> None:
    with pytest.raises(ListenError, match=r"^cannot listen on 203\.0\.113\.1:0: this machine does"):
        open_tcp_listener(SocketAddr("203.0.113.1", 0), LISTENER)


@pytest.mark.spec("LINK-9")
@pytest.mark.skipif(not has_ipv6(), reason="IPv6 is switched off")
def test_ipv4_and_ipv6_can_have_the_same_port() -> None:
    v6 = open_tcp_listener(SocketAddr("::", 0), SocketId(1))
    v4 = open_tcp_listener(SocketAddr("0.0.0.0", v6.local.port), SocketId(2))
    v4.close()
    v6.close()


@pytest.mark.parametrize("reset_at_once", [True, False])
async def test_who_connects_and_goes_at_once_is_a_link_that_ends(reset_at_once: bool) -> None:
    async with place(EchoTalker()) as b:
        for _ in range(50):
            visitor = socket.create_connection((b.addr.ip, b.addr.port))
            if reset_at_once:
                visitor.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            visitor.close()
        await b.until(lambda: sum(t.end is not None for t in b.machine.links.values()) == 50)
        assert len(b.links) == 0


@pytest.mark.spec("LINK-8")
@pytest.mark.parametrize(
    ("descriptors", "count"), [(None, 8192), (1024, 512), (65_536, 8192), (256, 128)]
)
def test_links_leave_half_of_the_descriptors_to_the_rest_of_the_node(
    descriptors: int | None, count: int
) -> None:
    assert links_of(descriptors) == count


@pytest.mark.spec("LINK-8")
@linux_only
async def test_a_driver_takes_the_bound_from_the_limits_of_the_process() -> None:
    with no_descriptors():
        carrier = TcpLinks(TaskPoller())
    assert carrier._max_links == links_of(carrier._max_links * 2) < links_of(max_descriptors())
    carrier.close()


class Exhausted(TcpListener):
    """A listener of a system that has no further descriptor, for a while."""

    failures = 3

    def accept(self) -> tuple[socket.socket, SocketAddr]:
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


@pytest.mark.spec("LINK-8")
@both_pollers
async def test_accepting_stops_for_a_while_where_there_are_no_descriptors(
    poller: MakePoller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(acceptor, "ACCEPT_PAUSE", 0.05)
    async with place(EchoTalker(), TcpLinks(poller())) as b, place(Talker()) as a:
        link = a.machine.connect(b.addr)
        a.drain()
        await a.until(lambda: a.machine.links[link].is_connected)
        exhausted = Exhausted(
            open_tcp_listener(SocketAddr("127.0.0.1", 0), SocketId(9)).sock, LISTENER
        )
        with caplog.at_level(logging.WARNING), exhausted.sock:
            b.links.add_listener(exhausted)
            start = trio.current_time()
            waits = a.machine.connect(exhausted.local)
            a.machine.write(link, b"the others go on")
            a.machine.write(waits, b"and so does who waits")
            a.drain()
            await a.until(lambda: a.machine.links[waits].received == b"and so does who waits")
            b.links.close()
        assert exhausted.failures == 0
        assert trio.current_time() - start >= 3 * 0.05
        assert a.machine.links[link].received == b"the others go on"
        assert [r.getMessage() for r in caplog.records] == [
            "no further TCP connections are accepted for now: Too many open files"
        ]


@pytest.mark.spec("LINK-8")
@linux_only
@both_pollers
async def test_a_process_without_descriptors_serves_who_waits_once_it_has_some(
    poller: MakePoller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptor, "ACCEPT_PAUSE", 0.05)
    async with place(EchoTalker(), TcpLinks(poller())) as b, place(Talker()) as a:
        visitor = socket.socket()
        with no_descriptors():
            visitor.connect((b.addr.ip, b.addr.port))
            visitor.send(b"hello")
            link = a.machine.connect(b.addr)
            a.drain()
            await a.until(lambda: a.machine.links[link].end is not None)
            assert failure(a.machine, link) is LinkObstacle.TOO_MANY
            await trio.sleep(0.2)
            assert len(b.links) == 0
        with visitor:
            await b.until(lambda: b.machine.received_bytes == 5)


@pytest.mark.spec("LINK-8")
async def test_a_driver_has_a_bound_of_links_and_who_waits_gets_the_next_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(acceptor, "ACCEPT_PAUSE", 0.05)
    async with place(EchoTalker(), TcpLinks(max_links=2)) as b, place(Talker()) as a:
        numbers = [a.machine.connect(b.addr) for _ in range(3)]
        for number in numbers:
            a.machine.write(number, b"hello")
        a.drain()
        served = [a.machine.links[number] for number in numbers]
        await a.until(lambda: sum(t.received == b"hello" for t in served) == 2)
        await trio.sleep(0.1)
        assert sum(t.received == b"hello" for t in served) == 2

        own = b.machine.connect(a.addr)
        b.drain()
        assert failure(b.machine, own) is LinkObstacle.TOO_MANY
        first = next(n for n in numbers if a.machine.links[n].received)
        a.machine.close(first, reset=True)
        a.drain()
        await a.until(lambda: all(t.received == b"hello" for t in served))


async def test_several_reads_come_before_one_drain() -> None:
    async with place(Talker()) as b:
        visitors = [socket.create_connection((b.addr.ip, b.addr.port)) for _ in range(20)]
        await b.until(lambda: len(b.machine.links) == 20)
        b.machine.batches.clear()
        for visitor in visitors:
            visitor.send(b"x")
        await b.until(lambda: b.machine.received_bytes == 20)
        assert max(b.machine.batches) > 1
        for visitor in visitors:
            visitor.close()


class Torrent(Flood):
    """Floods, and has something to tell for ever: no drain of it is ever complete."""

    keeps = False

    def poll_events(self) -> list[LinkEvent]:
        return [*super().poll_events(), LinkEof(LinkId(0))]


@pytest.mark.spec("LINK-4")
@both_pollers
async def test_who_is_never_done_gets_a_read_at_a_time(poller: MakePoller) -> None:
    async with place(Torrent(), TcpLinks(poller())) as b, place(Flood()) as a:
        a.machine.connect(b.addr)
        a.drain()
        await b.until(lambda: b.machine.received_bytes > 5_000_000)


class Chooser(Talker):
    """Pauses all others when it hears of one."""

    def on_data(self, link: LinkId, data: bytes) -> None:
        for other, talk in self.links.items():
            if other != link and not talk.is_paused:
                self.pause(other)


@pytest.mark.spec("LINK-4")
@both_pollers
async def test_who_is_paused_while_others_are_read_is_not_read(poller: MakePoller) -> None:
    async with place(Chooser(), TcpLinks(poller())) as b:
        visitors = [socket.create_connection((b.addr.ip, b.addr.port)) for _ in range(20)]
        await b.until(lambda: len(b.machine.links) == 20)
        for visitor in visitors:
            visitor.setblocking(False)
            visitor.send(bytes(MAX_LINK_READ))
        await b.until(lambda: b.machine.received_bytes > 0)
        await trio.sleep(0.1)
        read = [talk for talk in b.machine.links.values() if talk.received]
        assert 0 < len(read) < 20
        for visitor in visitors:
            visitor.close()


class Ready(TaskPoller):
    """Says at once that all is ready, over and over."""

    async def wait(self) -> list[polling.Ready]:
        await trio.lowlevel.checkpoint()
        return [polling.Ready(key, polling.READ) for key in self._watched]

    def start(self, nursery: trio.Nursery) -> None:
        """No task waits."""


async def test_other_tasks_get_their_turns_between_many_full_reads() -> None:
    carrier, turns, told = TcpLinks(Ready()), [], []
    listener = open_tcp_listener(SocketAddr("127.0.0.1", 0), LISTENER)
    carrier.add_listener(listener)
    visitors = [
        socket.create_connection((listener.local.ip, listener.local.port)) for _ in range(16)
    ]
    for visitor in visitors:
        visitor.setblocking(False)
        visitor.send(bytes(MAX_LINK_READ))

    def on_events() -> None:
        turns.append("machine")
        told.extend(carrier.take())

    async def other() -> None:
        while True:
            turns.append("other")
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(carrier.run, on_events)
        nursery.start_soon(other)
        with trio.fail_after(PATIENCE):
            while sum(len(e.data) for e in told if isinstance(e, LinkData)) < 16 * MAX_LINK_READ:
                await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    # Each turn of one task may be before or behind that of the other.
    assert max(len(list(run)) for who, run in groupby(turns) if who == "machine") <= 2
    carrier.close()
    listener.close()
    for visitor in visitors:
        visitor.close()


@both_pollers
async def test_one_that_floods_leaves_the_others_their_turns(poller: MakePoller) -> None:
    async with (
        place(EchoTalker(), TcpLinks(poller())) as b,
        place(Flood()) as flood,
        place(Talker()) as a,
    ):
        flood.machine.connect(b.addr)
        flood.drain()
        await b.until(lambda: len(b.machine.links) == 1)
        link = a.machine.connect(b.addr)
        a.machine.write(link, b"me too")
        a.drain()
        await a.until(lambda: a.machine.links[link].received == b"me too")


async def test_run_can_be_cancelled_and_close_ends_all(autojump_clock: MockClock) -> None:
    carrier = TcpLinks()
    listener = open_tcp_listener(SocketAddr("127.0.0.1", 0), LISTENER)
    carrier.add_listener(listener)
    with trio.move_on_after(1) as scope:
        await carrier.run(lambda: None)
    assert scope.cancelled_caught
    visitor = socket.create_connection((listener.local.ip, listener.local.port))
    carrier.close()
    listener.close()
    visitor.close()


@pytest.mark.slow
@both_pollers
async def test_many_links_at_once(poller: MakePoller) -> None:
    count = min(4096, (max_descriptors() or 10_000) // 2 - 100)
    said = [noise(1 + 10 * n) for n in range(256)]
    async with (
        place(EchoTalker(), TcpLinks(poller())) as b,
        place(Talker(), TcpLinks(poller())) as a,
    ):
        for start in range(0, count, CONNECTING):
            for _ in range(min(CONNECTING, count - start)):
                a.machine.connect(b.addr)
            a.drain()
            await a.until(lambda: all(talk.is_connected for talk in a.machine.links.values()))
        await b.until(lambda: len(b.links) == count)
        assert len(a.links) == count
        for n, link in enumerate(a.machine.links):
            a.machine.write(link, said[n % 256])
            a.machine.finish(link)
        a.drain()
        await a.until(lambda: all(talk.end for talk in a.machine.links.values()))
        for n, (link, talk) in enumerate(a.machine.links.items()):
            assert talk.received == said[n % 256]
            assert talk.end == LinkClosed(link, was_reset=False)
        assert len(a.links) == len(b.links) == 0


@contextmanager
def no_descriptors() -> Iterator[None]:
    """This process can open nothing."""
    import resource

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def free_address() -> SocketAddr:
    """Returns an address where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return SocketAddr(*sock.getsockname())
