"""What a handshake and a packet cost does not grow with what others hold: counted in calls."""

from collections.abc import Callable

import pytest

from p2pnode.protocols.identify.socket_evidence import MAX_OBSERVATIONS_PER_SOCKET
from p2pnode.wire.multistream import Initiator
from tests.support.crowd import Crowd
from tests.support.python_calls import python_calls

FEW, MANY = 2, MAX_OBSERVATIONS_PER_SOCKET + 64
GROWTH = 1.15
"""what they may cost more where others hold many connections"""


IDLE, STREAMS = 300, 6
"""connections, and streams of each, that once made a packet of anybody five times as dear"""
PROTOCOL = "/test/idle/1"


class Counted:
    """A swarm that holds some connections; counts the calls that one peer's packets cost it."""

    def __init__(self, connections: int, streams: int = 0) -> None:
        """Each of those that hold a connection has so many streams open on it, and is silent."""
        self._calls = self._watched = 0
        self._crowd = crowd = Crowd(aside=self._count)
        for _ in range(0, connections, FEW):
            crowd.join(FEW)
            crowd.run(0.05)
        crowd.swarm.handle_protocol(PROTOCOL, crowd.now)
        proposal = Initiator([PROTOCOL]).poll_data()
        for number in range(1, connections + 1):
            for _ in range(streams):
                crowd.open_stream(number, proposal)
        crowd.run(20.0)
        assert len(crowd.swarm.facts.connections()) == connections
        assert crowd.swarm._streams.open_streams()[PROTOCOL, True] == connections * streams

    def _count(self, work: Callable[[], object], cause: int) -> None:
        if cause == self._watched:
            self._calls += python_calls(work)
        else:
            work()

    def cost(self) -> tuple[int, int]:
        """Returns the calls for a new peer's handshake and identify, and for one of its pings."""
        (newest,) = self._crowd.join()
        self._watched, self._calls = newest, 0
        self._crowd.run(5.0)
        handshake, self._calls = self._calls, 0
        for _ in range(10):
            self._crowd.ping(newest)
            self._crowd.run(0.1)
        return handshake, self._calls // 10


@pytest.mark.spec("SWARM-30")
def test_handshakes_and_packets_cost_the_same_however_many_connections_are_held() -> None:
    handshake, packet = Counted(FEW).cost()
    handshake_of_many, packet_of_many = Counted(MANY).cost()

    assert handshake > 1000
    assert packet > 50
    assert handshake_of_many <= GROWTH * handshake
    assert packet_of_many <= GROWTH * packet


@pytest.mark.slow
@pytest.mark.spec("SWARM-30")
def test_idle_streams_of_many_connections_make_nobodys_packet_dearer() -> None:
    handshake, packet = Counted(FEW).cost()
    handshake_beside, packet_beside = Counted(IDLE, STREAMS).cost()

    assert packet > 50
    assert handshake_beside <= GROWTH * handshake
    assert packet_beside <= GROWTH * packet
