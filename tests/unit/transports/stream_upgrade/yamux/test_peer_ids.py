import pytest

from p2pnode.transports.stream_upgrade.yamux.peer_ids import MAX_SKIPPED_IDS, PeerIds


@pytest.mark.spec("YAMUX-2")
def test_each_id_is_taken_once_in_any_order():
    ids = PeerIds(1)

    assert [ids.take(n) for n in (1, 7, 5, 3, 9)] == [True] * 5
    assert not any(ids.take(n) for n in (1, 3, 5, 7, 9))


def test_what_is_skipped_is_remembered_within_a_bound():
    ids = PeerIds(2)

    assert ids.take(2**32 - 2)
    assert ids.take(2**32 - 2 - 2 * MAX_SKIPPED_IDS)
    assert not ids.take(2**32 - 4 - 2 * MAX_SKIPPED_IDS)
    assert not ids.take(2)


def test_later_gaps_push_out_earlier_ones():
    ids = PeerIds(1)
    ids.take(3)
    ids.take(5 + 2 * MAX_SKIPPED_IDS)

    assert not ids.take(1)
    assert ids.take(5)
