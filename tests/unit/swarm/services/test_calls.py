"""p2pnode/swarm/services/calls.py"""

from collections.abc import Callable
from typing import Any

import pytest

from p2pnode.clock import Deadline, Instant
from p2pnode.machine import ConnectionHandle, SocketAddr, SocketId, StreamMachine
from p2pnode.protocols.identify import IdentifyInfo
from p2pnode.swarm.peer import Peer
from p2pnode.swarm.services.calls import ServiceCalls
from p2pnode.swarm.services.service import FindPeers, Service
from p2pnode.transports.route import Route
from tests.support.addresses import NOISE_UDP
from tests.support.identities import peer_id

PEER_ID = peer_id(1)
ROUTE = Route(SocketId(0), None, SocketAddr("192.0.2.1", 4001))
PEER = Peer(ConnectionHandle(1), PEER_ID, ROUTE, True, NOISE_UDP)
MACHINE: StreamMachine = None  # type: ignore[assignment]
INFO = IdentifyInfo(PEER_ID)

ALL: list[Callable[[ServiceCalls, Instant], None]] = [
    lambda calls, now: calls.connected(PEER, now),
    lambda calls, now: calls.disconnected(PEER, now),
    lambda calls, now: calls.path_changed(PEER, now),
    lambda calls, now: calls.path_validated(PEER.connection, ROUTE, now),
    lambda calls, now: calls.identified(PEER, INFO, now),
    lambda calls, now: calls.addresses_learned(PEER_ID, now),
    lambda calls, now: calls.observed(PEER, now),
    lambda calls, now: calls.addresses_changed(now),
]
ONE: list[Callable[[ServiceCalls, Service, Instant], object]] = [
    lambda calls, to, now: calls.accept(to, PEER, "/a", now),
    lambda calls, to, now: calls.progressed(to, PEER.connection, MACHINE, now),
    lambda calls, to, now: calls.stream_failed(to, PEER.connection, MACHINE, "lost", now),
    lambda calls, to, now: calls.connect_failed(to, PEER_ID, "lost", now),
    lambda calls, to, now: calls.dialled_back(to, 7, PEER.connection, "", now),
]


class Answering(Service):
    """Commands something and sets a deadline whenever it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.called: list[Instant] = []
        self.deadline: Deadline | None = None
        self.asked = 0

    def _called(self, *facts: Any) -> None:
        self.called.append(facts[-1])
        self.deadline = Deadline(facts[-1] + 1.0, "answering")
        self._command(FindPeers())

    on_connected = on_disconnected = on_path_changed = on_path_validated = _called
    on_identified = on_addresses_learned = on_observed = on_addresses_changed = on_progress = (
        _called
    )
    on_stream_failed = on_connect_failed = on_dial_back = handle_timeout = accept = _called

    def poll_timeout(self) -> Deadline | None:
        self.asked += 1
        return self.deadline


def registered(count: int = 2) -> tuple[ServiceCalls, list[Answering]]:
    calls, services = ServiceCalls(), [Answering() for _ in range(count)]
    calls.register(services)
    assert calls.poll_timeout() is None
    return calls, services


def speakers(calls: ServiceCalls) -> list[Service]:
    found: list[Service] = []
    while (service := calls.next_speaker()) is not None:
        found.append(service)
    return found


@pytest.mark.spec("SWARM-23")
@pytest.mark.parametrize("call", ALL)
def test_what_all_are_told_has_all_asked_for_output_and_deadline(
    call: Callable[[ServiceCalls, Instant], None],
) -> None:
    calls, services = registered()
    call(calls, 5.0)
    assert [service.called for service in services] == [[5.0], [5.0]]
    assert calls.poll_timeout() == Deadline(6.0, "answering")
    assert speakers(calls) == services
    assert speakers(calls) == []


@pytest.mark.spec("SWARM-23")
@pytest.mark.parametrize("call", ONE)
def test_what_one_is_told_has_that_one_asked(
    call: Callable[[ServiceCalls, Service, Instant], object],
) -> None:
    calls, (first, second) = registered()
    before = second.asked
    call(calls, first, 5.0)
    assert (first.called, second.called) == ([5.0], [])
    assert calls.poll_timeout() == Deadline(6.0, "answering")
    assert second.asked == before
    assert speakers(calls) == [first]


def test_who_speaks_first_is_asked_first() -> None:
    calls, (first, second) = registered()
    calls.addresses_changed(1.0)
    speakers(calls)
    calls.dialled_back(second, 7, None, "lost", 2.0)
    calls.dialled_back(first, 8, None, "lost", 2.0)
    assert speakers(calls) == [second, first]


def test_who_had_output_before_it_was_registered_is_asked_as_well() -> None:
    early, calls = Answering(), ServiceCalls()
    early._command(FindPeers())
    calls.register([early])
    assert speakers(calls) == [early]


def test_a_service_with_output_has_everybodys_deadline_asked_anew() -> None:
    calls, (first, second) = registered()
    calls.dialled_back(first, 7, None, "lost", 2.0)
    assert calls.poll_timeout() == Deadline(3.0, "answering")
    assert calls.next_speaker() is first
    second.deadline = Deadline(2.5, "of what the first has asked for")
    assert calls.poll_timeout() == second.deadline


def test_a_deadline_is_asked_for_once_and_again_only_after_a_call() -> None:
    calls, (first, _) = registered()
    asked = first.asked
    calls.poll_timeout()
    assert first.asked == asked
    calls.command(first)
    calls.poll_timeout()
    assert first.asked == asked + 1
    calls.stir()
    calls.poll_timeout()
    assert first.asked == asked + 2


def test_only_those_act_whose_time_has_come() -> None:
    calls, (first, second) = registered()
    first.deadline, second.deadline = Deadline(1.0, "first"), Deadline(2.0, "second")
    calls.stir()
    calls.handle_timeout(0.9)
    assert (first.called, second.called) == ([], [])
    calls.handle_timeout(1.5)
    assert (first.called, second.called) == ([1.5], [])
    assert calls.poll_timeout() == Deadline(2.0, "second")
    assert speakers(calls) == [first]


def test_a_check_finds_a_deadline_that_moved_unseen() -> None:
    calls, (first, _) = registered()
    calls.check()
    first.deadline = Deadline(1.0, "unseen")
    with pytest.raises(AssertionError, match="has moved"):
        calls.check()


def test_a_check_finds_output_that_nobody_has_taken() -> None:
    calls, (first, _) = registered()
    first._command(FindPeers())
    with pytest.raises(AssertionError, match="not asked for its output"):
        calls.check()
