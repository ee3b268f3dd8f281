"""Nodes that wait for peers to come: what `receive` and `pipe` have in common."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from p2pnode.cli.environment import CommandNode, Environment, NodeRequest
from p2pnode.cli.output import Output
from p2pnode.errors import DataFolderInUse


@asynccontextmanager
async def open_waiting_node(
    environment: Environment, output: Output, request: NodeRequest
) -> AsyncGenerator[CommandNode, None]:
    """Yields the node; under an identity of its own where the data folder is in use."""
    async with AsyncExitStack() as stack:
        try:
            node = await stack.enter_async_context(environment.open_node(request))
        except DataFolderInUse:
            output.note(
                f"another node uses {request.data}: this one takes an identity of its own for now, "
                "and its address holds only while it runs"
            )
            node = await stack.enter_async_context(
                environment.open_node(replace(request, data=None))
            )
        yield node
