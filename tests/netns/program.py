"""The p2pnode program as a process of its own, read line by line."""

import json
import os
import sysconfig
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from tests.support.namespaces import Namespace

ANSWER_TIMEOUT = 20.0
"""seconds for whatever a test waits for; two or three where nothing else is going on"""

Line = dict[str, Any]

PROGRAM = str(Path(sysconfig.get_path("scripts")) / "p2pnode")


class Running:
    """A `p2pnode` command that goes on; `lines` are what it has printed so far."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._buffer = b""
        self.lines: list[Line] = []

    async def line(self) -> Line:
        """Returns the next object that it prints; fails where none comes in time."""
        assert self._process.stdout is not None
        with trio.fail_after(ANSWER_TIMEOUT):
            while b"\n" not in self._buffer:
                data = await self._process.stdout.receive_some()
                assert data, f"{self._process.args} ended after {self.lines}"
                self._buffer += data
        text, _, self._buffer = self._buffer.partition(b"\n")
        self.lines.append(json.loads(text))
        return self.lines[-1]

    async def event(self, name: str) -> Line:
        """Returns the next event of that name, and skips the others."""
        with trio.fail_after(ANSWER_TIMEOUT):
            while True:
                line = await self.line()
                if line.get("event") == name:
                    return line

    async def kill(self) -> None:
        """As `kill -9` does: no farewell to anybody."""
        self._process.kill()
        await self._process.wait()

    async def exit_code(self) -> int:
        with trio.fail_after(ANSWER_TIMEOUT):
            return await self._process.wait()


@asynccontextmanager
async def running(
    namespace: Namespace, home: Path, *arguments: str
) -> AsyncGenerator[Running, None]:
    """Yields the command, running; it is gone afterwards."""
    command = [*namespace.prefix, PROGRAM, *arguments, "--json"]
    # Logs and tracebacks go to pytest's own stderr, which shows them where a test fails.
    process = await trio.lowlevel.open_process(command, stdout=-1, env=_environment(home))
    try:
        yield Running(process)
    finally:
        if process.returncode is None:
            process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
        assert process.stdout is not None
        with trio.CancelScope(shield=True):
            await process.stdout.aclose()


async def finished(namespace: Namespace, home: Path, *arguments: str) -> list[Line]:
    """Returns what a command prints until it ends by itself; fails where it does not succeed."""
    command = [*namespace.prefix, PROGRAM, *arguments, "--json"]
    with trio.fail_after(ANSWER_TIMEOUT):
        done = await trio.run_process(
            command, capture_stdout=True, check=False, env=_environment(home)
        )
    lines: list[Line] = [json.loads(text) for text in done.stdout.splitlines()]
    assert done.returncode == 0, lines
    return lines


def _environment(home: Path) -> Mapping[str, str]:
    """An own data folder for each host, or the hosts would be one node."""
    return {**os.environ, "P2PNODE_DATA": str(home)}
