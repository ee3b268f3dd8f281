"""Opens UDP sockets: exclusive, non-blocking, never fragmenting, with large buffers.

Rule: what prevents it is said in one sentence by ListenError; what is merely missing (an option of
a newer kernel) is logged.
"""

import errno
import logging
import socket
import sys

from p2pnode.errors import ListenError
from p2pnode.io.udp.buffers import raise_buffers, warn_if_small
from p2pnode.io.udp.plain import UdpSocket
from p2pnode.machine import SocketAddr, SocketId

if sys.platform == "linux":
    from p2pnode.io.udp.linux import LinuxUdpSocket as PlatformUdpSocket
else:
    from p2pnode.io.udp.plain import UdpSocket as PlatformUdpSocket

logger = logging.getLogger(__name__)


def open_udp_socket(address: SocketAddr, socket_id: SocketId) -> UdpSocket:
    """Returns a socket bound to `address`; port 0 takes any.  Raises ListenError.

    Nothing is shared with other programs: a port in use is an error on every platform.
    """
    family = socket.AF_INET6 if address.is_ipv6 else socket.AF_INET
    sock: socket.socket | None = None
    try:
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if sys.platform == "win32":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        warn_if_small(*raise_buffers(sock))
        _forbid_fragments(sock)
        if family == socket.AF_INET6:
            sock.bind((address.ip, address.port, 0, address.scope_id))
        else:
            sock.bind((address.ip, address.port))
        return PlatformUdpSocket(sock, socket_id)
    except OSError as exc:
        if sock is not None:
            sock.close()
        raise ListenError(f"cannot listen on {address}: {_reason(exc, address)}") from exc


def _reason(exc: OSError, address: SocketAddr) -> str:
    match exc.errno:
        case errno.EADDRINUSE:
            return (
                f"UDP port {address.port} is in use by another program; end that one, or listen on "
                "another port"
            )
        case errno.EADDRNOTAVAIL:
            return "this machine does not have that address"
        case errno.EACCES | errno.EPERM:
            return f"no permission for UDP port {address.port}"
        case errno.EAFNOSUPPORT:
            return f"{'IPv6' if address.is_ipv6 else 'IPv4'} is switched off on this machine"
        case _:
            return exc.strerror or str(exc)


# (level, option, value): send with the don't-fragment bit, and let path MTU discovery of our own
# (RFC 8899) find the size: the kernel's estimate, which anybody can forge by ICMP, is ignored.
_IPV4_DONT_FRAGMENT: dict[str, tuple[int, int]] = {
    "linux": (10, 3),  # IP_MTU_DISCOVER, IP_PMTUDISC_PROBE
    "darwin": (28, 1),  # IP_DONTFRAG
    "win32": (14, 1),  # IP_DONTFRAGMENT
}
_IPV6_DONT_FRAGMENT: dict[str, tuple[int, int]] = {
    "linux": (23, 3),  # IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE
    "darwin": (62, 1),  # IPV6_DONTFRAG
    "win32": (14, 1),  # IPV6_DONTFRAG
}


def _forbid_fragments(sock: socket.socket) -> None:
    is_ipv6 = sock.family == socket.AF_INET6
    setting = (_IPV6_DONT_FRAGMENT if is_ipv6 else _IPV4_DONT_FRAGMENT).get(sys.platform)
    if setting is None:
        return
    level = socket.IPPROTO_IPV6 if is_ipv6 else socket.IPPROTO_IP
    try:
        sock.setsockopt(level, *setting)
    except OSError as exc:  # older systems; fragments then hide the path MTU, nothing breaks
        logger.debug("cannot forbid fragments: %s", exc)
