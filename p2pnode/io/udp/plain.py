"""UDP sockets: one non-blocking socket per address, IPv4 and IPv6 apart (RFC 3493 V6ONLY).

Rule: a datagram that cannot be sent or received is lost, counted and logged, never an exception;
what the system says of it is in `unreachable`.  `UdpSocket` is the plain path that works on every
platform, one datagram a call, without ECN and without the local address; `p2pnode.io.udp.linux`
adds batches.

A socket bound to a wildcard address learns no local address on the plain path, so a host with
several addresses may answer from another one than was asked.
"""

import errno
import ipaddress
import logging
import socket
from collections.abc import Sequence
from dataclasses import dataclass

import trio

from p2pnode.io.udp.unreachable import UnreachableReports
from p2pnode.machine import Buffer, Ecn, Received, SocketAddr, SocketId, Transmit

logger = logging.getLogger(__name__)

MAX_DATAGRAM_SIZE = 65535
"""bytes; no UDP payload, and no read of joined datagrams, is larger"""

MAX_BATCH_READS = 64
"""reads; chosen: enough to make the wait between batches (7 us) cheap, few enough to be fair"""

MAX_BATCH_BYTES = 256 * 1024
"""bytes; chosen: four full reads, some 180 packets of 1,450 B, 3 ms of a machine's work"""

MAX_CACHED_ADDRESSES = 4096
"""entries; chosen: the peers of a busy node; strangers can only make the cache start again"""

# What a datagram may meet on its way out or in without anything being wrong with the program.
# The first group is what ICMP errors for earlier datagrams turn into (Windows: ECONNRESET).
_LOST_DATAGRAM = frozenset(
    getattr(errno, name)
    for name in (
        *("ECONNREFUSED", "ECONNRESET", "ENETRESET", "EHOSTUNREACH", "ENETUNREACH", "EPROTO"),
        *("ENETDOWN", "EHOSTDOWN", "EPERM", "EACCES", "EMSGSIZE", "ENOBUFS", "ENOMEM", "ENODEV"),
        *("EINVAL", "EIO", "EADDRNOTAVAIL", "EAFNOSUPPORT", "EOPNOTSUPP", "ETIMEDOUT", "ENXIO"),
        *("EDESTADDRREQ", "EPIPE", "ENONET", "ENOPROTOOPT"),
        *("WSAECONNRESET", "WSAENETRESET", "WSAEMSGSIZE", "WSAEHOSTUNREACH", "WSAENETUNREACH"),
        *("WSAENOBUFS", "WSAEADDRNOTAVAIL", "WSAEACCES", "WSAEINVAL", "WSAENETDOWN"),
    )
    if hasattr(errno, name)
)


@dataclass(slots=True)
class UdpCounters:
    """What went through one socket since it was opened."""

    reads: int = 0
    datagrams_in: int = 0
    bytes_in: int = 0
    writes: int = 0
    datagrams_out: int = 0
    bytes_out: int = 0
    receive_errors: int = 0
    """Reads that failed, mostly ICMP errors, and empty datagrams, which nobody of ours sends."""
    send_errors: int = 0
    """Datagrams that the kernel refused."""
    full: int = 0
    """Writes that found the socket's send buffer full."""
    kernel_drops: int = 0
    """Datagrams that met a full receive buffer (Linux; counted when the next one arrives)."""


class UdpSocket:
    """One UDP socket on the plain path.  Not for concurrent use by several tasks a direction."""

    def __init__(self, sock: socket.socket, socket_id: SocketId) -> None:
        self.socket_id = socket_id
        self.counters = UdpCounters()
        self.unreachable = UnreachableReports(socket_id)
        self.local = socket_addr(sock.getsockname())
        """The address as bound; the IP may be a wildcard, the port is the real one."""
        self._sock = sock
        self._is_ipv6 = sock.family == socket.AF_INET6
        self._is_wildcard = ipaddress.ip_address(self.local.ip).is_unspecified
        self._remotes: dict[tuple[str | int, ...], SocketAddr] = {}
        self._sockaddrs: dict[SocketAddr, tuple[str, int] | tuple[str, int, int, int]] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.socket_id} {self.local}>"

    async def wait_readable(self) -> None:
        """Returns when a read would bring something.  Cancel-safe."""
        await trio.lowlevel.wait_readable(self._sock)

    async def wait_writable(self) -> None:
        """Returns when a write would be taken.  Cancel-safe."""
        await trio.lowlevel.wait_writable(self._sock)

    def close(self) -> None:
        """Closes the socket; tasks that wait for it get trio.ClosedResourceError."""
        if self._sock.fileno() != -1:
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()

    def receive_batch(self) -> list[Received]:
        """Returns what is there, oldest first, within MAX_BATCH_READS and MAX_BATCH_BYTES."""
        batch: list[Received] = []
        local_ip = None if self._is_wildcard else self.local.ip
        total = 0
        for _ in range(MAX_BATCH_READS):
            try:
                data, source = self._sock.recvfrom(MAX_DATAGRAM_SIZE)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as exc:
                self._receive_failed(exc)
                continue
            size = len(data)
            if not size:
                self.counters.receive_errors += 1
                continue
            remote = self._remotes.get(source) or self._remember_remote(source)
            batch.append(Received(self.socket_id, local_ip, remote, Ecn.NOT_ECT, size, data))
            total += size
            if total >= MAX_BATCH_BYTES:
                break
        self.counters.reads += len(batch)
        self.counters.datagrams_in += len(batch)
        self.counters.bytes_in += total
        return batch

    def send(self, transmit: Transmit) -> Transmit | None:
        """Hands datagrams to the kernel; returns what a full socket leaves, or None."""
        buffer, segment = memoryview(transmit.buffer), transmit.segment_size
        sockaddr = self._sockaddr(transmit.remote)
        if sockaddr is None:
            return None
        for start in range(0, len(buffer), segment):
            try:
                self._send_plain(buffer[start : start + segment], sockaddr, transmit.ttl)
            except (BlockingIOError, InterruptedError):
                self.counters.full += 1
                return transmit._replace(buffer=buffer[start:])
            except OSError as exc:
                self._send_failed(exc, transmit.remote, buffer[start:], 1)
        return None

    def _send_plain(
        self,
        datagram: memoryview,
        sockaddr: tuple[str, int] | tuple[str, int, int, int],
        ttl: int | None,
    ) -> None:
        if ttl is None:
            self._sock.sendto(datagram, sockaddr)
        else:
            self._send_with_ttl(datagram, sockaddr, ttl)
        self._sent(1, len(datagram))

    def _send_with_ttl(
        self,
        datagram: memoryview,
        sockaddr: tuple[str, int] | tuple[str, int, int, int],
        ttl: int,
    ) -> None:
        level, option = (
            (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS)
            if self._is_ipv6
            else (socket.IPPROTO_IP, socket.IP_TTL)
        )
        usual = self._sock.getsockopt(level, option)
        self._sock.setsockopt(level, option, ttl)
        try:
            self._sock.sendto(datagram, sockaddr)
        finally:
            self._sock.setsockopt(level, option, usual)

    def _sent(self, datagrams: int, size: int) -> None:
        counters = self.counters
        counters.writes += 1
        counters.datagrams_out += datagrams
        counters.bytes_out += size

    def _remember_remote(self, source: tuple[str | int, ...]) -> SocketAddr:
        if len(self._remotes) >= MAX_CACHED_ADDRESSES:
            self._remotes.clear()
        remote = self._remotes[source] = socket_addr(source)
        return remote

    def _sockaddr(self, remote: SocketAddr) -> tuple[str, int] | tuple[str, int, int, int] | None:
        """Returns the address as the socket wants it, or None (counted) where it cannot be used.

        Python would look up what is no IP address in the DNS, and block on it.
        """
        known = self._sockaddrs.get(remote)
        if known is not None:
            return known
        try:
            socket.inet_pton(self._sock.family, remote.ip)
        except OSError as exc:
            self._send_failed(exc, remote, b"", 1)
            return None
        if not 0 < remote.port < 65536:
            self._send_failed(OSError(errno.EINVAL, "bad port"), remote, b"", 1)
            return None
        if len(self._sockaddrs) >= MAX_CACHED_ADDRESSES:
            self._sockaddrs.clear()
        sockaddr = (
            (remote.ip, remote.port, 0, remote.scope_id)
            if self._is_ipv6
            else (remote.ip, remote.port)
        )
        self._sockaddrs[remote] = sockaddr
        return sockaddr

    def _receive_failed(self, exc: OSError) -> None:
        if exc.errno not in _LOST_DATAGRAM:
            raise exc
        self.counters.receive_errors += 1
        logger.debug("%s: nothing received: %s", self.local, exc)

    def _send_failed(
        self, exc: OSError, remote: SocketAddr, datagram: Buffer, datagrams: int
    ) -> None:
        """`datagram` is the first of those that were not sent, or empty where it may have been."""
        if exc.errno is not None and exc.errno not in _LOST_DATAGRAM:
            raise exc
        self.counters.send_errors += datagrams
        self.unreachable.add(exc.errno, remote, datagram, is_local=True)
        logger.debug("%s: not sent to %s: %s", self.local, remote, exc)


def socket_addr(sockaddr: Sequence[str | int]) -> SocketAddr:
    """Returns the address that a socket call gave."""
    ip, port = str(sockaddr[0]), int(sockaddr[1])
    if len(sockaddr) < 4:
        return SocketAddr(ip, port)
    return SocketAddr(ip.partition("%")[0], port, int(sockaddr[3]))
