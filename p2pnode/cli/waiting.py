"""Nodes that wait for peers to come: what `receive` and `pipe` have in common."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from p2pnode.cli.environment import CommandNode, Environment, NodeRequest
from p2pnode.cli.output import Output
from p2pnode.errors import DataFolderInUse


@asynccontextmanager
async def open_waiting_node(
    environment: Environment, output: Output, data: Path | None, listen: list[str] | None
) -> AsyncGenerator[CommandNode, None]:
    """Yields a node under the data folder's identity, or under another where that is in use."""
    folder = environment.data_folder(data)
    addresses = tuple(listen) if listen else None
    async with AsyncExitStack() as stack:
        try:
            node = await stack.enter_async_context(
                environment.open_node(NodeRequest(data=folder, listen=addresses))
            )
        except DataFolderInUse:
            output.note(
                f"another node uses {folder}: this one takes an identity of its own for now, and "
                "its address holds only while it runs"
            )
            node = await stack.enter_async_context(
                environment.open_node(NodeRequest(data=None, listen=addresses))
            )
        yield node
