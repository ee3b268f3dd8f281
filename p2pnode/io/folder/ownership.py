"""Whether a file or folder is ours alone: what other users could read, write to or swap.

Rule: who owns a folder or may write to it can put there what a node takes for its own, and who owns
a link can lead it elsewhere.  What is wrong is the end of a sentence, and says what to do.  Windows
has lists of rights in place of modes and owners, and nothing is said of them.
"""

import os
import shlex
import stat
from pathlib import Path

IS_CHECKED = os.name == "posix"

_ROOT = 0  # the uid of who may do everything anyway


def folder_trouble(path: Path, *, may_be_shared: bool = False) -> str | None:
    """Returns why nothing of ours should lie in the folder, or None.  Raises OSError.

    `may_be_shared`: one such as /tmp will do, where nobody removes another's files.
    """
    if not IS_CHECKED:
        return None
    link = _foreign_link(path)
    if link is not None:
        return f"the link {link} belongs to another user; name the folder that it should lead to"
    status = path.stat()
    owners = (os.geteuid(), _ROOT) if may_be_shared else (os.geteuid(),)
    if status.st_uid not in owners:
        return f"it belongs to another user (uid {status.st_uid}); name a folder of your own"
    is_sticky = may_be_shared and status.st_mode & stat.S_ISVTX
    if status.st_mode & 0o022 and not is_sticky:
        return f"other users can write to it; chmod go-w {_word(path)}"
    return None


def secret_trouble(path: Path, status: os.stat_result) -> str | None:
    """Returns why the file that has this status keeps no secret, or None."""
    if not IS_CHECKED:
        return None
    if status.st_uid != os.geteuid():
        return f"it belongs to another user (uid {status.st_uid})"
    if status.st_mode & 0o077:
        return f"other users of this machine can read or write it; chmod 600 {_word(path)}"
    return None


def log_trouble(path: Path, status: os.stat_result) -> str | None:
    """Returns why nothing private should be appended to a file that is there, or None."""
    if stat.S_ISLNK(status.st_mode):
        return "it is a link; name the file itself"
    if not stat.S_ISREG(status.st_mode):
        return "it is no regular file; name a new one"
    if IS_CHECKED and status.st_nlink > 1:
        return "it has other names as well (hard links); name a new one"
    return secret_trouble(path, status)


def open_log(path: Path) -> tuple[int, str | None]:
    """Returns a descriptor that appends, and `log_trouble`: then it must not be written to.

    The file is made for its owner only where there is none.  Follows no link, and waits for nobody
    where the file is a pipe.  Raises OSError.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags, 0o600)
    return descriptor, log_trouble(path, os.fstat(descriptor))


def socket_trouble(path: Path, owner: int) -> str | None:
    """Returns why nothing should be said to a socket of that owner (a uid), or None.

    Root may talk to the node of whoever owns the folder that it named.  Raises OSError.
    """
    if owner == os.geteuid():
        return None
    if os.geteuid() == _ROOT and owner == path.parent.stat().st_uid:
        return None
    return (
        f"it belongs to another user (uid {owner}); run this as that user, or name another folder "
        "with --data"
    )


def _foreign_link(path: Path) -> Path | None:
    """Returns the first link on the way that neither we nor root have made, if any."""
    path = path.absolute()
    for part in (*reversed(path.parents), path):
        status = part.lstat()
        if stat.S_ISLNK(status.st_mode) and status.st_uid not in (os.geteuid(), _ROOT):
            return part
    return None


def _word(path: Path) -> str:
    return shlex.quote(str(path))
