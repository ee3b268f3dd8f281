"""The pinned build and the working tree talk to each other over loopback, either one dialling."""

import subprocess
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

import p2pnode
from tests.interop.pinned_build.pinned import PYTHON
from tests.interop.pinned_build.piping import exchange, part, piping
from tests.interop.pinned_build.places import Here
from tests.netns.program import (
    ANSWER_TIMEOUT,
    THIS_BUILD,
    Build,
    environment_of,
    finished,
    running,
)
from tests.netns.transfer import make_file, sha256_of

pytestmark = pytest.mark.slow

LISTEN = ("--listen", "/ip4/127.0.0.1/udp/0/noise")
FILE_SIZE = 4 * 2**20
PIPED = Random("piped").randbytes(300_000)

PROBE = """
import sys
import p2pnode.cli.app, p2pnode.io.node.node
for name, module in sys.modules.items():
    if name.partition(".")[0] == "p2pnode":
        print(module.__file__)
"""
"""Prints the files of all modules of p2pnode behind the command line and a node."""

MANY_MODULES = 100
"""fewer than a node consists of"""


class Builds(NamedTuple):
    """Who dials whom."""

    dialling: Build
    dialled: Build


@pytest.fixture(params=["pinned dials", "pinned is dialled"])
def builds(request: pytest.FixtureRequest, pinned: Build) -> Builds:
    both = (pinned, THIS_BUILD) if request.param == "pinned dials" else (THIS_BUILD, pinned)
    return Builds(*both)


def test_what_runs_as_the_pinned_build_is_nothing_of_the_working_tree(
    pinned: Build, tmp_path: Path
) -> None:
    modules = subprocess.run(
        [*PYTHON, "-c", PROBE],
        env=environment_of(pinned, tmp_path),
        cwd=Path(p2pnode.__file__).parents[1],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=ANSWER_TIMEOUT,
    ).stdout.splitlines()
    unpacked = Path(pinned.variables["PYTHONPATH"])

    assert pinned.command[: len(PYTHON)] == PYTHON
    assert len(modules) > MANY_MODULES
    assert [name for name in modules if not Path(name).is_relative_to(unpacked)] == []
    assert not Path(p2pnode.__file__).is_relative_to(unpacked)


def over_noise(addresses: list[str]) -> str:
    """Returns the one that every build has, of a node that listens at one port."""
    (address,) = (each for each in addresses if "/noise/" in each)
    assert address == addresses[0]
    return address


async def test_a_peer_is_pinged_and_says_who_it_is(builds: Builds, tmp_path: Path) -> None:
    here, home = Here(), tmp_path / "dialling"
    async with running(here, tmp_path / "dialled", "run", *LISTEN, build=builds.dialled) as node:
        started = await node.event("started")
        address = over_noise(started["addresses"])
        ping = ("ping", address, "-c", "3", "--interval", "0.01")
        pings = await finished(here, home, *ping, build=builds.dialling)
        (info,) = await finished(here, home, "identify", address, build=builds.dialling)
        connected = await node.event("connected")

    assert [line["seq"] for line in pings] == [1, 2, 3]
    assert {line["path"] for line in pings} == {"direct"}
    assert info["peer_id"] == started["peer_id"]
    assert info["observed_addr"].startswith("/ip4/127.0.0.1/udp/")
    assert {"/ipfs/ping/1.0.0", "/ipfs/id/1.0.0"} <= set(info["protocols"])
    assert connected["direction"] == "inbound"


async def test_a_file_arrives_as_it_was(builds: Builds, tmp_path: Path) -> None:
    here = Here()
    file = make_file(tmp_path / "file", FILE_SIZE)
    (tmp_path / "in").mkdir()
    receive = ("receive", str(tmp_path / "in"), "--once", *LISTEN)
    async with running(here, tmp_path / "dialled", *receive, build=builds.dialled) as receiver:
        address = over_noise((await receiver.event("listening"))["addresses"])
        send = ("send", file.path, address)
        (sent,) = await finished(here, tmp_path / "dialling", *send, build=builds.dialling)
        received = await receiver.event("received")
        assert await receiver.exit_code() == 0

    assert file.sha256 == sent["sha256"] == received["sha256"] == sha256_of(received["file"])
    assert sent["bytes"] == received["bytes"] == FILE_SIZE


async def test_a_pipe_carries_bytes_both_ways_to_their_ends(builds: Builds, tmp_path: Path) -> None:
    homes = tmp_path / "dialled", tmp_path / "dialling"
    async with piping(Here(), homes[0], *LISTEN, build=builds.dialled) as waiting:
        address = over_noise((await waiting.event("listening"))["addresses"])
        async with piping(Here(), homes[1], address, build=builds.dialling) as connecting:
            await exchange(connecting, waiting, PIPED)
            await part(connecting, waiting)
