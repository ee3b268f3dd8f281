"""Opens TCP sockets: listeners whose port connections may leave from, and connections.

Rules: IPv4 and IPv6 are apart (RFC 3493 V6ONLY); a port in use is an error, as it is for UDP.  A
listener shares its port only once it has it: were SO_REUSEPORT set before bind, two nodes of one
user could listen there, and the kernel would split the visitors.
"""

import errno
import logging
import socket
import struct
import sys
from typing import Final

from p2pnode.errors import ListenError
from p2pnode.io.udp.plain import socket_addr
from p2pnode.links import LINK_CREDIT, LinkObstacle
from p2pnode.machine import SocketAddr, SocketId

logger = logging.getLogger(__name__)

BACKLOG: Final = 4096
"""connections that wait to be accepted; source: Linux's own bound (somaxconn) since 5.4, as in Go.
Beyond it the kernel forgets whom it has answered (SYN cookies), and resets them when they write"""

MAX_NOT_SENT: Final = 2 * LINK_CREDIT
"""bytes that the kernel takes of a link beyond what is under way, where it can be told; chosen:
enough to go on with while this process is not scheduled"""

CAN_SHARE_PORTS: Final = hasattr(socket, "SO_REUSEPORT") and sys.platform != "win32"
"""Whether a connection can leave from the port that a listener has."""

NO_MORE_PLACES: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
"""What the system says where it has no further descriptor or memory."""

_TCP_NOTSENT_LOWAT: Final = {"linux": 25, "darwin": 0x201}.get(sys.platform)
_LINGER_NOT_AT_ALL: Final = struct.pack("@hh" if sys.platform == "win32" else "@ii", 1, 0)

_OBSTACLES: Final = {
    getattr(errno, name): obstacle
    for obstacle, names in (
        (LinkObstacle.REFUSED, ("ECONNREFUSED", "ECONNRESET", "WSAECONNREFUSED")),
        (LinkObstacle.NO_ROUTE, ("ENETUNREACH", "EHOSTUNREACH", "ENETDOWN", "EHOSTDOWN")),
        (LinkObstacle.FORBIDDEN, ("EPERM", "EACCES")),
        (LinkObstacle.ADDRESS_IN_USE, ("EADDRINUSE",)),
        (LinkObstacle.ADDRESS_NOT_AVAILABLE, ("EADDRNOTAVAIL",)),
        (LinkObstacle.TIMED_OUT, ("ETIMEDOUT", "WSAETIMEDOUT")),
        (LinkObstacle.TOO_MANY, ("EMFILE", "ENFILE", "ENOBUFS", "ENOMEM")),
    )
    for name in names
    if hasattr(errno, name)
}


class TcpListener:
    """A socket that accepts."""

    def __init__(self, sock: socket.socket, socket_id: SocketId) -> None:
        self.socket_id = socket_id
        self.local = socket_addr(sock.getsockname())
        """The address as bound; the IP may be a wildcard, the port is the real one."""
        self.sock = sock

    def __repr__(self) -> str:
        return f"<TcpListener {self.socket_id} {self.local}>"

    def accept(self) -> tuple[socket.socket, SocketAddr]:
        """Returns a connection and who it is from.  Raises OSError; BlockingIOError for none."""
        sock, remote = self.sock.accept()
        return sock, socket_addr(remote)

    def close(self) -> None:
        """Closes the socket, which must be watched by nobody any more."""
        self.sock.close()


def open_tcp_listener(address: SocketAddr, socket_id: SocketId) -> TcpListener:
    """Returns a listener bound to `address`; port 0 takes any.  Raises ListenError."""
    sock: socket.socket | None = None
    try:
        sock = _new_socket(address)
        if sys.platform == "win32":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:  # what is left of earlier connections does not hold the port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(_sockaddr(address))
        if CAN_SHARE_PORTS:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.listen(BACKLOG)
        return TcpListener(sock, socket_id)
    except OSError as exc:
        if sock is not None:
            sock.close()
        raise ListenError(f"cannot listen on {address}: {_reason(exc, address)}") from exc


def connecting_socket(
    remote: SocketAddr, listener: SocketAddr | None, local_ip: str | None
) -> socket.socket:
    """Returns a socket that is connecting, from the listener's port where there is one.

    Raises OSError.  Names are never looked up.
    """
    try:
        socket.inet_pton(socket.AF_INET6 if remote.is_ipv6 else socket.AF_INET, remote.ip)
    except OSError as exc:
        raise OSError(errno.EHOSTUNREACH, f"{remote.ip} is no address") from exc
    if not 0 < remote.port < 65536:
        raise OSError(errno.EHOSTUNREACH, f"{remote.port} is no port")
    sock = _new_socket(remote)
    try:
        prepare(sock)
        if listener is not None:
            _share(sock, listener, remote, local_ip)
        elif local_ip is not None:
            sock.bind(_sockaddr(SocketAddr(local_ip, 0)))
        error = sock.connect_ex(_sockaddr(remote))
        if error == errno.EADDRNOTAVAIL and listener is not None:
            error = errno.EADDRINUSE  # from this port to that address there is a connection
        if error not in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
            raise OSError(error, errno.errorcode.get(error, "error"))
    except BaseException:
        sock.close()
        raise
    return sock


def prepare(sock: socket.socket) -> None:
    """Makes a connection's socket as links want it: no waiting, and little in the kernel.

    Raises OSError where the connection is gone already (macOS).
    """
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if _TCP_NOTSENT_LOWAT is not None:  # else the kernel takes megabytes for who never reads
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, MAX_NOT_SENT)


def reset(sock: socket.socket) -> None:
    """Closes the socket with RST; what was not delivered is lost."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT_AT_ALL)
    except OSError as exc:  # macOS, where the peer has reset it before
        logger.debug("a connection was reset already: %s", exc)
    sock.close()


def obstacle_of(error_number: int | None) -> LinkObstacle:
    """Returns what an error of connecting means."""
    obstacle = _OBSTACLES.get(error_number or 0)
    if obstacle is None:
        logger.debug("connecting failed with error %s", error_number)
        return LinkObstacle.NO_ROUTE
    return obstacle


def _new_socket(address: SocketAddr) -> socket.socket:
    family = socket.AF_INET6 if address.is_ipv6 else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return sock


def _share(
    sock: socket.socket, listener: SocketAddr, remote: SocketAddr, local_ip: str | None
) -> None:
    """Binds to the port that a listener has, and to its address where it has only one."""
    if not CAN_SHARE_PORTS or listener.is_ipv6 is not remote.is_ipv6:
        raise OSError(errno.EADDRINUSE, "this port cannot be shared")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(_sockaddr(listener if local_ip is None else listener._replace(ip=local_ip)))


def _sockaddr(address: SocketAddr) -> tuple[str, int] | tuple[str, int, int, int]:
    if address.is_ipv6:
        return address.ip, address.port, 0, address.scope_id
    return address.ip, address.port


def _reason(exc: OSError, address: SocketAddr) -> str:
    match exc.errno:
        case errno.EADDRINUSE:
            return f"TCP port {address.port} is in use by another program"
        case errno.EADDRNOTAVAIL:
            return "this machine does not have that address"
        case errno.EACCES | errno.EPERM:
            return f"no permission for TCP port {address.port}"
        case errno.EAFNOSUPPORT:
            return f"{'IPv6' if address.is_ipv6 else 'IPv4'} is switched off on this machine"
        case _:
            return exc.strerror or str(exc)
