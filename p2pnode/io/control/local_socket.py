"""The Unix socket itself: how one listens on it and connects to it (`control_path`: where it is).

Rule: the socket belongs to the data folder, which its node has locked; so what lies there when a
node starts was left by a node that is gone, and is replaced.  A client asks and tells nothing where
somebody else listens.
"""

import os
import socket
import struct
import sys
from pathlib import Path

import trio

from p2pnode.errors import P2PNodeError
from p2pnode.io.folder.ownership import socket_trouble

BACKLOG = 16  # connections that wait for the node; chosen: a person's scripts
_CREDENTIALS = struct.Struct("3i")  # of unix(7): pid, uid, gid
CONNECT_RETRY = 0.02  # seconds; chosen: a node takes a queue full of connections in less


async def listen(path: Path) -> trio.SocketListener:
    """Returns the listener on a socket that only this user can open.  Raises OSError."""
    remove(path)
    sock = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        await sock.bind(str(path))
        os.chmod(path, 0o600)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return trio.SocketListener(sock)


def remove(path: Path) -> None:
    """Removes the socket, if it is there.  Raises OSError."""
    path.unlink(missing_ok=True)


async def connect(path: Path) -> trio.SocketStream | None:
    """Returns a connection to the node that listens on `path`, or None where none does.

    Waits, without a limit of its own, while the node has no time to take it.  Raises P2PNodeError
    where the socket is another user's.
    """
    owner = _owner(path)
    if owner is None:
        return None
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        while True:
            try:
                sock.connect(str(path))
                break
            except BlockingIOError:
                # Unlike TCP's, such an attempt is over: the queue was full, and nothing tells when
                # it no longer is.
                await trio.sleep(CONNECT_RETRY)
        if _listener(sock, owner) != owner:
            raise P2PNodeError(f"cannot use the control socket {path}: it was replaced just now")
        return trio.SocketStream(trio.socket.from_stdlib_socket(sock))
    except OSError:  # nothing there, or left by a node that was killed, or not ours
        sock.close()
        return None
    except BaseException:
        sock.close()
        raise


def _owner(path: Path) -> int | None:
    """Returns the uid of who made the socket, or None where none is to be seen.

    Raises P2PNodeError where nothing should be said to it.
    """
    try:
        owner = path.lstat().st_uid
        trouble = socket_trouble(path, owner)
    except OSError:
        return None
    if trouble is not None:
        raise P2PNodeError(f"cannot use the control socket {path}: {trouble}")
    return owner


def _listener(sock: socket.socket, owner: int) -> int:
    """Returns the uid of who listens, where the system tells; else the owner of the socket."""
    if sys.platform != "linux":
        return owner
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(raw)
    return int(uid)
