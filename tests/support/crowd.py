"""A swarm that holds any number of connections, with everybody's packets in virtual time.

Without netsim, whose watching of the contract costs more where there are more connections.
"""

from collections.abc import Callable
from heapq import heappop, heappush
from math import inf
from random import Random

from p2pnode.clock import UnixTime
from p2pnode.deadlines import Deadlines
from p2pnode.drain import drain_once
from p2pnode.identity.keys import PrivateKey
from p2pnode.machine import DatagramMachine, Received, SocketAddr, SocketId, Transmit
from p2pnode.swarm import SwarmConfig
from p2pnode.swarm.swarm import Swarm
from p2pnode.transports.makers import all_makers
from p2pnode.transports.noise_udp.config import TransportConfig
from p2pnode.transports.noise_udp.endpoint import Endpoint
from p2pnode.transports.noise_udp.handshake import Credentials
from p2pnode.transports.route import Route
from tests.support.identities import private_key

OWN = SocketAddr("9.9.9.9", 4001)
SOCKET = SocketId(0)
LATENCY = 0.01  # seconds
UNIX_EPOCH = UnixTime(1_700_000_000.0)

Aside = Callable[[Callable[[], object], int], object]
"""Runs what it is given, and may note what that cost; with whose packet caused it, or 0."""


class Crowd:
    """The swarm is 0, and its peers are 1, 2 and so on, each at an address of its own."""

    def __init__(
        self, *, aside: Aside = lambda work, cause: work(), config: SwarmConfig | None = None
    ) -> None:
        """`aside` runs whatever the swarm does."""
        self.now = 100.0
        self.aside = aside
        entropy = Random("crowd").randbytes
        self.swarm = Swarm(
            private_key("swarm"),
            config=SwarmConfig() if config is None else config,
            makers=all_makers(
                TransportConfig(), secret=entropy(32), entropy=entropy, rng=Random(1)
            ),
            entropy=entropy,
            rng=Random(1),
            now=self.now,
            unix_now=UNIX_EPOCH,
        )
        self._entropy = entropy
        self._machines: list[DatagramMachine[object]] = [self.swarm]
        self._by_address: dict[SocketAddr, int] = {OWN: 0}
        self._addresses = [OWN]
        self._deadlines = Deadlines[int]()
        self._queue: list[tuple[float, int, int, Received]] = []
        self._count = 0
        self.swarm.add_socket(SOCKET, OWN, self.now)

    def join(self, count: int = 1) -> list[int]:
        """That many peers begin to dial; returns their numbers."""
        numbers = list(range(len(self._machines), len(self._machines) + count))
        for number in numbers:
            credentials = Credentials.create(PrivateKey.generate(self._entropy), self._entropy)
            endpoint = Endpoint(
                credentials,
                config=TransportConfig(),
                secret=bytes(32),
                entropy=self._entropy,
                rng=Random(number),
                now=self.now,
                unix_now=UNIX_EPOCH,
            )
            address = SocketAddr(f"20.{number >> 8}.{number & 0xFF}.7", 7777)
            self._machines.append(endpoint)
            self._addresses.append(address)
            self._by_address[address] = number
            endpoint.dial(Route(SOCKET, None, OWN), self.swarm.peer_id, self.now)
            self._drain(number)
        return numbers

    def endpoint(self, number: int) -> Endpoint:
        found = self._machines[number]
        assert isinstance(found, Endpoint)
        return found

    def open_stream(self, number: int, data: bytes) -> None:
        """A peer opens a stream, and says something on it."""
        (handle,) = self.endpoint(number).connections
        connection = self.endpoint(number).command(handle)
        assert connection is not None
        stream_id = connection.streams.open()
        assert stream_id is not None
        assert connection.streams.write(stream_id, data) == len(data)
        self._drain(number)

    def ping(self, number: int) -> None:
        """A peer asks for an acknowledgement."""
        (handle,) = self.endpoint(number).connections
        connection = self.endpoint(number).command(handle)
        assert connection is not None
        connection.ping()
        self._drain(number)

    def run(self, seconds: float) -> None:
        """Lets time pass."""
        end = self.now + seconds
        while True:
            due = self._deadlines.first()
            at = min(self._queue[0][0] if self._queue else inf, due.at if due is not None else inf)
            if at > end:
                break
            self.now = max(self.now, at)
            if due is not None and due.at <= self.now:
                for number in self._deadlines.take_due(self.now):
                    self._call(number, 0, lambda m: m.handle_timeout(self.now))
            else:
                _, _, number, received = heappop(self._queue)
                cause = self._by_address[received.remote]
                self._call(number, cause, lambda m, r=received: m.handle_received([r], self.now))
        self.now = end

    def _call(
        self, number: int, cause: int, what: Callable[[DatagramMachine[object]], None]
    ) -> None:
        if number == 0:
            self.aside(lambda: what(self._machines[0]), cause)
        else:
            what(self._machines[number])
        self._drain(number, cause)

    def _drain(self, number: int, cause: int = 0) -> None:
        machine, sent = self._machines[number], list[Transmit]()

        def drain() -> None:
            while drain_once(machine, self.now, sent.append, lambda event: None):
                pass
            self._deadlines.set(number, machine.poll_timeout())

        self.aside(drain, cause) if number == 0 else drain()
        for transmit in sent:
            to = self._by_address.get(transmit.remote)
            if to is not None:
                self._count += 1
                received = Received(
                    SOCKET, None, self._addresses[number], 0, transmit.segment_size, transmit.buffer
                )
                heappush(self._queue, (self.now + LATENCY, self._count, to, received))
