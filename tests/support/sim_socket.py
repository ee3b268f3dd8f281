"""A socket in memory for tests of the shell, under a virtual clock."""

from collections import deque

import trio

from p2pnode.io.udp.unreachable import UnreachableReports
from p2pnode.machine import Received, SocketAddr, SocketId, Transmit


class SimSocket:
    """What `p2pnode.io.driver` wants of a socket.  The test delivers, and reads what was sent."""

    def __init__(self, socket_id: int = 0, room: int | None = None) -> None:
        self.socket_id = SocketId(socket_id)
        self.unreachable = UnreachableReports(self.socket_id)
        """What the test says did not arrive."""
        self.room = room
        """Writes that the socket takes before it is full; None: never full."""
        self.batch_size: int | None = None
        """Reads that one batch has at most; None: all that is there."""
        self.sent: list[tuple[float, Transmit]] = []
        self._inbox: deque[Received] = deque()
        self._readable = trio.Event()
        self._writable = trio.Event()

    def deliver(self, data: bytes, remote: SocketAddr) -> None:
        """A datagram arrives."""
        self._inbox.append(Received(self.socket_id, None, remote, 0, len(data), data))
        self._readable.set()

    def make_room(self, writes: int) -> None:
        """The network took some datagrams away."""
        self.room = writes
        self._writable.set()

    @property
    def payloads(self) -> list[bytes]:
        return [bytes(transmit.buffer) for _, transmit in self.sent]

    async def wait_readable(self) -> None:
        await self._readable.wait()

    async def wait_writable(self) -> None:
        if self.room != 0:
            await trio.lowlevel.checkpoint()
            return
        self._writable = trio.Event()
        await self._writable.wait()

    def receive_batch(self) -> list[Received]:
        size = len(self._inbox) if self.batch_size is None else self.batch_size
        batch = [self._inbox.popleft() for _ in range(min(size, len(self._inbox)))]
        if not self._inbox:
            self._readable = trio.Event()
        return batch

    def send(self, transmit: Transmit) -> Transmit | None:
        if self.room == 0:
            return transmit
        if self.room is not None:
            self.room -= 1
        self.sent.append((trio.current_time(), transmit))
        return None
