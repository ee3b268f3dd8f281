"""`p2pnode swarm` behind NATs of the kernel: real nodes find and reach each other."""

import json
import subprocess
import sys
from typing import Any

import pytest

from p2pnode.testbed import missing_rights

pytestmark = [pytest.mark.netns, pytest.mark.slow]

ENTRY = "import sys; from p2pnode.cli.main import main; sys.exit(main())"
KINDS = "port-restricted,symmetric,full-cone,firewall"
"""Behind a relay these make four nodes, so six pairs"""
TIMEOUT = 60.0
"""seconds for a swarm that takes a dozen"""

Line = dict[str, Any]


@pytest.fixture(scope="module")
def rights() -> None:
    reason = missing_rights()
    if reason is not None:
        pytest.skip(reason)


def swarm(*arguments: str) -> tuple[int, list[Line]]:
    """Returns the exit code and what is printed."""
    done = subprocess.run(
        [sys.executable, "-c", ENTRY, "swarm", *arguments, "--json"],
        stdout=subprocess.PIPE,
        timeout=TIMEOUT,
        check=False,
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.spec("BED-17")
def test_nodes_behind_mixed_nats_reach_each_other(rights: None) -> None:
    code, lines = swarm("--nodes", "5", "--nat", KINDS, "--duration", "10")
    nodes = {line["node"]: line for line in lines if line["event"] == "node"}
    paths = {
        frozenset((line["node"], line["peer"])): line["path"]
        for line in lines
        if line["event"] == "pair"
    }
    (join,) = [line for line in lines if line["event"] == "join"]

    assert code == 0, lines[-1]
    assert [nodes[f"n{i}"]["nat"] for i in range(1, 5)] == KINDS.split(",")
    assert len(paths) == lines[-1]["pairs"] == 6
    assert lines[-1]["unconnected"] == 0
    # A symmetric NAT and one that filters by port: there is no way without a relay.
    assert paths[frozenset(("n1", "n2"))] == "relayed"
    assert lines[-1]["direct"] >= 3, paths
    assert join["command"].startswith("nsenter ")
    assert join["address"] in join["command"]
