"""`p2pnode swarm`: its arguments, its output, and a whole swarm of processes on loopback.

The processes are waited for by what they print; a watchdog ends what hangs.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from p2pnode.cli import swarm_real
from p2pnode.cli.main import main
from p2pnode.cli.swarm import MAX_NODES, MIN_NODES
from p2pnode.io.applications.together import first_failure
from p2pnode.testbed.fleet import plan_fleet
from p2pnode.testbed.fleet_board import Board
from p2pnode.testbed.fleet_run import Fleet
from p2pnode.testbed.nat_kinds import NONE

WATCHDOG = 60.0
"""seconds after which a swarm is taken for hanging"""
ENTRY = "import sys; from p2pnode.cli.main import main; sys.exit(main())"

Line = dict[str, Any]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["swarm", *arguments])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


# arguments


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--nat", "cone"), "there is no kind of NAT named 'cone'; there are mix, none, port-"),
        (("--nat", "none,"), "there is no kind of NAT named ''"),
        (("--nodes", str(MIN_NODES - 1)), "--nodes"),
        (("--nodes", str(MAX_NODES + 1)), "--nodes"),
        (("--duration", "0"), "--duration"),
    ],
)
def test_wrong_usage_is_told(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], complaint: str
) -> None:
    code, out, err = run(capsys, *arguments)

    assert code == 2
    assert complaint in err
    assert out == ""


@pytest.mark.spec("BED-20")
def test_without_rights_one_sentence_says_why_and_what_works(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(swarm_real, "gain_rights", lambda: "the kernel forbids namespaces")

    code, _, err = run(capsys, "--nodes", "3")

    assert code == 1
    assert err == (
        "p2pnode: the kernel forbids namespaces; `p2pnode swarm --sim` needs no rights, and "
        "`--nat none` only loopback\n"
    )


# virtual time


@pytest.mark.slow
@pytest.mark.spec("BED-19")
def test_a_simulated_swarm_prints_a_line_a_change_and_a_table(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, err = run(capsys, "--sim", "--nodes", "4", "--duration", "8")
    lines = out.splitlines()

    assert (code, err) == (0, "")
    assert re.fullmatch(r"started    r1 is \w+, a relay, a public host", lines[0])
    assert any(re.match(r"pair       n\d -> n\d relayed in 100\.\d ms via /ip4/", x) for x in lines)
    assert "reaches n1 to n3" in out
    assert lines[-1].startswith("2 of 3 pairs direct (50 ms), 1 relayed (100 ms), 0 not connected;")


@pytest.mark.slow
@pytest.mark.spec("BED-19")
def test_a_pair_that_is_not_connected_fails_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(
        capsys, "--sim", "--nodes", "3", "--nat", "udp-blocked", "--duration", "3", "--json"
    )
    summary = json.loads(out.splitlines()[-1])

    assert code == 1
    assert summary["event"] == "summary"
    assert (summary["pairs"], summary["direct"], summary["unconnected"]) == (1, 0, 1)
    assert summary["all_connected_s"] is None


@pytest.mark.slow
def test_json_has_an_object_a_change(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(
        capsys, "--sim", "--nodes", "4", "--duration", "5", "--nat", "port-restricted", "--json"
    )
    lines: list[Line] = [json.loads(line) for line in out.splitlines()]

    assert {line["event"] for line in lines} == {"node", "pair", "summary"}
    nodes = {line["node"]: line for line in lines if line["event"] == "node"}
    assert nodes["r1"]["relay"] is True
    assert nodes["n1"]["nat"] == "port-restricted"
    assert "r1" in nodes["n1"]["relays"]
    pairs = {(line["node"], line["peer"]): line for line in lines if line["event"] == "pair"}
    assert all(line["path"] in ("direct", "relayed") for line in pairs.values())
    assert all(line["rtt_ms"] >= 50 and line["via"] for line in pairs.values())
    assert {(line["transport"], line["limited"]) for line in pairs.values()} == {
        ("noise-udp", False)
    }


# processes


class Swarm:
    """A `p2pnode swarm --nat none --json` that runs; its files are all below `folder`."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.lines: list[Line] = []
        self.process = subprocess.Popen(
            [sys.executable, "-c", ENTRY, "swarm", "--nat", "none", "--json", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env={**os.environ, "TMPDIR": str(folder)},
        )
        self._watchdog = threading.Timer(WATCHDOG, self.process.kill)
        self._watchdog.start()

    def __enter__(self) -> "Swarm":
        return self

    def __exit__(self, *_: object) -> None:
        self._watchdog.cancel()
        self.process.kill()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process.wait()

    def event(self, name: str, **fields: object) -> Line:
        """Returns the next event of that name with those fields."""
        for line in self._read():
            if line.get("event") == name and fields.items() <= line.items():
                return line
        raise AssertionError(f"the swarm ended after {self.lines}")

    def rest(self) -> tuple[int, Line]:
        """Waits for the end; returns the exit code and the last line."""
        for _ in self._read():
            pass
        return self.process.wait(), self.lines[-1]

    def nodes(self) -> list[int]:
        """Returns the processes of nodes, by what they were told to use."""
        return [pid for pid, command in _commands() if str(self.folder) in command]

    def _read(self) -> Iterator[Line]:
        assert self.process.stdout is not None
        for text in self.process.stdout:
            self.lines.append(json.loads(text))
            yield self.lines[-1]


def _commands() -> Iterator[tuple[int, str]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                yield int(entry.name), (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue


def wait_for_end(pid: int) -> None:
    """Returns when the process has ended; it need not be a child of ours."""
    waiter = ["tail", f"--pid={pid}", "-f", os.devnull]
    subprocess.run(waiter, timeout=WATCHDOG, check=True)


needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short, because of the paths of Unix sockets."""
    with tempfile.TemporaryDirectory(prefix="p2p-") as name:
        yield Path(name)


@pytest.mark.slow
@needs_proc
@pytest.mark.spec("BED-17")
@pytest.mark.spec("BED-22")
def test_a_swarm_on_loopback_connects_and_another_node_can_join(folder: Path) -> None:
    with Swarm(folder, "--nodes", "3") as swarm:
        join = swarm.event("join")
        swarm.event("pair", path="direct")
        running = swarm.nodes()
        joiner = [sys.executable, "-c", ENTRY, "ping", join["address"], "-c", "2", "-i", "0.01"]
        pinged = subprocess.run(
            [*joiner, "--data", str(folder / "joiner"), "--json"], capture_output=True, check=False
        )
        swarm.process.send_signal(signal.SIGTERM)
        code, last = swarm.rest()

        assert pinged.returncode == 0, pinged.stdout
        assert f"--bootstrap {join['address']}" in join["command"]
        assert len(running) == 3
        assert (code, last["event"], last["direct"], last["unconnected"]) == (0, "summary", 1, 0)
        assert swarm.nodes() == []
        assert list(folder.glob("p2pnode-swarm-*")) == []


@pytest.mark.slow
@needs_proc
@pytest.mark.spec("BED-18")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_after_an_interrupt_nothing_is_left(folder: Path, number: signal.Signals) -> None:
    with Swarm(folder, "--nodes", "2") as swarm:
        swarm.event("join")
        swarm.process.send_signal(number)
        code, last = swarm.rest()

        assert code == 0
        assert last["event"] == "summary"
        assert swarm.nodes() == []
        assert list(folder.glob("p2pnode-swarm-*")) == []


@pytest.mark.slow
@needs_proc
@pytest.mark.spec("BED-18")
def test_nodes_end_with_a_swarm_that_is_killed(folder: Path) -> None:
    with Swarm(folder, "--nodes", "2") as swarm:
        swarm.event("join")
        nodes = swarm.nodes()
        swarm.process.kill()
        for pid in nodes:
            wait_for_end(pid)

        assert len(nodes) == 2


@pytest.mark.slow
@needs_proc
@pytest.mark.spec("BED-18")
def test_a_node_that_is_killed_is_told_and_the_others_go_on(folder: Path) -> None:
    with Swarm(folder, "--nodes", "3", "--duration", "4") as swarm:
        swarm.event("pair", path="direct")
        victim = next(pid for pid, text in _commands() if f"{folder}" in text and "/n2" in text)
        os.kill(victim, signal.SIGKILL)
        ended = swarm.event("node_ended")
        code, last = swarm.rest()

        assert (ended["node"], ended["last_words"]) == ("n2", "it was killed by SIGKILL")
        assert (code, last["unconnected"]) == (1, 1)
        assert swarm.nodes() == []


@pytest.mark.spec("BED-18")
async def test_a_node_that_does_not_start_ends_the_swarm_with_its_reason(tmp_path: Path) -> None:
    plan = plan_fleet(2, (NONE,), 0)
    program = (sys.executable, "-c", "raise SystemExit('the disk is full')")
    fleet = Fleet(plan, Board(plan), program=program, folder=tmp_path)

    with trio.fail_after(WATCHDOG), pytest.raises(ExceptionGroup) as raised:
        await fleet.run()

    assert str(first_failure(raised.value)) == "node r1 did not start: the disk is full"
