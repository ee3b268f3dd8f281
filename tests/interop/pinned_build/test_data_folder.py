"""The working tree opens a data folder that the pinned build has written, and remembers."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from p2pnode.testbed import TestBed
from p2pnode.testbed.nat_kinds import PORT_RESTRICTED
from tests.interop.pinned_build.places import Here
from tests.netns.program import Build, finished, running
from tests.netns.traversal import running_node

pytestmark = pytest.mark.slow


async def test_the_peer_id_and_the_port_stay(pinned: Build, tmp_path: Path) -> None:
    async with running(Here(), tmp_path, "run", build=pinned) as node:
        before = await node.event("started")
        await node.kill()
    async with running(Here(), tmp_path, "run") as node:
        after = await node.event("started")

    assert after["peer_id"] == before["peer_id"]
    kept = [address for address in after["addresses"] if "/noise/" in address]
    assert sorted(kept) == sorted(before["addresses"])


@pytest.mark.netns
async def test_relays_and_peers_are_found_again_without_bootstrap(
    bed: TestBed, pinned: Build, tmp_path: Path
) -> None:
    site = bed.add_site("a", PORT_RESTRICTED)
    async with (
        running_node(bed.add_site("relay"), tmp_path, "relay", build=pinned) as relay,
        running_node(bed.add_site("peer"), tmp_path, "run", *relay.bootstrap, build=pinned) as peer,
    ):
        async with running_node(site, tmp_path, "run", *relay.bootstrap, build=pinned) as a:
            await a.event("reservation", relay=relay.peer_id)
            await finished(site.host, a.home, "ping", peer.address, "-c", "1", build=pinned)
            before, home = a.address, a.home
        shutil.copytree(home, tmp_path / "copy", ignore=shutil.ignore_patterns("*.sock"))

        async with running_node(site, tmp_path, "run") as a:
            await a.event("reservation", relay=relay.peer_id)
            assert a.address == before

        # From the same memory again: nobody is left who could tell the address of the peer.
        await relay.program.kill()
        shutil.rmtree(home)
        (tmp_path / "copy").rename(home)
        tokens = rows(home, "SELECT '/ip4/' || ip || '/udp/' || port || '/noise' FROM token")
        async with running_node(site, tmp_path, "run"):
            (pong,) = await finished(site.host, home, "ping", peer.peer_id, "-c", "1")

    assert (pong["peer"], pong["path"]) == (peer.peer_id, "direct")
    # Nor has anything been moved aside as damaged, and the tokens have found their addresses.
    assert list(home.glob("state.db.*")) == []
    assert tokens
    assert tokens <= rows(home, "SELECT address FROM token")


def rows(home: Path, query: str) -> set[str]:
    """Returns what a query of one column finds in the state that a folder keeps."""
    with closing(sqlite3.connect(home / "state.db")) as state:
        return {text for (text,) in state.execute(query)}
