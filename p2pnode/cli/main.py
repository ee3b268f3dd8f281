"""The command line: `p2pnode COMMAND`.

Rule: signals are taken before anything else happens; so this module imports next to nothing.
"""

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from p2pnode.cli.interrupts import INTERRUPTS

if TYPE_CHECKING:
    from p2pnode.cli.environment import Environment


def main(argv: Sequence[str] | None = None, environment: "Environment | None" = None) -> int:
    """Runs a command; returns the exit code."""
    with INTERRUPTS.taken():
        from p2pnode.cli.app import EXIT_FAILED, run_command
        from p2pnode.cli.output import StdoutClosed

        try:
            return run_command(list(sys.argv[1:] if argv is None else argv), environment)
        except StdoutClosed:
            _forget_stdout()
    return EXIT_FAILED


def _forget_stdout() -> None:
    """Spares the interpreter another attempt to flush what nobody reads."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
