"""One server and many clients, each at an address of its own, on an instant wire."""

from typing import Any

from p2pnode.errors import P2PNodeError
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import ConnectionHandle, Received, SocketAddr, SocketId
from p2pnode.transports.events import Connected, ConnectionClosed
from p2pnode.transports.noise_udp.config import TransportConfig
from p2pnode.transports.noise_udp.connection import Connection
from p2pnode.transports.noise_udp.endpoint import Endpoint
from p2pnode.transports.route import Route
from tests.support.pair import make_endpoint

SERVER = SocketAddr("192.0.2.1", 4001)


class EndpointCrowd:
    """Whatever is sent arrives at once; time passes by `wait`."""

    def __init__(self, config: TransportConfig | None = None, **server: Any) -> None:
        """`config` is the server's."""
        self.now = 0.0
        self.server, self.server_id = self._make("server", config, **server)
        self.at: dict[SocketAddr, Endpoint] = {SERVER: self.server}
        self.handles: dict[SocketAddr, ConnectionHandle] = {}
        self.events: dict[SocketAddr, list[object]] = {SERVER: []}

    def connect(self, ip: str, port: int = 1) -> SocketAddr:
        """Lets a new client dial; returns its address."""
        address = SocketAddr(ip, port)
        client, _ = self._make(str(address))
        self.at[address], self.events[address] = client, []
        route = Route(SocketId(0), None, SERVER)
        self.handles[address] = client.dial(route, self.server_id, self.now)
        self.run()
        return address

    def client(self, address: SocketAddr) -> Connection:
        """Returns a client's end of its connection, to command."""
        connection = self.at[address].command(self.handles[address])
        assert connection is not None
        return connection

    def run(self) -> None:
        """Delivers everything that may be sent now."""
        busy = True
        while busy:
            busy = False
            for address, endpoint in list(self.at.items()):
                busy = self._deliver(address, endpoint) or busy
                self.events[address] += [e.event for e in endpoint.poll_events()]

    def wait(self, seconds: float, step: float = 0.05) -> None:
        """Lets time pass."""
        until = self.now + seconds
        while self.now < until:
            self.now += step
            for endpoint in self.at.values():
                deadline = endpoint.poll_timeout()
                if deadline is not None and deadline.at <= self.now:
                    endpoint.handle_timeout(self.now)
            self.run()

    def is_connected(self, address: SocketAddr) -> bool:
        return any(isinstance(e, Connected) for e in self.events[address])

    def is_open(self, address: SocketAddr) -> bool:
        """Whether a client is connected, and has not been told that it is not."""
        return self.is_connected(address) and self.end_of(address) is None

    def identity_of(self, ip: str, port: int = 1) -> PeerId:
        """Returns who dials, or will, from an address."""
        return self._make(str(SocketAddr(ip, port)))[1]

    def end_of(self, address: SocketAddr) -> P2PNodeError | None:
        """Returns why a client's connection ended, None while it has not."""
        found = [e.reason for e in self.events[address] if isinstance(e, ConnectionClosed)]
        return found[0] if found else None

    def _make(
        self, name: str, config: TransportConfig | None = None, **more: Any
    ) -> tuple[Endpoint, PeerId]:
        config = config or TransportConfig()
        return make_endpoint(name, config=config, now=self.now, seed=1, **more)

    def _deliver(self, address: SocketAddr, endpoint: Endpoint) -> bool:
        transmits = endpoint.poll_transmits(self.now)
        for transmit in transmits:
            to = self.at.get(transmit.remote)
            if to is not None:
                got = transmit.segment_size, bytes(transmit.buffer)
                to.handle_received([Received(SocketId(0), None, address, 0, *got)], self.now)
        return bool(transmits)
