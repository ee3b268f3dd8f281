"""Small files that are either as they were or as they should be, whatever happens in between.

Rule: the content is written beside the file, forced to the disk, and only then takes the file's
name.  A full disk or a crash leaves the old file, or none, and no half of one.
"""

import contextlib
import os
import tempfile
from pathlib import Path


def replace_file(path: Path, content: bytes) -> None:
    """Writes the file, in place of what was there; only its owner can read it.  Raises OSError."""
    draft = _write_draft(path, content)
    try:
        os.replace(draft, path)
    except BaseException:
        _remove(draft)
        raise
    _sync_folder(path.parent)


def create_file(path: Path, content: bytes) -> None:
    """Writes a new file that only its owner can read.

    Raises FileExistsError where there is one, also if another process makes it at the same moment:
    exactly one of them succeeds.  Raises OSError.
    """
    draft = _write_draft(path, content)
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: there two at once are not noticed
        if path.exists():
            raise FileExistsError(path) from None
        os.replace(draft, path)
    finally:
        _remove(draft)
    _sync_folder(path.parent)


def read_small_file(path: Path, max_size: int) -> bytes:
    """Returns the content, at most one byte more than `max_size`.  Raises OSError."""
    with path.open("rb") as file:
        return file.read(max_size + 1)


def _write_draft(path: Path, content: bytes) -> Path:
    # Made for its owner only (mode 0600), under a name that nothing has.
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    draft = Path(name)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        _remove(draft)
        raise
    return draft


def _remove(draft: Path) -> None:
    with contextlib.suppress(OSError):
        draft.unlink()


def _sync_folder(folder: Path) -> None:
    """Forces the new name to the disk, where folders can be opened."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
