"""How a command reaches a peer: through the node that runs here, or through one of its own.

Rule: the running node is used where there is one, so that its identity, connections and paths
serve; a node of our own is made under an identity that is forgotten afterwards, and it leaves the
data folder alone.
"""

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

from p2pnode.cli.environment import NO_TRACES, Environment, NodeRequest, Traces
from p2pnode.cli.output import Output
from p2pnode.errors import P2PNodeError
from p2pnode.io.applications.peer_stream import PeerStream
from p2pnode.io.control_client import ControlClient
from p2pnode.io.control_messages import (
    IdentifyReport,
    InfoReport,
    PingReport,
    PingRequest,
    RouteReport,
)
from p2pnode.io.control_operations import (
    ControlledNode,
    identify_report,
    ping_reports,
    route_report,
)


class OpenedStream(NamedTuple):
    """A stream to a peer, wherever it comes from."""

    stream: PeerStream
    peer: str
    route: Callable[[], Awaitable[RouteReport]]
    """Returns which way its packets go at the moment."""


class Access(Protocol):
    """What a command can do with peers.  All raise P2PNodeError."""

    def ping(
        self, target: str, count: int | None, interval: float
    ) -> AsyncGenerator[PingReport, None]: ...

    async def identify(self, target: str) -> IdentifyReport: ...

    async def open_stream(self, target: str, protocol: str) -> OpenedStream: ...


@asynccontextmanager
async def open_access(
    environment: Environment, output: Output, data: Path | None, traces: Traces, target: str
) -> AsyncGenerator[Access, None]:
    """Yields the way to the peer.  Raises P2PNodeError."""
    folder = environment.data_folder(data)
    socket = environment.control_socket(folder)
    if socket is not None:
        client = ControlClient(socket)
        running = await client.try_info()
        # A node does not dial itself; who asks from the next terminal is a peer of its own.
        if running is not None and not _is_of(running, target):
            if traces != NO_TRACES:
                output.note(
                    "--qlog and --key-log belong to the running node that this command goes "
                    "through: they are ignored here"
                )
            yield _ControlAccess(client)
            return
    async with environment.open_node(NodeRequest(data=None, listen=(), traces=traces)) as node:
        yield _NodeAccess(node.controlled)


def _is_of(running: InfoReport, target: str) -> bool:
    """True where the target is the running node itself."""
    target = target.rstrip("/")
    if target == running.peer_id or target.endswith(f"/p2p/{running.peer_id}"):
        return True
    return any(address.startswith(f"{target}/") for address in running.addresses)


class _ControlAccess:
    def __init__(self, client: ControlClient) -> None:
        self._client = client

    def ping(
        self, target: str, count: int | None, interval: float
    ) -> AsyncGenerator[PingReport, None]:
        return self._client.ping(target, count, interval)

    async def identify(self, target: str) -> IdentifyReport:
        return await self._client.identify(target)

    async def open_stream(self, target: str, protocol: str) -> OpenedStream:
        stream = await self._client.open_stream(target, protocol)

        async def route() -> RouteReport:
            # The connection may be gone by now; then it is known as it was.
            with contextlib.suppress(P2PNodeError):
                return await self._client.route(stream.route.peer)
            return stream.route

        return OpenedStream(stream, stream.route.peer, route)


class _NodeAccess:
    def __init__(self, node: ControlledNode) -> None:
        self._node = node

    def ping(
        self, target: str, count: int | None, interval: float
    ) -> AsyncGenerator[PingReport, None]:
        return ping_reports(self._node, PingRequest(target, count, interval))

    async def identify(self, target: str) -> IdentifyReport:
        return await identify_report(self._node, target)

    async def open_stream(self, target: str, protocol: str) -> OpenedStream:
        stream = await self._node.open_stream(target, protocol)

        async def route() -> RouteReport:
            return route_report(stream.peer_id, stream.connection_info)

        return OpenedStream(stream, str(stream.peer_id), route)
