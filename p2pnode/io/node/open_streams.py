"""The streams of a node that the application has in its hands."""

from collections.abc import Sequence

import trio

from p2pnode.errors import ClosedLocally
from p2pnode.io.node.connection_info import ConnectionInfo, connection_info
from p2pnode.io.node.engine import Engine
from p2pnode.io.node.stream import Stream
from p2pnode.machine import ConnectionHandle
from p2pnode.swarm.swarm_stream import SwarmStream
from p2pnode.transport.route import Route


class OpenStreams:
    """Finds the Stream that an event is for; the StreamHost of all of them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._streams: dict[SwarmStream, Stream] = {}
        self._room: dict[ConnectionHandle, trio.lowlevel.ParkingLot] = {}
        """Who waits until the peer allows more streams, by connection."""

    def open(self, connection: ConnectionHandle, protocols: Sequence[str]) -> Stream | None:
        """Opens a stream; returns None where the peer allows no more now.

        Raises ConnectionLost.
        """
        stream = self._engine.swarm.open_stream(connection, protocols, self._engine.now)
        if stream is None:
            return None
        # Not a drain: what the application writes first may share the packet.
        self._engine.wake()
        return self._adopt(stream, protocols[0])

    def accept(self, stream: SwarmStream) -> Stream:
        """Takes a stream that a peer opened.  Raises ConnectionLost."""
        assert stream.protocol is not None
        return self._adopt(stream, stream.protocol)

    async def wait_for_room(self, connection: ConnectionHandle) -> None:
        """Returns when opening a stream is worth another try.  Cancel-safe."""
        self._engine.wake()  # the peer is told that we would like more
        lot = self._room.setdefault(connection, trio.lowlevel.ParkingLot())
        try:
            await lot.park()
        finally:
            if not lot and self._room.get(connection) is lot:
                del self._room[connection]

    def _adopt(self, stream: SwarmStream, protocol: str) -> Stream:
        connection = self._engine.swarm.facts.connection(stream.connection)
        info = self.connection_info(stream)
        if connection is None or connection.is_closed or info is None:
            raise ClosedLocally("the connection is gone")
        adopted = self._streams[stream] = Stream(stream, self, protocol, info)
        return adopted

    # for the streams

    def drain(self) -> None:
        self._engine.drain()

    def wake(self) -> None:
        self._engine.wake()

    def release(self, stream: SwarmStream) -> None:
        self._streams.pop(stream, None)
        self._engine.swarm.release_stream(stream, self._engine.now)

    def reset(self, stream: SwarmStream, code: int) -> None:
        self._streams.pop(stream, None)
        self._engine.swarm.reset_stream(stream, code, self._engine.now)

    def connection_info(self, stream: SwarmStream) -> ConnectionInfo | None:
        return connection_info(self._engine.swarm.facts, stream.connection)

    # from the swarm

    def on_readable(self, stream: SwarmStream) -> None:
        found = self._streams.get(stream)
        if found is not None:
            found.on_readable()

    def on_writable(self, stream: SwarmStream) -> None:
        found = self._streams.get(stream)
        if found is not None:
            found.on_writable()

    def on_room(self, connection: ConnectionHandle) -> None:
        """The peer allows more streams, or the connection is gone: everybody tries again."""
        lot = self._room.pop(connection, None)
        if lot is not None:
            lot.unpark_all()

    def on_path_changed(self, connection: ConnectionHandle, route: Route) -> None:
        """The packets of its streams go another way from now on."""
        for stream in self._of(connection):
            self._streams[stream].on_path_changed(route)

    def on_connection_closed(self, connection: ConnectionHandle) -> None:
        """Whoever waits on one of its streams finds out why there is nothing more to come."""
        for stream in self._of(connection):
            lost = self._streams.pop(stream)
            lost.on_readable()
            lost.on_writable()
        self.on_room(connection)

    def _of(self, connection: ConnectionHandle) -> list[SwarmStream]:
        return [stream for stream in self._streams if stream.connection == connection]
