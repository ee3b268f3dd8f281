"""Small DatagramMachines for tests of their drivers."""

from collections.abc import Sequence

from p2pnode.clock import Deadline, Instant
from p2pnode.machine import Received, SocketAddr, SocketId, Transmit

REMOTE = SocketAddr("192.0.2.1", 4001)


def transmit(data: bytes, socket_id: int = 0, remote: SocketAddr = REMOTE) -> Transmit:
    """Returns a plain datagram."""
    return Transmit(SocketId(socket_id), None, remote, 0, None, len(data), data)


class EchoMachine:
    """Sends back what came, read by read; one event a read."""

    def __init__(self) -> None:
        self._out: list[Transmit] = []
        self._events: list[bytes] = []

    def handle_received(self, batch: Sequence[Received], now: Instant) -> None:
        for socket_id, local_ip, remote, ecn, segment_size, buffer in batch:
            self._out.append(Transmit(socket_id, local_ip, remote, ecn, None, segment_size, buffer))
            self._events.append(bytes(buffer))

    def handle_timeout(self, now: Instant) -> None:
        pass

    def poll_transmits(self, now: Instant) -> list[Transmit]:
        out, self._out = self._out, []
        return out

    def poll_events(self) -> list[bytes]:
        events, self._events = self._events, []
        return events

    def poll_timeout(self) -> Deadline | None:
        return None


class ScriptedMachine:
    """Does nothing of its own: the test fills its queues and reads what was called when."""

    def __init__(self) -> None:
        self.out: list[Transmit] = []
        self.events: list[str] = []
        self.deadline: Deadline | None = None
        self.received: list[tuple[Instant, bytes]] = []
        self.batches: list[int] = []
        """How many reads each call brought."""
        self.timeouts: list[Instant] = []
        self.polls = 0

    def handle_received(self, batch: Sequence[Received], now: Instant) -> None:
        self.batches.append(len(batch))
        self.received += [(now, bytes(received.buffer)) for received in batch]

    def handle_timeout(self, now: Instant) -> None:
        self.timeouts.append(now)
        self.deadline = None

    def poll_transmits(self, now: Instant) -> list[Transmit]:
        self.polls += 1
        out, self.out = self.out, []
        return out

    def poll_events(self) -> list[str]:
        events, self.events = self.events, []
        return events

    def poll_timeout(self) -> Deadline | None:
        return self.deadline
