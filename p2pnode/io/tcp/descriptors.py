"""How many links a process can have: each is a file, and others need files as well.

Whoever connects would else take the descriptors of the store, the control socket and the rest.
"""

from typing import Final

MAX_LINKS: Final = 8192
"""links; chosen: less than 2 KiB each where they are idle, and more than a node has peers"""

LINKS_PART: Final = 2
"""One of so many descriptors of the process is a link's at most; source: go-libp2p's rcmgr"""


def links_of(descriptors: int | None) -> int:
    """Returns how many links a process has that may have so many files; None for no limit."""
    return MAX_LINKS if descriptors is None else min(MAX_LINKS, descriptors // LINKS_PART)


def max_descriptors() -> int | None:
    """Returns how many files this process may have open; None where the system has no limit."""
    try:
        import resource
    except ImportError:
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft
