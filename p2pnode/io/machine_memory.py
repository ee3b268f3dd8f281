"""How much memory this process may have: the machine's, or less in a container (cgroups)."""

import os
from pathlib import Path
from typing import Final

CGROUP_FILES: Final = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
"""Of version 2 and version 1, as a container sees its own."""
UNKNOWN: Final = 1 << 30
"""bytes that are assumed where the system does not say; chosen: a small server's"""


def machine_memory(cgroup_files: tuple[Path, ...] = CGROUP_FILES) -> int:
    """Returns bytes."""
    return min([_physical(), *filter(None, map(_cgroup_limit, cgroup_files))])


def _physical() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        return UNKNOWN


def _cgroup_limit(file: Path) -> int | None:
    """Returns the limit that a file names; None where there is none, "max" for instance."""
    try:
        limit = int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return limit if limit > 0 else None
