"""A file on its way to the disk.

Rule: until it is whole, checked and written back, it has no name that anybody would take for the
file; and no other file is ever overwritten.
"""

import contextlib
import errno
import hashlib
import os
from pathlib import Path

from p2pnode.io.applications.file_name import numbered_names
from p2pnode.machine import Buffer

PARTIAL_PREFIX = ".p2pnode-receive-"
PARTIAL_SUFFIX = ".part"

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


class IncomingFile:
    """A temporary file in the destination folder that takes its name when it is whole.

    All methods block on the disk: call them from a worker thread, one at a time.  All but `discard`
    raise OSError.
    """

    def __init__(self, folder: Path) -> None:
        name = f"{PARTIAL_PREFIX}{os.urandom(8).hex()}{PARTIAL_SUFFIX}"
        self._folder = folder
        self._partial: Path = folder / name
        self._hash = hashlib.sha256()
        # 0o666 is cut by the umask, as for any file that the user makes.
        self._fd = os.open(self._partial, _FLAGS, 0o666)

    def write(self, data: Buffer) -> None:
        """Appends the data and hashes it."""
        self._hash.update(data)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._fd, rest) :]

    def digest(self) -> bytes:
        """Returns the SHA-256 of what was written so far."""
        return self._hash.digest()

    def publish(self, name: str) -> Path:
        """Writes the file back to the disk and names it `name`, or "name (1).ext" where taken."""
        os.fsync(self._fd)
        self._close()
        for candidate in numbered_names(name):
            path = self._folder / candidate
            with contextlib.suppress(FileExistsError):
                _rename_to_free(self._partial, path)
                _sync_folder(self._folder)
                return path
        raise FileExistsError(errno.EEXIST, "there are too many files of that name already")

    def discard(self) -> None:
        """Removes the file unless it is published; may be called at any time, and again."""
        with contextlib.suppress(OSError):
            self._close()
        with contextlib.suppress(OSError):
            self._partial.unlink(missing_ok=True)

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _rename_to_free(source: Path, target: Path) -> None:
    """Raises FileExistsError where the target is taken, at whatever moment it appeared."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except (OSError, AttributeError):
        # A file system without hard links: take the name with an empty file, then replace that.
        os.close(os.open(target, _FLAGS, 0o666))
        try:
            source.replace(target)
        except OSError:
            target.unlink()
            raise
    else:
        source.unlink()


def _sync_folder(folder: Path) -> None:
    """Makes the new name last; there is no such thing on Windows and on some file systems."""
    with contextlib.suppress(OSError):
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
