import pytest

from p2pnode.transport.reassembly import COMPACT_AT, MAX_GAPS, Reassembly


def test_pieces_come_out_once_they_are_in_order():
    late = Reassembly()
    late.add(5, b"fg")
    late.add(10, b"k")
    assert late.take_from(4) == []
    assert b"".join(late.take_from(5)) == b"fg"
    assert late.take_from(7) == []
    late.add(7, b"hij")
    assert b"".join(late.take_from(7)) == b"hijk"
    assert len(late) == 0


@pytest.mark.spec("STREAM-7")
def test_what_came_first_is_kept():
    late = Reassembly()
    late.add(2, b"cd")
    late.add(6, b"gh")
    late.add(1, b"BCDEFGHI")
    assert b"".join(late.take_from(1)) == b"BcdEFghI"


@pytest.mark.spec("STREAM-20")
def test_it_is_full_at_more_holes_than_an_honest_peer_makes():
    late = Reassembly()
    for n in range(MAX_GAPS):
        late.add(2 * n + 1, b"x")
    assert not late.is_full
    late.add(2 * MAX_GAPS + 1, b"x")
    assert late.is_full


def test_tiny_pieces_without_holes_are_joined():
    late = Reassembly()
    count = COMPACT_AT + 10
    for n in range(count):
        late.add(n + 1, bytes((n % 251,)))
    assert len(late) < 20
    assert b"".join(late.take_from(1)) == bytes(n % 251 for n in range(count))
