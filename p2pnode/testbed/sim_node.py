"""A whole node on a simulated host: the swarm that a real node runs, in virtual time, without I/O.

    net = nat_pair(seed=1, a=nat_presets.home(), b=nat_presets.corporate())
    server, client = SimNode(net.public[0]), SimNode(net.a)
    server.serve("/hello/1")
    stream = client.open(client.connect(server), "/hello/1")
    client.do(stream.write, b"hello")
    net.world.run_until(lambda: bytes(*server.received.values()) == b"hello", 5.0)

Rule: whatever commands the swarm, or one of its streams, goes through the methods here or `do`,
which drain it.  The world's seed and the host's name decide the node's keys and dice.
"""

import contextlib
from collections import deque
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

from p2pnode.errors import DialError, LocalProtocolError, P2PNodeError
from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.transport_addr import transport_multiaddr
from p2pnode.machine import ConnectionHandle, SocketAddr, SocketId
from p2pnode.netsim.host import MAX_EVENTS_KEPT, Host
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
from p2pnode.transports.makers import all_makers
from p2pnode.transports.noise_udp.config import TransportConfig
from p2pnode.wire.multiaddr import Multiaddr
from p2pnode.wire.transport_name import TransportName

P = ParamSpec("P")
T = TypeVar("T")

PORT: Final = 4001
PROBE_PORT_OFFSET: Final = 1000
"""from a node's port to the one that it dials back from"""
CONNECT_TIMEOUT: Final = 15.0
"""seconds of virtual time that `connect` waits; chosen: above the ten of a handshake"""
_READ_SIZE: Final = 64 * 1024  # bytes

StreamHandler = Callable[[SwarmStream, bytes, bool], None]
"""(stream, new bytes, whether the peer has ended its direction)"""


class SimNode:
    """One node, which listens on the IP versions that its host has.

    A subclass that wants to act on events extends `on_event`.
    """

    swarm: Swarm
    """Once started.  To look at; commands go through `do`, or through `host.call`."""

    def __init__(
        self,
        host: Host,
        *,
        port: int = PORT,
        config: SwarmConfig | None = None,
        transport: TransportConfig | None = None,
        identity: PrivateKey | None = None,
        speaks_ipv6: bool = True,
        dials_back: bool = True,
        starts: bool = True,
        isolates_faults: bool = False,
    ) -> None:
        """`speaks_ipv6`: whether it listens on IPv6 where its host has it, and tells of it.
        `dials_back`: whether it has sockets to dial back from, as AutoNAT's servers need.

        `isolates_faults`: whether a bug is an event, as for a real node, and does not raise.

        Without `starts` it waits for `start`.  Raises SimulationError where the port is taken.
        """
        self.host = host
        self.identity = identity or PrivateKey.generate(host.entropy)
        self.peer_id = PeerId.from_public_key(self.identity.public_key)
        self.events: deque[SwarmEvent] = deque(maxlen=MAX_EVENTS_KEPT)
        """What the swarm has told, oldest first."""
        self.sockets: list[SocketId] = []
        """For each IP version the one that listens, and the one that dials back."""
        self.received: dict[tuple[int, int], bytearray] = {}
        """(connection, stream id) -> what came on a served stream."""
        self.ended: dict[tuple[int, int], None] = {}
        """The served streams whose end has come."""
        self._port = port
        self._config = config or SwarmConfig()
        self._transport = transport or TransportConfig()
        self._secret = host.entropy(32)
        self._speaks_ipv6 = speaks_ipv6
        self._dials_back = dials_back
        self._isolates_faults = isolates_faults
        self._handlers: dict[str, StreamHandler] = {}
        if starts:
            self.start()

    def start(self) -> None:
        """Begins; or begins anew, with its keys and without memory: its ports must be free."""
        host = self.host
        self.sockets = []
        self.swarm = host.attach(self._make_swarm, self.on_event)
        found = (a for i in host.interfaces for a in i.addresses)
        addresses = tuple(a for a in found if self._speaks_ipv6 or ":" not in a)
        for ip in ("0.0.0.0", "::"):  # noqa: S104 - of a simulated host
            if any((":" in a) == (":" in ip) for a in addresses):
                self._bind(ip)
        host.call(self.swarm.handle_interfaces_changed, addresses, host.now)

    def _make_swarm(self, host: Host) -> Swarm:
        makers = all_makers(
            self._transport, secret=self._secret, entropy=host.entropy, rng=host.rng
        )
        # QUIC's TLS draws of the system's chance: no run with it is the same as the last one.
        makers = makers._replace(over_datagrams=makers.over_datagrams[:1])
        return Swarm(
            self.identity,
            config=self._config,
            makers=makers,
            entropy=host.entropy,
            rng=host.rng,
            now=host.now,
            unix_now=host.unix_now,
            isolates_faults=self._isolates_faults,
        )

    def _bind(self, ip: str) -> None:
        host, local = self.host, SocketAddr(ip, self._port)
        socket = host.bind(local.port, ip)
        self.sockets.append(socket)
        host.call(self.swarm.add_socket, socket, local, host.now)
        if self._dials_back:
            local = SocketAddr(ip, self._port + PROBE_PORT_OFFSET)
            probe = host.bind(local.port, ip)
            self.sockets.append(probe)
            host.call(self.swarm.add_probe_socket, probe, local)

    # facts

    def address(self, ip: str | None = None) -> Multiaddr:
        """Returns where a host that is not behind a NAT can be dialled."""
        at = SocketAddr(ip or self.host.ip, self._port)
        return transport_multiaddr(at, TransportName.NOISE_UDP)

    def of(self, kind: type[T]) -> list[T]:
        """Returns the events of a kind so far."""
        return [event for event in self.events if isinstance(event, kind)]

    def connections_to(self, peer: "SimNode") -> int:
        """Returns how many open connections there are with a peer."""
        made = self.of(ConnectionEstablished)
        found = (
            self.swarm.facts.connection(e.connection) for e in made if e.peer_id == peer.peer_id
        )
        return sum(each is not None and not each.is_closed for each in found)

    # commands

    def do(self, command: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Calls a method of the swarm or of a stream, and drains."""
        return self.host.call(command, *args, **kwargs)

    def dial(self, peer: "SimNode | PeerId", *addresses: Multiaddr, check: bool = True) -> int:
        """Dials a node, at its own address unless others are given, or a peer wherever it is.

        Returns the dial's id.  Without `check` whoever answers is welcome.  Raises as Swarm.dial.
        """
        if isinstance(peer, SimNode):
            addresses = addresses or (peer.address(),)
            peer = peer.peer_id
        return self.do(self.swarm.dial, peer if check else None, addresses, self.host.now)

    def connect(
        self, peer: "SimNode | PeerId", *addresses: Multiaddr, timeout: float = CONNECT_TIMEOUT
    ) -> ConnectionHandle:
        """Dials, lets time pass, and returns the connection.

        Raises the first attempt's error where the dial fails, DialError where it had none;
        SimulationError where it is not over after `timeout` seconds.
        """
        dial_id = self.dial(peer, *addresses)

        def ended() -> DialSucceeded | DialFailed | None:
            found: list[DialSucceeded | DialFailed] = [
                *self.of(DialSucceeded),
                *self.of(DialFailed),
            ]
            return next((event for event in found if event.dial_id == dial_id), None)

        self.host.world.run_until(lambda: ended() is not None, timeout)
        event = ended()
        assert event is not None
        if isinstance(event, DialSucceeded):
            return event.connection
        raise event.attempts[0][1] if event.attempts else DialError("no address is known")

    def serve(self, protocol: str, handler: StreamHandler | None = None) -> None:
        """Takes streams of a protocol; what comes on them is in `received`, and the handler's."""
        self._handlers[protocol] = handler or (lambda stream, data, is_end: None)
        self.do(self.swarm.handle_protocol, protocol, self.host.now)

    def open(self, connection: ConnectionHandle | int, *protocols: str) -> SwarmStream:
        """Opens a stream.  Raises ConnectionLost, or LocalProtocolError where there is no room."""
        handle = ConnectionHandle(connection)
        stream = self.do(self.swarm.open_stream, handle, protocols, self.host.now)
        if stream is None:
            raise LocalProtocolError("the peer allows no more streams now")
        return stream

    # from the swarm

    def on_event(self, event: SwarmEvent) -> None:
        """Keeps the event, and reads served streams."""
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
        while data := stream.read(_READ_SIZE):
            buffer += data
            handler(stream, data, False)
        if stream.at_eof and key not in self.ended:
            self.ended[key] = None
            handler(stream, b"", True)
