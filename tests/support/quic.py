"""A node's QUIC as one end of `exchange`: an endpoint in virtual time, with one peer."""

import random
from typing import Any

from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import ConnectionHandle, Received, SocketAddr, SocketId
from p2pnode.transports.commons import Commons
from p2pnode.transports.events import Connected, ConnectionClosed, DialFailed
from p2pnode.transports.quic_v1.certificate import TlsCredentials
from p2pnode.transports.quic_v1.config import QuicConfig
from p2pnode.transports.quic_v1.connection import Connection
from p2pnode.transports.quic_v1.endpoint import Endpoint
from p2pnode.transports.route import Route
from tests.support.certificates import NOW
from tests.support.tls import CLIENT, SERVER

PEER = SocketAddr("192.0.2.7", 4001)
ROUTE = Route(SocketId(0), None, PEER)


class QuicEnd:
    """One endpoint whose datagrams all go to one address, and come from there."""

    def __init__(
        self,
        *,
        is_client: bool,
        credentials: TlsCredentials | None = None,
        expected: PeerId | None = None,
        commons: Commons | None = None,
        serves: bool = True,
        token: bytes = b"",
        timeout: float | None = None,
        now: float = 0.0,
        **config: Any,
    ) -> None:
        seed = random.Random(f"quic {is_client}")
        self.endpoint = Endpoint(
            credentials or (CLIENT if is_client else SERVER),
            config=QuicConfig(**config),
            secret=bytes(32),
            entropy=seed.randbytes,
            rng=seed,
            now=now,
            unix_now=NOW,
            commons=commons,
            serves=serves,
        )
        self.remote = PEER
        """Where the peer's datagrams come from."""
        self.events: list[Any] = []
        """All that was told, oldest first."""
        self.sent: list[bytes] = []
        """Every datagram that went out."""
        self.handle: ConnectionHandle | None = None
        if is_client:
            self.handle = self.endpoint.dial(ROUTE, expected, now, token=token, timeout=timeout)

    @property
    def connection(self) -> Connection:
        [connection] = self.endpoint.connections.values()
        return connection

    @property
    def streams(self):
        return self.connection.streams

    def told(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def is_connected(self) -> bool:
        return len(self.told(Connected)) == 1 and not self.told(ConnectionClosed)

    @property
    def failure(self) -> Exception:
        [failed] = self.told(DialFailed)
        return failed.reason

    def receive(self, datagram: bytes, now: float) -> None:
        read = Received(SocketId(0), None, self.remote, 0, len(datagram), datagram)
        self.endpoint.handle_received([read], now)
        self._collect()

    def poll(self, now: float) -> list[bytes]:
        """Returns the datagrams to send now."""
        found: list[bytes] = []
        while transmits := self.endpoint.poll_transmits(now):
            for transmit in transmits:
                step = transmit.segment_size
                buffer = bytes(transmit.buffer)
                found += [buffer[at : at + step] for at in range(0, len(buffer), step)]
        self._collect()
        self.endpoint.check()
        self.sent += found
        return found

    def poll_timeout(self) -> float | None:
        deadline = self.endpoint.poll_timeout()
        return None if deadline is None else deadline.at

    def handle_timeout(self, now: float) -> None:
        at = self.poll_timeout()
        if at is not None and now >= at:
            self.endpoint.handle_timeout(now)
            self._collect()

    def command(self, act: Any, *args: Any, **options: Any) -> Any:
        """Commands the connection, and has it told to the endpoint."""
        result = act(*args, **options)
        for handle in self.endpoint.connections:
            self.endpoint.wake(handle)
        return result

    def _collect(self) -> None:
        for handle, event in self.endpoint.poll_events():
            self.handle = handle
            self.events.append(event)
