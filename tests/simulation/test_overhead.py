"""Whole nodes with a peer that makes work and carries nothing, or an honest one that talks a lot.

Virtual time passes only by the clock: the node keeps up with everything, so that nobody's packets
wait for others.
"""

from collections.abc import Callable
from typing import Final

import pytest

from p2pnode.netsim import nat_presets
from p2pnode.netsim.link import LinkParams
from p2pnode.netsim.topology import nat_pair, wire
from p2pnode.swarm.events import ConnectionClosed
from p2pnode.swarm.swarm_stream import SwarmStream
from p2pnode.testbed.sim_node import SimNode
from p2pnode.transports.datagrams.turns import HOLD
from p2pnode.transports.datagrams.waiting import Waiting
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.work import (
    BYTES_PER_UNIT,
    MAX_LOSS_PERIODS,
    MAX_SHORTAGE,
    OVERHEAD_BURST,
    OVERHEAD_RATE,
    TURN_WORK,
    Work,
)
from tests.siege.flood import Flood
from tests.simulation.test_siege import Besieged
from tests.support.pair import endpoint_of
from tests.support.swarm_worlds import with_relays

FLOODS: Final = {
    "PING": 0.03,
    "empty STREAM": 0.3,
    "OBSERVED_ADDRESS": 0.01,
    "short streams": 0.05,
    "reset streams": 0.5,
    "identify": 0.1,
    "identify push": 0.3,
}
"""By name, the part of a siege's rate at which each makes work for a fifth to a half of a core."""
LIMITED_BY_ITS_STREAMS: Final = "identify push"
"""Its streams are long, and those whose packets are dropped stay open: it is soon out of credit."""
LARGEST: Final = 60_000
"""units of overhead that one packet of these floods makes at most"""
PATIENCE: Final = OVERHEAD_BURST / OVERHEAD_RATE + MAX_SHORTAGE + MAX_LOSS_PERIODS
"""seconds"""
RPC: Final = "/rpc/1"
QUESTION: Final = b"x" * 32


def works(node: SimNode) -> list[Work]:
    return [c.work for c in endpoint_of(node.swarm).connections.values()]


class Flooded:
    """A relay that one peer floods, and an honest one that asks now and then whether it answers."""

    def __init__(self, name: str) -> None:
        self.besieged = besieged = Besieged()
        self._quiet = max(besieged.round_trip() for _ in range(3))
        self._began = besieged.world.now
        connections = endpoint_of(besieged.relay.swarm).connections
        before = set(connections)
        attackers = besieged.attack("3", only=(name,), scale=FLOODS[name])
        besieged.world.run_until(lambda: len(connections) > 1, 2)
        (attacked,) = connections.keys() - before
        self._connection = connections[attacked]
        (flood,) = attackers.siege.attacks
        assert isinstance(flood, Flood)
        (self._peer,) = [p for p in (*flood._peers, *flood._successors) if p is not None]

    @property
    def code(self) -> int | None:
        """With which the flood's connection was closed."""
        return None if self._peer.closed_with is None else self._peer.closed_with.code

    @property
    def seconds(self) -> float:
        return self.besieged.world.now - self._began

    def watch(self) -> None:
        """Looks whether the flood is kept to its budget, and nobody else is touched."""
        assert self.besieged.round_trip() < self._quiet + HOLD / 2
        self.besieged.world.run_for(0.1)
        work, carried = self._connection.work, self._connection.bytes_carried
        paid = OVERHEAD_RATE * self.seconds + carried / BYTES_PER_UNIT
        assert work.overhead <= OVERHEAD_BURST + paid + TURN_WORK + LARGEST


@pytest.mark.parametrize("name", [name for name in FLOODS if name != LIMITED_BY_ITS_STREAMS])
@pytest.mark.spec("TRANSPORT-58")
def test_overhead_that_nobody_waits_behind_is_slowed_and_then_ends_its_connection(
    name: str,
) -> None:
    flooded = Flooded(name)
    while flooded.code is None and flooded.seconds < PATIENCE:
        flooded.watch()
    assert flooded.code == ErrorCode.ENHANCE_YOUR_CALM
    assert flooded.seconds > MAX_LOSS_PERIODS
    assert not flooded.besieged.honest.of(ConnectionClosed)
    assert flooded.besieged.stranger_gets_in()


@pytest.mark.spec("TRANSPORT-58")
def test_who_can_open_no_more_streams_for_what_was_dropped_is_slowed_by_that() -> None:
    flooded = Flooded(LIMITED_BY_ITS_STREAMS)
    while flooded.seconds < PATIENCE:
        flooded.watch()
    assert flooded.code is None
    assert not flooded.besieged.honest.of(ConnectionClosed)


class Talk:
    """A client and a server that answers questions, RPC like, on a link."""

    def __init__(self, params: LinkParams | None = None) -> None:
        net = wire(1, params)
        self.world = net.world
        self.client, self.server = SimNode(net.a), SimNode(net.b)
        self._answered: list[SwarmStream] = []
        self.server.serve(RPC, self._answer)
        self.connection = self.client.connect(self.server)
        self.world.run_for(3)

    def _answer(self, stream: SwarmStream, data: bytes, is_end: bool) -> None:
        stream.write(data)
        if is_end:
            stream.finish()
            self._answered.append(stream)

    def open(self) -> SwarmStream:
        return self.client.open(self.connection, RPC)

    def ask(self) -> SwarmStream:
        """A question on a stream of its own."""
        stream = self.open()
        self.client.do(stream.write, QUESTION)
        self.client.do(stream.finish)
        return stream

    def finish(self, stream: SwarmStream) -> None:
        """Reads the answer; both sides have done with their streams."""
        answer = self.client.do(stream.read, 1000)
        while len(answer) < len(QUESTION):
            self.world.run_for(0.001)
            answer += self.client.do(stream.read, 1000)
        self.client.do(self.client.swarm.release_stream, stream, self.world.now)
        for answered in self._answered:
            self.server.do(self.server.swarm.release_stream, answered, self.world.now)
        self._answered.clear()


def small_messages(talk: Talk) -> float:
    """5,000 a second on one stream, in both directions."""
    stream = talk.open()
    for _ in range(5000):
        talk.client.do(stream.write, QUESTION)
        talk.world.run_for(1 / 5000)
        talk.client.do(stream.read, 1000)
    return 1.0


def short_streams(talk: Talk) -> float:
    """5,000 a second, one question and answer on each, some dozens at a time."""
    open_streams: list[SwarmStream] = []
    for _ in range(2500):
        open_streams.append(talk.ask())
        talk.world.run_for(1 / 5000)
        if len(open_streams) > 32:
            talk.finish(open_streams.pop(0))
    return 0.5


def streams_and_pings(talk: Talk) -> float:
    """256 streams a second, 32 pings and two requests of who the other is."""
    open_streams: list[SwarmStream] = []
    for number in range(256):
        open_streams.append(talk.ask())
        if number % 8 == 0:
            talk.client.do(talk.client.swarm.ping, talk.connection, talk.world.now)
        if number % 128 == 0:
            talk.client.open(talk.connection, "/ipfs/id/1.0.0")
        talk.world.run_for(1 / 256)
        if len(open_streams) > 8:
            talk.finish(open_streams.pop(0))
    return 1.0


def questions_taken_back(talk: Talk) -> float:
    """100 streams a second that are reset before the answer."""
    for _ in range(200):
        stream = talk.open()
        talk.client.do(stream.write, QUESTION)
        talk.client.do(talk.client.swarm.reset_stream, stream, 0, talk.world.now)
        talk.world.run_for(1 / 100)
    return 2.0


def bulk(talk: Talk) -> float:
    """20 MB/s to the server, with as much as it takes of it back."""
    stream = talk.open()
    for _ in range(200):
        talk.client.do(stream.write, bytes(100_000))
        talk.world.run_for(1 / 200)
        talk.client.do(stream.read, 1 << 20)
    return 1.0


PATTERNS: Final[list[Callable[[Talk], float]]] = [
    small_messages,
    short_streams,
    streams_and_pings,
    questions_taken_back,
    bulk,
]
LINKS: Final = {
    "good": LinkParams(delay=0.002),
    "bad": LinkParams(delay=0.002, loss=0.01, reordering=0.05, reordering_delay=0.001),
}


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every connection that was held."""
    held: list[object] = []
    monkeypatch.setattr(Waiting, "hold", lambda _self, *args: held.append(args))
    return held


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.spec("TRANSPORT-58")
def test_an_honest_peer_that_talks_a_lot_makes_less_overhead_than_its_budget_has(
    pattern: Callable[[Talk], float], link: str, held: list[object]
) -> None:
    talk = Talk(LINKS[link])
    accounts = [work for node in (talk.client, talk.server) for work in works(node)]
    before = [work.overhead for work in accounts]
    assert len(accounts) == 2
    seconds = pattern(talk)
    for work, at_first in zip(accounts, before, strict=True):
        assert work.overhead - at_first < OVERHEAD_RATE * seconds
    assert not held


@pytest.mark.spec("TRANSPORT-58")
def test_services_of_the_node_make_a_small_part_of_the_overhead_that_is_saved_up() -> None:
    meeting = with_relays(nat_pair(1, nat_presets.home(), nat_presets.home()))
    meeting.reserve()
    meeting.join()
    meeting.world.run_for(60)
    nodes = [meeting.a, meeting.b, *meeting.relays]
    assert all(works(node) for node in nodes)
    assert max(work.overhead for node in nodes for work in works(node)) < OVERHEAD_BURST // 20
