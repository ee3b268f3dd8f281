"""`python -m p2pnode.cli.swarm_member PARENT COMMAND ...`: a command that ends with its parent.

A test swarm is many processes in sessions of their own, which no terminal's signals reach: were the
one that made them killed, they would go on for ever.  Linux tells them by a signal; elsewhere they
go on until the next line that they print.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # of linux/prctl.h


def _end_with(parent: int) -> None:
    """Asks for SIGTERM at the parent's end; raises SystemExit where that has come already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        raise SystemExit(1)


if __name__ == "__main__":
    _end_with(int(sys.argv[1]))
    from p2pnode.cli.main import main

    sys.exit(main(sys.argv[2:]))
