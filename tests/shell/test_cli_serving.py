"""`run`, `relay` and `join` as nodes that serve: their flags, their ends, what they print."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import trio

from p2pnode.cli.environment import NodeRequest, RelayRequest
from p2pnode.cli.main import main
from p2pnode.cli.node_report import NodeReport
from p2pnode.cli.serving import DRAIN_GRACE, best_address
from p2pnode.protocols.relay import GENEROUS, AccessList
from tests.shell.cli_support import interrupt, run_json
from tests.shell.fake_node import (
    ADDRESS,
    FULL_STATUS,
    OUR_ADDRESS,
    PEER,
    RELAY,
    FakeEnvironment,
    FakeNode,
)

UNREACHABLE = "/ip4/192.0.2.99/udp/1/noise"


def relay_of(environment: FakeEnvironment) -> RelayRequest:
    (request,) = environment.requests
    return request.relay


def test_run_begins_with_the_peers_that_it_is_given(tmp_path: Path) -> None:
    environment = FakeEnvironment(tmp_path)
    assert main(["run", "--bootstrap", ADDRESS, "--connect", UNREACHABLE], environment) == 0
    (request,) = environment.requests
    assert request == NodeRequest(data=tmp_path, listen=None, bootstrap=(ADDRESS, UNREACHABLE))


@pytest.mark.parametrize(("flags", "mode"), [([], "when public"), (["--no-relay"], "off")])
def test_run_relays_unless_it_is_told_not_to(tmp_path: Path, flags: list[str], mode: str) -> None:
    environment = FakeEnvironment(tmp_path)
    assert main(["run", *flags], environment) == 0
    assert relay_of(environment) == RelayRequest(mode)


def test_a_relay_says_that_it_relays_and_how_others_use_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["relay"], FakeEnvironment(tmp_path)) == 0
    out = capsys.readouterr().out
    assert "relaying   for 1024 peers" in out
    assert f"  p2pnode run --bootstrap {OUR_ADDRESS}\n" in out

    environment = FakeEnvironment(tmp_path)
    code, [started, relaying] = run_json(capsys, environment, "relay")
    assert (code, started["event"]) == (0, "started")
    assert relaying["address"] == OUR_ADDRESS
    assert relaying["limits"]["circuits"] == GENEROUS.max_circuits
    assert relay_of(environment) == RelayRequest("always", GENEROUS, AccessList())


def test_flags_set_a_relays_limits_and_who_may_use_it(tmp_path: Path) -> None:
    environment = FakeEnvironment(tmp_path)
    flags = {
        "--max-reservations": "7",
        "--max-reservations-per-ip": "6",
        "--max-circuits": "5",
        "--max-circuits-per-peer": "4",
        "--max-circuits-per-ip": "3",
        "--circuit-rate": "64KiB",
        "--peer-rate": "1 MB",
        "--total-rate": "1.5MiB",
        "--circuit-volume": "10",
        "--peer-volume": "1GB",
        "--monthly-volume": "2GB",
    }
    lists = [
        *("--allow-peer", str(PEER), "--allow-peer", str(RELAY), "--deny-peer", str(RELAY)),
        *("--allow-network", " 192.0.2.0/24", "--deny-network", "2001:db8::/32"),
    ]
    arguments = [word for flag in flags.items() for word in flag]
    assert main(["relay", *arguments, *lists], environment) == 0
    limits, access = relay_of(environment)[1:]
    assert limits is not None
    assert (limits.max_reservations, limits.max_reservations_per_ip) == (7, 6)
    assert (limits.max_circuits, limits.max_circuits_per_peer, limits.max_circuits_per_ip) == (
        (5, 4, 3)
    )
    assert (limits.circuit_rate, limits.peer_rate) == (64 * 1024, 1_000_000)
    assert (limits.total_rate, limits.circuit_data) == (1536 * 1024, 10)
    assert (limits.peer_monthly_bytes, limits.monthly_bytes) == (10**9, 2 * 10**9)
    assert access == AccessList(
        allow_peers=frozenset((PEER, RELAY)),
        deny_peers=frozenset((RELAY,)),
        allow_networks=("192.0.2.0/24",),
        deny_networks=("2001:db8::/32",),
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["relay", "--circuit-rate", "fast"],
        ["relay", "--monthly-volume", "-1"],
        ["relay", "--max-circuits", "-1"],
        ["relay", "--allow-peer", "nobody"],
        ["relay", "--deny-network", "192.0.2.0/33"],
        ["relay", "--metrics", "nowhere"],
        ["run", "--metrics", "localhost:9464"],
        ["relay", "--no-relay"],
        ["join"],
        ["join", ADDRESS, ADDRESS],
        ["status", "x"],
        ["why"],
    ],
)
def test_wrong_flags_exit_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    code, [line] = run_json(capsys, FakeEnvironment(tmp_path), *arguments)
    assert (code, set(line)) == (2, {"error"})


def test_metrics_are_served_where_they_are_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, lines = run_json(capsys, FakeEnvironment(tmp_path), "run", "--metrics", "9464")
    assert code == 0
    assert {"event": "metrics", "url": "http://127.0.0.1:9464/metrics"} in lines


def is_stopped(node: FakeNode, nursery: trio.Nursery, *numbers: signal.Signals) -> None:
    """Sends the first signal once the node serves, and each other one once it takes its leave."""

    async def stop() -> None:
        await trio.testing.wait_all_tasks_blocked()
        for number in numbers:
            os.kill(os.getpid(), number)
            await node.is_draining.wait()
            await trio.testing.wait_all_tasks_blocked(0.01)

    node.is_ending = False
    nursery.start_soon(stop)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", [["run"], ["relay"], ["join", ADDRESS]])
def test_who_is_told_to_stop_moves_circuits_away_first(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    number: signal.Signals,
) -> None:
    nodes: list[FakeNode] = []

    def on_open(node: FakeNode, nursery: trio.Nursery) -> None:
        node.node_status = FULL_STATUS
        nodes.append(node)
        is_stopped(node, nursery, number)

    code, lines = run_json(capsys, FakeEnvironment(tmp_path, on_open), *command)
    assert code == 0
    assert lines[-1] == {"event": "draining", "circuits": 2, "grace_s": DRAIN_GRACE}
    assert nodes[0].drains == [DRAIN_GRACE]


def test_the_second_signal_does_not_wait(tmp_path: Path) -> None:
    def on_open(node: FakeNode, nursery: trio.Nursery) -> None:
        node.drain_takes = 1e6
        is_stopped(node, nursery, signal.SIGTERM, signal.SIGTERM)

    assert main(["relay"], FakeEnvironment(tmp_path, on_open)) == 0


def joining(
    capsys: pytest.CaptureFixture[str], folder: Path, found: int, *arguments: str
) -> tuple[int, list[dict[str, Any]]]:
    """Joins a swarm of so many other peers, and is interrupted then."""

    def on_open(node: FakeNode, nursery: trio.Nursery) -> None:
        node.is_ending = False
        node.known_peers = [PEER, *[RELAY] * found]
        node.node_reports = [NodeReport("reachability", {"verdict": "unknown"}, ("reachable",))]

        async def stop() -> None:
            await trio.testing.wait_all_tasks_blocked(0.05)
            interrupt()

        nursery.start_soon(stop)

    environment = FakeEnvironment(folder, on_open)
    outcome = run_json(capsys, environment, "join", ADDRESS, *arguments)
    assert environment.requests[0].bootstrap[0] == ADDRESS
    return outcome


def test_join_says_who_was_joined_and_how_many_others_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, lines = joining(capsys, tmp_path, 3)
    assert code == 0
    events = {line["event"]: line for line in lines}
    assert next(iter(events)) == "started"
    assert events["joined"] == {"event": "joined", "peer": str(PEER), "addr": ADDRESS}
    assert events["peers"] == {"event": "peers", "found": 3}
    assert "reachability" in events


def test_join_fails_where_the_address_does_not_answer_and_says_what_to_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def on_open(node: FakeNode, _: trio.Nursery) -> None:
        node.is_ending = False

    environment = FakeEnvironment(tmp_path, on_open)
    code, lines = run_json(capsys, environment, "join", UNREACHABLE)
    assert code == 1
    assert lines[-1]["error"].startswith("the swarm was not joined: cannot reach ")
    assert "firewall" in lines[-1]["error"]


def test_of_several_addresses_others_are_told_the_one_that_reaches_farthest() -> None:
    loopback, private = "/ip4/127.0.0.1/udp/1/noise", "/ip4/10.0.0.1/udp/1/noise"
    public = "/ip4/8.8.8.8/udp/1/noise"
    assert best_address([loopback, private, public]) == public
    assert best_address([loopback, private]) == private
    assert best_address([]) == "ADDRESS"
