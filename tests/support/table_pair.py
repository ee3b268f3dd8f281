"""Two endpoints, each with a real `StreamTable` and services of the test's choice, on a `Pair`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from p2pnode.clock import Deadline
from p2pnode.machine import ConnectionHandle
from p2pnode.swarm.peer import Peer
from p2pnode.swarm.services.calls import ServiceCalls
from p2pnode.swarm.services.service import Command, OpenStream, PumpMachine, Service
from p2pnode.swarm.stream_table import StreamTable
from p2pnode.swarm.swarm_stream import SwarmStream
from p2pnode.transports.events import ConnectionClosed
from p2pnode.transports.noise_udp.config import TransportConfig
from p2pnode.transports.stream_events import (
    StreamOpened,
    StreamReadable,
    StreamResetByPeer,
    StreamStoppedByPeer,
    StreamWritable,
)
from tests.support.addresses import NOISE_UDP
from tests.support.pair import Pair, Side, transports_of

if TYPE_CHECKING:
    from p2pnode.swarm.events import SwarmEvent


class TableSide:
    """What the swarm is to the streams of one endpoint, and no more."""

    def __init__(self, side: Side, services: Sequence[Service]) -> None:
        self.side = side
        self.services = tuple(services)
        self.calls = ServiceCalls()
        self.calls.register(self.services)
        self.table = StreamTable(transports_of(side.endpoint), self.calls, self.services)
        self.events: list[SwarmEvent] = []
        """What the application is told of its streams."""
        self.told: list[SwarmEvent] = []
        """What services tell the user."""
        self.other_commands: list[Command] = []
        self._routed = 0

    @property
    def handle(self) -> ConnectionHandle:
        """Of the connection that was made last."""
        return ConnectionHandle(self.side.handle)

    @property
    def peer(self) -> Peer:
        connection = self.side.connection
        return Peer(
            self.handle, connection.peer_id, connection.route, connection.is_initiator, NOISE_UDP
        )

    def open(self, now: float, *protocols: str) -> SwarmStream:
        stream = self.table.open(self.handle, protocols, now)
        assert stream is not None, "the peer allows no more streams now"
        return stream

    def of(self, stream: SwarmStream) -> list[type]:
        """Returns the kinds of events of a stream, in order."""
        return [type(event) for event in self.events if getattr(event, "stream", None) is stream]

    def run(self, now: float) -> bool:
        """Routes what has happened; returns whether anything had."""
        found = self.side.events[self._routed :]
        self._routed = len(self.side.events)
        for event in found:
            self._on_event(ConnectionHandle(event.handle), event.event, now)
        deadline = self.table.poll_timeout()
        is_due = deadline is not None and now >= deadline.at
        if is_due:
            self.table.handle_timeout(now)
        obeyed = self._carry_out(now)
        self.events += self.table.poll_events()
        return bool(found) or is_due or obeyed

    def _on_event(self, handle: ConnectionHandle, event: object, now: float) -> None:
        match event:
            case StreamOpened(stream_id):
                connection = self.side.endpoint.connections[handle]
                route, is_initiator = connection.route, connection.is_initiator
                peer = Peer(handle, connection.peer_id, route, is_initiator, NOISE_UDP)
                self.table.on_opened(peer, stream_id, now)
            case StreamReadable(stream_id) | StreamResetByPeer(stream_id):
                self.table.on_readable(handle, stream_id, now)
            case StreamWritable(stream_id) | StreamStoppedByPeer(stream_id):
                self.table.on_writable(handle, stream_id, now)
            case ConnectionClosed():
                self.table.on_connection_closed(handle, now)
            case _:
                pass

    def _carry_out(self, now: float) -> bool:
        has_obeyed = False
        while service := self.calls.next_speaker():
            self.told += service.poll_events()
            for command in service.poll_commands():
                has_obeyed = True
                match command:
                    case OpenStream():
                        self.table.run(service, command, now)
                    case PumpMachine(connection, machine):
                        self.table.pump_machine(connection, machine, now)
                    case _:
                        self.other_commands.append(command)
        return has_obeyed


class TablePair(Pair):
    """`connect` first; `near` opened the connection, `far` took it."""

    def __init__(
        self,
        near: Sequence[Service] = (),
        far: Sequence[Service] = (),
        *,
        near_config: TransportConfig | None = None,
        far_config: TransportConfig | None = None,
    ) -> None:
        super().__init__(client_config=near_config, server_config=far_config)
        self.near = TableSide(self.client, near)
        self.far = TableSide(self.server, far)

    def flush(self) -> None:
        super().flush()
        while self.near.run(self.now) | self.far.run(self.now):
            super().flush()

    def run(self, seconds: float = 1.0) -> None:
        """Lets time pass."""
        self.drive(seconds=seconds)

    def _next(self) -> float | None:
        deadlines = [side.table.poll_timeout() for side in (self.near, self.far)]
        times = [at for at in (super()._next(), *map(_at, deadlines)) if at is not None]
        return min(times, default=None)


def _at(deadline: Deadline | None) -> float | None:
    return None if deadline is None else deadline.at
