import pytest

from p2pnode.transports.delivery.held_bytes import RUN_SIZE
from p2pnode.transports.delivery.reassembly import GATHERED_CHUNK, SMALL_CHUNK, Reassembly
from tests.support.held import nothing_held


def late():
    return Reassembly(nothing_held())


def taken(reassembly, position):
    return b"".join(reassembly.take_from(position))


def test_pieces_come_out_once_they_are_in_order():
    pieces = late()
    pieces.add(5, b"fg")
    pieces.add(10, b"k")
    assert pieces.take_from(4) == []
    assert taken(pieces, 5) == b"fg"
    assert pieces.take_from(7) == []
    pieces.add(7, b"hij")
    assert taken(pieces, 7) == b"hijk"
    assert len(pieces) == 0


@pytest.mark.spec("STREAM-7")
def test_what_came_first_is_kept():
    pieces = late()
    pieces.add(2, b"cd")
    pieces.add(6, b"gh")
    pieces.add(1, b"BCDEFGHI")
    assert taken(pieces, 1) == b"BcdEFghI"


@pytest.mark.spec("STREAM-7")
@pytest.mark.parametrize("piece", [(3, b"XXX"), (2, b"XXXX"), (3, b"X"), (5, b"X"), (2, b"XX")])
def test_what_is_there_already_changes_nothing(piece):
    pieces = late()
    pieces.add(2, b"cdef")
    pieces.add(*piece)
    assert pieces.size == 4
    assert taken(pieces, 2) == b"cdef"


def test_holes_are_runs_that_are_accounted_for():
    held = nothing_held()
    pieces = Reassembly(held)
    for offset in range(1, 20, 2):
        pieces.add(offset, b"x")
    assert (held.runs, held.beside, pieces.size) == (10, 10 * RUN_SIZE, 10)
    pieces.add(4, b"yyyyyyyyy")
    assert (held.runs, held.beside, pieces.size) == (5, 5 * RUN_SIZE, 15)
    assert taken(pieces, 1) == b"x"
    assert taken(pieces, 3) == b"xyxyxyxyxyx"
    assert held.runs == 3
    pieces.drop()
    assert (held.runs, held.beside, pieces.size) == (0, 0, 0)


@pytest.mark.parametrize("step", [1, -1])
def test_tiny_pieces_without_holes_are_joined(step):
    data = bytes(n % 251 for n in range(20_000))
    pieces = late()
    for n in range(len(data))[::step]:
        pieces.add(n + 1, data[n : n + 1])
    chunks = pieces.take_from(1)
    assert len(chunks) <= len(data) // GATHERED_CHUNK + 2
    assert b"".join(chunks) == data


def test_tiny_pieces_are_joined_where_holes_close():
    data = bytes(n % 251 for n in range(4000))
    pieces = late()
    for n in [*range(0, len(data), 2), *range(1, len(data), 2)]:
        pieces.add(n, data[n : n + 1])
    chunks = pieces.take_from(0)
    assert len(chunks) <= len(data) // SMALL_CHUNK + 2
    assert b"".join(chunks) == data


@pytest.mark.parametrize("first", [(300, 40), (40, 300)])
def test_runs_of_any_length_meet(first):
    """Whichever of two runs has more chunks, the order is that of the offsets."""
    left, right = first
    data = bytes(n % 251 for n in range((left + right + 1) * SMALL_CHUNK))
    pieces = late()
    for n in [*range(left), *range(left + 1, left + right + 1), left]:
        start = n * SMALL_CHUNK
        pieces.add(start, data[start : start + SMALL_CHUNK])
    assert len(pieces) == 1
    assert taken(pieces, 0) == data
