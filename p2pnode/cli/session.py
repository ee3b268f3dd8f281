"""One command's life: it runs on trio until it ends, fails or is interrupted.

Rule: an interrupt cancels the command, which then cleans up as it does after any end; what it
means for the exit code, the command says itself.  A command that has to take leave of others is
asked first, and cancelled by the second interrupt.
"""

import gc
from collections.abc import Awaitable, Callable
from contextlib import suppress

import trio

from p2pnode.cli.exit_codes import ExitCode
from p2pnode.cli.freed_memory import give_back_freed_memory
from p2pnode.cli.garbage import seldom_collected
from p2pnode.cli.interrupts import INTERRUPTS, Interrupted
from p2pnode.cli.output import printing_aside
from p2pnode.io.applications.together import first_failure


class Session:
    """What a command knows of its own run."""

    def __init__(self) -> None:
        self.code_if_interrupted: Callable[[], int] = lambda: ExitCode.FAILED
        """Asked when the interrupt comes, before the command cleans up; FAILED is told as such."""
        self.end_gently: Callable[[], None] | None = None
        """Called by the first interrupt instead: the command ends by itself soon, or is ended by
        the second one."""


def run_session(
    command: Callable[[Session], Awaitable[int]], *, serves_others: bool = False
) -> int:
    """Runs the command; returns its exit code.  Raises what it raises, never as a group.

    Raises Interrupted where it was ended before it was done.  With `serves_others` it goes on
    though nobody reads what it prints; else it waits for that.
    """
    gc.enable()  # see `main`
    try:
        with seldom_collected():
            return trio.run(_supervise_aside if serves_others else _supervise, command)
    except ExceptionGroup as group:
        failure = first_failure(group)
    raise failure


async def _supervise_aside(command: Callable[[Session], Awaitable[int]]) -> int:
    token = trio.lowlevel.current_trio_token()
    scope = trio.CancelScope()

    def end() -> None:
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(scope.cancel)

    code: int = ExitCode.FAILED
    async with trio.open_nursery() as nursery:
        nursery.start_soon(give_back_freed_memory)
        with printing_aside(end, lambda: INTERRUPTS.has_come), scope:
            code = await _supervise(command)
        nursery.cancel_scope.cancel()
    return code


async def _supervise(command: Callable[[Session], Awaitable[int]]) -> int:
    if INTERRUPTS.has_come:
        raise Interrupted
    session = Session()
    token = trio.lowlevel.current_trio_token()
    code: int = ExitCode.FAILED
    with trio.CancelScope() as scope:

        def end() -> None:
            nonlocal code
            if scope.cancel_called:
                return
            gently, session.end_gently = session.end_gently, None
            if gently is not None:
                gently()
                return
            code = session.code_if_interrupted()
            scope.cancel()

        # trio's own methods must not be called from inside of a signal handler.
        with INTERRUPTS.ending_by(lambda: token.run_sync_soon(end)):
            code = await command(session)
    if scope.cancelled_caught and code == ExitCode.FAILED:
        raise Interrupted
    return code
