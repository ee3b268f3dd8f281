"""The application's handlers: each stream that a peer opens gets a task of its own.

Rule: a handler that fails loses its stream and nothing else; the node goes on.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import trio

from p2pnode.errors import LocalProtocolError, P2PNodeError
from p2pnode.io.node.engine import Engine
from p2pnode.io.node.open_streams import OpenStreams
from p2pnode.io.node.stream import Stream
from p2pnode.swarm.swarm_stream import SwarmStream
from p2pnode.wire.reset_code import StreamResetCode

logger = logging.getLogger(__name__)

Handler: TypeAlias = Callable[[Stream], Awaitable[object]]


class Handlers:
    """Handlers by protocol id, and their tasks."""

    def __init__(self, engine: Engine, streams: OpenStreams, nursery: trio.Nursery) -> None:
        self._engine = engine
        self._streams = streams
        self._nursery = nursery
        self._handlers: dict[str, Handler] = {}

    def add(self, protocol: str, handler: Handler, max_streams: int) -> None:
        """Raises LocalProtocolError where the protocol has a handler."""
        if protocol in self._engine.swarm.facts.protocols():
            raise LocalProtocolError(f"{protocol} is handled already")
        self._handlers[protocol] = handler
        self._engine.swarm.handle_protocol(protocol, self._engine.now, max_streams)
        self._engine.wake()

    def remove(self, protocol: str) -> None:
        """Streams that are being handled go on.  Does nothing for an unknown protocol."""
        if self._handlers.pop(protocol, None) is not None:
            self._engine.swarm.unhandle_protocol(protocol, self._engine.now)
            self._engine.wake()

    def on_opened(self, swarm_stream: SwarmStream) -> None:
        """A peer opened a stream for one of the protocols."""
        handler = self._handlers.get(swarm_stream.protocol or "")
        if handler is None:  # removed since the peer asked
            self._streams.reset(swarm_stream, StreamResetCode.NEGOTIATION_FAILED)
            return
        try:
            stream = self._streams.accept(swarm_stream)
        except P2PNodeError as exc:
            logger.debug("a stream is gone before its handler began: %s", exc)
            return
        self._nursery.start_soon(_serve, handler, stream, name=f"{stream.protocol} handler")


async def _serve(handler: Handler, stream: Stream) -> None:
    try:
        await handler(stream)
        await stream.aclose()
    # Alone or in a group: a handler may have tasks of its own.
    except* (trio.BrokenResourceError, trio.ClosedResourceError, P2PNodeError) as group:
        logger.debug("%s with %s: %s", stream.protocol, stream.peer_id, group.exceptions)
        stream.reset()
    # Whatever else an application raises is its bug, and ends nothing but this stream.
    except* Exception:
        logger.exception("the handler of %s failed", stream.protocol)
        stream.reset()
    finally:
        stream.reset(StreamResetCode.SHUTDOWN)  # only where the handler was cancelled
