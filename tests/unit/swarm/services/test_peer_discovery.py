"""Meeting peers that are known by hearsay: swarm/services/peer_discovery.py."""

from random import Random

import pytest

from p2pnode.clock import Instant
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import SocketAddr, SocketId
from p2pnode.swarm.peer import Peer
from p2pnode.swarm.services.peer_discovery import MAX_AT_ONCE, MAX_REMEMBERED, PAUSE, PeerDiscovery
from p2pnode.swarm.services.service import DialPeer
from p2pnode.transports.route import Route
from p2pnode.wire.multiaddr import Multiaddr, parse_multiaddr
from tests.support.addresses import NOISE_UDP
from tests.support.autonat_swarm import FakeFacts
from tests.support.identities import peer_id

US, FRIEND = peer_id("us"), peer_id("friend")
DIRECT = parse_multiaddr("/ip4/7.0.0.1/udp/4001/noise")
RELAYED = parse_multiaddr(f"{DIRECT}/p2p/{FRIEND}/p2p-circuit")


class Facts(FakeFacts):
    def __init__(self) -> None:
        super().__init__(SocketAddr("10.0.0.1", 4001))
        self.known: dict[PeerId, tuple[Multiaddr, ...]] = {}
        self.settles = False

    def known_peers(self) -> tuple[PeerId, ...]:
        return tuple(self.known)

    def is_undecided(self, now: Instant) -> bool:
        return self.settles

    def known_addresses(self, peer_id: PeerId, now: Instant) -> tuple[Multiaddr, ...]:
        return self.known.get(peer_id, ())


class World:
    def __init__(self, known: int = 0) -> None:
        self.facts = Facts()
        self.facts.known = {peer_id(n): (DIRECT,) for n in range(known)}
        self.service = PeerDiscovery(self.facts, US, Random(1))

    def connect(self, who: PeerId = FRIEND, connection: int = 1) -> None:
        route = Route(SocketId(1), None, SocketAddr("7.0.0.9", 1))
        peer = self.facts.peers[connection] = Peer(connection, who, route, True, NOISE_UDP)
        self.service.on_connected(peer, 0.0)

    def run(self, until: float) -> list[tuple[float, PeerId]]:
        """Returns whom the service connects with, and when."""
        met = []
        while (timer := self.service.poll_timeout()) is not None and timer.at <= until:
            self.service.handle_timeout(timer.at)
            for command in self.service.poll_commands():
                assert isinstance(command, DialPeer)
                met.append((timer.at, command.peer_id))
        return met


@pytest.mark.spec("SWARM-16")
def test_so_many_peers_are_met_with_pauses() -> None:
    world = World(known=20)
    world.connect()
    world.service.want_more(5.0)
    met = world.run(100.0)
    assert [at for at, _ in met] == [5.0 + n * PAUSE for n in range(MAX_AT_ONCE)]
    assert world.service.poll_timeout() is None


def test_nobody_is_met_unasked() -> None:
    world = World(known=20)
    world.connect()
    assert world.run(100.0) == []


@pytest.mark.spec("SWARM-16")
def test_nobody_is_met_before_it_is_known_whether_strangers_reach_us() -> None:
    world = World(known=20)
    world.service.want_more(0.0)
    assert world.run(3.0) == [], "nobody is connected who could tell"
    world.connect()
    world.facts.settles = True
    assert world.run(7.0) == []
    world.facts.settles = False
    assert len(world.run(100.0)) == MAX_AT_ONCE


@pytest.mark.spec("SWARM-16")
def test_the_wish_for_more_does_not_shorten_the_pause() -> None:
    world = World(known=20)
    world.connect()
    world.service.want_more(0.0)
    assert len(world.run(0.0)) == 1
    world.service.want_more(0.1)
    assert [at for at, _ in world.run(100.0)] == [PAUSE, 2 * PAUSE, 3 * PAUSE]


def test_only_strangers_with_a_direct_address_are_met() -> None:
    world = World()
    named = parse_multiaddr("/dns4/x.example/udp/1/noise")
    world.connect()
    world.facts.known = {
        US: (DIRECT,),
        FRIEND: (DIRECT,),
        peer_id("relayed"): (RELAYED,),
        peer_id("named"): (named,),
        peer_id("unknown"): (),
        peer_id("good"): (RELAYED, DIRECT),
    }
    world.service.want_more(0.0)
    assert {who for _, who in world.run(100.0)} == {peer_id("good")}


def test_who_was_met_or_could_not_be_reached_lets_others_have_their_turn() -> None:
    world = World(known=3)
    world.connect()
    world.service.on_connect_failed(peer_id(0), "no answer", 0.0)
    world.connect(peer_id(1), 2)
    world.facts.peers.pop(2)
    world.service.want_more(0.0)
    assert {who for _, who in world.run(100.0)} == {peer_id(2)}


def test_so_many_are_remembered() -> None:
    world = World()
    for number in range(MAX_REMEMBERED + 9):
        world.service.on_connect_failed(peer_id(number), "no answer", 0.0)
    assert len(world.service._tried) == MAX_REMEMBERED
