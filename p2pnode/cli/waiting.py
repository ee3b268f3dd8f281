"""Nodes that wait for peers to come: what `receive` and `pipe` have in common."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import trio

from p2pnode.cli.environment import CommandNode, Environment, NodeRequest
from p2pnode.cli.node_report import NodeReport
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
        if not request.bootstrap:
            yield node
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_note_failed_dials, node.reports(), output)
            yield node
            nursery.cancel_scope.cancel()


def ways_to(node: CommandNode, request: NodeRequest) -> list[str]:
    """Returns what a command on another machine may be given to reach the node."""
    by_id = [f"{node.controlled.peer_id} --bootstrap {peer}" for peer in request.bootstrap]
    return [*by_id, *(str(address) for address in node.controlled.addresses)]


async def _note_failed_dials(reports: AsyncIterator[NodeReport], output: Output) -> None:
    """Where the peer by which others find it is not there, the command would wait for ever."""
    async for report in reports:
        if report.event == "dial_failed":
            output.note(*report.lines)
