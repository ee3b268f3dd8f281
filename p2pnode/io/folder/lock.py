"""A lock that says "a node uses this folder", and that dies with the process (also by kill -9).

Rule: the lock is the operating system's, on an open file.  The file's content is only the process
id, for the message; it stays behind without meaning anything.
"""

import contextlib
import os
import sys
from pathlib import Path

from p2pnode.errors import DataFolderError, DataFolderInUse

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_LOCKED_BYTE = 1 << 20  # Windows locks bytes, and nobody could read the process id in a locked one
_MAX_PID_SIZE = 20  # bytes


class FolderLock:
    """The lock, held from construction until `release`."""

    def __init__(self, path: Path) -> None:
        """Takes the lock.  Raises DataFolderError; DataFolderInUse where another process has it."""
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as exc:
            raise DataFolderError(f"cannot use {path.parent}: {exc.strerror or exc}") from exc
        try:
            _lock(self._descriptor)
        except (BlockingIOError, PermissionError) as exc:
            holder = _holder(self._descriptor)
            self.release()
            raise DataFolderInUse(
                f"{path.parent} is in use by another node{holder}; stop it, or give this one"
                " a folder of its own with --data DIR"
            ) from exc
        except OSError as exc:
            self.release()
            raise DataFolderError(f"cannot lock {path}: {exc.strerror or exc}") from exc
        self._write_process_id()

    def release(self) -> None:
        """Lets others have the folder.  More than once does no harm."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _write_process_id(self) -> None:
        with contextlib.suppress(OSError):  # a full disk: the lock holds all the same
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, b"%d\n" % os.getpid())


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _holder(descriptor: int) -> str:
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        content = os.read(descriptor, _MAX_PID_SIZE).strip()
    except OSError:
        return ""
    return f" (process {int(content)})" if content.isdigit() else ""
