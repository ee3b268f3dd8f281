"""Small machines for tests of the simulator: one that says what it is told, one that echoes, one
that punches."""

from collections.abc import Sequence

from p2pnode.clock import Deadline, Instant
from p2pnode.machine import Ecn, Received, SocketAddr, SocketId, Transmit
from p2pnode.netsim.host import Host


def datagrams(received: Received) -> list[bytes]:
    """Cuts what one read brought."""
    data, size = bytes(received.buffer), received.segment_size
    return [data[i : i + size] for i in range(0, len(data) or 1, size or 1)]


class Sender:
    """Sends what it is told; its events are (now, remote, payload) of what arrives."""

    def __init__(self) -> None:
        self.batches: list[list[Received]] = []
        self._events: list[tuple[Instant, SocketAddr, bytes]] = []
        self._transmits: list[Transmit] = []

    def handle_received(self, batch: Sequence[Received], now: Instant) -> None:
        self.batches.append(list(batch))
        for received in batch:
            for payload in datagrams(received):
                self._events.append((now, received.remote, payload))
                self.answer(received, payload)

    def handle_timeout(self, now: Instant) -> None:
        pass

    def poll_transmits(self, now: Instant) -> list[Transmit]:
        transmits, self._transmits = self._transmits, []
        return transmits

    def poll_events(self) -> list[tuple[Instant, SocketAddr, bytes]]:
        events, self._events = self._events, []
        return events

    def poll_timeout(self) -> Deadline | None:
        return None

    def send(
        self,
        socket: SocketId,
        remote: SocketAddr,
        payload: bytes = b"hello",
        *,
        local_ip: str | None = None,
        ecn: int = Ecn.NOT_ECT,
        ttl: int | None = None,
        segment_size: int | None = None,
    ) -> None:
        size = segment_size or len(payload)
        self._transmits.append(Transmit(socket, local_ip, remote, ecn, ttl, size, payload))

    def answer(self, received: Received, payload: bytes) -> None:
        """Says nothing."""


class Echo(Sender):
    """Tells everybody the address it saw, as STUN and identify do."""

    def answer(self, received: Received, payload: bytes) -> None:
        self.send(received.socket, received.remote, str(received.remote).encode())


class Ticker(Sender):
    """Sends one datagram at each multiple of the interval."""

    def __init__(
        self, socket: SocketId, remote: SocketAddr, interval: float, size: int, start: Instant = 0.0
    ) -> None:
        super().__init__()
        self._socket, self._remote = socket, remote
        self._interval, self._next = interval, start
        self._payload = bytes(size)

    def handle_timeout(self, now: Instant) -> None:
        if now >= self._next:
            self._next += self._interval
            self.send(self._socket, self._remote, self._payload)

    def poll_timeout(self) -> Deadline | None:
        return Deadline(self._next, "tick")


ROUND = 0.2
"""Seconds between punches."""

ROUNDS = 6


class Puncher(Sender):
    """Sends to one address in rounds, and to the newest source that it hears from instead."""

    def __init__(self, socket: SocketId, server: SocketAddr) -> None:
        super().__init__()
        self._socket, self._server = socket, server
        self.reflexive: SocketAddr | None = None
        self.has_heard_answer = False
        self._peer: SocketAddr | None = None
        self._next: Instant | None = None
        self._rounds = 0

    def ask_server(self) -> None:
        self.send(self._socket, self._server, b"who am I?")

    def punch(self, peer: SocketAddr, now: Instant) -> None:
        self._peer, self._next, self._rounds = peer, now, 0

    def handle_timeout(self, now: Instant) -> None:
        if self._next is None or self._peer is None or now < self._next:
            return
        self._rounds += 1
        self._next = now + ROUND if self._rounds < ROUNDS else None
        self.send(self._socket, self._peer, b"punch")

    def poll_timeout(self) -> Deadline | None:
        return None if self._next is None else Deadline(self._next, "next round")

    def answer(self, received: Received, payload: bytes) -> None:
        if received.remote == self._server:
            ip, _, port = payload.decode().rpartition(":")
            self.reflexive = SocketAddr(ip.strip("[]"), int(port))
            return
        self._peer = received.remote
        if payload == b"punch":
            self.send(self._socket, received.remote, b"answer")
        else:
            self.has_heard_answer = True


def sender(host: Host, port: int = 0, ip: str = "0.0.0.0") -> tuple[Sender, SocketId]:
    """Binds a socket and attaches a `Sender`."""
    socket = host.bind(port, ip)
    return host.attach(lambda _: Sender()), socket


def echo(host: Host, port: int = 3478) -> SocketAddr:
    """Makes the host a server that tells addresses; returns its own."""
    if host.stack.socket_at(host.ip, port) is None:
        host.bind(port, "::" if ":" in host.ip else "0.0.0.0")
    host.attach(lambda _: Echo())
    return SocketAddr(host.ip, port)


def payloads(host: Host) -> list[bytes]:
    """Returns what a `Sender` heard so far."""
    return [payload for _, _, payload in host.events]


def sources(host: Host) -> list[SocketAddr]:
    """Returns from whom a `Sender` heard so far."""
    return [remote for _, remote, _ in host.events]
