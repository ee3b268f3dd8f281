"""A whole node in the simulator: a `Swarm` on a `netsim` host, and what it has reported."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from p2pnode.errors import P2PNodeError
from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.peer_multiaddr import udp_noise_multiaddr
from p2pnode.machine import SocketId, UdpAddr
from p2pnode.netsim.host import Host
from p2pnode.swarm import Swarm, SwarmConfig
from p2pnode.swarm.events import (
    ConnectionEstablished,
    DialFailed,
    DialSucceeded,
    StreamOpened,
    StreamReadable,
    SwarmEvent,
)
from p2pnode.swarm.swarm_stream import SwarmStream
from p2pnode.wire.multiaddr import Multiaddr

T = TypeVar("T")
PORT = 4001
PROBE_PORT_OFFSET = 1000
"""from a node's port to the one that it dials back from"""


class SimNode:
    """Runs a swarm on a host.  `serve` makes it answer streams; commands drain by themselves."""

    def __init__(
        self,
        host: Host,
        *,
        port: int = PORT,
        config: SwarmConfig | None = None,
        identity: PrivateKey | None = None,
    ) -> None:
        self.host = host
        self.identity = identity or PrivateKey.generate(host.entropy)
        self.events: list[SwarmEvent] = []
        self.received: dict[tuple[int, int], bytearray] = {}
        self.ended: dict[tuple[int, int], None] = {}
        self._handlers: dict[str, Callable[[SwarmStream, bytes, bool], None]] = {}
        self._config = config or SwarmConfig()
        self._port = port
        self.start()

    def start(self) -> None:
        """Begins, or begins anew without memory."""
        self.sockets: list[SocketId] = []
        host = self.host
        self.swarm: Swarm = host.attach(
            lambda h: Swarm(
                self.identity,
                config=self._config,
                secret=bytes(32),
                entropy=h.entropy,
                rng=h.rng,
                now=h.now,
                unix_now=h.unix_now,
            ),
            self._on_event,
        )
        addresses = tuple(a for i in host.interfaces for a in i.addresses)
        for ip in ("0.0.0.0", "::"):
            if any((":" in a) == (":" in ip) for a in addresses):
                socket = host.bind(self._port, ip)
                self.sockets.append(socket)
                host.call(self.swarm.add_socket, socket, UdpAddr(ip, self._port), host.now)
                probe = host.bind(self._port + PROBE_PORT_OFFSET, ip)
                self.sockets.append(probe)
                local = UdpAddr(ip, self._port + PROBE_PORT_OFFSET)
                host.call(self.swarm.add_probe_socket, probe, local)
        host.call(self.swarm.handle_interfaces_changed, addresses, host.now)

    @property
    def peer_id(self) -> PeerId:
        return self.swarm.peer_id

    def address(self, ip: str | None = None) -> Multiaddr:
        """Where a host that is not behind a NAT can be dialled."""
        return udp_noise_multiaddr(UdpAddr(ip or self.host.ip, self._port))

    def of(self, kind: type[T]) -> list[T]:
        return [event for event in self.events if isinstance(event, kind)]

    def dial(self, peer: "SimNode", *addresses: Multiaddr, check: bool = True) -> int:
        expected = peer.peer_id if check else None
        return self.host.call(
            self.swarm.dial, expected, addresses or (peer.address(),), self.host.now
        )

    def connect(self, peer: "SimNode", *addresses: Multiaddr, timeout: float = 15.0) -> int:
        """Dials, waits, and returns the connection."""
        dial_id = self.dial(peer, *addresses)

        def over() -> bool:
            ended = (*self.of(DialSucceeded), *self.of(DialFailed))
            return any(event.dial_id == dial_id for event in ended)

        self.host.world.run_until(over, timeout)
        for event in self.of(DialSucceeded):
            if event.dial_id == dial_id:
                return event.connection
        raise AssertionError(self.of(DialFailed)[-1])

    def serve(
        self, protocol: str, handler: Callable[[SwarmStream, bytes, bool], None] | None = None
    ) -> None:
        """Takes streams; the handler gets (stream, new bytes, whether the peer has ended)."""
        self._handlers[protocol] = handler or (lambda stream, data, eof: None)
        self.host.call(self.swarm.handle_protocol, protocol, self.host.now)

    def open(self, connection: int, *protocols: str) -> SwarmStream:
        stream = self.host.call(self.swarm.open_stream, connection, protocols, self.host.now)
        assert stream is not None
        return stream

    def do(self, command: Callable[..., T], *args: Any) -> T:
        return self.host.call(command, *args)

    def connections_to(self, peer: "SimNode") -> int:
        established = self.of(ConnectionEstablished)
        alive = self.swarm._endpoint.connections
        return sum(
            e.peer_id == peer.peer_id
            and e.connection in alive
            and not alive[e.connection].is_closed
            for e in established
        )

    def _on_event(self, event: SwarmEvent) -> None:
        self.events.append(event)
        if isinstance(event, StreamOpened | StreamReadable):
            with contextlib.suppress(P2PNodeError):  # who reads on is told the reason
                self._read(event.stream)

    def _read(self, stream: SwarmStream) -> None:
        key = (stream.connection, stream.stream_id)
        handler = self._handlers.get(stream.protocol or "")
        if handler is None or not stream.is_inbound:
            return
        buffer = self.received.setdefault(key, bytearray())
        while data := stream.read(1 << 16):
            buffer += data
            handler(stream, data, False)
        if stream.at_eof and key not in self.ended:
            self.ended[key] = None
            handler(stream, b"", True)


def echo(stream: SwarmStream, data: bytes, eof: bool) -> None:
    """A handler: sends everything back."""
    if data:
        assert stream.write(data) == len(data)
    if eof:
        stream.finish()


def addresses_of(nodes: Sequence[SimNode]) -> list[Multiaddr]:
    return [node.address() for node in nodes]
