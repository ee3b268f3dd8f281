"""A peer as a process of its own, which takes commands and answers them."""

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

START_TIMEOUT = 60.0
"""seconds until a peer says who it is: js takes two and a half where nothing else is going on"""
ANSWER_TIMEOUT = 60.0
"""seconds for an answer: twice what a peer gives a command itself"""
MAX_LINE = 1 << 20
"""bytes; an answer has at most some hundred addresses"""

MAX_LOG = 20_000
"""characters of a log that a failing test shows"""

Answer = dict[str, Any]

OWN = (sys.executable, "-P", str(Path(__file__).with_name("p2pnode_peer.py")))
"""What starts the peer on this library."""


class Refused(Exception):
    """A peer could not do what a command asked for; the text is the library's."""


class Peer:
    """One running peer, which takes the commands of specs/interop.md."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.name = name
        self.log = log
        """What it has written on stderr."""
        self.id = ""
        self.addrs: list[str] = []
        self._process = process
        self._commands = process.stdin
        self._lines: queue.Queue[bytes] = queue.Queue()
        self._reader = threading.Thread(target=self._read, args=(process.stdout,), daemon=True)
        self._reader.start()

    def introduce(self) -> None:
        first = self._answer(START_TIMEOUT)
        self.id, self.addrs = first["id"], first["addrs"]

    @property
    def addr(self) -> str:
        """The first of its addresses, with its peer id."""
        return self.addrs[0]

    def do(self, command: str, **arguments: object) -> Answer:
        """Raises Refused where the answer is an error, TimeoutError where there is none in time."""
        self._commands.write(json.dumps({"do": command, **arguments}).encode() + b"\n")
        self._commands.flush()
        answer = self._answer(ANSWER_TIMEOUT)
        if "error" in answer:
            raise Refused(f"{self.name}: {command} {arguments}: {answer['error']}")
        return answer

    def show_log(self) -> None:
        """Writes to pytest's stderr what it has written on its own, the end of it."""
        text = self.log.read_text(errors="replace")[-MAX_LOG:]
        sys.stderr.write(f"--- {self.name}\n{text}")

    def kill(self) -> None:
        """Returns when it is gone."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def _answer(self, seconds: float) -> Answer:
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            self._process.kill()  # an answer that comes late would be taken for the next one
            raise TimeoutError(f"{self.name} has said nothing for {seconds} s") from None
        assert line, f"{self.name} ended with {self._process.wait()}"
        assert line.endswith(b"\n"), f"{self.name} says too much"
        answer: Answer = json.loads(line)
        return answer

    def _read(self, stdout: IO[bytes]) -> None:
        while line := stdout.readline(MAX_LINE):
            self._lines.put(line)
        self._lines.put(b"")


@contextmanager
def running(name: str, command: tuple[str, ...], log: Path, *flags: str) -> Generator[Peer]:
    """Yields a peer that has started; it is gone afterwards."""
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [*command, *flags], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr
        )
    peer = Peer(name, process, log)
    try:
        peer.introduce()
        yield peer
    except BaseException:
        peer.show_log()
        raise
    finally:
        peer.kill()


PERIOD = 251
"""of the pattern that peers send: a prime"""


def pattern(size: int) -> bytes:
    """Returns the bytes that every peer sends."""
    return (bytes(range(PERIOD)) * (size // PERIOD + 1))[:size]


def digested(size: int) -> Answer:
    """Returns what a peer says of that many bytes that came as they were sent."""
    return {"bytes": size, "sha256": sha256(pattern(size)).hexdigest()}
