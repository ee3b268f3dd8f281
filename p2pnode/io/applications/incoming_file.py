"""A file on its way to the disk.

Rule: until it is whole, checked and written back, it has no name that anybody would take for the
file; and no other file is ever overwritten.
"""

import contextlib
import errno
import hashlib
import os
from pathlib import Path

from p2pnode.io.applications.file_name import collision_key, numbered_names
from p2pnode.io.applications.partial_file import PartialFile, open_partial_file
from p2pnode.machine import Buffer
from p2pnode.wire.byte_view import byte_view


class IncomingFile:
    """A file in the destination folder that takes its name when it is whole.

    All methods block on the disk: call them from a worker thread, one at a time.  All but `discard`
    raise OSError.
    """

    def __init__(self, folder: Path, partial: PartialFile | None = None) -> None:
        """`partial` is what to write to; None for the best kind of file that there is."""
        self._folder = folder
        self._partial = partial or open_partial_file(folder)
        self._hash = hashlib.sha256()

    def write(self, data: Buffer) -> None:
        """Appends the data and hashes it."""
        self._hash.update(data)
        rest = memoryview(byte_view(data))
        while rest:
            rest = rest[os.write(self._partial.descriptor, rest) :]

    def digest(self) -> bytes:
        """Returns the SHA-256 of what was written so far."""
        return self._hash.digest()

    def publish(self, name: str) -> Path:
        """Writes the file back to the disk and names it `name`, or "name (1).ext" where taken.

        A name that differs in case or in normalisation only is taken: a reader takes both for one,
        and so does the next file system.
        """
        os.fsync(self._partial.descriptor)
        taken = _taken(self._folder)
        for candidate in numbered_names(name):
            if collision_key(candidate) in taken:
                continue
            path = self._folder / candidate
            with contextlib.suppress(FileExistsError):
                self._partial.publish(path)
                _sync_folder(self._folder)
                return path
        raise FileExistsError(errno.EEXIST, "there are too many files of that name already")

    def discard(self) -> None:
        """Removes the file unless it is published; may be called at any time, and again."""
        self._partial.discard()


def _taken(folder: Path) -> dict[str, None]:
    """Returns the keys of all names in the folder, as far as it may be read."""
    with contextlib.suppress(OSError):
        return dict.fromkeys(map(collision_key, os.listdir(folder)))
    return {}


def _sync_folder(folder: Path) -> None:
    """Makes the new name last; there is no such thing on Windows and on some file systems."""
    with contextlib.suppress(OSError):
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
