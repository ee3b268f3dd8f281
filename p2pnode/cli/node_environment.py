"""The outside as it is: nodes on the network and folders on the disk."""

import gc
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from p2pnode.cli.environment import CommandNode, NodeRequest
from p2pnode.errors import P2PNodeError

if TYPE_CHECKING:
    from trio import TaskStatus

    from p2pnode.cli.node_report import NodeReport
    from p2pnode.io.applications.peer_stream import NodeStream
    from p2pnode.io.control.operations import ControlledNode
    from p2pnode.io.metrics.server import MetricsAddress
    from p2pnode.io.node.events import EventSubscription
    from p2pnode.io.node.node import Node
    from p2pnode.resources.limits import ResourceLimits


class NodeEnvironment:
    """The `Environment` of everyday."""

    @asynccontextmanager
    async def open_node(self, request: NodeRequest) -> AsyncGenerator[CommandNode, None]:
        """Yields a node.  Raises P2PNodeError; DataFolderInUse where another node is on it."""
        gc.disable()  # see `main`
        from p2pnode.io.node.lifetime import open_node
        from p2pnode.protocols.relay.limits import MODEST, AccessList
        from p2pnode.swarm.config import RelayMode

        gc.freeze()  # see `seldom_collected`
        gc.enable()
        async with open_node(
            data_folder=request.data,
            listen=request.listen,
            bootstrap=request.bootstrap,
            relay_mode=RelayMode(request.relay.mode),
            relay_limits=request.relay.limits or MODEST,
            relay_access=request.relay.access or AccessList(),
            resources=_resources(request.limits),
            protect=request.protect,
            control_socket=request.data is not None,
            key_log=request.traces.key_log,
            qlog_dir=_made(request.traces.qlog_dir),
        ) as node:
            yield _OpenNode(node)

    def data_folder(self, chosen: Path | None) -> Path:
        """Returns the chosen data folder, or the platform's."""
        if chosen is not None:
            return chosen
        from p2pnode.io.folder.data_folder import default_data_folder

        return default_data_folder()

    def control_socket(self, folder: Path) -> Path | None:
        """Returns where the folder's node listens for commands, or None where it cannot."""
        from p2pnode.io.control.path import control_socket_path

        return control_socket_path(folder)

    def peer_id(self, folder: Path) -> str:
        """Returns the folder's peer id; makes folder and key where there is none.

        Raises P2PNodeError.
        """
        from p2pnode.identity.peer_id import PeerId
        from p2pnode.io.folder.data_folder import DataFolder
        from p2pnode.io.os_entropy import os_entropy

        key = DataFolder(folder).load_or_create_key(os_entropy)
        return str(PeerId.from_public_key(key.public_key))


def _resources(limits: Mapping[str, int]) -> "ResourceLimits | None":
    if not limits:
        return None
    from p2pnode.io.machine_memory import machine_memory
    from p2pnode.resources.limits import limits_for

    try:
        return limits_for(machine_memory()).changed(limits)
    except ValueError as exc:
        raise P2PNodeError(f"--limit: {exc}") from exc


def _made(folder: Path | None) -> Path | None:
    if folder is not None:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as exc:
            raise P2PNodeError(f"cannot make the folder {folder}: {exc.strerror}") from exc
    return folder


class _OpenNode:
    """A `CommandNode`."""

    def __init__(self, node: "Node") -> None:
        self._node = node

    @property
    def controlled(self) -> "ControlledNode":
        return self._node

    def handle(
        self,
        protocol: str,
        handler: "Callable[[NodeStream], Awaitable[None]]",
        max_streams: int,
    ) -> None:
        self._node.handle(protocol, handler, max_streams)

    def unhandle(self, protocol: str) -> None:
        self._node.unhandle(protocol)

    def reports(self) -> "AsyncIterator[NodeReport]":
        return _reports(self._node.events())

    async def serve_metrics(
        self, address: "MetricsAddress", *, task_status: "TaskStatus[MetricsAddress]"
    ) -> None:
        from p2pnode.io.metrics.exposition import NodeMetrics
        from p2pnode.io.metrics.node_metrics import NodeFactsSource
        from p2pnode.io.metrics.server import serve_metrics

        engine = self._node.engine
        source = NodeFactsSource(engine.swarm.facts, lambda: engine.now)
        self._node.watch(source.count)
        await serve_metrics(NodeMetrics(source), address, task_status=task_status)

    async def drain(self, grace: float) -> None:
        await self._node.drain(grace)


async def _reports(events: "EventSubscription") -> "AsyncIterator[NodeReport]":
    from p2pnode.cli.node_reports import Reporter

    reporter = Reporter()
    async for event in events:
        for report in reporter.reports_of(event):
            yield report
