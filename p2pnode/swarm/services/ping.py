"""Ping in the swarm: answers everybody, and pings on one kept stream a connection."""

from collections.abc import Mapping

from p2pnode.clock import Instant
from p2pnode.entropy import Entropy
from p2pnode.machine import ConnectionHandle, StreamMachine
from p2pnode.protocols import ping
from p2pnode.protocols.ping import PingRequester, PingResponder, Pong
from p2pnode.swarm.events import PingFailed, PongReceived
from p2pnode.swarm.inbound_streams import InboundLimit
from p2pnode.swarm.peer import Peer
from p2pnode.swarm.services.service import OpenStream, PumpMachine, Service


class PingService(Service):
    """`ping` is its command."""

    inbound: Mapping[str, InboundLimit] = {
        ping.PROTOCOL_ID: InboundLimit(ping.MAX_INBOUND_STREAMS_PER_PEER)
    }

    def __init__(self, entropy: Entropy) -> None:
        super().__init__()
        self._entropy = entropy
        self._requesters: dict[ConnectionHandle, PingRequester] = {}

    def ping(self, connection: ConnectionHandle, now: Instant) -> None:
        """Sends a ping, unless one is on its way."""
        requester = self._requesters.get(connection)
        if requester is None or requester.is_done:
            requester = self._requesters[connection] = PingRequester(self._entropy)
            requester.ping(now)
            self._command(OpenStream(connection, ping.PROTOCOL_ID, requester))
        elif requester.can_ping:
            requester.ping(now)
            self._command(PumpMachine(connection, requester))

    def accept(self, peer: Peer, protocol: str, now: Instant) -> StreamMachine | None:
        return PingResponder(now)

    def on_progress(
        self, connection: ConnectionHandle, machine: StreamMachine, now: Instant
    ) -> None:
        if isinstance(machine, PingRequester):
            for event in machine.poll_events():
                if isinstance(event, Pong):
                    self._announce(PongReceived(connection, event.rtt))
                else:
                    self._announce(PingFailed(connection, event.reason))

    def on_stream_failed(
        self, connection: ConnectionHandle, machine: StreamMachine, reason: str, now: Instant
    ) -> None:
        if isinstance(machine, PingRequester):
            self._announce(PingFailed(connection, reason))

    def on_stream_over(
        self, connection: ConnectionHandle, machine: StreamMachine, now: Instant
    ) -> None:
        if self._requesters.get(connection) is machine:
            del self._requesters[connection]
