"""Nodes that run until they are told to stop: what `run`, `relay` and `join` have in common.

Rule: who is told to stop takes leave first: the circuits that it relays move away, for DRAIN_GRACE
at most.  The second signal ends it at once.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

import typer

from p2pnode.cli.environment import CommandNode, Environment, NodeRequest
from p2pnode.cli.output import Output
from p2pnode.errors import AddressError

if TYPE_CHECKING:
    import trio

    from p2pnode.cli.node_report import NodeReport
    from p2pnode.cli.session import Session
    from p2pnode.io.metrics.server import MetricsAddress

DRAIN_GRACE = 5.0
"""seconds for circuits to move to other relays; chosen: a reservation and a dial at 1 s of delay"""


def metrics_address(text: str | None) -> "MetricsAddress | None":
    """Returns what --metrics means; what means nothing is wrong usage."""
    if text is None:
        return None
    from p2pnode.io.metrics.server import parse_metrics_address

    try:
        return parse_metrics_address(text)
    except AddressError as exc:
        raise typer.BadParameter(str(exc), param_hint="--metrics") from exc


class Server:
    """Runs one node to its end, and prints what it learns."""

    def __init__(
        self,
        environment: Environment,
        output: Output,
        request: NodeRequest,
        metrics: "MetricsAddress | None",
    ) -> None:
        self._environment = environment
        self._output = output
        self._request = request
        self._metrics = metrics

    async def serve(
        self,
        session: "Session",
        announce: Callable[[CommandNode], None],
        begin: Callable[[CommandNode], Awaitable[None]] | None = None,
    ) -> int:
        """`announce` prints the first lines; `begin` has the node as soon as it reports."""
        import trio

        is_to_end = trio.Event()
        async with self._environment.open_node(self._request) as node:
            reports = node.reports()  # before anything else runs, so that none is missed
            session.code_if_interrupted = lambda: 0
            session.end_gently = is_to_end.set
            async with trio.open_nursery() as nursery:
                announce(node)
                if self._metrics is not None:
                    bound = await nursery.start(node.serve_metrics, self._metrics)
                    url = f"http://{bound}/metrics"
                    self._output.emit({"event": "metrics", "url": url}, f"metrics    {url}")
                nursery.start_soon(self._print, reports, is_to_end)
                if begin is not None:
                    nursery.start_soon(begin, node)
                await is_to_end.wait()
                await self._drain(node)
                nursery.cancel_scope.cancel()
        return 0

    async def _print(self, reports: "AsyncIterator[NodeReport]", is_to_end: "trio.Event") -> None:
        async for report in reports:
            self._output.emit({"event": report.event, **report.fields}, *report.lines)
        is_to_end.set()

    async def _drain(self, node: CommandNode) -> None:
        circuits = sum(relaying.circuits for relaying in node.controlled.status().relaying) // 2
        if circuits:
            text = (
                f"ending     {circuits} circuits move to other relays, within {DRAIN_GRACE:.0f} s; "
                "another signal ends at once"
            )
            fields = {"event": "draining", "circuits": circuits, "grace_s": DRAIN_GRACE}
            self._output.emit(fields, text)
        await node.drain(DRAIN_GRACE)


def announce_node(output: Output, node: CommandNode) -> list[str]:
    """Prints who the node is and where it listens; returns the addresses."""
    peer_id = str(node.controlled.peer_id)
    addresses = [str(address) for address in node.controlled.addresses]
    lines = [f"peer id    {peer_id}", *(f"listening  {address}" for address in addresses)]
    output.emit({"event": "started", "peer_id": peer_id, "addresses": addresses}, *lines)
    return addresses


def best_address(addresses: list[str]) -> str:
    """Returns the one that reaches farthest: what to tell others."""
    from p2pnode.wire.ip_ranges import IpScope
    from p2pnode.wire.multiaddr import multiaddr_scope, parse_multiaddr

    order = (IpScope.PUBLIC, IpScope.PRIVATE, IpScope.LOOPBACK)

    def rank(address: str) -> int:
        scope = multiaddr_scope(parse_multiaddr(address))
        return order.index(scope) if scope in order else len(order)

    return min(addresses, key=rank, default="ADDRESS")
