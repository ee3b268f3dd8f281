"""One link over one TCP socket: what is written is tried at once, and kept where it did not fit."""

import socket

from p2pnode.io.tcp.poller import READ, WRITE
from p2pnode.links import LinkId


class TcpLink:
    """One link.  Its methods return what has become of it and never wait; OSError ends it."""

    __slots__ = (
        "has_eof",
        "is_closing",
        "is_connecting",
        "is_paused",
        "is_shut",
        "link",
        "sock",
        "taken",
        "unsent",
    )

    def __init__(self, link: LinkId, sock: socket.socket, *, is_connecting: bool) -> None:
        self.link = link
        self.sock = sock
        self.is_connecting = is_connecting
        self.is_paused = False
        self.is_shut = False
        """Nothing more will be written."""
        self.has_eof = False
        self.is_closing = False
        """The machine has closed it, and what it wrote is on its way."""
        self.taken = 0
        """Bytes that the system has taken and the machine has no credit for yet."""
        self.unsent: bytearray | None = None
        """What did not fit; None where all did, which costs an idle link nothing."""

    @property
    def interest(self) -> int:
        """What to wait for."""
        if self.is_connecting:
            return WRITE
        reads = self.is_closing or not self.is_paused
        wanted = READ if reads and not self.has_eof else 0
        return wanted | WRITE if self.unsent else wanted

    @property
    def is_over(self) -> bool:
        """True once both ways have ended, as far as this side can do anything for it."""
        return self.is_shut and self.has_eof and not self.unsent

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Returns how many bytes the system has taken."""
        if self.unsent is not None:
            self.unsent += data
            return 0
        size = self._send(data)
        if size < len(data):
            self.unsent = bytearray(memoryview(data)[size:])
        return size

    def flush(self) -> int:
        """Writes what did not fit, and half-closes behind it; returns as `write` does."""
        if self.unsent is None:
            return 0
        size = self._send(self.unsent)
        del self.unsent[:size]
        if not self.unsent:
            self.unsent = None
            if self.is_shut:
                self._shut()
        return size

    def shut_down(self) -> None:
        self.is_shut = True
        if self.unsent is None:
            self._shut()

    def read_into(self, buffer: memoryview) -> int | None:
        """Returns how many bytes there were, 0 for the end, or None where nothing was there."""
        try:
            return self.sock.recv_into(buffer)
        except (BlockingIOError, InterruptedError):
            return None

    def _send(self, data: bytes | bytearray | memoryview) -> int:
        try:
            return self.sock.send(data)
        except (BlockingIOError, InterruptedError):
            return 0

    def _shut(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)
