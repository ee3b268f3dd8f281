"""A file on its way between two NATs arrives, whatever becomes of paths, NATs and relays."""

from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio

from p2pnode.testbed import AccessLink, NatKind, TestBed, missing_rights
from p2pnode.testbed.nat_kinds import PORT_RESTRICTED, SYMMETRIC
from tests.netns.program import ANSWER_TIMEOUT, Line, finished
from tests.netns.transfer import File, assert_arrives, make_file, share_of_file, wall
from tests.netns.traversal import RunningNode, command_at, running_node

pytestmark = [pytest.mark.netns, pytest.mark.slow]

MIB = 2**20
FILE_SIZE = 20 * MIB
LINE = AccessLink(megabits=40)
"""so that the file takes four seconds, and there is a middle of it"""
SLOW_LINE = AccessLink(megabits=20)
"""so that the file takes longer than a relay that is told to end waits for its circuits"""

NEXT_PORTS = range(30000, 30100)
"""Where a NAT has its mappings after a reboot."""

PUNCH_TIMEOUT = 15.0
"""seconds for three rounds of punching, which take eight"""


@pytest.fixture
def bed() -> Generator[TestBed, None, None]:
    reason = missing_rights()
    if reason is not None:
        pytest.skip(reason)
    with TestBed() as bed:
        yield bed


@asynccontextmanager
async def pair_of(
    bed: TestBed,
    homes: Path,
    kinds: tuple[NatKind, NatKind],
    *arguments: str,
    access: AccessLink = LINE,
) -> AsyncGenerator[tuple[RunningNode, RunningNode], None]:
    """Yields a node that sends and one that waits for files, both reserved with a relay."""
    folder = str(homes / "in")
    (homes / "in").mkdir()
    sender, receiver = (
        bed.add_site(name, kind, access=access)
        for name, kind in zip(("sender", "receiver"), kinds, strict=True)
    )
    async with (
        running_node(receiver, homes, "receive", folder, *arguments) as b,
        running_node(sender, homes, "run", *arguments) as a,
    ):
        await a.event("reservation")
        yield a, b


@pytest.fixture
def file(tmp_path: Path) -> File:
    return make_file(tmp_path / "file", FILE_SIZE)


async def test_a_file_that_begins_at_the_relay_goes_on_without_it(
    bed: TestBed, tmp_path: Path, file: File
) -> None:
    site = bed.add_site("relay")
    async with (
        running_node(site, tmp_path, "relay") as relay,
        pair_of(bed, tmp_path, (PORT_RESTRICTED, PORT_RESTRICTED), *relay.bootstrap) as (a, b),
        AsyncExitStack() as stack,
    ):
        # Behind the wall the first round of punching fails.
        with wall(a.site, b.site):
            sending = await stack.enter_async_context(
                command_at(a.site, a.home, "send", file.path, b.peer_id)
            )
            await share_of_file(file, b, 0.1)
            relayed = site.traffic().received_bytes
        await a.event("path", peer=b.peer_id, path="direct", within=PUNCH_TIMEOUT)
        assert not sending.printed
        await relay.program.kill()
        received = await assert_arrives(file, sending, b)

    assert relayed > 0.1 * FILE_SIZE
    assert received["path"] == "direct"


@pytest.mark.parametrize("mover", ["sender", "receiver"])
async def test_a_file_arrives_although_a_nat_forgets_or_an_address_changes(
    bed: TestBed, tmp_path: Path, file: File, mover: str
) -> None:
    async with (
        running_node(bed.add_site("relay"), tmp_path, "relay") as relay,
        pair_of(bed, tmp_path, (PORT_RESTRICTED, PORT_RESTRICTED), *relay.bootstrap) as (a, b),
        command_at(a.site, a.home, "send", file.path, b.peer_id) as sending,
    ):
        await a.event("path", peer=b.peer_id, path="direct")
        await share_of_file(file, b, 0.2)
        moved = a.elapsed()
        if mover == "sender":
            a.site.reboot_nat(NEXT_PORTS)
        else:
            b.site.change_address()
        await assert_arrives(file, sending, b)

        def is_direct_again() -> bool:
            paths = a.events("path", after=moved, peer=b.peer_id)
            return bool(paths) and paths[-1].line["path"] == "direct"

        await a.until(is_direct_again, PUNCH_TIMEOUT, "direct path")


@pytest.mark.parametrize("end", ["kill -9", "SIGTERM"])
async def test_a_relayed_file_arrives_although_its_relay_ends_by(
    bed: TestBed, tmp_path: Path, file: File, end: str
) -> None:
    async with (
        running_node(bed.add_site("one"), tmp_path, "relay") as one,
        running_node(bed.add_site("other"), tmp_path, "relay", *one.bootstrap) as other,
        pair_of(
            bed,
            tmp_path,
            (SYMMETRIC, PORT_RESTRICTED),
            *one.bootstrap,
            *other.bootstrap,
            access=SLOW_LINE,
        ) as (a, b),
    ):
        await has_relays(b, 2)
        async with command_at(a.site, a.home, "send", file.path, b.peer_id) as sending:
            await share_of_file(file, b, 0.1)
            used, standby = await relay_between(a, b, (one, other))
            if end == "SIGTERM":
                used.program.terminate()
                await used.event("draining", circuits=1)
                assert await used.program.exit_code() == 0
            else:
                await used.program.kill()
            received = await assert_arrives(file, sending, b)

    assert received["path"] == "relayed"
    assert received["via"].split("/")[2] == standby.site.public_ip


async def has_relays(node: RunningNode, count: int) -> None:
    """Waits until so many relays hold a reservation for it."""
    with trio.fail_after(ANSWER_TIMEOUT):
        while len((await status(node))["relays"]) < count:
            pass


async def relay_between(
    one: RunningNode, other: RunningNode, relays: tuple[RunningNode, RunningNode]
) -> tuple[RunningNode, RunningNode]:
    """Returns the relay that is in use, and the one that is not."""
    connections = (await status(one))["connections"]
    (via,) = [c["via"].split("/")[2] for c in connections if c["peer"] == other.peer_id]
    first, second = relays
    return (first, second) if via == first.site.public_ip else (second, first)


async def status(node: RunningNode) -> Line:
    (line,) = await finished(node.site.host, node.home, "status")
    return line
