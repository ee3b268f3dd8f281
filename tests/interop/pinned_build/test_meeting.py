"""Peers of both builds behind NATs meet through a relay of either build, and punch.

In each meeting a pipe opens at the relay and goes on without it: the streams move with the path.
"""

from contextlib import AsyncExitStack
from pathlib import Path
from random import Random

import pytest
import trio

from p2pnode.testbed import Site, TestBed
from p2pnode.testbed.nat_kinds import PORT_RESTRICTED
from tests.interop.pinned_build.piping import exchange, part, piping
from tests.netns.program import ANSWER_TIMEOUT, THIS_BUILD, Build, address_at, finished
from tests.netns.transfer import wall
from tests.netns.traversal import running_node

pytestmark = [pytest.mark.netns, pytest.mark.slow]

PART = Random("part").randbytes(30_000)
"""What goes each way before and after the move: little, for the last of three rounds of punching
has to come after the first part, though the machine be busy."""

PUNCH_TIMEOUT = 30.0
"""seconds for three rounds of punching, which take eight, on a machine that is busy otherwise"""


@pytest.mark.parametrize("pinned_relay", [True, False], ids=["pinned relay", "new relay"])
@pytest.mark.parametrize("pinned_dials", [True, False], ids=["pinned dials", "new dials"])
async def test_a_pipe_begins_at_the_relay_and_goes_on_without_it(
    bed: TestBed, tmp_path: Path, pinned: Build, pinned_relay: bool, pinned_dials: bool
) -> None:
    relay_build = pinned if pinned_relay else THIS_BUILD
    dialling, dialled = (pinned, THIS_BUILD) if pinned_dials else (THIS_BUILD, pinned)
    relay_site, site, other_site = (
        bed.add_site("relay"),
        bed.add_site("dialling", PORT_RESTRICTED),
        bed.add_site("dialled", PORT_RESTRICTED),
    )
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        relay = await enter(running_node(relay_site, tmp_path, "relay", build=relay_build))
        waiting = await enter(
            piping(other_site.host, tmp_path / "dialled", *relay.bootstrap, build=dialled)
        )
        address = address_at(await waiting.event("listening"), *other_site.host_ips)
        peer_id = address.rpartition("/")[2]
        node = await enter(running_node(site, tmp_path, "run", *relay.bootstrap, build=dialling))
        await node.event("reservation", relay=relay.peer_id)
        await has_relay(other_site, tmp_path / "dialled", dialled)

        # Behind the wall the first round of punching fails.
        with wall(site, other_site):
            connecting = await enter(piping(site.host, node.home, peer_id, build=dialling))
            for end in (connecting, waiting):
                await end.event("connected")
            await exchange(connecting, waiting, PART)
            relayed = relay_site.traffic().sent_bytes
            assert not node.events("path", peer=peer_id, path="direct")

        await node.event("path", peer=peer_id, path="direct", within=PUNCH_TIMEOUT)
        await relay.program.kill()
        await exchange(connecting, waiting, PART)
        await part(connecting, waiting)

    assert relayed > 2 * len(PART)


async def has_relay(site: Site, home: Path, build: Build) -> None:
    """Waits until a relay holds a reservation for the node there."""
    with trio.fail_after(ANSWER_TIMEOUT):
        while not (await finished(site.host, home, "status", build=build))[0]["relays"]:
            pass
