"""Dial-backs: short connections from sockets that are used for nothing else, by nobody known.

AutoNAT's servers dial who asks from another port, and under an identity that is thrown away: so no
NAT lets the packets in for the sake of the connection that asked, and no pool takes the connection
for a better one.
"""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from p2pnode.clock import Deadline, Instant, UnixTime, earliest
from p2pnode.entropy import Entropy
from p2pnode.errors import DialError
from p2pnode.identity.keys import PrivateKey
from p2pnode.links import LinkCommand, LinkEvent
from p2pnode.machine import ConnectionHandle, Received, SocketAddr, SocketId, Transmit, Unreachable
from p2pnode.resources.account import Account
from p2pnode.resources.limits import ResourceLimits
from p2pnode.swarm.services.calls import ServiceCalls
from p2pnode.swarm.services.service import DialBack, OpenStream, SendDatagram, Service
from p2pnode.swarm.stream_table import StreamTable
from p2pnode.transports import events as transport
from p2pnode.transports.commons import Commons
from p2pnode.transports.faults import Faults
from p2pnode.transports.registry import Makers, make_transports
from p2pnode.transports.route import ANY_PORT, Route
from p2pnode.transports.stream_events import (
    StreamReadable,
    StreamResetByPeer,
    StreamStoppedByPeer,
    StreamWritable,
)

FIRST_HANDLE: Final = ConnectionHandle(1 << 32)
"""Handles of dial-backs start here: above those of all connections that a node can ever have."""
MAX_CONNECTIONS: Final = 64
"""at a time; chosen: twice what the budgets of AutoNAT's servers allow"""


class DialledBack(NamedTuple):
    """What became of a dial-back; `connection` is None where it failed."""

    ticket: int
    connection: ConnectionHandle | None
    reason: str


class DialBackSide:
    """Transports of its own.  Its sockets must not be the swarm's."""

    def __init__(
        self,
        makers: Makers,
        calls: ServiceCalls,
        *,
        entropy: Entropy,
        now: Instant,
        unix_now: UnixTime,
        faults: Faults | None = None,
        link_ids: Iterator[int] | None = None,
    ) -> None:
        """`link_ids` are the swarm's, whose driver serves links of both."""
        self._faults = faults or Faults()
        account = Account(ResourceLimits().with_connections(MAX_CONNECTIONS))
        self._transports = make_transports(
            makers,
            PrivateKey.generate(entropy),
            Commons(account, faults=self._faults, first_handle=FIRST_HANDLE, link_ids=link_ids),
            serves=False,
            now=now,
            unix_now=unix_now,
        )
        self._streams = StreamTable(self._transports, calls, (), self._faults)
        self.is_active = False
        """False while there is nothing to ask it for, as with most nodes for ever: those who drive
        it look at this after every packet."""
        self._sockets: dict[SocketId, SocketAddr] = {}
        self._tickets: dict[ConnectionHandle, int] = {}
        """handshake -> ticket"""
        self._results: list[DialledBack] = []
        self._datagrams: list[Transmit] = []

    @property
    def sockets(self) -> dict[SocketId, SocketAddr]:
        """With what they are bound to."""
        return self._sockets

    def ports(self) -> tuple[int | None, int | None]:
        """Returns the ports that dial-backs leave from, for IPv4 and IPv6."""
        ports = {local.is_ipv6: local.port for local in self._sockets.values()}
        return ports.get(False), ports.get(True)

    def add_socket(self, socket: SocketId, local: SocketAddr) -> None:
        self._sockets[socket] = local

    @property
    def has_results(self) -> bool:
        """Whether `poll_results` is known to have something: asked after `poll_transmits`."""
        return bool(self._results or self._transports.has_events)

    # commands

    def dial_back(self, command: DialBack, now: Instant) -> None:
        """Begins a handshake; the result comes by `poll_results`."""
        self.is_active = True
        is_over_tcp = command.transport.carrier == "tcp"
        socket = ANY_PORT if is_over_tcp else self._socket_for(command.address)
        reason = "no socket of this node reaches that address"
        if socket is not None:
            try:
                route = Route(socket, None, command.address)
                handle = self._transports.dial(
                    route,
                    command.peer_id,
                    now,
                    transport=command.transport,
                    timeout=command.timeout,
                )
            except DialError as error:
                reason = str(error)
            else:
                self._tickets[handle] = command.ticket
                return
        self._results.append(DialledBack(command.ticket, None, reason))

    def send(self, command: SendDatagram) -> None:
        """Sends one datagram, unless no socket reaches its target."""
        self.is_active = True
        socket = self._socket_for(command.target)
        if socket is not None:
            payload = command.payload
            self._datagrams.append(
                Transmit(socket, None, command.target, 0, None, len(payload), payload)
            )

    def run(self, service: Service, command: OpenStream, now: Instant) -> None:
        """Runs a service's machine on a stream of a dial-back's connection."""
        self._streams.run(service, command, now)

    def disconnect(self, connection: ConnectionHandle, reason: str, now: Instant) -> None:
        with self._transports.commanding(connection, now) as found:
            if found is not None:
                found.close(0, reason, now)

    def give_up(self, connection: ConnectionHandle, error: Exception, now: Instant) -> None:
        """Ends a connection for a fault that is told already; nothing where it is gone."""
        self._transports.give_up(connection, error, now)

    def close(self, now: Instant) -> None:
        """Ends the dial-backs that are under way."""
        self._transports.close_all("the node is going away", now)

    # the machine

    def handle_received(self, batch: Sequence[Received], now: Instant) -> None:
        """Takes what came to these sockets; nobody but who is dialled from them has a say."""
        self.is_active = True
        self._transports.handle_received(batch, now)
        self._drain(now)

    def handle_unreachable(self, reports: Sequence[Unreachable], now: Instant) -> None:
        """Takes what the system says of datagrams that left from these sockets."""
        self._transports.handle_unreachable(reports, now)
        self._drain(now)

    def handle_link_events(self, events: Sequence[LinkEvent], now: Instant) -> None:
        """Takes what happened to links of dial-backs; nobody else's are told here."""
        self.is_active = True
        self._transports.handle_link_events(events, now)
        self._drain(now)

    def handle_timeout(self, now: Instant) -> None:
        self._transports.handle_timeout(now)
        self._streams.handle_timeout(now)
        self._drain(now)

    def poll_transmits(self, now: Instant) -> list[Transmit]:
        transmits, self._datagrams = self._datagrams, []
        return transmits + self._transports.poll_transmits(now)

    def poll_link_commands(self, now: Instant) -> Sequence[LinkCommand]:
        return self._transports.poll_link_commands(now)

    def poll_results(self, now: Instant) -> list[DialledBack]:
        """Returns what became of dial-backs since the last call."""
        self._drain(now)
        results, self._results = self._results, []
        self.is_active = bool(self._tickets or self._datagrams or self._transports.is_active)
        return results

    def poll_timeout(self) -> Deadline | None:
        if not self.is_active:
            return None  # asked after every packet
        return earliest(self._transports.poll_timeout(), self._streams.poll_timeout())

    def _drain(self, now: Instant) -> None:
        for handle, event in self._transports.poll_events():
            try:
                self._on_event(handle, event, now)
            except Exception as error:
                self._faults.take(error, handle)
        self._streams.poll_events()

    def _on_event(
        self,
        handle: ConnectionHandle,
        event: transport.Connected | transport.DialFailed | transport.ConnectionEvent,
        now: Instant,
    ) -> None:
        match event:
            case StreamReadable(stream_id) | StreamResetByPeer(stream_id):
                self._streams.on_readable(handle, stream_id, now)
            case StreamWritable(stream_id) | StreamStoppedByPeer(stream_id):
                self._streams.on_writable(handle, stream_id, now)
            case transport.Connected() if handle in self._tickets:
                self._results.append(DialledBack(self._tickets.pop(handle), handle, ""))
            case transport.DialFailed(_, reason) if handle in self._tickets:
                ticket = self._tickets.pop(handle)
                self._results.append(DialledBack(ticket, None, str(reason)))
            case transport.ConnectionClosed():
                self._streams.on_connection_closed(handle, now)
            case _:
                pass

    def _socket_for(self, remote: SocketAddr) -> SocketId | None:
        sockets = self._sockets.items()
        return next((s for s, local in sockets if local.is_ipv6 == remote.is_ipv6), None)
