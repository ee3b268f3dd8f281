"""The judge is judged: peers on the official libraries meet each other, as others will meet them.

What does not work between two of them is nobody's fault here, and tells nothing about this node.
"""

from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from tests.interop.peers.cells import CHECKS, tried
from tests.interop.peers.limits import failing
from tests.interop.peers.meeting import Meeting, meet
from tests.interop.peers.toolchains import TOOLCHAINS, Command

pytestmark = pytest.mark.slow


@pytest.fixture(params=["tcp", "quic-v1"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[f"{one} dials {other}" for one in TOOLCHAINS for other in TOOLCHAINS])
def meeting(
    request: pytest.FixtureRequest,
    transport: str,
    peer_command: Callable[[str], Command],
    tmp_path: Path,
) -> Generator[Meeting]:
    one, other = ((name, peer_command(name)) for name in request.param.split(" dials "))
    with meet(one, other, transport, tmp_path) as both:
        yield both


def test_what_is_asked_of_this_node_works_between_any_two(meeting: Meeting, transport: str) -> None:
    dialling, dialled = meeting
    failed = tried(dialling, dialled)
    dialling.do("close", id=dialled.id)
    expected = failing(dialling.name, dialled.name, transport, is_certain=True).keys()
    by_chance = failing(dialling.name, dialled.name, transport, is_certain=False).keys()
    assert failed.keys() - by_chance == (expected & CHECKS.keys()) - by_chance, failed
