"""`p2pnode pipe` as a process whose two ends a test holds."""

import json
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from tests.netns.program import ANSWER_TIMEOUT, Build, Line, Place, environment_of


class Piping:
    """A pipe of one side: what is written goes to the peer, what the peer writes is read."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._printed = b""

    async def event(self, name: str) -> Line:
        """Returns the next object on stderr, which has to be that event."""
        with trio.fail_after(ANSWER_TIMEOUT):
            while b"\n" not in self._printed:
                assert self._process.stderr is not None
                data = await self._process.stderr.receive_some()
                assert data, f"{self._process.args!r} ended after {self._printed!r}"
                self._printed += data
        text, _, self._printed = self._printed.partition(b"\n")
        line: Line = json.loads(text)
        assert line["event"] == name, line
        return line

    async def write(self, data: bytes) -> None:
        """Returns when the process has taken all of it."""
        assert self._process.stdin is not None
        await self._process.stdin.send_all(data)

    async def end(self) -> None:
        """Says that no more will be written."""
        assert self._process.stdin is not None
        await self._process.stdin.aclose()

    async def read(self, size: int) -> bytes:
        """Returns so many bytes, or what came before the end."""
        assert self._process.stdout is not None
        data = b""
        with trio.fail_after(ANSWER_TIMEOUT):
            while len(data) < size:
                more = await self._process.stdout.receive_some(size - len(data))
                if not more:
                    break
                data += more
        return data

    async def exit_code(self) -> int:
        with trio.fail_after(ANSWER_TIMEOUT):
            return await self._process.wait()


@asynccontextmanager
async def piping(
    place: Place, home: Path, *arguments: str, build: Build
) -> AsyncGenerator[Piping, None]:
    """Yields the command, running; it is gone afterwards."""
    process = await trio.lowlevel.open_process(
        [*place.prefix, *build.command, "pipe", *arguments, "--json"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment_of(build, home),
    )
    try:
        yield Piping(process)
    finally:
        if process.returncode is None:
            process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                assert stream is not None
                await stream.aclose()


async def exchange(one: Piping, other: Piping, data: bytes) -> None:
    """Writes it at both ends at once; what comes out has to be the same."""

    async def carry(source: Piping, sink: Piping) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(source.write, data)
            assert await sink.read(len(data)) == data

    async with trio.open_nursery() as nursery:
        nursery.start_soon(carry, one, other)
        nursery.start_soon(carry, other, one)


async def part(one: Piping, other: Piping) -> None:
    """Ends both directions; nothing more may come, and both commands have to succeed."""
    await one.end()
    assert await other.read(1) == b""
    await other.end()
    assert await one.read(1) == b""
    assert (await one.exit_code(), await other.exit_code()) == (0, 0)
