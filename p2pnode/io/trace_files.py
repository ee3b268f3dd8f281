"""Key log and qlog, written where the user asked for them.

Rule: a log that cannot be written is said once, and never stops a node.
"""

import logging
import os
from pathlib import Path
from typing import Final

import trio

from p2pnode.swarm import Swarm

WRITE_INTERVAL: Final = 0.2
"""seconds between two writes; chosen: a capture is looked at later than that"""
RECORD_SEPARATOR: Final = "\x1e"
"""In front of each JSON text of a sequence (RFC 7464)."""

_log = logging.getLogger(__name__)


class TraceFiles:
    """Takes the lines of a swarm's machines to their files."""

    def __init__(self, swarm: Swarm, key_log: Path | None, qlog_dir: Path | None) -> None:
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
            # secrets: for nobody but the user
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            with open(descriptor, "a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            _log.warning("%s cannot be written (%s); tracing to it ends", path, error.strerror)
            return None
        return path
