"""Tests of who may have how many inbound streams."""

import pytest

from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import ConnectionHandle
from p2pnode.swarm.inbound_streams import (
    MAX_NEGOTIATING,
    InboundLimit,
    InboundStreams,
    LimitScope,
    StreamKey,
)

ALICE, BOB = (PeerId.from_public_key(PrivateKey(bytes([n] * 32)).public_key) for n in (1, 2))


def key(connection: int, stream: int) -> StreamKey:
    return ConnectionHandle(connection), stream


@pytest.mark.spec("SWARM-24")
@pytest.mark.parametrize(
    ("scope", "same_peer", "other_peer"),
    [
        (LimitScope.CONNECTION, True, True),
        (LimitScope.PEER, False, True),
        (LimitScope.NODE, False, False),
    ],
)
def test_whose_streams_are_counted_together(
    scope: LimitScope, same_peer: bool, other_peer: bool
) -> None:
    streams, limit = InboundStreams(), InboundLimit(2, scope)
    assert streams.enter(key(1, 0), ALICE, "/a", limit)
    assert streams.enter(key(1, 4), ALICE, "/a", limit)

    assert not streams.enter(key(1, 8), ALICE, "/a", limit)
    assert streams.enter(key(2, 0), ALICE, "/a", limit) is same_peer
    assert streams.enter(key(3, 0), BOB, "/a", limit) is other_peer
    assert streams.enter(key(1, 8), ALICE, "/b", limit)


@pytest.mark.spec("SWARM-7")
def test_streams_without_a_protocol_are_few_on_each_connection_and_the_others_free() -> None:
    streams = InboundStreams()
    assert all(streams.enter_negotiation(key(1, n), ALICE) for n in range(MAX_NEGOTIATING))

    assert not streams.enter_negotiation(key(1, 99), ALICE)
    assert streams.enter_negotiation(key(2, 0), ALICE)
    assert streams.enter(key(1, 0), ALICE, "/a", InboundLimit(1))
    assert streams.enter_negotiation(key(1, 99), ALICE)


def test_a_stream_counts_in_one_place_at_a_time_and_leaves_once() -> None:
    streams, limit = InboundStreams(), InboundLimit(1)
    assert streams.enter_negotiation(key(1, 0), ALICE)
    assert streams.enter(key(1, 0), ALICE, "/a", limit)
    assert streams.enter_negotiation(key(1, 4), ALICE)
    assert not streams.enter(key(1, 4), ALICE, "/a", limit)
    assert len(streams) == 1

    for _ in range(3):
        streams.leave(key(1, 0))
        streams.leave(key(1, 4))
    assert len(streams) == 0
    assert streams.enter(key(1, 8), ALICE, "/a", limit)
    assert not streams.enter(key(1, 12), ALICE, "/a", limit)


def test_nothing_is_kept_of_who_has_left() -> None:
    streams = InboundStreams()
    for n in range(50):
        streams.enter_negotiation(key(n, 0), ALICE)
        streams.enter(key(n, 0), ALICE, f"/{n}", InboundLimit(1))
        streams.enter(key(n, 4), BOB, f"/{n}", InboundLimit(0))
        streams.leave(key(n, 0))

    assert not streams._open
    assert not streams._account_of
