"""Progress bars, and what is printed beside them, on a terminal that keeps what it is sent."""

import contextlib
import io
import logging
import re
import sys

import pytest

from p2pnode.cli.output import Output, set_up_logging
from p2pnode.cli.progress import ProgressBars, progress_text

ERASE_LINE = "\x1b[2K"
WIDTH = 80


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def open_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Stdout and stderr at once, as it is for a person.

    Called in the test, not a fixture: pytest puts its own in place before each.
    """
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    return terminal


def shown(terminal: Terminal) -> list[str]:
    """Returns what the lines hold in the end."""
    lines = [""]
    row = 0
    for part in re.findall(r"\x1b\[[0-9;?]*[a-zA-Z]|\r|\n|[^\x1b\r\n]+", terminal.getvalue()):
        if part == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif part.endswith("A"):
            row -= int(part[2:-1] or 1)
        elif part == ERASE_LINE:
            lines[row] = ""
        elif part[0] not in "\r\x1b":
            lines[row] += part
    return [line.rstrip() for line in lines if line.strip()]


def test_a_bar_stays_below_what_is_printed_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = open_terminal(monkeypatch)
    output = Output(is_json=False)
    set_up_logging(logging.WARNING)
    with ProgressBars() as bars:
        first, second = bars.add("first", 100), bars.add("[bold]second\x1b[2J", 1 << 20)
        first.update(50)
        second.update(1 << 19)
        output.text("an answer")
        output.note("a note")
        logging.getLogger("p2pnode.test").warning("a warning")
        first.remove()
        output.text("the first is there")
        second.remove()
        output.text("the second is there")
    output.text("the end")
    printed = terminal.getvalue()
    assert "\x1b[2J" not in printed
    assert "[bold]second" in printed
    assert shown(terminal) == [
        "an answer",
        "a note",
        "WARNING p2pnode.test: a warning",
        "the first is there",
        "the second is there",
        "the end",
    ]


def test_a_failure_leaves_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)
    with contextlib.suppress(OSError), ProgressBars() as bars:
        bars.add("x", 100).update(50)
        raise OSError("the disk is full")
    assert shown(terminal) == []


def test_a_bar_leaves_room_for_what_the_terminal_echoes(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)
    with ProgressBars() as bars:
        bars.add("x" * 100, 100).update(50)
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue()).split("\n")
    assert max(map(len, "".join(lines).split("\r"))) < WIDTH - 2


@pytest.mark.parametrize("kind", ["dumb terminal", "no terminal"])
def test_nothing_is_drawn_where_one_cannot_draw(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)
    monkeypatch.setenv("TERM", "dumb")
    if kind == "no terminal":
        monkeypatch.setattr(Terminal, "isatty", lambda _: False)
    with ProgressBars() as bars:
        bar = bars.add("x", 100)
        bar.update(50)
        bar.remove()
    assert terminal.getvalue() == ""


@pytest.mark.parametrize(
    ("done", "speed", "left", "text"),
    [
        (1 << 20, None, None, "1.0 MiB"),
        (1 << 20, 1024.0, 59.9, "1.0 MiB, 1.0 KiB/s, 0:59 left"),
        (1 << 20, 1024.0, 3661, "1.0 MiB, 1.0 KiB/s, 1:01:01 left"),
        (None, None, 5, "0:05 left"),
    ],
)
def test_progress_reads_well(
    done: float | None, speed: float | None, left: float | None, text: str
) -> None:
    assert progress_text(done, speed, left) == text
