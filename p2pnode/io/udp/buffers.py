"""Socket buffers: as large as bursts need, or a warning that names the setting to change.

Linux gives a socket 212 kB by default, which counts each datagram's bookkeeping too: three reads
of 65 kB fill it, and every further datagram is dropped without a word.
"""

import logging
import socket
import sys

logger = logging.getLogger(__name__)

WANTED_BUFFER = 4 * 1024 * 1024
"""bytes; chosen: 30 ms at 1 Gbit/s, and quic-go and Linux distributions speak of 2.5 to 7.5 MB"""

SMALL_BUFFER = 1024 * 1024
"""bytes; chosen: below this a single burst of a fast path overruns the buffer"""

_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33

_told: set[int] = set()
"""The sizes that were warned about: the log says it once, not once a socket."""


def raise_buffers(sock: socket.socket) -> tuple[int, int]:
    """Asks for large buffers; returns the receive and the send buffer's real size in bytes."""
    return (
        _raise(sock, socket.SO_RCVBUF, _SO_RCVBUFFORCE),
        _raise(sock, socket.SO_SNDBUF, _SO_SNDBUFFORCE),
    )


def _raise(sock: socket.socket, option: int, forced_option: int) -> int:
    size = _size(sock, option)
    wanted = WANTED_BUFFER
    while size < WANTED_BUFFER and wanted > size:
        try:
            sock.setsockopt(socket.SOL_SOCKET, option, wanted)
        except OSError:  # macOS and the BSDs refuse what is above their limit instead of capping
            wanted //= 2
            continue
        break
    size = _size(sock, option)
    if size < WANTED_BUFFER and sys.platform == "linux":
        try:  # needs CAP_NET_ADMIN, and then ignores the sysctl
            sock.setsockopt(socket.SOL_SOCKET, forced_option, WANTED_BUFFER)
        except OSError:
            return size
        size = _size(sock, option)
    return size


def _size(sock: socket.socket, option: int) -> int:
    size = sock.getsockopt(socket.SOL_SOCKET, option)
    return size // 2 if sys.platform == "linux" else size  # socket(7): the kernel doubles it


def warn_if_small(receive_size: int, send_size: int) -> None:
    """Logs what to set where the system allows too little; once for each size."""
    del send_size  # a full send buffer only makes us wait
    if receive_size >= SMALL_BUFFER or receive_size in _told:
        return
    _told.add(receive_size)
    logger.warning(
        "the system allows UDP receive buffers of %d kB only, fast transfers will lose packets;"
        " to change that: %s",
        receive_size // 1000,
        _advice(),
    )


def _advice() -> str:
    match sys.platform:
        case "linux":
            return f"sysctl -w net.core.rmem_max={WANTED_BUFFER}"
        case "darwin":
            return f"sysctl -w kern.ipc.maxsockbuf={2 * WANTED_BUFFER}"
        case _:
            return f"allow {WANTED_BUFFER} bytes"
