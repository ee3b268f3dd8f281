"""The program with peers on other libraries: what people try first."""

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.interop.peers.matrix import TRANSPORTS
from tests.interop.peers.peer import START_TIMEOUT, Peer, running
from tests.interop.peers.toolchains import TOOLCHAINS, Command

pytestmark = pytest.mark.slow

PROGRAM = (sys.executable, "-P", "-m", "p2pnode")
LISTEN = ("/ip4/127.0.0.1/udp/0/noise", "/ip4/127.0.0.1/tcp/0")
"""The first address that a node prints is noise-udp's, whatever else it has."""


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=TOOLCHAINS)
def stranger(
    request: pytest.FixtureRequest,
    transport: str,
    peer_command: Callable[[str], Command],
    tmp_path: Path,
) -> Generator[Peer]:
    name = request.param
    flags = ("--transport", transport)
    with running(name, peer_command(name), tmp_path / "stranger.log", *flags) as peer:
        yield peer


def test_it_pings_them_by_their_address(stranger: Peer, transport: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [*PROGRAM, "ping", stranger.addr, "-c", "2", "-i", "0.1", "--json"],
        env={**os.environ, "P2PNODE_DATA": str(tmp_path / "data")},
        capture_output=True,
        text=True,
        timeout=START_TIMEOUT,
        check=False,
    )

    said = [json.loads(line) for line in done.stdout.splitlines()]
    pongs = [one for one in said if one.get("rtt_ms") is not None]
    assert (done.returncode, len(pongs)) == (0, 2), (said, done.stderr)
    assert {one["transport"] for one in pongs} == {transport}


def test_they_dial_a_running_one_and_know_what_it_is(
    stranger: Peer, transport: str, tmp_path: Path
) -> None:
    with running_program(tmp_path) as started:
        addresses = started["addresses"]
        assert addresses[0].split("/")[5] == "noise"
        (address,) = (one for one in addresses if belongs_to(one, transport))

        assert stranger.do("dial", addr=address) == {"id": started["peer_id"]}
        known = stranger.do("identify", id=started["peer_id"])
        assert known["agent"].startswith("p2pnode/")
        assert any(belongs_to(one, transport) for one in known["addrs"])
        assert stranger.do("ping", id=started["peer_id"])["rtt"] >= 0


def belongs_to(address: str, transport: str) -> bool:
    return f"/{transport}/" in f"{address}/"


@contextmanager
def running_program(folder: Path) -> Generator[dict[str, Any]]:
    """Yields the first event of `p2pnode run`, which goes on until the block ends."""
    listen = [flag for address in LISTEN for flag in ("--listen", address)]
    with (folder / "program.log").open("wb") as log:
        process = subprocess.Popen(
            [*PROGRAM, "run", "--json", "--data", str(folder / "data"), *listen],
            stdout=subprocess.PIPE,
            stderr=log,
        )
    assert process.stdout is not None
    first: queue.Queue[bytes] = queue.Queue()
    reader = threading.Thread(target=lambda: [*map(first.put, process.stdout)], daemon=True)
    reader.start()
    try:
        yield json.loads(first.get(timeout=START_TIMEOUT))
    finally:
        process.terminate()
        process.wait(START_TIMEOUT)
        reader.join()
        process.stdout.close()
