"""The fast path on Linux: many datagrams a call, ECN, and the local address of each datagram.

- Receiving: UDP_GRO joins datagrams of one sender and size into one read.
- Sending: UDP_SEGMENT (GSO) cuts one write into datagrams.  Some devices cannot: EIO, EINVAL or
  EMSGSIZE turns it off for that destination, and the datagrams go out one by one.
- ICMP errors: read from the socket's error queue; a send that failed for an earlier datagram's
  error is repeated.
- Control messages: IP_PKTINFO (local address), IP_TOS (ECN), IP_TTL, and their IPv6 kin.

Rule: what repeats is parsed once.  Control messages and addresses are looked up by their raw form,
in tables that start again when they are full.

Measured here (Python 3.11, 61,600 B reads): `recvmsg` 2.5 us, `recvmsg_into` plus `bytes` 3.9 us,
a fresh bytearray 3.8 us; without `keep_freed_memory` 22 to 25 us each.
"""

import logging
import socket
import struct
from typing import NamedTuple, TypeAlias

from p2pnode.io.udp.error_queue import ICMP_ERRORS, ErrorQueue
from p2pnode.io.udp.options import Option, try_option
from p2pnode.io.udp.plain import (
    MAX_BATCH_BYTES,
    MAX_BATCH_READS,
    MAX_DATAGRAM_SIZE,
    UdpSocket,
    socket_addr,
)
from p2pnode.machine import Ecn, Received, SocketAddr, SocketId, Transmit

logger = logging.getLogger(__name__)

MAX_GSO_SEGMENTS = 64
"""datagrams a write; Linux UDP_MAX_SEGMENTS before 6.9, which allows 128"""

MAX_GSO_SIZE = 65507
"""bytes a write; the largest IPv4 UDP payload"""

MAX_REPEATS = 3
"""repetitions of a write; chosen: one is enough unless ICMP errors keep coming in between"""

MAX_CACHED_CONTROL = 1024
"""entries; chosen: one for each local address, segment size and ECN mark in use"""

MAX_DESTINATIONS_WITHOUT_GSO = 1024
"""entries; chosen: forgetting costs one failed write"""

_UDP_SEGMENT: Option = (17, 103)
_UDP_GRO: Option = (17, 104)
_IP_TOS: Option = (0, 1)
_IP_TTL: Option = (0, 2)
_IP_PKTINFO: Option = (0, 8)
_IP_RECVTOS: Option = (0, 13)
_IPV6_RECVPKTINFO: Option = (41, 49)
_IPV6_PKTINFO: Option = (41, 50)
_IPV6_HOPLIMIT: Option = (41, 52)
_IPV6_RECVTCLASS: Option = (41, 66)
_IPV6_TCLASS: Option = (41, 67)
_SO_RXQ_OVFL: Option = (1, 40)

_GSO_REFUSED = frozenset((5, 22, 90))  # EIO: no checksum offload; EINVAL, EMSGSIZE: MTU or size

_INT = struct.Struct("@i")
_UNSIGNED = struct.Struct("@I")
_SEGMENT_SIZE = struct.Struct("@H")
_PKTINFO = struct.Struct("@I4s4s")  # interface, source address to use, address in the header
_PKTINFO6 = struct.Struct("@16sI")

_ANCILLARY_SIZE = 256  # bytes; segment size, ECN, drops and packet info take 112

ControlMessages: TypeAlias = list[tuple[int, int, bytes]]

_FREED_MEMORY = 2 * 1024 * 1024  # bytes; eight batches


def keep_freed_memory() -> None:
    """Makes glibc keep a few megabytes of freed memory at hand.

    By default it returns freed memory above 128 kB to the kernel, so that each read of 64 kB pays
    for sixteen page faults, ten times the read itself.  Freeing one large block raises that limit
    to twice the block's size (mallopt(3), M_MMAP_THRESHOLD); other allocators do not mind.
    """
    block = bytearray(_FREED_MEMORY)
    del block


class _ReadFacts(NamedTuple):
    """What the control messages of a read say."""

    local_ip: str | None
    ecn: int
    segment_size: int
    """0 where the read is one datagram."""


class LinuxUdpSocket(UdpSocket):
    """One UDP socket with batches."""

    def __init__(self, sock: socket.socket, socket_id: SocketId) -> None:
        super().__init__(sock, socket_id)
        keep_freed_memory()
        self._error_queue = ErrorQueue(sock)
        self.has_gro = try_option(sock, _UDP_GRO)
        self.has_gso = _has_gso(sock)
        try_option(sock, _SO_RXQ_OVFL)
        try_option(sock, _IPV6_RECVTCLASS if self._is_ipv6 else _IP_RECVTOS)
        if self._is_wildcard:
            try_option(sock, _IPV6_RECVPKTINFO if self._is_ipv6 else _IP_PKTINFO)
        self._read_facts: dict[tuple[tuple[int, int, bytes], ...], _ReadFacts] = {}
        self._control: dict[tuple[int, int, int | None, str | None], ControlMessages] = {}
        self._without_gso: dict[SocketAddr, None] = {}

    def receive_batch(self) -> list[Received]:
        """Returns what is there, oldest first, within MAX_BATCH_READS and MAX_BATCH_BYTES."""
        batch: list[Received] = []
        recvmsg = self._sock.recvmsg
        counters, facts_of, remotes = self.counters, self._read_facts, self._remotes
        total = 0
        for _ in range(MAX_BATCH_READS):
            try:
                data, ancillary, _flags, source = recvmsg(MAX_DATAGRAM_SIZE, _ANCILLARY_SIZE)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as exc:
                self._receive_failed(exc)
                self._take_errors()
                continue
            size = len(data)
            if not size:
                counters.receive_errors += 1
                continue
            key = tuple(ancillary)
            local_ip, ecn, segment = facts_of.get(key) or self._remember_facts(key)
            if not 0 < segment < size:
                segment = size
                counters.datagrams_in += 1
            else:
                counters.datagrams_in += -(-size // segment)
            remote = remotes.get(source) or self._remember_remote(source)
            batch.append(Received(self.socket_id, local_ip, remote, ecn, segment, data))
            total += size
            if total >= MAX_BATCH_BYTES:
                break
        if not batch:  # woken by the error queue alone, which is readable until it is empty
            self._take_errors()
        counters.reads += len(batch)
        counters.bytes_in += total
        return batch

    def _take_errors(self) -> bool:
        """Takes what ICMP says of earlier datagrams; returns whether there was anything."""
        errors = self._error_queue.take()
        for number, destination, quoted in errors:
            self.unreachable.add(number, socket_addr(destination), quoted, is_local=False)
        return bool(errors)

    def _remember_facts(self, ancillary: tuple[tuple[int, int, bytes], ...]) -> _ReadFacts:
        if len(self._read_facts) >= MAX_CACHED_CONTROL:
            self._read_facts.clear()
        facts = self._read_facts[ancillary] = self._parse(ancillary)
        return facts

    def _parse(self, ancillary: tuple[tuple[int, int, bytes], ...]) -> _ReadFacts:
        local_ip = None if self._is_wildcard else self.local.ip
        ecn, segment = Ecn.NOT_ECT, 0
        for level, name, data in ancillary:
            kind = (level, name)
            if kind == _UDP_GRO:
                segment = _INT.unpack(data)[0]
            elif kind == _IP_TOS:
                ecn = data[0] & 3
            elif kind == _IPV6_TCLASS:
                ecn = _INT.unpack(data)[0] & 3
            elif kind == _IP_PKTINFO:
                local_ip = socket.inet_ntop(socket.AF_INET, _PKTINFO.unpack(data)[2])
            elif kind == _IPV6_PKTINFO:
                local_ip = socket.inet_ntop(socket.AF_INET6, _PKTINFO6.unpack(data)[0])
            elif kind == _SO_RXQ_OVFL:  # it only grows, so that each value comes by here
                self.counters.kernel_drops = _UNSIGNED.unpack(data)[0]
        return _ReadFacts(local_ip, ecn, segment)

    def send(self, transmit: Transmit) -> Transmit | None:
        """Hands datagrams to the kernel; returns what a full socket leaves, or None."""
        size, segment = len(transmit.buffer), transmit.segment_size
        if size <= segment:
            return self._write(transmit, 0)
        remote = transmit.remote
        if not self.has_gso or remote in self._without_gso:
            return self._send_in_parts(transmit, segment, 0)
        part = min(MAX_GSO_SEGMENTS, MAX_GSO_SIZE // segment) * segment
        if size <= part:
            return self._write(transmit, segment)
        return self._send_in_parts(transmit, part or segment, segment if part else 0)

    def _send_in_parts(self, transmit: Transmit, part: int, segment: int) -> Transmit | None:
        """Sends `part` bytes a write; `segment` as in `_write`."""
        buffer = memoryview(transmit.buffer)
        for start in range(0, len(buffer), part):
            piece = buffer[start : start + part]
            rest = self._write(transmit._replace(buffer=piece), segment)
            if rest is not None:
                return transmit._replace(buffer=buffer[start + len(piece) - len(rest.buffer) :])
        return None

    def _write(self, transmit: Transmit, segment: int, repeats: int = 0) -> Transmit | None:
        """Makes one write; `segment` is 0 where the buffer is one datagram."""
        _, local_ip, remote, ecn, ttl, _, buffer = transmit
        sockaddr = self._sockaddrs.get(remote) or self._sockaddr(remote)
        if sockaddr is None:
            return None
        size = len(buffer)
        if size <= segment:
            segment = 0
        key = (segment, ecn, ttl, local_ip)
        try:
            control = self._control.get(key)
            if control is None:
                control = self._remember_control(key)
            self._sock.sendmsg((buffer,), control, 0, sockaddr)
        except (BlockingIOError, InterruptedError):
            self.counters.full += 1
            return transmit
        except OSError as exc:
            is_others = exc.errno in ICMP_ERRORS and self._take_errors()
            if exc.errno in ICMP_ERRORS and repeats < MAX_REPEATS and (is_others or not repeats):
                return self._write(transmit, segment, repeats + 1)
            if segment and exc.errno in _GSO_REFUSED:
                return self._send_without_gso(transmit, segment, exc)
            self._send_failed(
                exc, remote, b"" if is_others else buffer, -(-size // segment) if segment else 1
            )
            return None
        counters = self.counters
        counters.writes += 1
        counters.datagrams_out += -(-size // segment) if segment else 1
        counters.bytes_out += size
        return None

    def _send_without_gso(
        self, transmit: Transmit, segment: int, refusal: OSError
    ) -> Transmit | None:
        """Sends one by one what the kernel did not cut; if that works, GSO is off from then on.

        Where single datagrams are refused too, GSO is not the reason.
        """
        errors = self.counters.send_errors
        rest = self._send_in_parts(transmit, segment, 0)
        if self.counters.send_errors == errors:
            if len(self._without_gso) >= MAX_DESTINATIONS_WITHOUT_GSO:
                self._without_gso.clear()
            self._without_gso[transmit.remote] = None
            logger.debug("%s: no GSO to %s: %s", self.local, transmit.remote, refusal)
        return rest

    def _remember_control(self, key: tuple[int, int, int | None, str | None]) -> ControlMessages:
        if len(self._control) >= MAX_CACHED_CONTROL:
            self._control.clear()
        control = self._control[key] = self._control_messages(*key)
        return control

    def _control_messages(
        self, segment: int, ecn: int, ttl: int | None, local_ip: str | None
    ) -> ControlMessages:
        control: ControlMessages = []
        if segment:
            control.append((*_UDP_SEGMENT, _SEGMENT_SIZE.pack(segment)))
        if ecn:
            control.append((*(_IPV6_TCLASS if self._is_ipv6 else _IP_TOS), _INT.pack(ecn)))
        if ttl is not None:
            control.append((*(_IPV6_HOPLIMIT if self._is_ipv6 else _IP_TTL), _INT.pack(ttl)))
        if local_ip is not None and self._is_wildcard:
            control.append(self._source(local_ip))
        return control

    def _source(self, local_ip: str) -> tuple[int, int, bytes]:
        """Returns the control message that sends from `local_ip`; the kernel routes as usual."""
        packed = socket.inet_pton(self._sock.family, local_ip)
        if self._is_ipv6:
            return (*_IPV6_PKTINFO, _PKTINFO6.pack(packed, 0))
        return (*_IP_PKTINFO, _PKTINFO.pack(0, packed, bytes(4)))


def _has_gso(sock: socket.socket) -> bool:
    try:
        sock.getsockopt(*_UDP_SEGMENT)
    except OSError:
        return False
    return True
