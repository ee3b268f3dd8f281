"""A node of a test swarm as a process: started, listened to, and ended.

Rule: whatever it prints is read, so that it never waits for us; what it said last is kept, for the
one who asks why it ended.
"""

import json
import os
import signal
import subprocess
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack, suppress
from typing import IO, Any, Final, cast

import trio

from p2pnode.errors import P2PNodeError
from p2pnode.testbed.namespaces import Namespace

END_GRACE: Final = 3.0
"""seconds from SIGTERM to SIGKILL; chosen: nodes take leave in milliseconds, relays in a second"""
POLL_INTERVAL: Final = 0.02
"""seconds between looks whether a process that has closed its stdout has ended"""
MAX_LINE: Final = 256 * 1024
"""bytes of an event; what is longer is not one"""
MAX_WORDS: Final = 20
"""lines of stderr that are kept"""
READ_SIZE: Final = 64 * 1024  # bytes


class NodeProcess:
    """One process; `events` must be iterated over, for its output is read there."""

    def __init__(self, command: Sequence[str], namespace: Namespace | None) -> None:
        """Starts it, in the namespace where one is given.  Raises P2PNodeError.

        It gets a session of its own: a Ctrl-C is for whoever made it.
        """
        with ExitStack() as stack:
            if namespace is not None:
                stack.enter_context(namespace.entered())
            try:
                # Not by trio: its threads would be the parents, and come and go.
                self._process = subprocess.Popen(  # noqa: S603 - our own program
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                )
            except OSError as exc:
                raise P2PNodeError(f"{command[0]} cannot be started: {exc.strerror}") from exc
        self._stdout = _stream_of(self._process.stdout)
        self._stderr = _stream_of(self._process.stderr)
        self._words: deque[str] = deque(maxlen=MAX_WORDS)
        self._error = ""

    @property
    def last_words(self) -> str:
        """Why it has ended, as far as it said so."""
        code = self._process.returncode
        said = self._error or "\n".join(self._words).strip()
        if code is not None and code < 0:
            how = f"it was killed by {signal.Signals(-code).name}"
            return f"{how}: {said}" if said else how
        return said or f"it ended with exit code {code}"

    async def events(self) -> AsyncGenerator[dict[str, Any], None]:
        """Yields the objects that it prints, until it closes its stdout."""
        buffer = b""
        while data := await _read(self._stdout):
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                event = _object(line)
                if event is None:
                    continue
                if "error" in event:
                    self._error = str(event["error"])
                yield event
            if len(buffer) > MAX_LINE:
                raise P2PNodeError("a node of the swarm prints lines without end")

    async def listen_to_stderr(self) -> None:
        """Keeps what it complains of; returns at the end."""
        buffer = b""
        while data := await _read(self._stderr):
            *lines, buffer = (buffer + data)[-READ_SIZE:].split(b"\n")
            self._words.extend(line.decode(errors="replace") for line in lines)
        if buffer:
            self._words.append(buffer.decode(errors="replace"))

    async def end(self) -> None:
        """Ends it, gently at first; when this returns, it is gone."""
        try:
            if self._process.poll() is None:
                self._process.terminate()
            with trio.move_on_after(END_GRACE):
                await self.wait()
        finally:
            if self._process.poll() is None:
                self._process.kill()
            self._process.wait()
            await self._stdout.aclose()
            await self._stderr.aclose()

    async def wait(self) -> None:
        """Returns when it has ended."""
        while True:  # no event tells of it on every system
            if self._process.poll() is not None:
                return
            await trio.sleep(POLL_INTERVAL)


def _stream_of(pipe: IO[bytes] | None) -> trio.lowlevel.FdStream:
    assert pipe is not None
    stream = trio.lowlevel.FdStream(os.dup(pipe.fileno()))
    pipe.close()
    return stream


async def _read(stream: trio.lowlevel.FdStream) -> bytes:
    """Returns nothing at the end."""
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        return bytes(await stream.receive_some(READ_SIZE))
    return b""


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        value: object = json.loads(line)
    except ValueError:
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None
