"""A peer on an official library as a process of its own, which takes commands and answers them."""

import json
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import trio

START_TIMEOUT = 60.0
"""seconds until a peer says who it is: js takes two and a half where nothing else is going on"""
ANSWER_TIMEOUT = 60.0
"""seconds for an answer: twice what a peer gives a command itself"""
MAX_LINE = 1 << 20
"""bytes; an answer has at most some hundred addresses"""

MAX_LOG = 20_000
"""characters of a log that a failing test shows"""

Answer = dict[str, Any]


class Refused(Exception):
    """A peer could not do what a command asked for; the text is the library's."""


class Peer:
    """One running peer; one task at a time gives it the commands of specs/interop.md."""

    def __init__(self, name: str, process: trio.Process) -> None:
        self.name = name
        self.id = ""
        self.addrs: list[str] = []
        self._process = process
        self._buffer = b""

    async def introduce(self) -> None:
        with trio.fail_after(START_TIMEOUT):
            first = await self._line()
        self.id, self.addrs = first["id"], first["addrs"]

    @property
    def addr(self) -> str:
        """The first of its addresses, with its peer id."""
        return self.addrs[0]

    async def do(self, command: str, **arguments: object) -> Answer:
        """Raises Refused where the answer is an error, TooSlowError where there is none in time."""
        assert self._process.stdin is not None
        with trio.fail_after(ANSWER_TIMEOUT):
            line = json.dumps({"do": command, **arguments}).encode()
            await self._process.stdin.send_all(line + b"\n")
            answer = await self._line()
        if "error" in answer:
            raise Refused(f"{self.name}: {command} {arguments}: {answer['error']}")
        return answer

    async def _line(self) -> Answer:
        assert self._process.stdout is not None
        while b"\n" not in self._buffer:
            data = await self._process.stdout.receive_some()
            assert data, f"{self.name} ended with {await self._process.wait()}"
            self._buffer += data
            assert len(self._buffer) <= MAX_LINE, f"{self.name} says too much"
        text, _, self._buffer = self._buffer.partition(b"\n")
        answer: Answer = json.loads(text)
        return answer


@asynccontextmanager
async def running(
    name: str, command: tuple[str, ...], log: Path, *flags: str
) -> AsyncGenerator[Peer, None]:
    """Yields a peer that has started; it is gone afterwards.

    Where a test fails, what it has written on stderr goes to pytest's.
    """
    with log.open("wb") as stderr:
        process = await trio.lowlevel.open_process(
            [*command, *flags], stdin=-1, stdout=-1, stderr=stderr
        )
    peer = Peer(name, process)
    try:
        await peer.introduce()
        yield peer
    except BaseException:
        show(name, log)
        raise
    finally:
        if process.returncode is None:
            process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                await pipe.aclose()


def show(name: str, log: Path) -> None:
    sys.stderr.write(f"--- {name}\n{log.read_text(errors='replace')[-MAX_LOG:]}")


PERIOD = 251
"""of the pattern that peers send: a prime"""


def pattern(size: int) -> bytes:
    """Returns the bytes that every peer sends."""
    return (bytes(range(PERIOD)) * (size // PERIOD + 1))[:size]


def digested(size: int) -> Answer:
    """Returns what a peer says of that many bytes that came as they were sent."""
    return {"bytes": size, "sha256": sha256(pattern(size)).hexdigest()}
