"""One command's life: it runs on trio until it ends, fails or is interrupted.

Rule: SIGINT and SIGTERM cancel the command, which then cleans up as it does after any end; a second
signal does not wait for that.  What an interrupt means for the exit code, the command says itself.

    0   done, or interrupted where waiting was all that was left to do
    1   failed, or interrupted in the middle of something
    2   wrong usage
"""

import signal
import threading
from collections.abc import Awaitable, Callable

import trio

from p2pnode.io.applications.together import first_failure

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2


class Session:
    """What a command knows of its own run."""

    def __init__(self) -> None:
        self.code_if_interrupted: Callable[[], int] = lambda: EXIT_FAILED
        """Asked when the interrupt comes, before the command cleans up."""


def run_session(command: Callable[[Session], Awaitable[int]]) -> int:
    """Runs the command; returns its exit code.  Raises what it raises, never as a group."""
    try:
        return trio.run(_supervise, command)
    except ExceptionGroup as group:
        failure = first_failure(group)
    raise failure


async def _supervise(command: Callable[[Session], Awaitable[int]]) -> int:
    session = Session()
    code = EXIT_FAILED
    async with trio.open_nursery() as nursery:

        async def end_on_signal(
            *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
        ) -> None:
            nonlocal code
            with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                task_status.started()
                async for _ in signals:
                    break
            code = session.code_if_interrupted()
            nursery.cancel_scope.cancel()

        if threading.current_thread() is threading.main_thread():
            await nursery.start(end_on_signal)
        code = await command(session)
        nursery.cancel_scope.cancel()
    return code
