"""The p2pnode program as a process of its own, read line by line."""

import json
import os
import signal
import sysconfig
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import trio

ANSWER_TIMEOUT = 20.0
"""seconds for whatever a test waits for; two or three where nothing else is going on"""

Line = dict[str, Any]


class Place(Protocol):
    """Where a command runs: a namespace."""

    @property
    def prefix(self) -> tuple[str, ...]: ...


class Ended(NamedTuple):
    """A command that came to its end."""

    code: int
    lines: list[Line]
    complaint: str
    """What it wrote on stderr."""


class Build(NamedTuple):
    """A p2pnode that can be run."""

    command: tuple[str, ...]
    variables: Mapping[str, str] = MappingProxyType({})
    """Of the environment, besides those of the tests themselves."""


THIS_BUILD = Build((str(Path(sysconfig.get_path("scripts")) / "p2pnode"),))
"""What is installed where the tests run: the working tree."""


class Running:
    """A `p2pnode` command that goes on; `lines` are what it has printed so far."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._buffer = b""
        self.lines: list[Line] = []

    async def line(self) -> Line:
        """Returns the next object that it prints; fails where none comes in time."""
        with trio.fail_after(ANSWER_TIMEOUT):
            line = await self.next_line()
        assert line is not None, f"{self._process.args!r} ended after {self.lines}"
        return line

    async def next_line(self) -> Line | None:
        """Returns the next object, however long that takes; None after the last one."""
        assert self._process.stdout is not None
        while b"\n" not in self._buffer:
            data = await self._process.stdout.receive_some()
            if not data:
                return None
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

    def interrupt(self) -> None:
        """As Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)

    def terminate(self) -> None:
        """As an init system does first."""
        self._process.terminate()

    async def exit_code(self) -> int:
        with trio.fail_after(ANSWER_TIMEOUT):
            return await self._process.wait()


def address_at(line: Line, *ips: str, transport: str = "noise") -> str:
    """Returns where a node listens at one of these IPs, of the addresses that it printed.

    `transport` is the protocol that tells it apart: noise, quic-v1 or tcp.
    """
    found = [address.split("/") for address in line["addresses"]]
    (parts,) = [parts for parts in found if parts[2] in ips and transport in parts]
    return "/".join(parts)


@asynccontextmanager
async def running(
    namespace: Place, home: Path, *arguments: str, build: Build = THIS_BUILD
) -> AsyncGenerator[Running, None]:
    """Yields the command, running; it is gone afterwards."""
    command = [*namespace.prefix, *build.command, *arguments, "--json"]
    # Logs and tracebacks go to pytest's own stderr, which shows them where a test fails.
    process = await trio.lowlevel.open_process(command, stdout=-1, env=environment_of(build, home))
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


async def finished(
    namespace: Place, home: Path, *arguments: str, build: Build = THIS_BUILD
) -> list[Line]:
    """Returns what a command prints until it ends by itself; fails where it does not succeed."""
    done = await ended(namespace, home, *arguments, build=build)
    assert done.code == 0, done
    return done.lines


async def ended(namespace: Place, home: Path, *arguments: str, build: Build = THIS_BUILD) -> Ended:
    """Returns how a command comes to its end, well or not."""
    command = [*namespace.prefix, *build.command, *arguments, "--json"]
    with trio.fail_after(ANSWER_TIMEOUT):
        done = await trio.run_process(
            command,
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env=environment_of(build, home),
        )
    lines: list[Line] = [json.loads(text) for text in done.stdout.splitlines()]
    return Ended(done.returncode, lines, done.stderr.decode())


def environment_of(build: Build, home: Path) -> Mapping[str, str]:
    """Has a data folder for each host, or the hosts would be one node."""
    return {**os.environ, **build.variables, "P2PNODE_DATA": str(home)}
