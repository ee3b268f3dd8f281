"""What the exit code of a command says: one table for the code, `--help` and the README."""

import enum
from typing import Final


class ExitCode(enum.IntEnum):
    """Beside these there is only the signal that ended a process, as shells show it: 128 and it."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    BUSY = 75
    """EX_TEMPFAIL of sysexits.h: the same may work later."""


MEANINGS: Final = {
    ExitCode.DONE: "done; or told to end where waiting was all that was left to do",
    ExitCode.FAILED: "failed, or told to end in the middle of something",
    ExitCode.USAGE: "wrong usage: the command line means nothing, and nothing was begun",
    ExitCode.BUSY: "the peer is busy: the same may work later",
}


def exit_code_help() -> str:
    """Returns the table as a paragraph."""
    meanings = (f"{code} {meaning.replace(';', ',')}" for code, meaning in MEANINGS.items())
    return f"Exit codes: {'; '.join(meanings)}."
