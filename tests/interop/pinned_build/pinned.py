"""Unpacks the pinned build, and says how it is run: with its own code and our dependencies."""

import compileall
import hashlib
import sys
import zipfile
from pathlib import Path

from tests.netns.program import Build

HERE = Path(__file__).parent
SUMS = HERE / "SHA256SUMS"

PYTHON = (sys.executable, "-P")
"""Without the current directory, where the working tree may be, in front of PYTHONPATH."""


def unpack(folder: Path) -> Build:
    """Unpacks the wheel into an empty folder; AssertionError where it is not the one we pinned."""
    sha256, name = SUMS.read_text(encoding="ascii").split()
    wheel = HERE / name
    assert hashlib.sha256(wheel.read_bytes()).hexdigest() == sha256, f"{name} is another build"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    # Or several processes would do it at the same time, while a test waits for them.
    assert compileall.compile_dir(folder, quiet=1)
    return Build((*PYTHON, "-m", "p2pnode"), {"PYTHONPATH": str(folder)})
