"""`status` and `why`: through the running node, or by one of the command's own."""

from pathlib import Path

import pytest
import trio

from p2pnode.cli.main import main
from p2pnode.protocols.nat_behaviour.why import Explanation, PunchAttempt
from tests.shell.cli_support import RunningNode, run_json
from tests.shell.fake_node import (
    ADDRESS,
    FULL_STATUS,
    OURS,
    PEER,
    RELAY,
    VIA,
    FakeEnvironment,
    FakeNode,
)

THERE = {"via": str(VIA), "transport": "noise-udp"}
STATUS = {
    "peer_id": str(OURS),
    "reachability": "private",
    "addresses": [{"addr": str(VIA), "verdict": "private", "observers": 2}],
    "relays": [{"peer": str(RELAY), "expires_s": 1800.0, "clock_ahead_s": -3600.0}],
    "connections": [
        {
            "peer": str(PEER),
            "path": "relayed",
            "via": str(VIA),
            "transport": "noise-udp",
            "limited": True,
            "rtt_ms": 12.346,
            "streams": 3,
        },
        {
            "peer": str(RELAY),
            "path": "direct",
            "via": str(VIA),
            "transport": "noise-udp",
            "limited": False,
            "rtt_ms": None,
            "streams": 0,
        },
    ],
    "relaying": [
        {"peer": str(PEER), "bytes": 4096, "circuits": 2},
        {"peer": str(RELAY), "bytes": 0, "circuits": 2},
    ],
    "resources": [
        {"name": "memory", "used": 1 << 20, "limit": 1 << 28, "refused": 7},
        {"name": "circuits", "used": 0, "limit": 64, "refused": 0},
    ],
    "silence": None,
}
SYMMETRIC = Explanation(
    PEER,
    "relayed",
    "their NAT gives each peer another port",
    "theirs",
    "address-and-port-dependent mapping",
    (PunchAttempt(3.0, 1, "plain", False, "no answer"),),
)
WHY = {
    "peer": str(PEER),
    "path": "relayed",
    "transport": "noise-udp",
    "limited": False,
    "verdict": SYMMETRIC.verdict,
    "cause": {"side": "theirs", "property": SYMMETRIC.property},
    "attempts": [{"round": 1, "strategy": "plain", "direct": False, "reason": "no answer"}],
}


def test_status_is_the_running_nodes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with RunningNode(tmp_path, status=FULL_STATUS):
        assert run_json(capsys, FakeEnvironment(tmp_path), "status") == (0, [STATUS])
        assert main(["status"], FakeEnvironment(tmp_path)) == 0
    out = capsys.readouterr().out
    assert f"peer id     {OURS}\n" in out
    assert "private: strangers do not reach it" in out
    assert "30 min" in out
    assert "relayed, limited" in out
    assert "silence" not in out
    assert "1 h behind ours" in out
    assert "4.0 KiB" in out


def test_an_empty_status_says_what_there_is_none_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with RunningNode(tmp_path):
        assert main(["status"], FakeEnvironment(tmp_path)) == 0
    out = capsys.readouterr().out
    assert "relays: none\n" in out
    assert "connections: none\n" in out


def test_silence_over_udp_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "nothing is heard over UDP: none of the 3 hosts that were tried answers"
    with RunningNode(tmp_path, status=FULL_STATUS._replace(silence=text)):
        assert run_json(capsys, FakeEnvironment(tmp_path), "status")[1][0]["silence"] == text
        assert main(["status"], FakeEnvironment(tmp_path)) == 0
    assert f"silence     {text}\n" in capsys.readouterr().out


def test_where_no_node_runs_status_says_so_and_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, [line] = run_json(capsys, FakeEnvironment(tmp_path), "status")
    assert code == 1
    assert line["error"].startswith(f"no node runs on {tmp_path}: start one with `p2pnode run`")


@pytest.mark.parametrize("target", [ADDRESS, str(PEER)])
def test_why_asks_the_running_node(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], target: str
) -> None:
    with RunningNode(tmp_path, explanation=SYMMETRIC, reachable=[target]):
        environment = FakeEnvironment(tmp_path)
        assert run_json(capsys, environment, "why", target) == (0, [WHY])
        assert environment.requests == []


def test_why_by_a_node_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def on_open(node: FakeNode, _: trio.Nursery) -> None:
        node.reachable = [str(PEER)]
        node.explanation = SYMMETRIC

    environment = FakeEnvironment(tmp_path, on_open)
    arguments = ("why", str(PEER), "--bootstrap", ADDRESS)
    assert run_json(capsys, environment, *arguments) == (0, [WHY])
    assert environment.requests[0].bootstrap == (ADDRESS,)

    assert main(list(arguments), environment) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{SYMMETRIC.verdict}\n")
    assert "cause    theirs: address-and-port-dependent mapping\n" in out
    assert "tried    round 1, plain: no answer\n" in out


def test_why_without_a_cause_has_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, [line] = run_json(capsys, FakeEnvironment(tmp_path), "why", ADDRESS)
    assert code == 0
    assert (line["cause"], line["attempts"], line["path"]) == (None, [], "direct")
