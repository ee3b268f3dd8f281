"""Key log and qlog, written where the user asked for them.

Rule: what is not ours alone is refused before the node starts, and written to at no time.  A log
that cannot be written is said once, and never stops a node.
"""

import contextlib
import logging
from pathlib import Path
from typing import Final, Protocol

import trio

from p2pnode.errors import TraceFileError
from p2pnode.io.folder.ownership import folder_trouble, log_trouble, open_log

WRITE_INTERVAL: Final = 0.2
"""seconds between two writes; chosen: a capture is looked at later than that"""
RECORD_SEPARATOR: Final = "\x1e"
"""In front of each JSON text of a sequence (RFC 7464)."""

_log = logging.getLogger(__name__)


def check_traces(key_log: Path | None, qlog_dir: Path | None) -> None:
    """Raises TraceFileError where others own, can read or can write to what is to be written.

    What is not there, or cannot be looked at, passes: it shows when it is written to.
    """
    folder = None if key_log is None else key_log.absolute().parent
    for used in (folder, qlog_dir):
        with contextlib.suppress(OSError):
            if used is not None and (trouble := folder_trouble(used, may_be_shared=True)):
                raise TraceFileError(f"cannot log to {used}: {trouble}")
    with contextlib.suppress(OSError):
        if key_log is not None and (trouble := log_trouble(key_log, key_log.lstat())):
            raise TraceFileError(f"cannot log keys to {key_log}: {trouble}")


class TraceSource(Protocol):
    """Who has lines to write: a Swarm."""

    def poll_key_log(self) -> list[str]: ...

    def poll_qlog(self) -> list[tuple[str, list[str]]]: ...


class TraceFiles:
    """Takes the lines of a swarm's machines to their files."""

    def __init__(self, swarm: TraceSource, key_log: Path | None, qlog_dir: Path | None) -> None:
        self._swarm = swarm
        self._key_log = key_log
        self._qlog_dir = qlog_dir

    async def run(self) -> None:
        """Writes every WRITE_INTERVAL until it is cancelled; then `flush` has the rest."""
        while True:
            await trio.sleep(WRITE_INTERVAL)
            self.flush()

    def flush(self) -> None:
        """Writes what there is."""
        keys = self._swarm.poll_key_log()
        if keys and self._key_log is not None:
            self._key_log = self._append(self._key_log, "".join(f"{line}\n" for line in keys))
        for name, texts in self._swarm.poll_qlog():
            if self._qlog_dir is not None:
                lines = "".join(f"{RECORD_SEPARATOR}{text}\n" for text in texts)
                path = self._append(self._qlog_dir / f"{name}.sqlog", lines)
                self._qlog_dir = None if path is None else self._qlog_dir

    def _append(self, path: Path, text: str) -> Path | None:
        """Returns the path, or None where it cannot be written to."""
        try:
            descriptor, trouble = open_log(path)
            with open(descriptor, "a", encoding="utf-8") as file:
                if trouble is None:
                    file.write(text)
        except OSError as error:
            trouble = error.strerror or str(error)
        if trouble is not None:
            _log.warning("%s cannot be written (%s); tracing to it ends", path, trouble)
            return None
        return path
