"""Accepts what connects to the listeners, and stops for a while where there is no place for it.

Where the system has no further descriptor, a listener would be ready for ever and bring nothing.
Who waits in the backlog is no loss, and the links that there are go on.
"""

import logging
import socket
from collections.abc import Callable, Iterator
from typing import Final

import trio

from p2pnode.io.tcp.poller import READ, Poller
from p2pnode.io.tcp.sockets import NO_MORE_PLACES, TcpListener, prepare
from p2pnode.machine import SocketAddr, SocketId

logger = logging.getLogger(__name__)

MAX_ACCEPTS: Final = 64
"""connections accepted at once; chosen: as many as a batch of datagrams has"""

ACCEPT_PAUSE: Final = 1.0
"""seconds; chosen: soon enough for who waits, seldom enough for a system without descriptors"""


class Acceptor:
    """The listeners of one driver."""

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        self._listeners: dict[SocketId, TcpListener] = {}
        self._is_paused = False
        self._has_warned = False

    def add(self, listener: TcpListener) -> None:
        self._listeners[listener.socket_id] = listener
        if not self._is_paused:
            self._poller.watch(listener.sock, listener, READ)

    def address(self, socket_id: SocketId) -> SocketAddr | None:
        """Returns what a listener is bound to, or None for one that is not here."""
        listener = self._listeners.get(socket_id)
        return None if listener is None else listener.local

    def forget_all(self) -> None:
        """Accepts nothing more; the listeners stay open."""
        for listener in self._listeners.values():
            self._poller.forget(listener.sock, listener)
        self._listeners.clear()

    def accept(
        self, listener: TcpListener, has_place: Callable[[], bool], nursery: trio.Nursery
    ) -> Iterator[tuple[socket.socket, SocketAddr]]:
        """Yields who has connected, ready for use; `nursery` is for the end of a pause."""
        for _ in range(MAX_ACCEPTS):
            if not has_place():
                self._pause(nursery, "links have taken all their places")
                return
            try:
                sock, remote = listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as exc:
                if exc.errno in NO_MORE_PLACES:
                    self._pause(nursery, exc.strerror or str(exc))
                    return
                logger.debug("%s: who connected has gone: %s", listener, exc)
                continue
            try:
                prepare(sock)
            except OSError as exc:
                logger.debug("%s: who connected has gone: %s", listener, exc)
                sock.close()
                continue
            yield sock, remote

    def _pause(self, nursery: trio.Nursery, reason: str) -> None:
        if self._is_paused:
            return
        self._is_paused = True
        if not self._has_warned:  # the log says it once, not once a second
            self._has_warned = True
            logger.warning("no further TCP connections are accepted for now: %s", reason)
        for listener in self._listeners.values():
            self._poller.watch(listener.sock, listener, 0)
        nursery.start_soon(self._resume_later)

    async def _resume_later(self) -> None:
        await trio.sleep(ACCEPT_PAUSE)
        self._is_paused = False
        for listener in self._listeners.values():
            self._poller.watch(listener.sock, listener, READ)
