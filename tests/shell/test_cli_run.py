"""`run` through `main`, against a node without a network."""

import os
import signal
from pathlib import Path

import pytest
import trio

from p2pnode.cli.environment import NodeRequest
from p2pnode.cli.main import main
from p2pnode.cli.node_report import NodeReport
from p2pnode.errors import ListenError
from tests.shell.cli_support import run_json
from tests.shell.fake_node import (
    OUR_ADDRESS,
    OURS,
    PEER,
    FakeEnvironment,
    FakeNode,
)

VIA = "/ip4/192.0.2.7/udp/4001/noise"
UNREACHABLE = "/ip4/192.0.2.99/udp/1/noise"


def test_run_begins_with_its_id_and_addresses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def on_open(node: FakeNode, _: trio.Nursery) -> None:
        node.node_reports = [NodeReport("connected", {"peer": str(PEER)}, ("connected",))]

    environment = FakeEnvironment(tmp_path, on_open)
    code, lines = run_json(capsys, environment, "run", "--listen", "/ip4/127.0.0.1/udp/0/noise")
    assert code == 0
    assert lines[0] == {"event": "started", "peer_id": str(OURS), "addresses": [OUR_ADDRESS]}
    assert [line["event"] for line in lines] == ["started", "alone", "connected"]
    assert environment.requests == [
        NodeRequest(data=tmp_path, listen=("/ip4/127.0.0.1/udp/0/noise",))
    ]


def test_run_that_is_alone_says_so_and_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run"], FakeEnvironment(tmp_path)) == 0
    out = capsys.readouterr().out
    assert "alone" in out
    assert f"p2pnode ping {OUR_ADDRESS}" in out
    assert "--bootstrap" in out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_is_stopped_by_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    def on_open(node: FakeNode, nursery: trio.Nursery) -> None:
        async def stop() -> None:
            await trio.testing.wait_all_tasks_blocked()
            os.kill(os.getpid(), number)

        node.is_ending = False
        nursery.start_soon(stop)

    assert main(["run"], FakeEnvironment(tmp_path, on_open)) == 0


def test_a_port_in_use_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    environment = FakeEnvironment(tmp_path)
    environment.failure = ListenError("port 4001 is in use; choose another with --listen")
    code, lines = run_json(capsys, environment, "run")
    assert (code, lines) == (1, [{"error": str(environment.failure)}])
