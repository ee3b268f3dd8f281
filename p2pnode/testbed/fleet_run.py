"""A test swarm of processes: `p2pnode relay` and `p2pnode run`, asked over their control sockets.

    start    the first relays one after another, then everybody else, some at a time
    watch    `status` of each node, every few seconds
    ping     one request a pair that never ends; each pong says which way it went

Rule: the board gets everything, and a node that ends is a fact and no failure; only one that never
comes up ends the run.
"""

import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, aclosing, suppress
from pathlib import Path
from typing import Any, Final, TypeAlias

import trio

from p2pnode.errors import P2PNodeError
from p2pnode.io.control.client import ControlClient
from p2pnode.io.control.path import control_socket_path
from p2pnode.testbed.fleet import FleetPlan, Member, Pair
from p2pnode.testbed.fleet_board import Board, Way
from p2pnode.testbed.fleet_process import NodeProcess
from p2pnode.testbed.namespaces import Namespace

START_TIMEOUT: Final = 60.0
"""seconds for a node to come up; chosen: a hundred of them on one slow core"""
EXTRA_STARTS: Final = 1
"""nodes that start at once, beside one for each processor; starting is all CPU"""
STATUS_INTERVAL: Final = 2.0
"""seconds; chosen: verdicts come within three"""
PING_INTERVAL: Final = 1.0  # seconds
RETRY_INTERVAL: Final = 0.5
"""seconds from a failed attempt at a peer to the next one; chosen: news take about as long"""

LAST_WORDS_TIMEOUT: Final = 1.0
"""seconds for a node whose stdout has ended to end, and for its stderr to do so"""

Events: TypeAlias = AsyncGenerator[dict[str, Any], None]

LOOPBACK_LISTEN: Final = "/ip4/127.0.0.1/udp/0/noise"


class Fleet:
    """All processes of a swarm; `run` has them until it is cancelled."""

    def __init__(
        self,
        plan: FleetPlan,
        board: Board,
        *,
        program: tuple[str, ...],
        folder: Path,
        namespaces: Mapping[str, Namespace] | None = None,
    ) -> None:
        """`program` runs p2pnode; data folders are made below `folder`.

        Members live in the namespaces of their names; without any, all on the loopback interface.
        """
        self._plan = plan
        self._board = board
        self._program = program
        self._folder = folder
        self._namespaces = namespaces
        self._starts = trio.CapacityLimiter(EXTRA_STARTS + (os.cpu_count() or 1))
        self._is_up = {member.name: trio.Event() for member in plan.members}
        self.is_started = trio.Event()
        """Set when every member has come up."""

    async def run(self) -> None:
        """Starts everybody, and never returns.  Raises P2PNodeError where a node does not start.

        However this ends, the processes are gone then.
        """
        async with trio.open_nursery() as nursery:
            for pair in self._plan.pairs:
                nursery.start_soon(self._ping, pair)
            for member in self._plan.members:
                for other in self._plan.bootstrap_of(member):
                    await self._is_up[other.name].wait()
                nursery.start_soon(self._run_member, member)
            for event in self._is_up.values():
                await event.wait()
            self.is_started.set()
            await trio.sleep_forever()

    def data_folder(self, name: str) -> Path:
        """Returns where that member's key and control socket are."""
        return self._folder / name

    async def _run_member(self, member: Member) -> None:
        """Has the process from its start to its end, which is reported."""
        name = member.name
        async with AsyncExitStack() as turn:
            await turn.enter_async_context(self._starts)
            namespace = None if self._namespaces is None else self._namespaces[name]
            process = NodeProcess(self._command(member), namespace)
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(process.listen_to_stderr)
                    async with aclosing(process.events()) as events:
                        await self._wait_started(name, process, events)
                        await turn.aclose()
                        await self._follow(name, events)
                    with trio.move_on_after(LAST_WORDS_TIMEOUT):
                        await process.wait()
                    nursery.cancel_scope.deadline = trio.current_time() + LAST_WORDS_TIMEOUT
            finally:
                with trio.CancelScope(shield=True):
                    await process.end()
        self._board.ended(name, process.last_words)

    async def _wait_started(self, name: str, process: NodeProcess, events: Events) -> None:
        """Returns when the node has said who it is.  Raises P2PNodeError where it does not."""
        with trio.move_on_after(START_TIMEOUT) as scope:
            async for event in events:
                if event.get("event") == "started":
                    peer_id, addresses = str(event["peer_id"]), event["addresses"]
                    self._board.started(name, peer_id, addresses, trio.current_time())
                    self._is_up[name].set()
                    return
            await process.end()
        if scope.cancelled_caught:
            raise P2PNodeError(f"node {name} did not start within {START_TIMEOUT:.0f} s")
        raise P2PNodeError(f"node {name} did not start: {process.last_words}")

    async def _follow(self, name: str, events: Events) -> None:
        """Reads what the node prints until its end, and asks it how it is meanwhile."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, name)
            async for _ in events:
                pass  # `_watch` is told the same
            nursery.cancel_scope.cancel()

    async def _watch(self, name: str) -> None:
        client = self._client(name)
        while True:
            with suppress(P2PNodeError):  # it ends: who reads its output knows more
                status = await client.status()
                self._board.judged(name, status.reachability)
                self._board.reserved(name, (relay.peer for relay in status.relays))
            await trio.sleep(STATUS_INTERVAL)

    async def _ping(self, pair: Pair) -> None:
        """Keeps one node pinging another."""
        await self._is_up[pair.asker].wait()
        await self._is_up[pair.target].wait()
        asker, target = self._board.nodes[pair.asker], self._board.nodes[pair.target]
        self._board.asked(pair, trio.current_time())
        client = self._client(pair.asker)
        while asker.is_running and target.is_running:
            try:
                async with aclosing(client.ping(target.peer_id, None, PING_INTERVAL)) as reports:
                    async for report in reports:
                        now = trio.current_time()
                        if report.rtt is None:
                            self._board.lost(pair, report.loss, now)
                        else:
                            way = Way(report.path, report.via, report.transport, report.limited)
                            self._board.pong(pair, way, report.rtt, now)
            except P2PNodeError as exc:
                self._board.lost(pair, str(exc), trio.current_time())
            await trio.sleep(RETRY_INTERVAL)

    def _client(self, name: str) -> ControlClient:
        path = control_socket_path(self.data_folder(name))
        if path is None:
            raise P2PNodeError("nodes cannot be asked here, for there are no Unix sockets")
        return ControlClient(path)

    def _command(self, member: Member) -> list[str]:
        command = [*self._program, "relay" if member.is_relay else "run", "--json"]
        command += ["--data", str(self.data_folder(member.name))]
        for other in self._plan.bootstrap_of(member):
            command += ["--bootstrap", self._board.nodes[other.name].join_address]
        if self._namespaces is None:
            command += ["--listen", LOOPBACK_LISTEN]
        return command
