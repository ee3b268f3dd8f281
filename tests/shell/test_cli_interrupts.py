"""Signals, whenever they come."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from p2pnode.cli.interrupts import Interrupts
from p2pnode.cli.main import main
from tests.shell.fake_node import ADDRESS, FakeEnvironment, FakeNode


class EarlyInterrupt(FakeEnvironment):
    """The signal comes before the command has begun."""

    def data_folder(self, chosen: Path | None) -> Path:
        os.kill(os.getpid(), signal.SIGTERM)
        return super().data_folder(chosen)


def test_a_signal_before_the_command_has_begun_is_not_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def on_open(node: FakeNode, _: trio.Nursery) -> None:
        node.is_ending = False

    assert main(["run"], EarlyInterrupt(tmp_path, on_open)) == 1
    assert main(["ping", ADDRESS], EarlyInterrupt(tmp_path)) == 1
    assert capsys.readouterr() == ("", "p2pnode: told to end before it was done\n" * 2)


def test_a_command_that_cannot_end_is_ended_by_the_third_signal() -> None:
    code = (
        "import os, signal; from p2pnode.cli.interrupts import INTERRUPTS\n"
        "with INTERRUPTS.taken():\n"
        "    for _ in range(2): os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('still here', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('never', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.stdout == b"still here\n"
    assert done.returncode != 0


HANGUP = (
    "import os, signal; from p2pnode.cli.interrupts import INTERRUPTS\n"
    "signal.signal(signal.SIGHUP, signal.{disposition})\n"
    "with INTERRUPTS.taken():\n"
    "    os.kill(os.getpid(), signal.SIGHUP)\n"
    "    print(INTERRUPTS.has_come, flush=True)\n"
    "print(signal.getsignal(signal.SIGHUP) == signal.{disposition}, flush=True)\n"
)


@pytest.mark.skipif(os.name != "posix", reason="there is no SIGHUP")
@pytest.mark.parametrize(("disposition", "has_come"), [("SIG_DFL", True), ("SIG_IGN", False)])
def test_a_closed_terminal_asks_for_an_end_unless_that_was_ruled_out(
    disposition: str, has_come: bool
) -> None:
    code = HANGUP.format(disposition=disposition)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{has_come}\nTrue\n")


@pytest.mark.skipif(os.name != "posix", reason="there is no SIGQUIT")
@pytest.mark.parametrize("disposition", ["SIG_DFL", "SIG_IGN"])
def test_sigquit_ends_a_command_at_once_wherever_it_was_started(disposition: str) -> None:
    code = (
        "import os, resource, signal; from p2pnode.cli.interrupts import INTERRUPTS\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        f"signal.signal(signal.SIGQUIT, signal.{disposition})\n"
        "with INTERRUPTS.taken():\n"
        "    os.kill(os.getpid(), signal.SIGQUIT)\n"
        "    print('never', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGQUIT, b"")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_mean_what_they_did_once_the_command_is_over(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    interrupts = Interrupts()
    ends: list[int] = []
    with interrupts.taken(), interrupts.ending_by(lambda: ends.append(1)):
        os.kill(os.getpid(), number)
    assert ends == [1]
    assert not interrupts.has_come
    assert signal.getsignal(number) is before
