import pytest

from p2pnode.errors import TransportError
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.noise_udp.connection_id import (
    MAX_IDS_PER_PATH,
    UNUSED_PATHS,
    LocalIds,
    RemoteId,
    RemoteIds,
)
from p2pnode.transports.noise_udp.frame import NewConnectionId, RetireConnectionId
from tests.support.noise_udp import entropy

FIRST = RemoteId(1, b"\x01" * 16)


def local_ids() -> LocalIds:
    return LocalIds(77, entropy("ids"), lambda cid: cid.to_bytes(16, "big"))


def frame(path_id, sequence, *, retire=0, number=None):
    value = (path_id << 32 | sequence) if number is None else number
    return NewConnectionId(
        path_id, sequence, retire, value.to_bytes(8, "big"), value.to_bytes(16, "big")
    )


@pytest.mark.spec("TRANSPORT-24")
def test_the_two_paths_above_the_highest_in_use_have_ids_before_they_are_needed():
    ids = local_ids()
    frames = ids.issue_unused(0, 8)
    assert UNUSED_PATHS == 2
    assert [(f.path_id, f.sequence, f.retire_prior_to) for f in frames] == [(1, 0, 0), (2, 0, 0)]
    assert ids.issue_unused(0, 8) == []
    assert [f.path_id for f in ids.issue_unused(2, 8)] == [3, 4]


@pytest.mark.spec("TRANSPORT-24")
def test_no_ids_are_issued_beyond_the_maximum_path_id():
    ids = local_ids()
    assert [f.path_id for f in ids.issue_unused(0, 1)] == [1]
    assert [f.path_id for f in ids.issue_unused(0, 2)] == [2]


def test_issued_ids_lead_to_their_path_and_carry_their_reset_token():
    ids = local_ids()
    assert ids.path_of == {77: (0, 0)}
    (one, two) = ids.issue_unused(0, 8)
    for issued in (one, two):
        number = int.from_bytes(issued.connection_id, "big")
        assert ids.path_of[number] == (issued.path_id, 0)
        assert issued.reset_token == number.to_bytes(16, "big")
    assert ids.added == list(ids.path_of)


def test_a_retired_id_is_replaced_while_its_path_lives():
    ids = local_ids()
    replacement = ids.on_retired(RetireConnectionId(0, 0))
    assert (replacement.path_id, replacement.sequence) == (0, 1)
    assert ids.removed == [77]
    assert 77 not in ids.path_of
    assert ids.on_retired(RetireConnectionId(0, 0)) is None


def test_to_retire_an_id_that_was_never_issued_is_a_violation():
    ids = local_ids()
    with pytest.raises(TransportError) as caught:
        ids.on_retired(RetireConnectionId(0, 1))
    assert caught.value.code == ErrorCode.PROTOCOL_VIOLATION


def test_the_ids_of_an_abandoned_path_are_void_for_ever():
    ids = local_ids()
    (one, _) = ids.issue_unused(0, 8)
    ids.abandon(1)
    number = int.from_bytes(one.connection_id, "big")
    assert number not in ids.path_of
    assert ids.removed == [number]
    assert ids.on_retired(RetireConnectionId(1, 0)) is None
    assert [f.path_id for f in ids.issue_unused(1, 8)] == [3]


def test_packets_go_to_the_oldest_id_that_is_left():
    ids = RemoteIds(FIRST)
    assert ids.current(0) == 1
    assert ids.current(1) is None
    assert ids.on_new(frame(0, 1), 8) == []
    assert ids.on_new(frame(1, 0), 8) == []
    assert (ids.current(0), ids.current(1)) == (1, 1 << 32)


def test_the_peer_can_have_its_ids_retired():
    ids = RemoteIds(FIRST)
    ids.on_new(frame(0, 1), 8)
    assert ids.on_new(frame(0, 2, retire=2), 8) == [
        RetireConnectionId(0, 0),
        RetireConnectionId(0, 1),
    ]
    assert ids.current(0) == 2
    assert ids.on_new(frame(0, 1), 8) == [RetireConnectionId(0, 1)]
    assert ids.current(0) == 2


def test_reset_tokens_are_those_of_the_ids_that_are_left():
    ids = RemoteIds(FIRST)
    ids.tokens_changed = False
    ids.on_new(frame(0, 1), 8)
    assert ids.tokens_changed
    assert ids.reset_tokens() == [FIRST.reset_token, frame(0, 1).reset_token]
    ids.tokens_changed = False
    ids.abandon(0)
    assert ids.tokens_changed
    assert ids.reset_tokens() == []


@pytest.mark.spec("TRANSPORT-25")
def test_a_fifth_active_id_of_a_path_is_one_too_many():
    ids = RemoteIds(FIRST)
    assert MAX_IDS_PER_PATH == 4
    for sequence in (1, 2, 3):
        ids.on_new(frame(0, sequence), 8)
    with pytest.raises(TransportError) as caught:
        ids.on_new(frame(0, 4), 8)
    assert caught.value.code == ErrorCode.CONNECTION_ID_LIMIT_ERROR


@pytest.mark.spec("TRANSPORT-25")
def test_the_limit_counts_what_is_left_after_retirements():
    ids = RemoteIds(FIRST)
    for sequence in range(1, 100):
        ids.on_new(frame(0, sequence, retire=max(0, sequence - 3)), 8)
    assert len(ids.reset_tokens()) == 4


@pytest.mark.spec("TRANSPORT-25")
def test_an_id_that_comes_to_mean_another_value_is_a_violation():
    ids = RemoteIds(FIRST)
    ids.on_new(frame(1, 0), 8)
    ids.on_new(frame(1, 0), 8)
    other = frame(1, 0, number=5)
    same = frame(1, 0)
    for changed in (
        same._replace(connection_id=other.connection_id),
        same._replace(reset_token=other.reset_token),
    ):
        with pytest.raises(TransportError) as caught:
            ids.on_new(changed, 8)
        assert caught.value.code == ErrorCode.PROTOCOL_VIOLATION


@pytest.mark.spec("TRANSPORT-25")
def test_an_id_for_a_path_beyond_the_maximum_is_a_violation():
    ids = RemoteIds(FIRST)
    ids.on_new(frame(8, 0), 8)
    with pytest.raises(TransportError) as caught:
        ids.on_new(frame(9, 0), 8)
    assert caught.value.code == ErrorCode.PROTOCOL_VIOLATION


def test_ids_for_an_abandoned_path_are_ignored():
    ids = RemoteIds(FIRST)
    ids.on_new(frame(1, 0), 8)
    ids.abandon(1)
    assert ids.on_new(frame(1, 1), 8) == []
    assert ids.current(1) is None


def test_nothing_is_kept_of_paths_that_were_abandoned():
    ids = RemoteIds(FIRST)
    for path_id in range(1, 200):
        ids.on_new(frame(path_id, 1, retire=1), max_path_id=1000)
        ids.abandon(path_id)
    assert len(ids._retire_prior_to) == 0
    assert len(ids.reset_tokens()) == 1
