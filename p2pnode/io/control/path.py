"""Where a folder's control socket lies: inside it, or at a short path made of it.

A Unix socket's path fits into 104 (macOS) or 108 (Linux) bytes, so a deep folder needs another
place.  Rule: that place is a folder that only this user can enter, or none is given.
"""

import contextlib
import hashlib
import logging
import os
import stat
import sys
import tempfile
from pathlib import Path

_log = logging.getLogger(__name__)

MAX_SOCKET_PATH = 100
"""bytes; sun_path holds 104 on macOS, with the NUL at its end"""

SOCKET_NAME = "control.sock"


def control_socket_path(folder: Path) -> Path | None:
    """Returns the socket's path for that data folder, or None where there can be none.

    The same folder always leads to the same path, for the node and for its clients.
    """
    if sys.platform == "win32":
        return None
    inside = folder.resolve() / SOCKET_NAME
    if len(os.fsencode(inside)) <= MAX_SOCKET_PATH:
        return inside
    shelter = Path(_runtime_folder()) / f"p2pnode-{os.getuid()}"
    with contextlib.suppress(OSError):
        shelter.mkdir(mode=0o700, exist_ok=True)
        found = shelter.lstat()
        # Somebody else may have made it first, in a folder that everybody can write to.
        is_ours = found.st_uid == os.getuid() and not found.st_mode & 0o077
        if is_ours and stat.S_ISDIR(found.st_mode):
            name = hashlib.sha256(os.fsencode(inside)).hexdigest()[:32]
            short = shelter / f"{name}.sock"
            return short if len(os.fsencode(short)) <= MAX_SOCKET_PATH else None
        _log.warning(
            "no control socket for %s: others can enter the folder %s; remove it", folder, shelter
        )
    return None


def _runtime_folder() -> str:
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    return given if given and os.access(given, os.W_OK) else tempfile.gettempdir()
