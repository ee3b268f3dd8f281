"""What the transports of a node share: p2pnode/transports/commons.py."""

import pytest

from p2pnode.errors import DialError
from p2pnode.machine import ConnectionHandle
from p2pnode.resources.account import Account
from p2pnode.resources.limits import ResourceLimits
from p2pnode.transports.commons import FIRST_HANDLE, Commons
from p2pnode.transports.faults import Faults
from tests.support.addresses import NOISE_UDP
from tests.support.scripted_transport import ROUTE, ScriptedTransport


def test_handles_count_up_and_are_never_used_twice() -> None:
    commons = Commons()
    assert [commons.take_handle() for _ in range(3)] == [FIRST_HANDLE, 2, 3]


def test_handles_of_two_commons_need_not_collide() -> None:
    first = ConnectionHandle(1 << 32)
    assert Commons(first_handle=first).take_handle() == first


def test_places_are_those_of_the_account() -> None:
    account = Account(ResourceLimits().with_connections(1))
    transport = ScriptedTransport(NOISE_UDP, Commons(account), [1])
    transport.dial(ROUTE, None, 0.0)
    assert account.connections.used == 1
    with pytest.raises(DialError):
        transport.dial(ROUTE, None, 0.0)


def test_a_fault_is_raised_unless_somebody_takes_it() -> None:
    with pytest.raises(RuntimeError):
        Commons().faults.take(RuntimeError("a bug"))
    faults = Faults(is_raising=False)
    Commons(faults=faults).faults.take(RuntimeError("a bug"))
    assert len(faults.poll()) == 1


def test_who_has_streams_is_a_connection_that_is_there_and_has_some() -> None:
    commons = Commons()
    transport = ScriptedTransport(NOISE_UDP, commons, [1])
    idle, busy, half = (
        transport.accept(ROUTE),
        transport.accept(ROUTE),
        transport.accept(ROUTE, is_established=False),
    )
    commons.connections[busy].streams.open()
    assert [commons.has_streams(handle) for handle in (idle, busy, half)] == [False, True, False]
    assert not commons.has_streams(ConnectionHandle(99))
