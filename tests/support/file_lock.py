"""A lock between processes."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

if sys.platform != "win32":
    import fcntl


@contextmanager
def locked(path: Path) -> Generator[None, None, None]:
    """Waits until nobody else has the file, which is made where there is none; not on Windows."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
