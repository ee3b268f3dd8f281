"""Bugs that cost a connection, a stream or a datagram, written down for whoever can mend them.

Rule: who can bring one about can do so again and again, so few are written out; a metric counts
all of them.
"""

import logging
from typing import Final

from p2pnode.clock import Instant
from p2pnode.rate_limit import KeyedRateLimit

logger = logging.getLogger(__name__)

MAX_LOGGED: Final = 10
"""tracebacks in LOG_WINDOW; chosen: the first ones tell what there is to tell"""
LOG_WINDOW: Final = 60.0
"""seconds"""


class FaultLog:
    """Those of one node."""

    def __init__(self) -> None:
        self._rate = KeyedRateLimit[None](MAX_LOGGED, LOG_WINDOW)

    def write(self, error: Exception, now: Instant) -> None:
        """Logs a fault with its traceback, unless there were too many lately."""
        if self._rate.take(None, now):
            logger.error(
                "a bug has cost a connection, a stream or a datagram; the node goes on."
                " Please report it",
                exc_info=error,
            )
