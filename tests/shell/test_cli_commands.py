"""`id`, `ping` and `identify` through `main`, against a node without a network; and errors."""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import trio

from p2pnode.cli.environment import NodeRequest, Traces
from p2pnode.cli.main import main
from p2pnode.errors import ConnectionLost
from p2pnode.swarm.config import DEFAULT_AGENT_VERSION
from tests.shell.cli_support import RunningNode, interrupt, run_json
from tests.shell.fake_node import (
    ADDRESS,
    HOSTILE_INFO,
    OUR_ADDRESS,
    OURS,
    PEER,
    FakeEnvironment,
    FakeNode,
)

VIA = "/ip4/192.0.2.7/udp/4001/noise"
UNREACHABLE = "/ip4/192.0.2.99/udp/1/noise"


def test_id_prints_the_peer_id(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_json(capsys, FakeEnvironment(tmp_path), "id") == (0, [{"peer_id": str(OURS)}])
    assert main(["id"], FakeEnvironment(tmp_path)) == 0
    assert capsys.readouterr().out == f"{OURS}\n"


def test_ping_prints_a_line_a_pong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    environment = FakeEnvironment(tmp_path)
    code, lines = run_json(
        capsys, environment, "ping", ADDRESS, "--count", "2", "--interval", "0.01"
    )
    pong = {
        "peer": str(PEER),
        "rtt_ms": 1.0,
        "path": "direct",
        "via": VIA,
        "transport": "noise-udp",
        "limited": False,
    }
    assert (code, lines) == (0, [{**pong, "seq": 1}, {**pong, "seq": 2}])
    assert environment.requests == [NodeRequest(data=None, listen=())]


def test_a_lost_ping_prints_a_line_and_does_not_end_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def on_open(node: FakeNode, _: trio.Nursery) -> None:
        node.rtts = [ConnectionLost("the \x1b[2Jnetwork is down"), 0.002]

    environment = FakeEnvironment(tmp_path, on_open)
    code, [lost, pong] = run_json(capsys, environment, "ping", ADDRESS, "-c", "2", "-i", "0.01")
    assert code == 0
    assert (lost["seq"], lost["rtt_ms"]) == (1, None)
    assert (pong["seq"], pong["rtt_ms"]) == (2, 2.0)

    assert main(["ping", ADDRESS, "-c", "2", "-i", "0.01"], environment) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "1 of 2 pongs, 50 % lost, min/avg/max 2.00/2.00/2.00 ms" in out


def test_ping_shows_the_moment_the_path_changes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def on_open(node: FakeNode, nursery: trio.Nursery) -> None:
        async def punch() -> None:
            while len(node.rtts) > 2:
                await trio.lowlevel.checkpoint()
            node.path = "direct"

        node.path, node.rtts = "relayed", [0.001] * 4
        nursery.start_soon(punch)

    environment = FakeEnvironment(tmp_path, on_open)
    assert main(["ping", ADDRESS, "-c", "4", "-i", "0.01"], environment) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines.count(f"path is direct via {VIA} now, after relayed") == 1
    where = lines.index(f"path is direct via {VIA} now, after relayed")
    assert lines[where - 1].endswith("(relayed)")
    assert lines[where + 1].endswith("(direct)")


@pytest.mark.parametrize("command", ["ping", "identify", "pipe", "why"])
def test_a_bare_peer_id_needs_somebody_to_ask(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    environment = FakeEnvironment(tmp_path)
    assert main([command, str(PEER)], environment) == 1
    out, err = capsys.readouterr()
    assert (out, environment.requests) == ("", [])
    assert err.count("\n") == 1
    assert f"{PEER} is a bare peer id and no node runs on {tmp_path}" in err
    assert "--bootstrap" in err


def test_a_bare_peer_id_is_found_by_bootstrap_peers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def on_open(node: FakeNode, _: trio.Nursery) -> None:
        node.reachable = [str(PEER)]

    environment = FakeEnvironment(tmp_path, on_open)
    arguments = ("--bootstrap", ADDRESS, "--bootstrap", OUR_ADDRESS)
    code, [pong] = run_json(capsys, environment, "ping", str(PEER), "-c", "1", *arguments)
    assert (code, pong["peer"]) == (0, str(PEER))
    assert environment.requests == [
        NodeRequest(data=None, listen=(), bootstrap=(ADDRESS, OUR_ADDRESS))
    ]


def test_where_no_bootstrap_peer_answers_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, [line] = run_json(
        capsys, FakeEnvironment(tmp_path), "identify", str(PEER), "--bootstrap", UNREACHABLE
    )
    assert code == 1
    assert line["error"].startswith(f"cannot look for {PEER}: no bootstrap peer answers")
    assert UNREACHABLE in line["error"]


def test_a_running_node_has_its_own_bootstrap_peers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with RunningNode(tmp_path):
        environment = FakeEnvironment(tmp_path)
        arguments = ["ping", ADDRESS, "-c", "1", "--bootstrap", UNREACHABLE]
        assert main(arguments, environment) == 0
        note = capsys.readouterr().err
        assert note.count("\n") == 1
        assert "--bootstrap is that node's own matter, and ignored" in note
        assert main([*arguments, "--qlog", str(tmp_path / "qlog")], environment) == 0
        assert "--bootstrap, --qlog and --key-log are that" in capsys.readouterr().err
    assert environment.requests == []


def test_ping_fails_where_no_pong_came_back(tmp_path: Path) -> None:
    def on_open(node: FakeNode, _: trio.Nursery) -> None:
        node.rtts = [ConnectionLost("the network is down")]

    assert main(["ping", ADDRESS, "-c", "1"], FakeEnvironment(tmp_path, on_open)) == 1


def test_an_interrupted_ping_sums_up_and_is_content(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def on_open(node: FakeNode, nursery: trio.Nursery) -> None:
        async def interrupt_later() -> None:
            while node.rtts:
                await trio.testing.wait_all_tasks_blocked()
                await trio.sleep(0.001)
            interrupt()

        node.rtts = [0.001, 0.001]
        nursery.start_soon(interrupt_later)

    assert main(["ping", ADDRESS, "-i", "0.01"], FakeEnvironment(tmp_path, on_open)) == 0
    assert "0 % lost" in capsys.readouterr().out


def test_a_ping_that_is_interrupted_before_a_pong_has_come_says_why_it_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def on_open(node: FakeNode, _: trio.Nursery) -> None:
        interrupt()

    told = run_json(capsys, FakeEnvironment(tmp_path, on_open), "ping", ADDRESS)
    assert told == (1, [{"error": "told to end before it was done"}])


def test_identify_prints_what_the_peer_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def on_open(node: FakeNode, _: trio.Nursery) -> None:
        node.identify_info = HOSTILE_INFO

    code, [line] = run_json(capsys, FakeEnvironment(tmp_path, on_open), "identify", ADDRESS)
    assert code == 0
    assert line == {
        "peer_id": str(PEER),
        "observed_addr": "/ip4/198.51.100.3/udp/50000/noise",
        "listen_addrs": [VIA],
        "protocols": list(HOSTILE_INFO.protocols),
        "agent_version": HOSTILE_INFO.agent_version,
        "protocol_version": "p2pnode/0.1.0",
    }


def test_identify_lets_no_peer_draw_on_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def on_open(node: FakeNode, _: trio.Nursery) -> None:
        node.identify_info = HOSTILE_INFO

    assert main(["identify", ADDRESS], FakeEnvironment(tmp_path, on_open)) == 0
    out = capsys.readouterr().out
    assert out.startswith("it sees us at      /ip4/198.51.100.3/udp/50000/noise\n")
    assert out.count("\nit sees us at") == 0
    assert out.replace("\n", "").isprintable()
    assert "[bold]agent[/bold]" in out


@pytest.mark.parametrize("command", ["ping", "identify", "pipe"])
def test_a_peer_that_cannot_be_reached_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert main([command, UNREACHABLE], FakeEnvironment(tmp_path)) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("p2pnode: ")
    assert err.count("\n") == 1


def test_an_error_is_an_object_for_a_script(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, lines = run_json(capsys, FakeEnvironment(tmp_path), "ping", UNREACHABLE)
    assert (code, lines) == (1, [{"error": f"cannot reach {UNREACHABLE}: nothing answers"}])


@pytest.mark.parametrize(
    "arguments",
    [
        ["ping"],
        ["ping", ADDRESS, "--count", "0"],
        ["ping", ADDRESS, "--interval", "0"],
        ["ping", ADDRESS, "--nonsense"],
        ["launch"],
        ["pipe", ADDRESS, "--listen", "/ip4/0.0.0.0/udp/0/noise"],
    ],
)
def test_wrong_usage_exits_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert main(arguments, FakeEnvironment(tmp_path)) == 2
    assert capsys.readouterr().out == ""
    assert main([*arguments, "--json"], FakeEnvironment(tmp_path)) == 2
    out, err = capsys.readouterr()
    [line] = (out or err).splitlines()  # of pipe on stderr
    assert set(json.loads(line)) == {"error"}


@pytest.mark.parametrize(
    "command",
    [
        [],
        *([c] for c in ("run", "relay", "join", "status", "why", "netcheck", "swarm", "id")),
        *([c] for c in ("ping", "identify", "send", "receive", "pipe")),
    ],
)
def test_each_command_explains_itself(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: list[str]
) -> None:
    assert main([*command, "--help"], FakeEnvironment(tmp_path)) == 0
    assert "Usage: p2pnode" in capsys.readouterr().out


def test_the_version_is_the_installed_one_and_what_peers_are_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    installed = version("p2pnode")
    assert main(["--version"], FakeEnvironment(tmp_path)) == 0
    assert capsys.readouterr().out == f"p2pnode {installed}\n"
    assert f"p2pnode/{installed}" == DEFAULT_AGENT_VERSION


def test_help_does_not_load_what_it_does_not_need() -> None:
    code = (
        "import sys; from p2pnode.cli.main import main; main(['--help']);"
        "print([m for m in ('trio', 'google.protobuf', 'cryptography', 'multiaddr', 'nacl',"
        " 'importlib.metadata')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_reader_that_goes_away_is_not_worth_a_word(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from p2pnode.cli.main import main;"
        "from tests.shell.fake_node import FakeEnvironment, ADDRESS;"
        "os.close(0); r, w = os.pipe(); os.close(r); os.dup2(w, 1);"
        "sys.exit(main(['ping', ADDRESS, '-i', '0.01'], FakeEnvironment(Path(sys.argv[1]))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, "")


def test_commands_go_through_the_running_node(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with RunningNode(tmp_path) as running:
        environment = FakeEnvironment(tmp_path)
        code, lines = run_json(capsys, environment, "ping", ADDRESS, "-c", "2", "-i", "0.01")
        assert (code, [line["seq"] for line in lines]) == (0, [1, 2])
        code, [line] = run_json(capsys, environment, "identify", ADDRESS)
        assert (code, line["peer_id"]) == (0, str(PEER))
        code, [line] = run_json(capsys, environment, "ping", UNREACHABLE)
        assert (code, set(line)) == (1, {"error"})

        (tmp_path / "x").write_bytes(b"abc" * 100000)
        code, [line] = run_json(capsys, environment, "send", str(tmp_path / "x"), ADDRESS)
        assert (code, line["bytes"], line["path"]) == (0, 300000, "direct")
        assert (running.received / "x").read_bytes() == b"abc" * 100000
    assert environment.requests == []


@pytest.mark.parametrize(
    "command", [("ping", ADDRESS, "-c", "1"), ("identify", ADDRESS), ("run",), ("receive",)]
)
def test_what_to_trace_reaches_the_node(tmp_path: Path, command: tuple[str, ...]) -> None:
    def on_open(*_: object) -> None:
        if command[0] == "receive":
            interrupt()

    environment = FakeEnvironment(tmp_path, on_open)
    qlog, keys = tmp_path / "qlog", tmp_path / "keys"
    main([*command, "--qlog", str(qlog), "--key-log", str(keys)], environment)
    assert [request.traces for request in environment.requests] == [Traces(qlog, keys)]


def test_who_asks_for_the_running_node_itself_is_a_peer_of_its_own(tmp_path: Path) -> None:
    with RunningNode(tmp_path):
        for target in (OUR_ADDRESS, OUR_ADDRESS.partition("/p2p/")[0]):
            environment = FakeEnvironment(tmp_path)
            main(["ping", target, "-c", "1"], environment)
            assert environment.requests == [NodeRequest(data=None, listen=())]
        environment = FakeEnvironment(tmp_path)
        main(["ping", str(OURS), "-c", "1"], environment)
        assert environment.requests == [NodeRequest(data=None, listen=(), bootstrap=(OUR_ADDRESS,))]
