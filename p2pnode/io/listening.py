"""Opens the sockets of a node: where it listens, and what it dials from otherwise.

Rules: the sockets that listen also dial, so that one NAT mapping serves all peers; a family without
a UDP socket on all interfaces gets one that only dials.  UDP sockets and TCP listeners are numbered
together (TRANSPORTS-10).
"""

import errno
import logging
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from itertools import count
from typing import Final, NamedTuple, TypeVar

from p2pnode.errors import ListenError
from p2pnode.io.driver import DatagramSocket
from p2pnode.io.listen_address import WILDCARDS, ListenAddress
from p2pnode.io.tcp.sockets import TcpListener, open_tcp_listener
from p2pnode.io.udp.open import open_udp_socket
from p2pnode.machine import SocketAddr, SocketId

logger = logging.getLogger(__name__)

OpenedT = TypeVar("OpenedT")

_NO_SUCH_FAMILY: Final = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT)


class NodeSocket(NamedTuple):
    """A socket of a node, and the address that it is bound to."""

    socket: DatagramSocket
    local: SocketAddr
    is_listening: bool


class Listening:
    """What a node has open."""

    def __init__(self, stack: ExitStack) -> None:
        """`stack` closes everything."""
        self.sockets: list[NodeSocket] = []
        self.probe_sockets: list[NodeSocket] = []
        """For dial-backs."""
        self.listeners: list[TcpListener] = []
        self._stack = stack
        self._ids = map(SocketId, count())

    def everywhere(self, port: int) -> None:
        """Listens over UDP on all interfaces, as far as the machine has IPv4 and IPv6.

        Raises ListenError.
        """
        self.sockets += _in_each_family(
            lambda ip: self._socket(SocketAddr(ip, port), is_listening=True)
        )

    def everywhere_over_tcp(self, port: int) -> None:
        """Does the same over TCP, for both or for none.  Raises ListenError."""
        with ExitStack() as stack:
            self.listeners += _in_each_family(
                lambda ip: self._listener(SocketAddr(ip, port), stack)
            )
            self._stack.enter_context(stack.pop_all())

    def at(self, addresses: Iterable[ListenAddress]) -> None:
        """Listens at these addresses, and opens what is to dial where they do not suffice.

        Of TCP, port 0 takes the number that UDP has at that IP, where that is free.
        Raises ListenError.
        """
        wanted = tuple(dict.fromkeys(addresses))
        for carrier, bind in wanted:
            if carrier == "udp":
                self.sockets.append(self._socket(bind, is_listening=True))
        for carrier, bind in wanted:
            if carrier == "tcp":
                self.listeners.append(self._listener_like_udp(bind))
        covered = [sock.local.ip for sock in self.sockets]
        missing = [ip for ip in WILDCARDS if ip not in covered]
        try:
            self.sockets += _in_each_family(
                lambda ip: self._socket(SocketAddr(ip, 0), is_listening=False), missing
            )
        except ListenError as exc:
            logger.debug("%s", exc)
            if not self.sockets:
                raise

    def for_dial_backs(self) -> None:
        """Opens a socket for dial-backs for each family that the node listens in over UDP.

        What cannot be opened is left out: the node then helps nobody with that family.
        """
        for is_ipv6, wildcard in enumerate(WILDCARDS):
            if any(s.is_listening and s.local.is_ipv6 == bool(is_ipv6) for s in self.sockets):
                try:
                    opened = self._socket(SocketAddr(wildcard, 0), is_listening=False)
                except ListenError as exc:
                    logger.debug("no dial-backs from %s: %s", wildcard, exc)
                else:
                    self.probe_sockets.append(opened)

    def _listener_like_udp(self, bind: SocketAddr) -> TcpListener:
        same = [s.local.port for s in self.sockets if s.is_listening and s.local.ip == bind.ip]
        if same and not bind.port:
            with suppress(ListenError):
                return self._listener(bind._replace(port=same[0]), self._stack)
        try:
            return self._listener(bind, self._stack)
        except ListenError as exc:
            if not _is_because(exc, errno.EADDRINUSE):
                raise
            raise ListenError(f"{exc}; end that one, or listen on another port") from exc

    def _socket(self, bind: SocketAddr, *, is_listening: bool) -> NodeSocket:
        sock = open_udp_socket(bind, next(self._ids))
        self._stack.callback(sock.close)
        return NodeSocket(sock, sock.local, is_listening)

    def _listener(self, bind: SocketAddr, stack: ExitStack) -> TcpListener:
        listener = open_tcp_listener(bind, next(self._ids))
        stack.callback(listener.close)
        return listener


def _in_each_family(
    open_one: Callable[[str], OpenedT], wildcards: Iterable[str] = WILDCARDS
) -> list[OpenedT]:
    """Returns what was opened, where the machine has IPv4 and IPv6.

    Raises ListenError where it has neither, or something else is in the way of one.
    """
    opened: list[OpenedT] = []
    missing: ListenError | None = None
    for wildcard in wildcards:
        try:
            opened.append(open_one(wildcard))
        except ListenError as exc:
            if not _is_because(exc, *_NO_SUCH_FAMILY):
                raise
            logger.debug("%s", exc)
            missing = exc
    if missing is not None and not opened:
        raise missing
    return opened


def _is_because(failure: ListenError, *errors: int) -> bool:
    cause = failure.__cause__
    return isinstance(cause, OSError) and cause.errno in errors
