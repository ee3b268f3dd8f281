"""A file that is sent: read once, and looked at again at the end.

Rule: what was sent is the file as it is when the last byte was read, or the transfer fails: a file
that changes meanwhile would arrive as one that never was.
"""

import hashlib
import os
import stat
import time
from pathlib import Path
from types import TracebackType
from typing import Final

from p2pnode.io.applications.file_transfer import BLOCK_SIZE, TransferError

STAMP_STEP: Final = 0.02
"""seconds; the clock that Linux stamps files with ticks every 10 ms at most, and may lag as much"""
COARSE_STAMP_STEP: Final = 2.0
"""seconds; FAT's, of all file systems the coarsest"""

_SECOND: Final = 1_000_000_000  # in nanoseconds
# A file of the kernel's own may have nothing to read yet: nobody waits for that.
_READ: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class OutgoingFile:
    """A regular file, opened for reading and hashed as it is read.

    Raises TransferError for what is not a file that can be read, or does not know its own size.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            # Looked at before it is opened: to open a device may do something to it.
            if not stat.S_ISREG(path.stat().st_mode):
                raise TransferError(f"{path} is not a regular file; try `p2pnode pipe` for streams")
            self._file = os.fdopen(os.open(path, _READ), "rb", buffering=0)
        except OSError as exc:
            raise TransferError(f"{path} cannot be read: {exc.strerror}") from exc
        try:
            self._stamp = _Stamp(self._file.fileno())
            self.size = self._stamp.size
            if not self.size and self._has_content():
                raise TransferError(
                    f"{path} does not tell its size, like other files that the system makes up; "
                    "send a copy of it, or use `p2pnode pipe`"
                )
        except BaseException:
            self._file.close()
            raise
        self.name = path.name
        self._hash = hashlib.sha256()
        self._rest = self.size

    def read_block(self) -> bytes:
        """Returns the next block, empty at the end.  Blocks on the disk."""
        if self._rest == 0:
            return b""
        block = self._read(min(BLOCK_SIZE, self._rest))
        if not block:
            raise TransferError(
                f"{self._path} ended {self._rest} bytes before its size says; it became shorter "
                "while it was sent, or its size is not true"
            )
        self._rest -= len(block)
        self._hash.update(block)
        return block

    def check_unchanged(self) -> None:
        """Raises TransferError where the file is not what was read any more.  Blocks on the disk.

        To be called when all was read.  A file whose stamps are others, or too young to tell, is
        read again: who only gave it another name or mode has not changed it.
        """
        after = _Stamp(self._file.fileno())
        if after.size == self.size:
            if after == self._stamp and self._stamp.is_telling:
                return
            if self._digest_now() == self.digest():
                return
        raise TransferError(
            f"{self._path} changed while it was sent, so the receiver keeps nothing of it; send it "
            "again when it is finished, or a copy, or use `p2pnode pipe` for what goes on growing"
        )

    def digest(self) -> bytes:
        """Returns the SHA-256 of what was read so far."""
        return self._hash.digest()

    def __enter__(self) -> "OutgoingFile":
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def _has_content(self) -> bool:
        # None where a read would have to wait: there is something to come.
        return self._read(1) != b""

    def _digest_now(self) -> bytes:
        again = hashlib.sha256()
        self._file.seek(0)
        while block := self._read(BLOCK_SIZE):
            again.update(block)
        return again.digest()

    def _read(self, size: int) -> bytes | None:
        try:
            return self._file.read(size)
        except OSError as exc:
            raise TransferError(f"{self._path} cannot be read: {exc.strerror}") from exc


class _Stamp:
    """What the system says of an open file's content: how long it is, and when it changed."""

    def __init__(self, descriptor: int) -> None:
        now = time.time_ns()
        status = os.fstat(descriptor)
        self.size = status.st_size
        self._times = status.st_mtime_ns, status.st_ctime_ns
        step = STAMP_STEP if status.st_mtime_ns % _SECOND else COARSE_STAMP_STEP
        self.is_telling = now - max(self._times) > step * _SECOND
        """False where a change that comes now could get the same stamp."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Stamp):
            return NotImplemented
        return (self.size, self._times) == (other.size, other._times)

    def __hash__(self) -> int:
        return hash((self.size, self._times))
