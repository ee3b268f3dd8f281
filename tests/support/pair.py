"""Two endpoints and the wire between them, in virtual time: the bench for transport tests.

For topologies with NATs use `p2pnode.netsim`; this is for stepping packets by hand.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from random import Random

from p2pnode.clock import UnixTime
from p2pnode.drain import drain_once
from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import Ecn, Received, SocketAddr, SocketId, Transmit
from p2pnode.resources.account import Account
from p2pnode.swarm.swarm import Swarm
from p2pnode.transports.commons import Commons
from p2pnode.transports.events import Connected, DialFailed, TransportEvent
from p2pnode.transports.faults import Faults
from p2pnode.transports.noise_udp.config import TransportConfig
from p2pnode.transports.noise_udp.connection import Connection
from p2pnode.transports.noise_udp.endpoint import Endpoint
from p2pnode.transports.noise_udp.handshake import Credentials
from p2pnode.transports.registry import Transports
from p2pnode.transports.route import Route

UNIX_EPOCH = UnixTime(1_700_000_000.0)
MAX_STEPS = 200_000


def seeded_entropy(seed: str) -> Callable[[int], bytes]:
    """Returns reproducible "secrets"."""
    return Random(f"{seed}/entropy").randbytes


@dataclass
class Side:
    """One endpoint at one address."""

    name: str
    address: SocketAddr
    endpoint: Endpoint
    peer_id: PeerId
    events: list[TransportEvent] = field(default_factory=list)
    handle: int = 0
    """Of the connection that was made last."""
    more: dict[int, SocketAddr] = field(default_factory=dict)
    """Addresses of further sockets."""

    @property
    def sockets(self) -> dict[int, SocketAddr]:
        return {0: self.address, **self.more}

    @property
    def connection(self) -> Connection:
        connection = self.endpoint.command(self.handle)
        assert connection is not None, f"{self.name} has no connection"
        return connection


def make_endpoint(
    name: str,
    *,
    config: TransportConfig,
    now: float,
    seed: int,
    account: Account | None = None,
    faults: Faults | None = None,
) -> tuple[Endpoint, PeerId]:
    entropy = seeded_entropy(f"{seed}/{name}")
    identity = PrivateKey.generate(entropy)
    credentials = Credentials.create(identity, entropy)
    endpoint = Endpoint(
        credentials,
        config=config,
        secret=entropy(32),
        entropy=entropy,
        rng=Random(f"{seed}/{name}"),
        now=now,
        unix_now=UNIX_EPOCH,
        commons=Commons(account, faults=faults),
    )
    return endpoint, credentials.peer_id


def endpoint_of(swarm: Swarm) -> Endpoint:
    """Returns the noise-udp transport of a swarm."""
    (endpoint,) = swarm._transports._over_datagrams
    assert isinstance(endpoint, Endpoint)
    return endpoint


def transports_of(endpoint: Endpoint) -> Transports:
    """Returns what a swarm would see of an endpoint that is its only transport."""
    return Transports(endpoint.commons, [endpoint])


class Pair:
    """A client and a server; `drive` lets virtual time pass until a condition holds."""

    def __init__(
        self,
        *,
        seed: int = 1,
        latency: float = 0.01,
        client_config: TransportConfig | None = None,
        server_config: TransportConfig | None = None,
        mtu: int = 1472,
    ) -> None:
        self.now = 100.0
        self.latency = latency
        self.mtu = mtu
        self.rng = Random(f"{seed}/wire")
        self.loss = 0.0
        self.duplication = 0.0
        self.jitter = 0.0
        self.ce_marking = 0.0
        self.filter: Callable[[str, bytes], bool] = lambda sender, datagram: True
        """(sender's name, datagram) -> whether it arrives."""
        self.translate: dict[SocketAddr, SocketAddr] = {}
        """What a NAT would do: the source address that the other side sees."""
        self.latency_from: dict[SocketAddr, float] = {}
        """Of packets from, or to, an address: instead of `latency`."""
        self.blocked: dict[SocketAddr, None] = {}
        """Addresses from and to which nothing gets through."""
        self.log: list[tuple[float, str, bytes]] = []
        self.dropped_too_big = 0
        self._queue: list[tuple[float, int, str, Received]] = []
        self._count = 0
        self.client = self._side("client", SocketAddr("192.0.2.1", 1111), client_config, seed)
        self.server = self._side("server", SocketAddr("192.0.2.2", 2222), server_config, seed)

    def _side(
        self, name: str, address: SocketAddr, config: TransportConfig | None, seed: int
    ) -> Side:
        endpoint, peer_id = make_endpoint(
            name, config=config or TransportConfig(), now=self.now, seed=seed
        )
        return Side(name, address, endpoint, peer_id)

    @property
    def sides(self) -> tuple[Side, Side]:
        return self.client, self.server

    def route_to_server(self) -> Route:
        return Route(SocketId(0), None, self.server.address)

    def dial(self, *, expected: PeerId | None = None, token: bytes = b"") -> int:
        handle = self.client.endpoint.dial(
            self.route_to_server(), expected or self.server.peer_id, self.now, token=token
        )
        self.client.handle = handle
        return handle

    def connect(self) -> None:
        """Dials and drives until both sides have a connection."""
        self.dial()
        self.drive(lambda: self.connected(self.client) and self.connected(self.server))

    @staticmethod
    def connected(side: Side) -> bool:
        return any(isinstance(e.event, Connected) for e in side.events)

    @staticmethod
    def failures(side: Side) -> list[DialFailed]:
        return [e.event for e in side.events if isinstance(e.event, DialFailed)]

    def drive(self, until: Callable[[], bool] | None = None, seconds: float = 60.0) -> bool:
        """Steps until the condition holds, or for `seconds`; returns whether it holds."""
        end = self.now + seconds
        for _ in range(MAX_STEPS):
            self.flush()
            if until is not None and until():
                return True
            self.flush()  # what the condition itself has caused
            at = self._next()
            if at is None or at > end:
                self.now = max(self.now, end)
                return until is None
            self.now = max(self.now, at)
            self._deliver_due()
            for side in self.sides:
                deadline = side.endpoint.poll_timeout()
                if deadline is not None and deadline.at <= self.now:
                    side.endpoint.handle_timeout(self.now)
        raise AssertionError("the pair does not come to rest")

    def flush(self) -> None:
        """Drains both endpoints."""
        for side in self.sides:
            for _ in range(1000):
                if not drain_once(
                    side.endpoint, self.now, partial(self._send, side), partial(self._tell, side)
                ):
                    break

    @staticmethod
    def _tell(side: Side, event: TransportEvent) -> None:
        side.events.append(event)
        if isinstance(event.event, Connected):
            side.handle = event.handle

    def inject(self, to: Side, datagram: bytes, source: SocketAddr) -> None:
        """Delivers a forged datagram at once."""
        received = Received(SocketId(0), to.address.ip, source, 0, len(datagram), datagram)
        to.endpoint.handle_received([received], self.now)

    def _send(self, side: Side, transmit: Transmit) -> None:
        step = transmit.segment_size
        for start in range(0, len(transmit.buffer), step):
            datagram = bytes(transmit.buffer[start : start + step])
            self.log.append((self.now, side.name, datagram))
            if len(datagram) > self.mtu:
                self.dropped_too_big += 1
                continue
            if not self.filter(side.name, datagram) or self.rng.random() < self.loss:
                continue
            copies = 2 if self.rng.random() < self.duplication else 1
            for _ in range(copies):
                self._enqueue(side, transmit, datagram)

    def _enqueue(self, side: Side, transmit: Transmit, datagram: bytes) -> None:
        other = self.server if side is self.client else self.client
        own = side.sockets[transmit.socket]
        source = self.translate.get(own, own)
        # behind a NAT only the present mapping leads to a socket
        reached = {self.translate.get(a, a): (socket, a) for socket, a in other.sockets.items()}
        if transmit.remote not in reached:
            return
        socket, address = reached[transmit.remote]
        if own in self.blocked or address in self.blocked:
            return
        ecn = transmit.ecn
        if ecn and self.rng.random() < self.ce_marking:
            ecn = Ecn.CE
        received = Received(SocketId(socket), address.ip, source, ecn, len(datagram), datagram)
        self._count += 1
        latency = self.latency_from.get(own, self.latency_from.get(address, self.latency))
        at = self.now + latency + self.rng.random() * self.jitter
        heappush(self._queue, (at, self._count, other.name, received))

    def _deliver_due(self) -> None:
        while self._queue and self._queue[0][0] <= self.now:
            _, _, name, received = heappop(self._queue)
            side = self.client if name == "client" else self.server
            side.endpoint.handle_received([received], self.now)

    def _next(self) -> float | None:
        times = [self._queue[0][0]] if self._queue else []
        for side in self.sides:
            deadline = side.endpoint.poll_timeout()
            if deadline is not None:
                times.append(deadline.at)
        return min(times, default=None)
