"""Ping in the swarm: answers everybody, and pings on one kept stream a connection."""

from p2pnode.clock import Instant
from p2pnode.entropy import Entropy
from p2pnode.machine import ConnectionHandle, StreamMachine
from p2pnode.protocols import ping
from p2pnode.protocols.ping import PingRequester, PingResponder, Pong
from p2pnode.swarm.events import PingFailed, PongReceived
from p2pnode.swarm.services.service import OpenStream, Peer, PumpMachine, Service


class PingService(Service):
    """`ping` is its command."""

    protocol_ids: tuple[str, ...] = (ping.PROTOCOL_ID,)

    def __init__(self, entropy: Entropy) -> None:
        super().__init__()
        self._entropy = entropy
        self._requesters: dict[ConnectionHandle, PingRequester] = {}
        self._responders: dict[ConnectionHandle, int] = {}

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
        if self._responders.get(peer.connection, 0) >= ping.MAX_INBOUND_STREAMS_PER_PEER:
            return None
        self._responders[peer.connection] = self._responders.get(peer.connection, 0) + 1
        return PingResponder(now)

    def on_disconnected(self, peer: Peer, now: Instant) -> None:
        self._requesters.pop(peer.connection, None)
        self._responders.pop(peer.connection, None)

    def on_progress(
        self, connection: ConnectionHandle, machine: StreamMachine, now: Instant
    ) -> None:
        if isinstance(machine, PingRequester):
            for event in machine.poll_events():
                if isinstance(event, Pong):
                    self._announce(PongReceived(connection, event.rtt))
                else:
                    self._announce(PingFailed(connection, event.reason))
        elif machine.is_done and connection in self._responders:
            self._responders[connection] -= 1

    def on_stream_failed(
        self, connection: ConnectionHandle, machine: StreamMachine, reason: str, now: Instant
    ) -> None:
        if isinstance(machine, PingRequester):
            self._requesters.pop(connection, None)
            self._announce(PingFailed(connection, reason))
        elif connection in self._responders:
            self._responders[connection] -= 1
