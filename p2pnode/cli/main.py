"""The command line: `p2pnode COMMAND`.

Rule: signals are taken before anything else happens; so this module imports next to nothing.  The
garbage collector rests until the command begins: what imports make is there to stay, and to look
through it again and again takes an eighth of their time.
"""

import gc
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from p2pnode.cli.interrupts import INTERRUPTS

if TYPE_CHECKING:
    from p2pnode.cli.environment import Environment

LAST_STANDARD_DESCRIPTOR = 2


def main(argv: Sequence[str] | None = None, environment: "Environment | None" = None) -> int:
    """Runs a command; returns the exit code."""
    gc.disable()
    try:
        return _main(argv, environment)
    finally:
        gc.enable()


def _main(argv: Sequence[str] | None, environment: "Environment | None") -> int:
    with INTERRUPTS.taken():
        from p2pnode.cli.app import run_command
        from p2pnode.cli.exit_codes import ExitCode
        from p2pnode.cli.output import StdoutClosed, complain

        _take_missing_descriptors()
        if sys.stdout is None:
            complain(f"there is no stdout; {os.devnull} will do")
            return ExitCode.FAILED
        try:
            code = run_command(list(sys.argv[1:] if argv is None else argv), environment)
        except StdoutClosed as exc:
            code = ExitCode.FAILED
            if exc.args:
                complain(str(exc))
        _let_go_of_stdout()
    return code


def _take_missing_descriptors() -> None:
    """Keeps 0, 1 and 2 from becoming the numbers of our files and sockets."""
    if sys.stdin is None or sys.stdout is None or sys.stderr is None:
        while (null := os.open(os.devnull, os.O_RDWR)) <= LAST_STANDARD_DESCRIPTOR:
            pass
        os.close(null)


def _let_go_of_stdout() -> None:
    """Spares the interpreter another attempt to flush what cannot be written."""
    try:
        sys.stdout.flush()
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
