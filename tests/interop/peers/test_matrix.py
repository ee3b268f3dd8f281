"""This node and the official libraries: each dials the other, and both ask for everything.

What a library cannot do with anybody is expected to fail (`limits.py`), and has to.
"""

import os
from collections.abc import Callable, Generator
from typing import NamedTuple

import pytest

from tests.interop.peers import matrix
from tests.interop.peers.cells import CELLS, tried, unread
from tests.interop.peers.limits import failing
from tests.interop.peers.matrix import OWN, Place
from tests.interop.peers.meeting import Meeting, meet
from tests.interop.peers.peer import OWN as OWN_COMMAND
from tests.interop.peers.toolchains import Command

pytestmark = pytest.mark.slow


class Pair(NamedTuple):
    place: Place
    peers: Meeting


@pytest.fixture(scope="module")
def pair(
    request: pytest.FixtureRequest,
    peer_command: Callable[[str], Command],
    tmp_path_factory: pytest.TempPathFactory,
) -> Generator[Pair]:
    place: Place = request.param
    transport, direction, library = place
    own, other = (OWN, OWN_COMMAND), (library, peer_command(library))
    both = (own, other) if direction == "dial" else (other, own)
    with meet(*both, transport, tmp_path_factory.mktemp(library)) as peers:
        yield Pair(place, peers)


@pytest.fixture(scope="module")
def passed() -> Generator[set[tuple[Place, str]]]:
    """The cells that were as expected; a run of all of them may be written down."""
    cells: set[tuple[Place, str]] = set()
    yield cells
    whole = {(place, cell) for place in matrix.places() for cell in CELLS}
    if os.environ.get(matrix.WRITE_VARIABLE):
        assert cells == whole, f"not written: {len(whole - cells)} cells were not as expected"
        matrix.write(matrix.results())


EVERYWHERE = pytest.mark.parametrize("pair", tuple(matrix.places()), indirect=True, ids="-".join)


@pytest.mark.parametrize("cell", CELLS)
@EVERYWHERE
def test_each_does_what_the_other_asks(
    pair: Pair, cell: str, passed: set[tuple[Place, str]]
) -> None:
    transport = pair.place[0]
    reasons: list[str] = []
    for asking, asked in (pair.peers, pair.peers[::-1]):
        failed = tried(asking, asked, CELLS[cell])
        certain = failing(asking.name, asked.name, transport, is_certain=True)
        by_chance = failing(asking.name, asked.name, transport, is_certain=False)
        wanted = (certain.keys() & set(CELLS[cell])) - by_chance.keys()
        if failed.keys() - by_chance.keys() != wanted:
            for peer in pair.peers:
                peer.show_log()
            pytest.fail(f"{asking.name} asks, failed are {failed}, and not just {set(wanted)}")
        limits = by_chance | certain
        reasons += [f"{limits[name].reason} ({limits[name].upstream})" for name in failed]
    passed.add((pair.place, cell))
    if reasons:
        pytest.xfail("; ".join(dict.fromkeys(reasons)))


@EVERYWHERE
def test_who_does_not_read_stops_the_sender(pair: Pair) -> None:
    for asking, asked in (pair.peers, pair.peers[::-1]):
        if "unread" not in failing(asking.name, asked.name, pair.place[0], is_certain=True):
            unread(asking, asked)
