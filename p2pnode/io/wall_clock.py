"""The machine's wall clock, and when it was set or the monotonic clock stood still.

Nothing tells a program that the date was set, on no system alike; so both clocks are compared every
few seconds.  A machine that slept shows the same: on Linux the monotonic clock stands still then.
"""

import logging
import time
from collections.abc import Callable
from typing import Final

import trio

from p2pnode.clock import Instant, UnixTime

logger = logging.getLogger(__name__)

POLL_INTERVAL: Final = 2.0
"""seconds; chosen: what is dated in between is dated wrongly"""
STEP_THRESHOLD: Final = 1.0
"""seconds that the clocks may drift apart untold; chosen: half an hour of NTP's slewing"""


def read_wall_clock() -> UnixTime:
    """Returns the date and time that the machine believes it is."""
    return UnixTime(time.time())


async def watch_wall_clock(
    on_step: Callable[[UnixTime, Instant], None],
    *,
    now: Instant,
    unix_now: UnixTime,
    read: Callable[[], UnixTime] = read_wall_clock,
) -> None:
    """Calls back with both clocks where they differ otherwise than at `now`; never returns.

    Cancel-safe.
    """
    told = unix_now - now
    while True:
        await trio.sleep(POLL_INTERVAL)
        now, unix_now = trio.current_time(), read()
        step = unix_now - now - told
        if abs(step) >= STEP_THRESHOLD:
            told += step
            logger.info("the wall clock went %+.0f s, beside the time that passed", step)
            on_step(unix_now, now)
