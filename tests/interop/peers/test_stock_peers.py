"""The judge is judged: peers on the official libraries meet each other, as others will meet them.

What does not work between two of them is nobody's fault here, and tells nothing about this node.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.interop.peers.cells import tried
from tests.interop.peers.peer import Peer, running
from tests.interop.peers.toolchains import TOOLCHAINS, Command

pytestmark = pytest.mark.slow


class Meeting(NamedTuple):
    dialling: Peer
    dialled: Peer


@pytest.fixture(params=["tcp", "quic-v1"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[f"{one} dials {other}" for one in TOOLCHAINS for other in TOOLCHAINS])
async def meeting(
    request: pytest.FixtureRequest,
    transport: str,
    peer_command: Callable[[str], Command],
    tmp_path: Path,
) -> AsyncGenerator[Meeting, None]:
    names = request.param.split(" dials ")
    async with AsyncExitStack() as stack:
        peers = [
            await stack.enter_async_context(
                running(name, peer_command(name), tmp_path / f"{at}", "--transport", transport)
            )
            for at, name in enumerate(names)
        ]
        yield Meeting(*peers)


NO_RESETS = {("rust", "quic-v1")}
"""Its streams can only be dropped, and quinn finishes what is dropped."""
DEAF_TO_RESETS = {("js", "quic-v1")}
"""It reads an end where a reset comes."""

ASKING_BY_CHANCE = {("py", "quic-v1"): {"identify", "be reset"}}
ASKED_BY_CHANCE = {("py", "quic-v1"): {"reset"}}
"""It takes a STOP_SENDING for the end of a stream, at times ahead of an answer or a reset."""


def hopeless(dialling: str, dialled: str, transport: str) -> set[str]:
    """Returns the cells that two libraries cannot pass: see specs/interop.md."""
    cells: set[str] = set()
    for cell, resetting, told in (
        ("reset", dialling, dialled),
        ("be reset", dialled, dialling),
    ):
        # To rust itself its STOP_SENDING is enough.
        mute = (resetting, transport) in NO_RESETS and told != resetting
        if mute or (told, transport) in DEAF_TO_RESETS:
            cells.add(cell)
    return cells


async def test_what_is_asked_of_this_node_works_between_any_two(
    meeting: Meeting, transport: str
) -> None:
    dialling, dialled = meeting
    assert await dialling.do("dial", addr=dialled.addr) == {"id": dialled.id}
    failed = await tried(dialling, dialled)
    await dialling.do("close", id=dialled.id)
    by_chance = {
        *ASKING_BY_CHANCE.get((dialling.name, transport), ()),
        *ASKED_BY_CHANCE.get((dialled.name, transport), ()),
    }
    expected = hopeless(dialling.name, dialled.name, transport)
    assert set(failed) - by_chance == expected - by_chance, failed
