"""What a command prints: text for a person, or one JSON object a line for a script.

Rule: with `--json` stdout holds JSON lines and nothing else, each flushed; without it stdout holds
the answers, and notes and errors go to stderr.  All text goes through `escape` on its way.
"""

import contextlib
import json
import logging
import re
import sys
from typing import Any, TextIO

from p2pnode.cli.escape import printable

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

    def emit(self, fields: dict[str, Any], text: str) -> None:
        """Prints one answer, in the form that was asked for; the text may have several lines."""
        self._print(_json_line(fields) if self.is_json else text)

    def text(self, text: str) -> None:
        """Prints what only a person wants on stdout."""
        if not self.is_json:
            self._print(text)

    def note(self, text: str) -> None:
        """Tells a person, beside the answers; a script too where its stderr is read."""
        _write_to_stderr(text)

    def error(self, sentence: str) -> None:
        """Prints why the command failed."""
        if self.is_json:
            self._print(_json_line({"error": sentence}))
        else:
            complain(sentence)

    def _print(self, text: str) -> None:
        if not self._is_stdout_ours:
            _write_to_stderr(text)
            return
        try:
            _write_line(sys.stdout, text)
        except BrokenPipeError as exc:
            raise StdoutClosed from exc
        except OSError as exc:
            raise StdoutClosed(f"stdout cannot be written to: {exc.strerror}") from exc


class LogToStderr(logging.Handler):
    """Log lines quote peers, too; and stderr may be another while bars are drawn on it."""

    def emit(self, record: logging.LogRecord) -> None:
        _write_to_stderr("\n".join(self.format(record).splitlines()))


def set_up_logging(level: int) -> None:
    """Sends our own log to stderr, once a process."""
    logger = logging.getLogger("p2pnode")
    logger.setLevel(level)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    handler = LogToStderr()
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logger.addHandler(handler)


def complain(sentence: str) -> None:
    """Tells a person why the program failed."""
    _write_to_stderr(f"p2pnode: {sentence}")


def _json_line(fields: dict[str, Any]) -> str:
    text = json.dumps(fields)
    if "\\ud" in text:
        # A byte of a file name that is not UTF-8 is a lone surrogate here, and no valid JSON.
        clean = _LONE_SURROGATE.sub("\ufffd", json.dumps(fields, ensure_ascii=False))
        text = json.dumps(json.loads(clean))
    return text


def _write_to_stderr(text: str) -> None:
    if sys.stderr is not None:
        with contextlib.suppress(OSError):  # nobody reads it any more
            _write_line(sys.stderr, text)


def _write_line(stream: TextIO, text: str) -> None:
    lines = "\n".join(printable(line) for line in text.split("\n"))
    encoding = stream.encoding or "utf-8"
    stream.write(lines.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    stream.flush()
