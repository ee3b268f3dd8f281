"""Running commands inside of a test."""

import json
import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trio

from p2pnode.cli.main import main
from p2pnode.io.applications.file_receiver import FileReceiver
from p2pnode.io.control.server import serve_control
from p2pnode.io.node.status import NodeStatus
from p2pnode.protocols.file_transfer import PROTOCOL_ID as FILE_PROTOCOL
from p2pnode.protocols.identify.info import IdentifyInfo
from p2pnode.protocols.nat_behaviour.why import Explanation
from p2pnode.wire.multiaddr import parse_multiaddr
from tests.shell.fake_node import ADDRESS, EMPTY_STATUS, PEER, FakeEnvironment, FakeNode
from tests.shell.test_file_transfer import Observer


def run_json(
    capsys: pytest.CaptureFixture[str], environment: FakeEnvironment, *arguments: str
) -> tuple[int, list[dict[str, Any]]]:
    """Returns the exit code and what the command prints with --json."""
    code = main([*arguments, "--json"], environment)
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def interrupt() -> None:
    """What Ctrl-C does."""
    os.kill(os.getpid(), signal.SIGINT)


async def interrupt_after(event: trio.Event) -> None:
    await event.wait()
    await trio.testing.wait_all_tasks_blocked()
    interrupt()


class RunningNode:
    """A node behind a control socket in the folder, whose peer takes files.

    It has a thread of its own, since a command runs trio itself.
    """

    def __init__(
        self,
        folder: Path,
        *,
        status: NodeStatus = EMPTY_STATUS,
        explanation: Explanation | None = None,
        reachable: Sequence[str] = (ADDRESS,),
        told: Sequence[str] = (),
        speaks: Sequence[str] = (),
    ) -> None:
        """`told` are the addresses that the peer says it has, `speaks` its protocols."""
        self._info = IdentifyInfo(PEER, tuple(map(parse_multiaddr, told)), tuple(speaks))
        self._status = status
        self._explanation = explanation
        self._reachable = list(reachable)
        self.received = folder / "received"
        self.received.mkdir()
        self._path = folder / "control.sock"
        self._is_ready = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._run,))

    def __enter__(self) -> "RunningNode":
        self._thread.start()
        assert self._is_ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._token.run_sync_soon(self._scope.cancel)
        self._thread.join(10)

    async def _run(self) -> None:
        async with trio.open_nursery() as nursery:
            node = FakeNode(nursery)
            node.node_status, node.reachable = self._status, self._reachable
            node.identify_info = self._info
            node.explanation = self._explanation or node.explanation
            receiver = FileReceiver(self.received, Observer())
            node.peer_handlers[FILE_PROTOCOL] = receiver.handle
            self._scope, self._token = nursery.cancel_scope, trio.lowlevel.current_trio_token()
            await nursery.start(serve_control, node, self._path)
            self._is_ready.set()
