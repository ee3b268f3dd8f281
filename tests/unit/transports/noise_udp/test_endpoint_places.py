"""A full endpoint: who gets in, who is turned out, and what they are told."""

import pytest

from p2pnode.errors import ClosedByPeer, DialError
from p2pnode.machine import Received, SocketAddr, SocketId
from p2pnode.resources.account import Account
from p2pnode.resources.limits import ResourceLimits
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.route import Route
from tests.support.endpoint_crowd import EndpointCrowd

PLACES = 8  # of them one is reserved


def full_crowd():
    return EndpointCrowd(account=Account(ResourceLimits().with_connections(PLACES)))


@pytest.mark.spec("TRANSPORT-48")
def test_many_connections_of_one_address_do_not_keep_another_one_out():
    crowd = full_crowd()
    flood = [crowd.connect("198.51.100.1", port) for port in range(1, 20)]
    assert [crowd.is_connected(a) for a in flood] == [True] * 7 + [False] * 12

    stranger = crowd.connect("203.0.113.1")

    assert crowd.is_connected(stranger)
    assert crowd.end_of(stranger) is None
    reason = crowd.end_of(flood[6])
    assert isinstance(reason, ClosedByPeer)
    assert reason.code == ErrorCode.EXCESSIVE_LOAD
    assert [crowd.end_of(a) for a in flood[:6]] == [None] * 6
    assert len(crowd.server.connections) == 7


@pytest.mark.spec("TRANSPORT-48")
def test_a_full_endpoint_still_dials():
    crowd = full_crowd()
    for port in range(1, 20):
        crowd.connect("198.51.100.1", port)
    route = Route(SocketId(0), None, SocketAddr("203.0.113.9", 9))
    handle = crowd.server.dial(route, crowd.server_id, crowd.now)
    with pytest.raises(DialError):
        crowd.server.dial(route, crowd.server_id, crowd.now)
    crowd.server.cancel_dial(handle)
    crowd.server.dial(route, crowd.server_id, crowd.now)


@pytest.mark.spec("TRANSPORT-48")
def test_protected_connections_keep_their_place():
    crowd = full_crowd()
    flood = [crowd.connect("198.51.100.1", port) for port in range(1, 20)]
    crowd.server.commons.places.is_protected = crowd.server.connections.__contains__

    stranger = crowd.connect("203.0.113.1")

    assert not crowd.is_connected(stranger)
    assert all(crowd.end_of(a) is None for a in flood)


@pytest.mark.spec("RESOURCES-3")
@pytest.mark.spec("TRANSPORT-57")
def test_a_protected_peer_gets_in_where_strangers_are_refused():
    crowd = full_crowd()
    server = crowd.server
    for port in range(1, 20):
        crowd.connect("198.51.100.1", port)
    server.commons.places.is_protected = server.connections.__contains__  # nobody gives way
    server.commons.places.awaits_protected = lambda: True
    wanted = crowd.identity_of("203.0.113.1")
    server.commons.places.is_protected_peer = {wanted}.__contains__

    unwanted = crowd.connect("192.0.2.77")
    assert not crowd.is_open(unwanted)
    reason = crowd.end_of(unwanted)
    assert isinstance(reason, ClosedByPeer)
    assert reason.code == ErrorCode.EXCESSIVE_LOAD
    assert "7 connections" in str(reason)
    assert len(server.connections) == 7

    peer = crowd.connect("203.0.113.1")
    assert crowd.is_open(peer)
    assert len(server.connections) == 8
    assert not server._incoming.by_id, "no handshake is left"
    # Strangers' part is what it was, and the own dials' is taken by nobody but the protected one.
    assert server.commons.account.connections.inbound.used == 7


@pytest.mark.spec("TRANSPORT-48")
def test_who_was_turned_out_is_forgotten_at_once_and_provokes_nothing():
    crowd = full_crowd()
    flood = [crowd.connect("198.51.100.1", port) for port in range(1, 8)]
    late = crowd.at[flood[6]]
    connection = late.command(crowd.handles[flood[6]])
    connection.ping()
    held = late.poll_transmits(crowd.now)
    crowd.connect("203.0.113.1")

    for transmit in held:
        got = transmit.segment_size, bytes(transmit.buffer)
        crowd.server.handle_received([Received(SocketId(0), None, flood[6], 0, *got)], crowd.now)
    assert crowd.server.poll_transmits(crowd.now) == []
