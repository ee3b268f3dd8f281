"""Linux's queue of ICMP errors for a UDP socket (IP_RECVERR, ip(7)).

Without it a socket that is not connected hears of no ICMP error.  With it, each one also makes the
next send or receive fail once, to or from whomever: so whoever uses the queue takes it after a
failure, and repeats what failed.  While the queue holds anything, poll(2) reports the socket.

The kernel has checked that an error quotes addresses and ports of the socket's own; whoever can
guess those can forge it, so that its reader has to look at what else it quotes.
"""

import errno
import logging
import socket
import struct
from typing import Final, NamedTuple

from p2pnode.io.udp.options import Option, try_option
from p2pnode.machine import MAX_BEGINNING

logger = logging.getLogger(__name__)

MAX_ERRORS_READ: Final = 64
"""errors taken at once; chosen: more than come while a batch is sent, and the rest waits"""

ICMP_ERRORS: Final = frozenset(
    getattr(errno, name)
    for name in (
        *("ENETUNREACH", "EHOSTUNREACH", "ENOPROTOOPT", "ECONNREFUSED", "EMSGSIZE", "EOPNOTSUPP"),
        *("EHOSTDOWN", "ENONET", "EPROTO", "EACCES"),
    )
    if hasattr(errno, name)
)
"""What ICMP errors turn into (Linux: icmp_err_convert, icmpv6_err_convert, udp_err)."""

_IP_RECVERR: Final[Option] = (0, 11)
_IPV6_RECVERR: Final[Option] = (41, 25)
_MSG_ERRQUEUE: Final = 0x2000
_ICMP_ORIGINS: Final = (2, 3)  # SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6; 1 is this machine itself
_EXTENDED_ERROR: Final = struct.Struct("@IBBBBII")  # errno, origin, type, code, padding, info, data
_ANCILLARY_SIZE: Final = 512  # bytes; the error, who sent it, and what the socket asked for besides


class IcmpError(NamedTuple):
    """What became of a datagram that was sent, as somebody on the way says."""

    error_number: int
    destination: tuple[str | int, ...]
    """The datagram's, as a socket address."""
    quoted: bytes
    """What the datagram began with, as far as the error says."""


class ErrorQueue:
    """The error queue of one socket; empty for ever where the kernel has none."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        is_ipv6 = sock.family == socket.AF_INET6
        self._kind = _IPV6_RECVERR if is_ipv6 else _IP_RECVERR
        self._is_on = try_option(sock, self._kind)

    def take(self) -> list[IcmpError]:
        """Returns what has come, oldest first; never blocks, never raises."""
        found: list[IcmpError] = []
        if not self._is_on:
            return found
        for _ in range(MAX_ERRORS_READ):
            try:
                quoted, ancillary, _flags, destination = self._sock.recvmsg(
                    MAX_BEGINNING, _ANCILLARY_SIZE, _MSG_ERRQUEUE
                )
            except OSError as exc:
                if exc.errno not in (errno.EAGAIN, errno.EINTR):
                    logger.debug("the error queue cannot be read: %s", exc)
                break
            for level, name, data in ancillary:
                if (level, name) != self._kind or len(data) < _EXTENDED_ERROR.size:
                    continue
                number, origin, *_ = _EXTENDED_ERROR.unpack_from(data)
                if origin in _ICMP_ORIGINS:
                    found.append(IcmpError(number, destination, quoted))
        return found
