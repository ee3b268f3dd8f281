"""Commands whose stdin, stdout or stderr is missing, or takes nothing."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="closes descriptors in a shell"),
]


def run_in_shell(line: str, folder: Path) -> tuple[int, str]:
    """Returns the exit code and stderr of a shell's command line; "$@" in it is a p2pnode."""
    environment = {**os.environ, "P2PNODE_DATA": str(folder)}
    done = subprocess.run(
        ["/bin/sh", "-c", line, "sh", sys.executable, "-m", "p2pnode"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    return done.returncode, done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    "command",
    ["id", "id --json", "run --json", "ping nonsense --json", "ping --x --json", "--help"],
)
def test_a_stdout_that_takes_nothing_is_one_sentence_on_stderr(
    tmp_path: Path, command: str
) -> None:
    code, told = run_in_shell(f'"$@" {command} >/dev/full', tmp_path)
    assert (code, told.count("\n")) == (1, 1)
    assert told.startswith("p2pnode: ")
    assert os.strerror(errno.ENOSPC) in told
    assert run_in_shell(f'"$@" {command} >/dev/full 2>&-', tmp_path) == (1, "")


def test_a_missing_stdout_is_one_sentence_on_stderr(tmp_path: Path) -> None:
    told = f"p2pnode: there is no stdout; {os.devnull} will do\n"
    assert run_in_shell('"$@" id >&-', tmp_path) == (1, told)
    assert run_in_shell('"$@" id --json >&-', tmp_path) == (1, told)
    assert run_in_shell('"$@" id >&- 2>&-', tmp_path) == (1, "")


def test_a_missing_stdin_or_stderr_does_no_harm(tmp_path: Path) -> None:
    assert run_in_shell('"$@" id <&- 2>&-', tmp_path) == (0, "")
    assert run_in_shell('"$@" ping nonsense <&- 2>&-', tmp_path) == (2, "")
