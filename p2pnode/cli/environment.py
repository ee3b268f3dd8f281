"""What a command needs of the outside: nodes and the data folder.

Rule: commands reach them only through an `Environment`, so that a test can stand in for the
network; and nothing heavy is imported before a command asks for it.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from trio import TaskStatus

    from p2pnode.cli.node_report import NodeReport
    from p2pnode.io.applications.peer_stream import NodeStream
    from p2pnode.io.control.operations import ControlledNode
    from p2pnode.io.metrics.server import MetricsAddress
    from p2pnode.protocols.relay import AccessList, RelayLimits


class Traces(NamedTuple):
    """What a node writes down of its connections."""

    qlog_dir: Path | None = None
    key_log: Path | None = None


NO_TRACES = Traces()


class RelayRequest(NamedTuple):
    """What a node is to be as a relay for others."""

    mode: Literal["off", "when public", "always"] = "when public"
    limits: "RelayLimits | None" = None
    """None: modest ones."""
    access: "AccessList | None" = None
    """Who may use it; None: everybody."""


DEFAULT_RELAY = RelayRequest()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRequest:
    """What kind of node a command wants."""

    data: Path | None
    """The data folder: identity, remembered port, lock, control socket.  None for a node without
    any of these, under an identity that it forgets."""
    listen: tuple[str, ...] | None
    """Multiaddrs; None for all interfaces, empty to dial only."""
    traces: Traces = NO_TRACES
    bootstrap: tuple[str, ...] = ()
    """Multiaddrs of peers to be connected with all the time."""
    relay: RelayRequest = DEFAULT_RELAY
    limits: "Mapping[str, int]" = field(default_factory=dict[str, int])
    """What others may hold of the node, by name; the others follow from the machine's memory."""
    protect: tuple[str, ...] = ()
    """Peers whose connections keep their places."""


class CommandNode(Protocol):
    """A node that a command has opened."""

    @property
    def controlled(self) -> "ControlledNode":
        """The node itself, for what a control socket offers as well."""
        ...

    def handle(
        self,
        protocol: str,
        handler: "Callable[[NodeStream], Awaitable[None]]",
        max_streams: int,
    ) -> None: ...

    def unhandle(self, protocol: str) -> None: ...

    def reports(self) -> "AsyncIterator[NodeReport]":
        """What the node learns from now on."""
        ...

    async def serve_metrics(
        self, address: "MetricsAddress", *, task_status: "TaskStatus[MetricsAddress]"
    ) -> None:
        """Serves Prometheus metrics until cancelled.  Raises ListenError."""
        ...

    async def drain(self, grace: float) -> None:
        """Moves the circuits of others away; takes `grace` seconds at most."""
        ...


class Environment(Protocol):
    """The outside."""

    def open_node(self, request: NodeRequest) -> "AbstractAsyncContextManager[CommandNode]":
        """Raises P2PNodeError when entered; DataFolderInUse where another node has the folder."""
        ...

    def data_folder(self, chosen: Path | None) -> Path:
        """Returns the chosen data folder, or the platform's."""
        ...

    def control_socket(self, folder: Path) -> Path | None:
        """Returns where the folder's node listens for commands, or None where it cannot."""
        ...

    def peer_id(self, folder: Path) -> str:
        """Returns the folder's peer id; makes folder and key where there is none.

        Raises P2PNodeError.
        """
        ...
