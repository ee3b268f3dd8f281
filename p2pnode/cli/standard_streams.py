"""Stdout and stderr: written at once, or aside, while a node must not wait for their readers.

Rule: they are the process's, so there is one `STREAMS`.  What appears on a terminal on which bars
or a table are drawn goes through whoever draws them, at once.
"""

import io
import os
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from typing import TextIO

from p2pnode.cli.line_writer import Lines, LineWriter
from p2pnode.escape import printable


class StandardStreams:
    """Where lines go."""

    def __init__(self) -> None:
        self._writers: dict[tuple[int, int], LineWriter] | None = None
        """By file, for where both streams are one they must keep their order; None: not aside."""
        self._failures: dict[int, OSError] = {}
        """Of descriptors that have taken no more."""
        self._stuck: set[int] = set()
        """Descriptors that were left with something to write: who writes to them may be held up."""
        self._on_failure: Callable[[], None] = lambda: None

    def write(self, stream: TextIO, lines: Sequence[str], told_lost: Callable[[int], str]) -> None:
        """Writes lines, whatever is in them.  Raises OSError where the stream takes no more.

        `told_lost` says how many lines are lost because nobody has read them.
        """
        raw = _raw(stream)
        if raw is None or self._writers is None:
            if raw is None or raw.fileno() not in self._stuck:
                stream.write(_text(stream, lines))
                stream.flush()
            return
        fd = raw.fileno()
        if fd in self._failures:
            raise self._failures[fd]
        data = _bytes(stream, lines)

        def write(lost: int) -> None:
            try:
                _write_all(raw, (_bytes(stream, [told_lost(lost)]) if lost else b"") + data)
            except OSError as exc:
                self._failures[fd] = exc
                if stream is sys.stdout:
                    self._on_failure()

        file = _file(fd)
        if file not in self._writers:
            self._writers[file] = LineWriter()
        self._writers[file].put(Lines(len(lines), len(data), write))

    @contextmanager
    def aside(
        self, *, on_failure: Callable[[], None], is_hurried: Callable[[], bool]
    ) -> Generator[None, None, None]:
        """Lets nobody inside wait for a reader; waits at the end until all is read.

        Who raises, or is in a hurry, waits for LAST_WORDS_PATIENCE at most.  `on_failure` is called
        in another thread where stdout takes no more.
        """
        self._writers, self._on_failure = {}, on_failure
        self._failures.clear()
        try:
            yield
        except BaseException:
            self._finish(lambda: True)
            raise
        self._finish(is_hurried)

    def failure(self, stream: TextIO) -> OSError | None:
        """Returns why a stream has not taken all that was written aside."""
        raw = _raw(stream)
        return None if raw is None else self._failures.get(raw.fileno())

    def _finish(self, is_hurried: Callable[[], bool]) -> None:
        writers, self._writers = self._writers or {}, None
        self._on_failure = lambda: None
        for file, writer in writers.items():
            if not writer.finish(is_hurried):
                raws = (_raw(stream) for stream in (sys.stdout, sys.stderr))
                self._stuck |= {r.fileno() for r in raws if r and _file(r.fileno()) == file}


STREAMS = StandardStreams()


def _raw(stream: TextIO | None) -> io.RawIOBase | None:
    """Returns what is below all buffers, or None for what is no file, or stands before one.

    A thread that is held up in it has no lock that is wanted at the interpreter's end.
    """
    if type(stream) is not io.TextIOWrapper:
        return None
    raw = getattr(stream.buffer, "raw", stream.buffer)  # unbuffered, there is nothing between
    if isinstance(raw, io.RawIOBase):
        with suppress(OSError):
            raw.fileno()
            return raw
    return None


def _file(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def _text(stream: TextIO, lines: Sequence[str]) -> str:
    text = "".join(f"{printable(line)}\n" for line in lines)
    encoding = stream.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _bytes(stream: TextIO, lines: Sequence[str]) -> bytes:
    return _text(stream, lines).replace("\n", os.linesep).encode(stream.encoding or "utf-8")


def _write_all(raw: io.RawIOBase, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[raw.write(rest) or 0 :]
