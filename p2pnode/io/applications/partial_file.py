"""The file that a transfer is written to before it is whole.

Rule: what a process that was killed leaves behind is nothing, or is removed by the next one.  On
Linux the file has no name at all until it is published, so that it goes with the process.  Where
the file system or the platform has no such files it has a hidden name, and is locked for as long as
it is in use: one that nobody has locked is a leftover.
"""

import contextlib
import os
import sys
from pathlib import Path
from typing import Protocol

if sys.platform == "win32":
    fcntl = None
else:
    import fcntl

PARTIAL_PREFIX = ".p2pnode-receive-"
PARTIAL_SUFFIX = ".part"

NAME_ATTEMPTS = 8  # tries; chosen: each fails only where a clean-up comes in the same moment

_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
_UNNAMED = os.O_RDWR | getattr(os, "O_TMPFILE", 0)
_MODE = 0o666  # cut by the umask, as for any file that the user makes


class PartialFile(Protocol):
    """An open file.  All but `discard` raise OSError."""

    @property
    def descriptor(self) -> int: ...

    def publish(self, path: Path) -> None:
        """Gives the file its name.  Raises FileExistsError where that is taken; then try again."""
        ...

    def discard(self) -> None:
        """Closes the file, and removes it unless it is published.  More than once does no harm."""
        ...


def open_partial_file(folder: Path) -> PartialFile:
    """Returns a file of the best kind that the folder can have.  Raises OSError."""
    with contextlib.suppress(OSError):
        return UnnamedFile(folder)
    return NamedFile(folder)


class UnnamedFile:
    """A `PartialFile` in no folder: the system frees it when it is closed, by a kill also."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError, also where there is no such thing."""
        if not hasattr(os, "O_TMPFILE"):
            raise OSError("this platform has no unnamed files")
        self.descriptor = os.open(folder, _UNNAMED, _MODE)
        # Without /proc it could not get a name in the end.
        if not os.path.exists(self._path()):
            self.discard()
            raise OSError("this system has no /proc")

    def publish(self, path: Path) -> None:
        # An absolute path is relative to nothing; but only with a src_dir_fd does Python make the
        # call that follows the link, which is what takes a file without a name.
        os.link(self._path(), path, src_dir_fd=self.descriptor, follow_symlinks=True)

    def discard(self) -> None:
        self.descriptor = _close(self.descriptor)

    def _path(self) -> str:
        return f"/proc/self/fd/{self.descriptor}"


class NamedFile:
    """A `PartialFile` under a hidden name, locked."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError."""
        for _ in range(NAME_ATTEMPTS):
            self._path = folder / f"{PARTIAL_PREFIX}{os.urandom(8).hex()}{PARTIAL_SUFFIX}"
            self.descriptor = os.open(self._path, _CREATE, _MODE)
            if _lock(self.descriptor) and os.fstat(self.descriptor).st_nlink:
                return
            self.discard()  # somebody took it for a leftover before it was locked
        raise OSError("others remove each new file")

    def publish(self, path: Path) -> None:
        if fcntl is None:
            self.descriptor = _close(self.descriptor)  # Windows renames no open file
        _rename_to_free(self._path, path)

    def discard(self) -> None:
        if fcntl is None:
            self.descriptor = _close(self.descriptor)
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
        # Last, so that it is never there unlocked.
        self.descriptor = _close(self.descriptor)


def remove_leftovers(folder: Path) -> None:
    """Removes the named files of processes that are gone, as far as it can.

    Not where the system has no such locks (Windows): there they stay.
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            is_partial = entry.name.startswith(PARTIAL_PREFIX)
            is_partial = is_partial and entry.name.endswith(PARTIAL_SUFFIX)
            if is_partial and entry.is_file(follow_symlinks=False):
                with contextlib.suppress(OSError):
                    _remove_unlocked(entry.path)


def _remove_unlocked(path: str) -> None:
    if fcntl is None:
        return
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Returns False where somebody else has the lock."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system without locks: then nobody can take it for unlocked
    return True


def _close(descriptor: int) -> int:
    """Returns the descriptor of a closed file."""
    if descriptor >= 0:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    return -1


def _rename_to_free(source: Path, target: Path) -> None:
    """Raises FileExistsError where the target is taken, at whatever moment it appeared."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except (OSError, AttributeError):
        # A file system without hard links: take the name with an empty file, then replace that.
        os.close(os.open(target, _CREATE, _MODE))
        try:
            source.replace(target)
        except OSError:
            target.unlink()
            raise
    else:
        source.unlink()
