"""The links of a machine over TCP: listeners, connections, and the one task that serves them.

    poller: what is ready -> accept, connect, read, write -> events -> on_events (machine, drain)
    drain: LinkCommand -> carry_out, on the spot -> events of what became of it

Rules: reads go into one buffer that all links share, one read of a link before commands are taken
again, and a bounded number of bytes before other tasks get their turn.  An error of a socket ends
its link, and nothing else.
"""

import logging
import socket
from collections.abc import Callable
from typing import Final

import trio

from p2pnode.io.tcp.acceptor import Acceptor
from p2pnode.io.tcp.descriptors import links_of, max_descriptors
from p2pnode.io.tcp.link import TcpLink
from p2pnode.io.tcp.poller import READ, WRITE, Poller, make_poller
from p2pnode.io.tcp.sockets import TcpListener, connecting_socket, obstacle_of, reset
from p2pnode.io.udp.plain import socket_addr
from p2pnode.links import (
    FIRST_ACCEPTED_LINK,
    LINK_CREDIT,
    LINK_GRANT,
    LINK_ID_STEP,
    MAX_CLOSE_TIME,
    MAX_LINK_READ,
    CloseLink,
    ConnectLink,
    LinkAccepted,
    LinkClosed,
    LinkCommand,
    LinkConnected,
    LinkData,
    LinkEof,
    LinkEvent,
    LinkFailed,
    LinkId,
    LinkObstacle,
    LinkWritable,
    PauseLink,
    ResumeLink,
    ShutdownLink,
    WriteLink,
)

logger = logging.getLogger(__name__)

MAX_BATCH_BYTES: Final = 256 * 1024
"""bytes read before the machine is told and other tasks get their turn; chosen: four full reads"""


class TcpLinks:
    """All links of one driver.  Everything here must be called from within trio."""

    def __init__(self, poller: Poller | None = None, *, max_links: int | None = None) -> None:
        """Without `max_links`, as many as this process has descriptors for."""
        self.events: list[LinkEvent] = []
        """What the machine is to be told; `take` returns it."""
        self._poller = make_poller() if poller is None else poller
        self._acceptor = Acceptor(self._poller)
        self._max_links = links_of(max_descriptors()) if max_links is None else max_links
        self._links: dict[LinkId, TcpLink] = {}
        self._closed: dict[LinkId, None] = {}
        """Those that the machine has closed, and `events` may have something of."""
        self._closing: dict[TcpLink, float] = {}
        """When links that the machine has closed are reset; oldest first."""
        self._next_accepted = FIRST_ACCEPTED_LINK
        self._buffer = memoryview(bytearray(MAX_LINK_READ))
        self._nursery: trio.Nursery | None = None
        self._is_reaping = False

    def __len__(self) -> int:
        """How many sockets links have here, those included that their machine has closed."""
        return len(self._links)

    def add_listener(self, listener: TcpListener) -> None:
        """Accepts from now on; whoever opened the listener closes it, behind `close`."""
        self._acceptor.add(listener)

    def close(self) -> None:
        """Ends every link as the end of a process does."""
        for link in [*self._links.values()]:
            self._drop(link)
        self._acceptor.forget_all()
        self._poller.close()

    def take(self) -> list[LinkEvent]:
        """Returns what the machine is to be told, oldest first."""
        events = [event for event in self.events if event.link not in self._closed]
        self.events.clear()
        self._closed.clear()
        return events

    def carry_out(self, command: LinkCommand) -> None:
        """Does what the machine wants, as far as it can be done without waiting."""
        if isinstance(command, ConnectLink):
            self._connect(command)
            return
        if isinstance(command, CloseLink) and self.events:
            self._closed[command.link] = None
        link = self._links.get(command.link)
        if link is None:
            return  # it has ended, and the machine does not know yet
        try:
            self._carry_out(link, command)
        except OSError as exc:
            self._broken(link, exc)

    async def run(self, on_events: Callable[[], None]) -> None:
        """Serves all links until it is cancelled.  `on_events` tells the machine, and drains it."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                self._poller.start(nursery)
                self._start_reaping()
                while True:
                    await self._serve(on_events, nursery)
            finally:
                self._nursery = None
                self._poller.stop()

    async def finish(self) -> None:
        """Sends what links still hold, as fast as the system takes it.  For after `run`."""
        async with trio.open_nursery() as nursery:
            for link in [*self._links.values()]:
                if link.unsent:
                    nursery.start_soon(self._send_rest, link)

    async def _send_rest(self, link: TcpLink) -> None:
        try:
            while link.unsent:
                await trio.lowlevel.wait_writable(link.sock)
                link.flush()
        except OSError as exc:
            self._broken(link, exc)

    async def _serve(self, on_events: Callable[[], None], nursery: trio.Nursery) -> None:
        """Serves what is ready, once something is."""
        total = 0
        for key, ready in await self._poller.wait():
            if isinstance(key, TcpLink):
                total += self._serve_link(key, ready)
            else:
                self._accept(key, nursery)
            if total >= MAX_BATCH_BYTES:
                on_events()
                await trio.lowlevel.checkpoint()
                total = 0
        if self.events:
            on_events()

    def _serve_link(self, link: TcpLink, ready: int) -> int:
        """Returns how many bytes were read."""
        if self._links.get(link.link) is not link:
            return 0  # what was served before has ended it
        try:
            if link.is_connecting:
                self._finish_connecting(link)
                return 0
            if ready & WRITE:
                self._taken(link, link.flush())
            size = self._read(link) if ready & READ and link.interest & READ else 0
        except OSError as exc:
            self._broken(link, exc)
            return 0
        self._watch_or_end(link)
        return size

    def _read(self, link: TcpLink) -> int:
        size = link.read_into(self._buffer)
        if size is None:
            return 0
        if not size:
            link.has_eof = True
            if not link.is_closing:
                self.events.append(LinkEof(link.link))
        elif not link.is_closing:
            self.events.append(LinkData(link.link, bytes(self._buffer[:size])))
        return size

    def _carry_out(self, link: TcpLink, command: LinkCommand) -> None:
        """Raises OSError where the link is broken."""
        match command:
            case WriteLink(_, data):
                self._taken(link, link.write(data))
                if link.unsent is None:
                    return  # nothing to wait for that was not waited for before
            case ShutdownLink():
                link.shut_down()
            case PauseLink():
                link.is_paused = True
            case ResumeLink():
                link.is_paused = False
            case CloseLink(_, is_reset):
                self._close(link, is_reset=is_reset)
                return
            case ConnectLink():
                return
        self._watch_or_end(link)

    def _close(self, link: TcpLink, *, is_reset: bool) -> None:
        if is_reset or link.is_connecting:
            self._drop(link, is_reset=True)
            return
        link.is_closing = True
        if not link.is_shut:
            link.shut_down()
        self._watch_or_end(link)
        if self._links.get(link.link) is link:
            self._closing[link] = trio.current_time() + MAX_CLOSE_TIME
            self._start_reaping()

    def _taken(self, link: TcpLink, size: int) -> None:
        link.taken += size
        if link.taken >= LINK_GRANT and not link.is_shut:
            self.events.append(LinkWritable(link.link, link.taken))
            link.taken = 0

    def _watch_or_end(self, link: TcpLink) -> None:
        if not link.is_over:
            self._poller.watch(link.sock, link, link.interest)
            return
        self._drop(link)
        if not link.is_closing:
            self.events.append(LinkClosed(link.link, was_reset=False))

    def _broken(self, link: TcpLink, exc: OSError) -> None:
        logger.debug("link %d has ended: %s", link.link, exc)
        self._drop(link)
        if not link.is_closing:
            self.events.append(LinkClosed(link.link, was_reset=True))

    def _drop(self, link: TcpLink, *, is_reset: bool = False) -> None:
        del self._links[link.link]
        self._closing.pop(link, None)
        self._poller.forget(link.sock, link)
        if is_reset:
            reset(link.sock)
        else:
            link.sock.close()

    def _accept(self, listener: TcpListener, nursery: trio.Nursery) -> None:
        for sock, remote in self._acceptor.accept(listener, self._has_place, nursery):
            number = self._next_accepted
            self._next_accepted = LinkId(number + LINK_ID_STEP)
            try:
                local = socket_addr(sock.getsockname())
            except OSError as exc:  # macOS, where who connected has gone
                logger.debug("%s: who connected has gone: %s", listener, exc)
                sock.close()
                continue
            link = self._links[number] = TcpLink(number, sock, is_connecting=False)
            self.events.append(LinkAccepted(number, listener.socket_id, local, remote))
            self.events.append(LinkWritable(number, LINK_CREDIT))
            self._poller.watch(sock, link, link.interest)

    def _connect(self, command: ConnectLink) -> None:
        listener = None if command.listener is None else self._acceptor.address(command.listener)
        obstacle = None
        if not self._has_place():
            obstacle = LinkObstacle.TOO_MANY
        elif command.listener is not None and listener is None:
            obstacle = LinkObstacle.ADDRESS_NOT_AVAILABLE
        else:
            try:
                sock = connecting_socket(command.remote, listener, command.local_ip)
            except OSError as exc:
                obstacle = obstacle_of(exc.errno)
            else:
                link = TcpLink(command.link, sock, is_connecting=True)
                self._links[command.link] = link
                self._poller.watch(sock, link, link.interest)
        if obstacle is not None:
            self.events.append(LinkFailed(command.link, obstacle))

    def _finish_connecting(self, link: TcpLink) -> None:
        sock = link.sock
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        try:
            names = None if error else (sock.getsockname(), sock.getpeername())
        except OSError as exc:  # connected, and reset at once
            error, names = exc.errno or 0, None
        # TCP connects a socket to itself where a listener's port dials itself.
        if names is None or names[0] == names[1]:
            self._drop(link, is_reset=True)
            obstacle = LinkObstacle.REFUSED if names else obstacle_of(error)
            self.events.append(LinkFailed(link.link, obstacle))
            return
        link.is_connecting = False
        self.events.append(LinkConnected(link.link, socket_addr(names[0])))
        self.events.append(LinkWritable(link.link, LINK_CREDIT))
        self._poller.watch(sock, link, link.interest)

    def _has_place(self) -> bool:
        return len(self._links) < self._max_links

    def _start_reaping(self) -> None:
        if self._closing and self._nursery is not None and not self._is_reaping:
            self._is_reaping = True
            self._nursery.start_soon(self._reap)

    async def _reap(self) -> None:
        """Resets closed links whose time is over."""
        try:
            while self._closing:
                link, at = next(iter(self._closing.items()))
                await trio.sleep_until(at)
                if self._closing.get(link) == at:
                    self._drop(link, is_reset=True)
        finally:
            self._is_reaping = False
