"""How a command reaches a peer: through the node that runs here, or through one of its own.

Rule: the running node is used where there is one, so that its identity, connections and paths
serve; a node of our own is made under an identity that is forgotten afterwards, and it leaves the
data folder alone.
"""

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

from p2pnode.cli.environment import NO_TRACES, Environment, NodeRequest, Traces
from p2pnode.cli.output import Output
from p2pnode.cli.units import carriers_text
from p2pnode.errors import AddressError, DialError, P2PNodeError
from p2pnode.identity.peer_id import PeerId
from p2pnode.io.applications.peer_stream import PeerStream
from p2pnode.io.control.client import ControlClient
from p2pnode.io.control.messages import (
    IdentifyReport,
    InfoReport,
    PingReport,
    PingRequest,
    RouteReport,
)
from p2pnode.io.control.operations import (
    ControlledNode,
    identify_report,
    ping_reports,
    route_report,
    why_report,
)
from p2pnode.io.control.status import WhyReport


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

    async def why(self, target: str) -> WhyReport: ...

    async def open_stream(self, target: str, protocol: str) -> OpenedStream: ...


class Errand(NamedTuple):
    """The peer that a command wants to reach, and how it may."""

    target: str
    data: Path | None
    bootstrap: tuple[str, ...] = ()
    traces: Traces = NO_TRACES


@asynccontextmanager
async def open_access(
    environment: Environment, output: Output, errand: Errand
) -> AsyncGenerator[Access, None]:
    """Yields the way to the peer.  Raises P2PNodeError."""
    bootstrap = errand.bootstrap
    folder = environment.data_folder(errand.data)
    socket = environment.control_socket(folder)
    if socket is not None:
        client = ControlClient(socket)
        running = await client.try_info()
        if running is not None:
            if not _is_of(running, errand.target):
                _note_what_is_ignored(output, errand)
                yield _ControlAccess(client)
                return
            # A node does not dial itself; who asks from the next terminal is a peer of its own.
            if _is_bare(errand.target):
                bootstrap = bootstrap or running.addresses
    if _is_bare(errand.target) and not bootstrap:
        raise P2PNodeError(
            f"{errand.target} is a bare peer id and no node runs on {folder}: give a full address, "
            "or --bootstrap and the address of a peer that may know it"
        )
    request = NodeRequest(data=None, listen=(), traces=errand.traces, bootstrap=bootstrap)
    async with environment.open_node(request) as node:
        yield _NodeAccess(node.controlled, bootstrap)


def _note_what_is_ignored(output: Output, errand: Errand) -> None:
    ignored = [
        *(["--bootstrap"] if errand.bootstrap else []),
        *(["--qlog and --key-log"] if errand.traces != NO_TRACES else []),
    ]
    if ignored:
        verb = "are" if ignored[-1] != "--bootstrap" else "is"
        output.note(
            f"this command goes through the node that runs already: {', '.join(ignored)} {verb} "
            "that node's own matter, and ignored here"
        )


def _is_bare(target: str) -> bool:
    """True for a peer id without any address."""
    try:
        PeerId.parse(target.removeprefix("/p2p/"))
    except AddressError:
        return False
    return True


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

    async def why(self, target: str) -> WhyReport:
        return await self._client.why(target)

    async def open_stream(self, target: str, protocol: str) -> OpenedStream:
        stream = await self._client.open_stream(target, protocol)

        async def route() -> RouteReport:
            # The connection may be gone by now; then it is known as it was.
            with contextlib.suppress(P2PNodeError):
                return await self._client.route(stream.route.peer)
            return stream.route

        return OpenedStream(stream, stream.route.peer, route)


class _NodeAccess:
    def __init__(self, node: ControlledNode, bootstrap: tuple[str, ...]) -> None:
        self._node = node
        self._bootstrap = bootstrap

    async def ping(
        self, target: str, count: int | None, interval: float
    ) -> AsyncGenerator[PingReport, None]:
        with self._telling_of_bootstrap(target):
            await self._node.connect(target)
        async with contextlib.aclosing(
            ping_reports(self._node, PingRequest(target, count, interval))
        ) as reports:
            async for report in reports:
                yield report

    async def identify(self, target: str) -> IdentifyReport:
        with self._telling_of_bootstrap(target):
            return await identify_report(self._node, target)

    async def why(self, target: str) -> WhyReport:
        with self._telling_of_bootstrap(target):
            return await why_report(self._node, target)

    async def open_stream(self, target: str, protocol: str) -> OpenedStream:
        with self._telling_of_bootstrap(target):
            stream = await self._node.open_stream(target, protocol)

        async def route() -> RouteReport:
            return route_report(stream.peer_id, stream.connection_info)

        return OpenedStream(stream, str(stream.peer_id), route)

    @contextlib.contextmanager
    def _telling_of_bootstrap(self, target: str) -> Generator[None, None, None]:
        """Where nobody could be asked for a peer, that is what is wrong."""
        try:
            yield
        except DialError as exc:
            if not self._bootstrap or not _is_bare(target) or self._node.status().connections:
                raise
            peers, carriers = " and ".join(self._bootstrap), carriers_text(self._bootstrap)
            raise P2PNodeError(
                f"cannot look for {target}: no bootstrap peer answers; check the address {peers}, "
                f"that a peer runs there, and that {carriers} gets through"
            ) from exc
