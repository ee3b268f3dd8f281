"""The streams of a node that the application has in its hands."""

from collections.abc import Sequence
from typing import Final

import trio

from p2pnode.errors import (
    ClosedLocally,
    LocalProtocolError,
    P2PNodeError,
    StreamStopped,
    Undelivered,
)
from p2pnode.io.node.connection_info import ConnectionInfo, connection_info, path_kind, via
from p2pnode.io.node.engine import Engine
from p2pnode.io.node.stream import Stream, wait_delivered
from p2pnode.machine import ConnectionHandle
from p2pnode.swarm.swarm_stream import SwarmStream
from p2pnode.transports.route import Route

DELIVERY_TIMEOUT: Final = 5.0
"""seconds at a node's end for peers to acknowledge what was finished; chosen: some round trips of a
bad line, with what was lost sent again"""
FINISHED_KEPT: Final = 64
"""closed streams that are kept before it is looked which of them were acknowledged; chosen"""


class OpenStreams:
    """Finds the Stream that an event is for; the StreamHost of all of them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._streams: dict[SwarmStream, Stream] = {}
        self._info: dict[ConnectionHandle, ConnectionInfo] = {}
        """What was known of a connection at its first stream, the path kept up to date."""
        self._room: dict[ConnectionHandle, trio.lowlevel.ParkingLot] = {}
        """Who waits until the peer allows more streams, by connection."""
        self._finished: set[SwarmStream] = set()
        """Closed by the application, and not known to be delivered."""
        self._finished_limit = FINISHED_KEPT

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
        if stream.is_lost:
            raise ClosedLocally("the connection is gone")
        info = self._info.get(stream.connection)
        if info is None:
            info = self.connection_info(stream)
            assert info is not None, "a connection that lives is known"
            self._info[stream.connection] = info
        adopted = self._streams[stream] = Stream(stream, self, protocol, info)
        return adopted

    async def deliver(self) -> None:
        """Returns once peers have acknowledged every stream that has an end already.

        Raises Undelivered where one will never be, or is not within DELIVERY_TIMEOUT.  A peer that
        gave up receiving wanted no more of it.  Streams of connections that were lost before are
        not looked at.  Cancel-safe.
        """
        held = {stream for stream in self._streams if stream.is_finished}
        waiting = {stream for stream in held | self._finished if not stream.is_delivered}
        reason: P2PNodeError | None = None
        with trio.move_on_after(DELIVERY_TIMEOUT):
            for stream in list(waiting):
                try:
                    await wait_delivered(stream)
                except StreamStopped:
                    pass
                except P2PNodeError as exc:
                    is_our_reset = isinstance(exc, LocalProtocolError) and stream.failure is None
                    if not is_our_reset:
                        reason = reason or exc
                        continue
                waiting.remove(stream)
        waiting = {stream for stream in waiting if not stream.is_delivered}
        if waiting:
            why = reason or f"nothing came back within {DELIVERY_TIMEOUT:.0f} s"
            raise Undelivered(len(waiting), str(why)) from reason

    # for the streams

    def drain(self) -> None:
        self._engine.drain()

    def wake(self) -> None:
        self._engine.wake()

    def release(self, stream: SwarmStream) -> None:
        self._streams.pop(stream, None)
        self._engine.swarm.release_stream(stream, self._engine.now)
        if stream.is_finished and not stream.is_delivered:
            self._finished.add(stream)
            if len(self._finished) > self._finished_limit:
                self._finished = {s for s in self._finished if _is_on_its_way(s)}
                self._finished_limit = FINISHED_KEPT + 2 * len(self._finished)

    def reset(self, stream: SwarmStream, code: int) -> None:
        self._streams.pop(stream, None)
        self._finished.discard(stream)
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
        info = self._info.get(connection)
        if info is None:
            return
        there = via(route, info.transport)
        self._info[connection] = info = info._replace(path=path_kind(route), via=there)
        for stream in self._of(connection):
            self._streams[stream].on_path_changed(info)

    def on_connection_closed(self, connection: ConnectionHandle) -> None:
        """A task that waits on one of its streams finds out why there is nothing more to come."""
        self._info.pop(connection, None)
        for stream in self._of(connection):
            lost = self._streams.pop(stream)
            lost.on_readable()
            lost.on_writable()
        self._finished = {s for s in self._finished if s.connection != connection}
        self.on_room(connection)

    def _of(self, connection: ConnectionHandle) -> list[SwarmStream]:
        return [stream for stream in self._streams if stream.connection == connection]


def _is_on_its_way(stream: SwarmStream) -> bool:
    try:
        stream.check_deliverable()
    except P2PNodeError:
        return False
    return not stream.is_delivered
