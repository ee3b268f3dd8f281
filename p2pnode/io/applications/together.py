"""Two halves of a dialogue at once.

Rule: what the caller catches is the first failure itself, not a group around it.
"""

from collections.abc import Awaitable, Callable
from typing import cast

import trio


async def run_together(*halves: Callable[[], Awaitable[object]]) -> None:
    """Runs all of them to their ends; the first that fails cancels the others and is raised."""
    try:
        async with trio.open_nursery() as nursery:
            for half in halves:
                nursery.start_soon(half)
    except ExceptionGroup as group:
        failure = first_failure(group)
    else:
        return
    raise failure


def first_failure(exc: Exception) -> Exception:
    """Returns the first exception inside of a group, or the exception itself."""
    while isinstance(exc, ExceptionGroup):
        exc = cast("ExceptionGroup[Exception]", exc).exceptions[0]
    return exc
