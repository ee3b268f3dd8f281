"""Socket options that a kernel may lack."""

import logging
import socket
from typing import TypeAlias

logger = logging.getLogger(__name__)

Option: TypeAlias = tuple[int, int]
"""(level, name) of a socket option or control message, from the kernel's headers: Python 3.11 does
not name them all."""


def try_option(sock: socket.socket, option: Option) -> bool:
    """Switches an option on; returns whether the kernel has it."""
    try:
        sock.setsockopt(*option, 1)
    except OSError as exc:
        logger.debug("the kernel lacks socket option %s: %s", option, exc)
        return False
    return True
