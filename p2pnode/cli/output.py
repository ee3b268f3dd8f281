"""What a command prints: text for a person, or one JSON object a line for a script.

Rule: with `--json` stdout holds JSON lines and nothing else, each flushed; without it stdout holds
the answers, and notes and errors go to stderr.  A node that serves others waits for no reader: see
`printing_aside`.

A text is one line, whatever is in it: a line break of a peer's is escaped, as all that is not
visible as itself.  What has several lines is several texts.
"""

import contextlib
import json
import logging
import re
import sys
import traceback
from collections.abc import Callable, Generator
from typing import Any

from p2pnode.cli.standard_streams import STREAMS

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class StdoutClosed(Exception):
    """Our stdout takes no more, and no error either.

    The text is for stderr; there is none where whoever read our stdout has gone.
    """


class Output:
    """The two streams of one command."""

    def __init__(self, *, is_json: bool) -> None:
        self.is_json = is_json
        self._is_stdout_ours = True

    def leave_stdout(self) -> None:
        """Sends everything to stderr: stdout is for something else."""
        self._is_stdout_ours = False

    def emit(self, fields: dict[str, Any], *lines: str) -> None:
        """Prints one answer, in the form that was asked for."""
        self._print(*([_json_line(fields)] if self.is_json else lines))

    def text(self, *lines: str) -> None:
        """Prints what only a person wants on stdout."""
        if not self.is_json:
            self._print(*lines)

    def note(self, *lines: str) -> None:
        """Tells a person, beside the answers; a script too where its stderr is read."""
        _write_to_stderr(*lines)

    def error(self, sentence: str) -> None:
        """Prints why the command failed."""
        if self.is_json:
            self._print(_json_line({"error": sentence}))
        else:
            complain(sentence)

    def _print(self, *lines: str) -> None:
        if not self._is_stdout_ours:
            _write_to_stderr(*lines)
            return
        try:
            STREAMS.write(sys.stdout, lines, self._told_lost)
        except OSError as exc:
            raise _stdout_closed(exc) from exc

    def _told_lost(self, count: int) -> str:
        if self.is_json:
            return _json_line({"event": "dropped", "count": count})
        return _told_lost(count)


@contextlib.contextmanager
def printing_aside(
    on_closed: Callable[[], None], is_hurried: Callable[[], bool]
) -> Generator[None, None, None]:
    """Holds nobody up who prints or logs, however long it takes until that is read.

    What was printed is read by the end, or lost; see `StandardStreams.aside`.  `on_closed` is
    called in another thread where stdout takes no more; the end raises StdoutClosed then.
    """
    with STREAMS.aside(on_failure=on_closed, is_hurried=is_hurried):
        yield
    failure = STREAMS.failure(sys.stdout)
    if failure is not None:
        raise _stdout_closed(failure) from failure


class LogToStderr(logging.Handler):
    """Log lines quote peers, too; and stderr may be another while bars are drawn on it."""

    def emit(self, record: logging.LogRecord) -> None:
        lines = [f"{record.levelname} {record.name}: {record.getMessage()}"]
        if record.exc_info:
            # Indented, since an exception's text may have lines that look like ours.
            trace = "".join(traceback.format_exception(record.exc_info[1]))
            lines += [f"    {line}" for line in trace.splitlines()]
        _write_to_stderr(*lines)


def set_up_logging(level: int) -> None:
    """Sends our own log to stderr, once a process."""
    logger = logging.getLogger("p2pnode")
    logger.setLevel(level)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    logger.addHandler(LogToStderr())


def complain(sentence: str) -> None:
    """Tells a person why the program failed."""
    _write_to_stderr(f"p2pnode: {sentence}")


def _stdout_closed(failure: OSError) -> StdoutClosed:
    if isinstance(failure, BrokenPipeError):
        return StdoutClosed()
    return StdoutClosed(f"stdout cannot be written to: {failure.strerror}")


def _told_lost(count: int) -> str:
    return f"{count} lines are not shown: nobody has read them in time"


def _json_line(fields: dict[str, Any]) -> str:
    text = json.dumps(fields)
    if "\\ud" in text:
        # A byte of a file name that is not UTF-8 is a lone surrogate here, and no valid JSON.
        clean = _LONE_SURROGATE.sub("\ufffd", json.dumps(fields, ensure_ascii=False))
        text = json.dumps(json.loads(clean))
    return text


def _write_to_stderr(*lines: str) -> None:
    if sys.stderr is not None:
        with contextlib.suppress(OSError):  # nobody reads it any more
            STREAMS.write(sys.stderr, lines, _told_lost)
