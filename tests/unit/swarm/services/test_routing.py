"""FIND_NODE in the swarm, stepped by hand: finding, sampling, answering."""

from random import Random

import pytest

from p2pnode.clock import Instant
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import ResetStream, SendData, SocketAddr, SocketId
from p2pnode.protocols import kad
from p2pnode.protocols.identify import IdentifyInfo
from p2pnode.protocols.kad import CloserPeer, ConnectionType, FindNodeRequester, FindNodeResponder
from p2pnode.protocols.kad.lookup import LOOKUP_TIMEOUT, MAX_ASKED, MIN_LOOKUP_TIME
from p2pnode.protocols.kad.messages import (
    decode_answer_untrusted,
    decode_request_untrusted,
    encode_answer,
    encode_request,
)
from p2pnode.swarm.events import PeerFound, PeerNotFound
from p2pnode.swarm.peer import Peer
from p2pnode.swarm.services.routing import (
    MAX_LOOKUPS,
    MIN_SAMPLE_INTERVAL,
    NETWORK_REQUESTS,
    PEER_REQUESTS,
    REQUEST_WINDOW,
    SAMPLE_DELAY,
    SAMPLE_INTERVAL,
    SAMPLE_JITTER,
    SAMPLE_PEERS,
    TOTAL_REQUESTS,
    RoutingService,
)
from p2pnode.swarm.services.service import LearnAddresses, OpenStream, PumpMachine
from p2pnode.transports.route import Route
from p2pnode.wire.framing import FrameReader, encode_frame
from p2pnode.wire.multiaddr import Multiaddr, parse_multiaddr
from p2pnode.wire.reset_code import StreamResetCode
from tests.support.addresses import NOISE_UDP
from tests.support.identities import peer_id

US, WANTED, RELAY = peer_id("us"), peer_id("wanted"), peer_id("relay")
PUBLIC = parse_multiaddr("/ip4/7.0.0.1/udp/4001/noise")
PRIVATE = parse_multiaddr("/ip4/192.168.0.7/udp/4001/noise")
LOOPBACK = parse_multiaddr("/ip4/127.0.0.1/udp/4001/noise")
RELAYED = parse_multiaddr(f"{PUBLIC}/p2p/{RELAY}/p2p-circuit")
THROUGH_US = parse_multiaddr(f"{PUBLIC}/p2p/{US}/p2p-circuit")
SPEAKS = (kad.PROTOCOL_ID,)
BEHIND_RELAY = "relay"


class World:
    """A service with everything around it, its `ServiceFacts` included."""

    def __init__(self, seed: int = 1) -> None:
        self.connected: dict[int, Peer] = {}
        self.protocols: dict[PeerId, tuple[str, ...]] = {}
        self.told: dict[PeerId, tuple[Multiaddr, ...]] = {}
        self.rng = Random(seed)
        self.service = RoutingService(self, US, Random(seed), self.rng.randbytes)
        self.asked: list[tuple[int, bytes]] = []
        self.requesters: dict[int, FindNodeRequester] = {}
        self.learned: list[tuple[PeerId, tuple[Multiaddr, ...]]] = []
        self.pumped: list[FindNodeResponder] = []

    # ServiceFacts

    def peer(self, connection: int) -> Peer | None:
        return self.connected.get(connection)

    def best(self, peer_id: PeerId) -> int | None:
        return next((c for c, peer in self.connected.items() if peer.peer_id == peer_id), None)

    def direct(self, peer_id: PeerId) -> int | None:
        return None

    def rtt(self, connection: int) -> float | None:
        return None

    def last_received(self, connection: int) -> Instant | None:
        return None

    def info(self, peer_id: PeerId) -> IdentifyInfo | None:
        protocols = self.protocols.get(peer_id)
        return None if protocols is None else IdentifyInfo(peer_id, protocols=protocols)

    def known_addresses(self, peer_id: PeerId, now: Instant) -> tuple[Multiaddr, ...]:
        return self.told.get(peer_id, ())

    def socket_addresses(self) -> dict[SocketId, SocketAddr]:
        return {}

    def interface_addresses(self) -> tuple[SocketAddr, ...]:
        return ()

    def seen_at(self, now: Instant) -> tuple[tuple[SocketId, SocketAddr, bool], ...]:
        return ()

    def peers(self) -> tuple[PeerId, ...]:
        return tuple(peer.peer_id for peer in self.connected.values())

    def known_peers(self) -> tuple[PeerId, ...]:
        return tuple(self.told)

    def told_addresses(self, peer_id: PeerId, now: Instant) -> tuple[Multiaddr, ...]:
        return self.told.get(peer_id, ())

    # what happens

    def connect(
        self, connection: int, ip: str = "7.0.0.9", now: float = 0.0, name: object = None
    ) -> Peer:
        socket = SocketId(-1 if ip == BEHIND_RELAY else 1)
        remote = SocketAddr("7.0.0.8" if ip == BEHIND_RELAY else ip, 4001)
        who = peer_id(connection if name is None else name)
        peer = self.connected[connection] = Peer(
            connection, who, Route(socket, None, remote), True, NOISE_UDP
        )
        self.service.on_connected(peer, now)
        self.run()
        return peer

    def disconnect(self, connection: int, now: float = 0.0) -> None:
        self.service.on_disconnected(self.connected.pop(connection), now)
        self.run()

    def find(self, wanted: PeerId = WANTED, now: float = 0.0) -> list:
        self.service.find(wanted, now)
        self.run()
        return list(self.service.poll_events())

    def time(self, now: float) -> list:
        self.service.handle_timeout(now)
        self.run()
        return list(self.service.poll_events())

    def answer(self, connection: int, *peers: CloserPeer, now: float = 0.0) -> list:
        """The peer answers what it was asked last; returns the events."""
        requester = self.requesters[connection]
        requester.handle_data(encode_frame(encode_answer(peers)), now)
        return self.progress(connection, requester, now)

    def refuse(self, connection: int, now: float = 0.0) -> list:
        requester = self.requesters[connection]
        self.service.on_stream_failed(connection, requester, "not spoken", now)
        self.run()
        return list(self.service.poll_events())

    def progress(self, connection: int, machine, now: float = 0.0) -> list:
        self.service.on_progress(connection, machine, now)
        self.run()
        return list(self.service.poll_events())

    def run(self) -> None:
        for command in self.service.poll_commands():
            match command:
                case OpenStream(connection, protocol, FindNodeRequester() as requester):
                    assert protocol == kad.PROTOCOL_ID
                    self.requesters[connection] = requester
                    self.asked.append((connection, key_of(requester)))
                case LearnAddresses(peer, addresses):
                    self.learned.append((peer, addresses))
                case PumpMachine(_, FindNodeResponder() as responder):
                    self.pumped.append(responder)
                case _:
                    raise AssertionError(command)

    # inbound

    def ask(self, peer: Peer, key: bytes = WANTED.multihash, now: float = 0.0) -> object:
        """The peer asks us; returns the peers of the answer, or what became of the stream."""
        responder = self.service.accept(peer, kad.PROTOCOL_ID, now)
        assert isinstance(responder, FindNodeResponder)
        responder.handle_data(encode_frame(encode_request(key)), now)
        responder.handle_eof(now)
        self.progress(peer.connection, responder, now)
        assert self.pumped.pop() is responder
        first, *_ = responder.poll_output()
        assert responder.is_done
        self.progress(peer.connection, responder, now)
        if not isinstance(first, SendData):
            return first
        frames = FrameReader(100_000)
        frames.feed(first.data)
        frame = frames.next_frame_untrusted()
        assert frame is not None
        return list(decode_answer_untrusted(frame))


def key_of(requester: FindNodeRequester) -> bytes:
    first, _ = requester.poll_output()
    assert isinstance(first, SendData)
    frames = FrameReader(1000)
    frames.feed(first.data)
    frame = frames.next_frame_untrusted()
    assert frame is not None
    return decode_request_untrusted(frame)


def wanted_at(*addrs: Multiaddr) -> CloserPeer:
    return CloserPeer(WANTED, addrs)


# finding


@pytest.mark.spec("KAD-13")
def test_the_first_answer_with_an_address_ends_the_search() -> None:
    world = World()
    for connection in (1, 2, 3):
        world.connect(connection)
    assert world.find() == []
    assert sorted(world.asked) == [(n, WANTED.multihash) for n in (1, 2, 3)]

    assert world.answer(1) == []
    assert world.answer(2, wanted_at(RELAYED, PUBLIC)) == [PeerFound(WANTED, (RELAYED, PUBLIC))]
    assert world.learned == [(WANTED, (RELAYED, PUBLIC))]


@pytest.mark.spec("KAD-13")
def test_later_answers_are_learned_but_not_reported_again() -> None:
    world = World()
    world.connect(1)
    world.connect(2)
    world.find()
    assert len(world.answer(1, wanted_at(PUBLIC))) == 1

    assert world.answer(2, wanted_at(RELAYED)) == []
    assert world.learned == [(WANTED, (PUBLIC,)), (WANTED, (RELAYED,))]


@pytest.mark.spec("KAD-11")
def test_a_peer_that_has_just_connected_is_asked_before_it_is_identified() -> None:
    world = World()
    assert world.find() == []
    assert world.asked == []

    world.connect(1, now=0.2)
    assert world.asked == [(1, WANTED.multihash)]
    assert world.answer(1, wanted_at(RELAYED), now=0.3) == [PeerFound(WANTED, (RELAYED,))]


@pytest.mark.spec("KAD-10")
def test_only_peers_that_may_speak_the_protocol_are_asked() -> None:
    world = World()
    world.protocols = {peer_id(1): SPEAKS, peer_id(2): ("/other",)}
    for connection in (1, 2, 3):
        world.connect(connection)
    world.find()
    world.protocols[peer_id(4)] = ("/other",)
    world.connect(4)

    assert sorted(connection for connection, _ in world.asked) == [1, 3]


@pytest.mark.spec("KAD-10")
def test_a_search_asks_no_more_than_so_many() -> None:
    world = World()
    for connection in range(50):
        world.connect(connection)
    world.find()

    assert len(world.asked) == MAX_ASKED


@pytest.mark.spec("KAD-12")
def test_a_search_that_all_have_answered_in_vain_fails_with_the_reason() -> None:
    world = World()
    for connection in (1, 2, 3):
        world.connect(connection)
    world.find()
    world.answer(1, now=0.1)
    world.answer(2, CloserPeer(peer_id("x"), (PUBLIC,)), now=0.1)
    assert world.refuse(3, now=0.1) == []

    timer = world.service.poll_timeout()
    assert timer is not None
    assert timer.at == MIN_LOOKUP_TIME
    reason = "none of the 3 peers that were asked knows it; 1 did not answer"
    assert world.time(timer.at) == [PeerNotFound(WANTED, reason)]
    assert world.learned == [(peer_id("x"), (PUBLIC,))]


@pytest.mark.spec("KAD-12")
def test_a_late_last_answer_ends_the_search_at_once() -> None:
    world = World()
    world.connect(1)
    world.find()

    assert world.answer(1, now=2.0) == [
        PeerNotFound(WANTED, "the one peer that was asked does not know it")
    ]


@pytest.mark.spec("KAD-12")
def test_a_search_without_anybody_to_ask_waits_and_fails() -> None:
    world = World()
    world.find()
    assert world.time(LOOKUP_TIMEOUT - 0.1) == []

    assert world.time(LOOKUP_TIMEOUT) == [PeerNotFound(WANTED, "no connected peer can be asked")]
    assert world.service.poll_timeout() is None


def test_a_lost_connection_is_an_answer_that_will_not_come() -> None:
    world = World()
    world.connect(1)
    world.find()
    world.disconnect(1, now=1.0)

    assert list(world.service.poll_events()) == [
        PeerNotFound(WANTED, "the one peer that was asked did not answer")
    ]


def test_a_second_search_for_the_same_peer_joins_the_first() -> None:
    world = World()
    world.connect(1)
    world.find()
    world.find()

    assert len(world.asked) == 1
    assert len(world.answer(1, wanted_at(PUBLIC))) == 1


@pytest.mark.spec("KAD-13")
def test_an_answer_to_an_old_search_counts_for_the_new_one() -> None:
    world = World()
    world.connect(1)
    world.find()
    old = world.requesters[1]
    assert len(world.time(LOOKUP_TIMEOUT)) == 1
    world.find(now=LOOKUP_TIMEOUT)
    new = world.requesters[1]

    world.requesters[1] = old
    assert world.answer(1, wanted_at(PUBLIC), now=5.1) == [PeerFound(WANTED, (PUBLIC,))]
    world.requesters[1] = new
    assert world.answer(1, now=5.2) == []


@pytest.mark.spec("KAD-13")
def test_an_old_answer_in_vain_does_not_count_for_a_new_search() -> None:
    world = World()
    world.connect(1)
    world.find()
    old = world.requesters[1]
    world.time(LOOKUP_TIMEOUT)
    world.find(now=LOOKUP_TIMEOUT)

    world.requesters[1] = old
    assert world.answer(1, now=LOOKUP_TIMEOUT + MIN_LOOKUP_TIME) == []


@pytest.mark.spec("KAD-13")
def test_a_sample_may_find_who_is_looked_for() -> None:
    world = World()
    world.connect(1)
    world.service.sample(0.0)
    world.run()
    sample = world.requesters[1]
    world.find()

    world.requesters[1] = sample
    assert world.answer(1, wanted_at(PUBLIC)) == [PeerFound(WANTED, (PUBLIC,))]


def test_a_peer_that_is_connected_or_comes_is_found() -> None:
    world = World()
    world.told[WANTED] = (PUBLIC,)
    world.find()
    world.connect(1, name="wanted")
    assert list(world.service.poll_events()) == [PeerFound(WANTED, (PUBLIC,))]

    assert world.find() == [PeerFound(WANTED, (PUBLIC,))]
    assert world.asked == []


def test_this_node_is_not_looked_for() -> None:
    assert World().find(US) == [PeerNotFound(US, "that is this node itself")]


@pytest.mark.spec("KAD-12")
def test_only_so_many_searches_run_at_a_time() -> None:
    world = World()
    for n in range(MAX_LOOKUPS):
        assert world.find(peer_id(("sought", n))) == []

    (refused,) = world.find()
    assert isinstance(refused, PeerNotFound)


# what is believed


@pytest.mark.spec("KAD-14")
@pytest.mark.parametrize(
    ("ip", "believed"),
    [
        ("7.0.0.9", (PUBLIC, RELAYED)),
        (BEHIND_RELAY, (PUBLIC, RELAYED)),
        ("192.168.0.9", (PUBLIC, RELAYED, PRIVATE)),
        ("127.0.0.1", (PUBLIC, RELAYED, PRIVATE, LOOPBACK)),
    ],
)
def test_an_address_is_believed_only_where_it_can_be_true(ip: str, believed: tuple) -> None:
    world = World()
    world.connect(1, ip)
    world.find()
    world.answer(1, wanted_at(PUBLIC, RELAYED, PRIVATE, LOOPBACK))

    assert world.learned == [(WANTED, believed)]


@pytest.mark.spec("KAD-14")
def test_nothing_is_believed_about_ourselves_or_through_us() -> None:
    world = World()
    world.connect(1)
    world.find()
    through_itself = parse_multiaddr(f"{PUBLIC}/p2p/{WANTED}/p2p-circuit")
    events = world.answer(
        1, CloserPeer(US, (PUBLIC,)), wanted_at(THROUGH_US, through_itself), now=1.0
    )

    assert world.learned == []
    assert isinstance(events[0], PeerNotFound)


@pytest.mark.spec("KAD-14")
def test_an_answer_teaches_no_more_than_it_may_hold() -> None:
    world = World()
    world.connect(1)
    world.find()
    world.answer(1, *(CloserPeer(peer_id(("f", n)), (PUBLIC,)) for n in range(50)))

    assert len(world.learned) == kad.MAX_CLOSER_PEERS


def test_a_broken_answer_teaches_nothing() -> None:
    world = World()
    world.connect(1)
    world.find()
    world.requesters[1].handle_data(encode_frame(b"\xff"), 1.0)

    assert world.progress(1, world.requesters[1], 1.0) == [
        PeerNotFound(WANTED, "the one peer that was asked did not answer")
    ]
    assert world.learned == []


# sampling


@pytest.mark.spec("KAD-15")
def test_peers_are_sampled_soon_after_the_first_connection_and_then_seldom() -> None:
    world = World()
    for connection in range(10):
        world.connect(connection, now=connection / 100)
    world.time(SAMPLE_DELAY - 0.01)
    assert world.asked == []

    world.time(SAMPLE_DELAY)
    assert len({connection for connection, _ in world.asked}) == SAMPLE_PEERS
    assert len({key for _, key in world.asked}) == SAMPLE_PEERS
    assert all(PeerId.decode_untrusted(key) for _, key in world.asked)

    timer = world.service.poll_timeout()
    assert timer is not None
    assert abs(timer.at - SAMPLE_DELAY - SAMPLE_INTERVAL) <= SAMPLE_JITTER * SAMPLE_INTERVAL
    world.time(timer.at)
    assert len(world.asked) == 2 * SAMPLE_PEERS


@pytest.mark.spec("KAD-15")
def test_what_a_sample_brings_is_learned() -> None:
    world = World()
    world.connect(1)
    world.service.sample(0.0)
    world.run()

    assert world.answer(1, CloserPeer(peer_id("x"), (PUBLIC,))) == []
    assert world.learned == [(peer_id("x"), (PUBLIC,))]


@pytest.mark.spec("KAD-15")
def test_samples_that_others_want_are_not_taken_too_often() -> None:
    world = World()
    world.service.sample(0.0)
    world.connect(1)
    for now in (0.0, MIN_SAMPLE_INTERVAL - 0.1, MIN_SAMPLE_INTERVAL):
        world.service.sample(now)
    world.run()

    assert len(world.asked) == 2


@pytest.mark.spec("KAD-15")
def test_where_nobody_can_be_asked_the_next_connection_is_waited_for() -> None:
    world = World()
    world.protocols[peer_id(1)] = ("/other",)
    world.connect(1)
    world.time(SAMPLE_DELAY)
    assert world.asked == []
    assert world.service.poll_timeout() is None

    world.connect(2, now=50.0)
    world.time(50.0 + SAMPLE_DELAY)
    assert [connection for connection, _ in world.asked] == [2]


@pytest.mark.spec("KAD-15")
def test_without_connections_nothing_is_sampled() -> None:
    world = World()
    world.connect(1)
    world.disconnect(1)

    assert world.service.poll_timeout() is None


# answering


@pytest.mark.spec("KAD-16")
def test_the_nearest_are_told_with_the_wanted_peer_first() -> None:
    world = World()
    asker = world.connect(1)
    others = [peer_id(("other", n)) for n in range(40)]
    world.told = dict.fromkeys([*others, WANTED], (PUBLIC,))

    told = world.ask(asker)

    nearest = kad.closest(WANTED.multihash, others, kad.MAX_CLOSER_PEERS - 1)
    assert [peer.peer_id for peer in told] == [WANTED, *nearest]


@pytest.mark.spec("KAD-16")
def test_neither_the_asker_nor_we_nor_peers_without_addresses_are_told() -> None:
    world = World()
    asker = world.connect(1)
    world.connect(2)
    world.told = {US: (PUBLIC,), asker.peer_id: (PUBLIC,), WANTED: (), peer_id("x"): (RELAYED,)}

    assert world.ask(asker) == [CloserPeer(peer_id("x"), (RELAYED,))]


@pytest.mark.spec("KAD-16")
def test_an_answer_says_which_peers_are_connected() -> None:
    world = World()
    asker = world.connect(1)
    world.connect(2, name="wanted")
    world.told[WANTED] = (PUBLIC,)

    assert world.ask(asker) == [CloserPeer(WANTED, (PUBLIC,), ConnectionType.CONNECTED)]


@pytest.mark.spec("KAD-17")
@pytest.mark.parametrize(
    ("ip", "told"),
    [
        ("7.0.0.9", (PUBLIC, RELAYED)),
        (BEHIND_RELAY, (PUBLIC, RELAYED)),
        ("192.168.0.9", (PUBLIC, RELAYED, PRIVATE)),
        ("127.0.0.1", (PUBLIC, RELAYED, PRIVATE, LOOPBACK)),
    ],
)
def test_an_asker_is_told_what_it_can_use_where_it_is(ip: str, told: tuple) -> None:
    world = World()
    world.told[WANTED] = (PUBLIC, RELAYED, PRIVATE, LOOPBACK)

    (peer,) = world.ask(world.connect(1, ip))
    assert peer.addrs == told


@pytest.mark.spec("KAD-18")
def test_who_asks_too_much_is_refused_and_served_again_later() -> None:
    world = World()
    greedy, modest = world.connect(1), world.connect(2)
    world.told[WANTED] = (PUBLIC,)
    for _ in range(PEER_REQUESTS):
        assert isinstance(world.ask(greedy), list)

    assert world.ask(greedy) == ResetStream(StreamResetCode.RATE_LIMITED)
    assert isinstance(world.ask(modest), list)
    assert isinstance(world.ask(greedy, now=REQUEST_WINDOW / PEER_REQUESTS), list)


@pytest.mark.spec("KAD-18")
def test_many_identities_of_one_network_are_one_asker() -> None:
    world = World()
    served = [world.ask(world.connect(n, "7.0.0.9")) for n in range(NETWORK_REQUESTS + 1)]

    assert served[-2:] == [[], ResetStream(StreamResetCode.RATE_LIMITED)]
    assert world.ask(world.connect(999, "7.0.0.10")) == []


@pytest.mark.spec("KAD-18")
def test_all_askers_together_are_bounded() -> None:
    world = World()
    served = [
        world.ask(world.connect(n, f"7.0.{n // 250}.{n % 250}")) for n in range(TOTAL_REQUESTS)
    ]

    assert served == [[]] * TOTAL_REQUESTS
    late = world.connect(9999, "7.9.9.9")
    assert world.ask(late) == ResetStream(StreamResetCode.RATE_LIMITED)


def test_an_asker_is_forgotten_with_its_stream() -> None:
    world = World()
    peer = world.connect(1)
    responder = world.service.accept(peer, kad.PROTOCOL_ID, 0.0)
    world.service.on_stream_over(1, responder, 0.0)

    assert world.service._askers == {}


def test_several_requests_on_one_stream_are_answered() -> None:
    world = World()
    peer = world.connect(1)
    responder = world.service.accept(peer, kad.PROTOCOL_ID, 0.0)
    assert isinstance(responder, FindNodeResponder)
    responder.handle_data(encode_frame(encode_request(b"one")) * 3, 0.0)
    world.progress(1, responder)

    assert [type(output) for output in responder.poll_output()] == [SendData] * 3
    assert not responder.is_done
