"""Lines that are written while nobody may be held up by their readers."""

import contextlib
import io
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from p2pnode.cli import line_writer
from p2pnode.cli.line_writer import MAX_WAITING, Lines, LineWriter
from p2pnode.cli.output import Output, StdoutClosed, complain, printing_aside

SIZE = MAX_WAITING // 100
UNREAD = " lines are not shown: nobody has read them in time"


class SlowReader:
    """Takes what is written once it is `reading`."""

    def __init__(self) -> None:
        self.reading = threading.Event()
        self.is_begun = threading.Event()
        self.got: list[tuple[str, int]] = []
        """Each with how many lines were lost before it."""

    def lines(self, text: str, size: int, count: int = 1) -> Lines:
        def write(lost: int) -> None:
            self.is_begun.set()
            self.reading.wait()
            self.got.append((text, lost))

        return Lines(count, size, write)


def never() -> bool:
    return False


def always() -> bool:
    return True


def test_what_is_written_comes_in_its_order_and_is_read_to_the_end() -> None:
    writer, reader = LineWriter(), SlowReader()
    reader.reading.set()
    for n in range(100):
        writer.put(reader.lines(str(n), 10))
    assert writer.finish(never)
    assert reader.got == [(str(n), 0) for n in range(100)]


def test_of_too_much_the_oldest_lines_are_lost_and_counted() -> None:
    writer, reader = LineWriter(), SlowReader()
    writer.put(reader.lines("on its way", 10))
    assert reader.is_begun.wait(10)
    for n in range(6):
        writer.put(reader.lines(str(n), MAX_WAITING // 3, count=2))
    reader.reading.set()
    assert writer.finish(never)
    assert reader.got == [("on its way", 0), ("3", 6), ("4", 0), ("5", 0)]


def test_one_that_is_larger_than_all_bounds_is_not_lost_for_that() -> None:
    writer, reader = LineWriter(), SlowReader()
    reader.reading.set()
    writer.put(reader.lines("large", 2 * MAX_WAITING))
    assert writer.finish(never)
    assert reader.got == [("large", 0)]


def test_who_is_in_a_hurry_does_not_wait_for_a_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_writer, "LAST_WORDS_PATIENCE", line_writer.CHECK_INTERVAL)
    writer, reader = LineWriter(), SlowReader()
    writer.put(reader.lines("unread", 10))
    assert not writer.finish(always)
    reader.reading.set()


class Pipe:
    """Stands for our stdout, and for our stderr too: both are one, as on a terminal."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        reader, self._writer = os.pipe()
        self.reader = os.fdopen(reader, "rb")
        self._monkeypatch = monkeypatch
        self._read = b""
        self._thread = threading.Thread(target=self._read_all)

    def open(self) -> None:
        """In the test itself, for pytest has streams of its own for each part of it."""
        for name in ("stdout", "stderr"):
            stream = io.TextIOWrapper(io.FileIO(self._writer, "w", closefd=False), "ascii")
            self._monkeypatch.setattr(sys, name, stream)

    def read(self) -> None:
        """Begins to read."""
        self._thread.start()

    def fill(self) -> None:
        os.set_blocking(self._writer, False)
        with contextlib.suppress(BlockingIOError):
            while os.write(self._writer, b" " * 4096):
                pass
        os.set_blocking(self._writer, True)

    def end(self) -> None:
        os.close(self._writer)
        self._writer = os.open(os.devnull, os.O_WRONLY)

    def lines(self) -> list[str]:
        """Returns those that came until the `end`, without what it was filled with."""
        self._thread.join()
        return self._read.decode().lstrip().splitlines()

    def close(self) -> None:
        self.end()
        os.close(self._writer)
        self.reader.close()

    def _read_all(self) -> None:
        self._read = self.reader.read()


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipe]:
    made = Pipe(monkeypatch)
    yield made
    made.close()


def unneeded() -> None:
    raise AssertionError("stdout is open")


def test_both_streams_keep_their_order_where_they_are_one(pipe: Pipe) -> None:
    output = Output(is_json=False)
    pipe.open()
    pipe.read()
    with printing_aside(unneeded, never):
        for n in range(50):
            output.text(f"answer {n}", "größer")
            complain(f"note {n}")
    pipe.end()
    lines = pipe.lines()
    assert lines[::3] == [f"answer {n}" for n in range(50)]
    assert lines[1::3] == ["gr\\xf6\\xdfer"] * 50
    assert lines[2::3] == [f"p2pnode: note {n}" for n in range(50)]


@pytest.mark.skipif(os.name != "posix", reason="fills a pipe without blocking")
@pytest.mark.parametrize("is_json", [True, False])
def test_lines_that_nobody_reads_hold_nobody_up_and_their_loss_is_told(
    pipe: Pipe, is_json: bool
) -> None:
    output, count = Output(is_json=is_json), 200
    pipe.open()
    pipe.fill()
    with printing_aside(unneeded, never):
        for n in range(count):
            output.emit({"n": n, "more": "." * SIZE}, f"{n} is {'.' * SIZE}")
        pipe.read()  # only now
    pipe.end()
    lines = pipe.lines()
    if is_json:
        told = [json.loads(line) for line in lines]
        lost = [line["count"] for line in told if line.get("event") == "dropped"]
        shown = [line["n"] for line in told if "n" in line]
    else:
        lost = [int(line.split()[0]) for line in lines if line.endswith(UNREAD)]
        shown = [int(line.split()[0]) for line in lines if not line.endswith(UNREAD)]
    assert lost
    assert len(shown) + sum(lost) == count
    assert MAX_WAITING // SIZE - 1 <= len(shown) <= MAX_WAITING // SIZE + 1  # one on its way
    assert shown[-10:] == list(range(count))[-10:]


def test_a_reader_that_goes_away_is_noticed_though_nothing_more_is_printed(pipe: Pipe) -> None:
    noticed = threading.Event()
    pipe.open()
    pipe.reader.close()

    def print_once(then: Callable[[], object]) -> None:
        with printing_aside(noticed.set, never):
            Output(is_json=False).text("to nobody")
            assert noticed.wait(10)
            then()

    with pytest.raises(StdoutClosed):
        print_once(lambda: None)
    with pytest.raises(StdoutClosed):
        print_once(lambda: Output(is_json=False).text("to nobody again"))
