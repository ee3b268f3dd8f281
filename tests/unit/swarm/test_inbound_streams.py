"""Tests of who may have how many inbound streams."""

from dataclasses import replace

import pytest

from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import ConnectionHandle, SocketAddr, SocketId
from p2pnode.resources.ledger import Ledger
from p2pnode.resources.limits import ResourceLimits
from p2pnode.resources.refusal import Refusals, Resource, ScopeKind
from p2pnode.swarm.inbound_streams import (
    MAX_NEGOTIATING,
    InboundLimit,
    InboundStreams,
    LimitScope,
    StreamKey,
)
from p2pnode.swarm.peer import Peer
from p2pnode.transports.route import Route
from tests.support.addresses import NOISE_UDP

ALICE, BOB = (PeerId.from_public_key(PrivateKey(bytes([n] * 32)).public_key) for n in (1, 2))


def inbound(**shares: int) -> InboundStreams:
    return InboundStreams(
        Ledger(Resource.STREAMS, replace(ResourceLimits().streams, **shares), Refusals())
    )


def negotiates(streams: InboundStreams, stream: StreamKey, peer_id: PeerId) -> bool:
    route = Route(SocketId(0), None, SocketAddr("192.0.2.1", 1))
    peer = Peer(stream[0], peer_id, route, is_initiator=False, transport=NOISE_UDP)
    return streams.enter_negotiation(stream, peer) is None


def enters(
    streams: InboundStreams, stream: StreamKey, peer_id: PeerId, protocol: str, limit: InboundLimit
) -> bool:
    if stream not in streams._account_of:
        assert negotiates(streams, stream, peer_id)
    return streams.enter(stream, peer_id, protocol, limit) is None


def key(connection: int, stream: int) -> StreamKey:
    return ConnectionHandle(connection), stream


@pytest.mark.spec("SWARM-24")
@pytest.mark.parametrize(
    ("scope", "other_peer"), [(LimitScope.PEER, True), (LimitScope.NODE, False)]
)
def test_whose_streams_are_counted_together(scope: LimitScope, other_peer: bool) -> None:
    streams, limit = inbound(), InboundLimit(2, scope)
    assert enters(streams, key(1, 0), ALICE, "/a", limit)
    assert enters(streams, key(1, 4), ALICE, "/a", limit)

    assert not enters(streams, key(1, 8), ALICE, "/a", limit)
    assert not enters(streams, key(2, 0), ALICE, "/a", limit)
    assert enters(streams, key(3, 0), BOB, "/a", limit) is other_peer
    assert enters(streams, key(1, 8), ALICE, "/b", limit)


@pytest.mark.spec("SWARM-7")
def test_streams_without_a_protocol_are_few_on_each_connection_and_the_others_free() -> None:
    streams = inbound()
    assert all(negotiates(streams, key(1, n), ALICE) for n in range(MAX_NEGOTIATING))

    assert not negotiates(streams, key(1, 999), ALICE)
    assert negotiates(streams, key(2, 0), ALICE)
    assert enters(streams, key(1, 0), ALICE, "/a", InboundLimit(1))
    assert negotiates(streams, key(1, 999), ALICE)


@pytest.mark.spec("SWARM-7")
def test_who_waits_for_each_answer_may_ask_for_a_hundred_streams_at_once() -> None:
    streams = inbound()

    assert all(negotiates(streams, key(1, n), ALICE) for n in range(100))


def test_a_stream_counts_in_one_place_at_a_time_and_leaves_once() -> None:
    streams, limit = inbound(), InboundLimit(1)
    assert negotiates(streams, key(1, 0), ALICE)
    assert enters(streams, key(1, 0), ALICE, "/a", limit)
    assert negotiates(streams, key(1, 4), ALICE)
    assert not enters(streams, key(1, 4), ALICE, "/a", limit)
    assert len(streams) == 1

    for _ in range(3):
        streams.leave(key(1, 0))
        streams.leave(key(1, 4))
    assert len(streams) == 0
    assert enters(streams, key(1, 8), ALICE, "/a", limit)
    assert not enters(streams, key(1, 12), ALICE, "/a", limit)


def test_nothing_is_kept_of_who_has_left() -> None:
    streams = inbound()
    for n in range(50):
        negotiates(streams, key(n, 0), ALICE)
        enters(streams, key(n, 0), ALICE, f"/{n}", InboundLimit(1))
        enters(streams, key(n, 4), BOB, f"/{n}", InboundLimit(0))
        streams.leave(key(n, 0))

    assert not streams._open
    assert not streams._account_of


@pytest.mark.parametrize(
    ("share", "kind"),
    [("total", ScopeKind.PROCESS), ("network", ScopeKind.NETWORK), ("peer", ScopeKind.PEER)],
)
@pytest.mark.spec("SWARM-7")
def test_streams_are_drawn_from_the_nodes_ledger_while_they_are_open(
    share: str, kind: ScopeKind
) -> None:
    streams, limit = inbound(**{share: 3}), InboundLimit(1)
    assert enters(streams, key(1, 0), ALICE, "/a", limit)
    assert not enters(streams, key(1, 4), ALICE, "/a", limit)
    assert all(negotiates(streams, key(2, n), ALICE) for n in (0, 4))
    assert not negotiates(streams, key(3, 0), ALICE)
    assert streams._ledger.refusals.counts[Resource.STREAMS, kind] == 1
    streams.leave(key(1, 0))
    assert negotiates(streams, key(3, 0), ALICE)
    for connection in (1, 2, 3):
        for n in (0, 4):
            streams.leave(key(connection, n))
        streams.on_connection_closed(ConnectionHandle(connection))
    assert (len(streams._ledger), streams._ledger.used) == (0, 0)
