"""NAT behaviour in the swarm, stepped by hand: answering, asking, knocking, judging ourselves."""

from collections.abc import Iterator

import pytest

from p2pnode.clock import Instant
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import ResetStream, SendData, SocketAddr, SocketId
from p2pnode.protocols import nat_behaviour
from p2pnode.protocols.autonat.filtering import Filtering
from p2pnode.protocols.identify import IdentifyInfo, Observation, ObservedAddressBook
from p2pnode.protocols.nat_behaviour import (
    Dependence,
    KnockRequest,
    LocateRequest,
    NatAnswer,
    NatFacts,
    NatRequest,
    NatRequester,
    NatStatus,
    PortAllocation,
    ReportRequest,
    encode_knock,
)
from p2pnode.protocols.nat_behaviour.messages import (
    decode_answer_untrusted,
    encode_answer,
    encode_request,
)
from p2pnode.protocols.nat_behaviour.udp_silence import Silence
from p2pnode.swarm.peer import Peer
from p2pnode.swarm.services import nat_behaviour as nat_service
from p2pnode.swarm.services.nat_behaviour import NatAnswered, NatService
from p2pnode.swarm.services.service import OpenStream, PumpMachine, SendDatagram
from p2pnode.transports.route import Route
from p2pnode.wire.framing import FrameReader, encode_frame
from p2pnode.wire.reset_code import StreamResetCode
from tests.support.addresses import NOISE_UDP
from tests.support.identities import peer_id

SOCKET = SocketId(1)
LOCAL = SocketAddr("192.168.1.10", 4001)
NONCE = bytes(32)
FULL = NatFacts(Dependence.ADDRESS_DEPENDENT, Dependence.ADDRESS_DEPENDENT, observers=3)


class World:
    """A service, and what it may look up: a `ServiceFacts` as far as it is needed."""

    def __init__(self, local: SocketAddr = LOCAL) -> None:
        self.local = local
        self.peers: dict[int, Peer] = {}
        self.observed = ObservedAddressBook()
        self.known_filtering = Filtering("unknown", "nobody has knocked")
        self.ports: tuple[int | None, int | None] = (5001, None)
        self.silence: Silence | None = None
        self.service = NatService(self)  # type: ignore[arg-type]
        self._next = iter(range(1, 10_000))

    def peer(self, connection: int) -> Peer | None:
        return self.peers.get(connection)

    def direct(self, peer: PeerId) -> int | None:
        found = (c for c, p in self.peers.items() if p.peer_id == peer)
        return next((c for c in found if not self.peers[c].route.is_relayed), None)

    def info(self, peer: PeerId) -> IdentifyInfo | None:
        return IdentifyInfo(peer, protocols=(nat_behaviour.PROTOCOL_ID,))

    def socket_addresses(self) -> dict[SocketId, SocketAddr]:
        return {SOCKET: self.local}

    def interface_addresses(self) -> tuple[SocketAddr, ...]:
        return (self.local,)

    def seen_by(self, socket: SocketId, now: Instant) -> tuple[tuple[PeerId, SocketAddr], ...]:
        return self.observed.report(socket, now).evidence

    def filtering(self, now: Instant, *, ipv6: bool = False) -> Filtering:
        return self.known_filtering

    def udp_silence(self, now: Instant) -> Silence | None:
        return self.silence

    def alternate_ports(self) -> tuple[int | None, int | None]:
        return self.ports

    def connect(self, name: str, ip: str, *, relayed: bool = False, now: Instant = 0.0) -> Peer:
        socket = SocketId(-1) if relayed else SOCKET
        route = Route(socket, None, SocketAddr(ip, 4001))
        peer = Peer(next(self._next), peer_id(name), route, True, NOISE_UDP)
        self.peers[peer.connection] = peer
        self.service.on_connected(peer, now)
        info = self.info(peer.peer_id)
        assert info is not None
        self.service.on_identified(peer, info, now)
        return peer

    def see(self, peer: Peer, observed: SocketAddr) -> None:
        self.observed.update(Observation(peer.peer_id, peer.route.remote, SOCKET, observed), 0.0)

    def ask(self, peer: Peer, request: NatRequest, now: Instant = 0.0) -> NatAnswer | int | None:
        """A peer asks us; returns the answer, the code of a reset, or None where refused."""
        responder = self.service.accept(peer, nat_behaviour.PROTOCOL_ID, now)
        if responder is None:
            return None
        responder.handle_data(encode_frame(encode_request(request)), now)
        self.service.on_progress(peer.connection, responder, now)
        for output in responder.poll_output():
            if isinstance(output, ResetStream):
                return output.code
            if isinstance(output, SendData):
                reader = FrameReader(10_000)
                reader.feed(output.data)
                frame = reader.next_frame_untrusted()
                assert frame is not None
                return decode_answer_untrusted(frame)
        raise AssertionError("no answer")

    def opened(self) -> list[tuple[int, NatRequester]]:
        found = [c for c in self.service.poll_commands() if isinstance(c, OpenStream)]
        assert all(c.protocol == nat_behaviour.PROTOCOL_ID for c in found)
        return [(c.connection, c.machine) for c in found if isinstance(c.machine, NatRequester)]

    def sent(self) -> list[SendDatagram]:
        return [c for c in self.service.poll_commands() if isinstance(c, SendDatagram)]

    def reply(
        self, connection: int, requester: NatRequester, answer: NatAnswer, now: Instant
    ) -> None:
        requester.handle_data(encode_frame(encode_answer(answer)), now)
        self.service.on_progress(connection, requester, now)


def names() -> Iterator[str]:
    return (f"peer{n}" for n in range(10_000))


# answering


@pytest.mark.spec("NATB-3")
def test_a_report_says_what_we_know_without_our_ports() -> None:
    world = World()
    world.known_filtering = Filtering("address-dependent", "a knock came in")
    for n, name in zip(range(3), names(), strict=False):
        peer = world.connect(name, f"7.0.0.{n}")
        world.see(peer, SocketAddr("9.9.9.9", 6000))

    answer = world.ask(peer, ReportRequest())

    assert isinstance(answer, NatAnswer)
    assert answer.facts == NatFacts(
        Dependence.ENDPOINT_INDEPENDENT,
        Dependence.ADDRESS_DEPENDENT,
        external_ips=("9.9.9.9",),
        observers=3,
        probes=1,
        alternate_port_v4=5001,
    )


@pytest.mark.spec("NATB-4")
def test_a_knock_goes_to_the_address_that_the_request_came_from() -> None:
    world = World()
    peer = world.connect("asker", "7.0.0.1")

    answer = world.ask(peer, KnockRequest(50_000, NONCE))

    assert answer == NatAnswer(NatStatus.OK)
    (datagram,) = world.sent()
    assert datagram == SendDatagram(SocketAddr("7.0.0.1", 50_000), encode_knock(NONCE))


@pytest.mark.spec("NATB-4")
def test_over_a_relay_nobody_has_knocks_sent() -> None:
    world = World()
    peer = world.connect("asker", "7.0.0.1", relayed=True)

    assert world.ask(peer, KnockRequest(50_000, NONCE)) == NatAnswer(NatStatus.RELAYED)
    assert world.sent() == []


@pytest.mark.spec("NATB-4")
def test_without_another_port_there_is_no_knock() -> None:
    world = World()
    peer = world.connect("asker", "2a00:1::1")  # we have such a port for IPv4 only

    assert world.ask(peer, KnockRequest(50_000, NONCE)) == NatAnswer(NatStatus.NO_PORT)
    assert world.sent() == []


@pytest.mark.spec("NATB-6")
def test_where_a_knock_came_from_is_told_to_who_knows_the_nonce_for_a_while() -> None:
    world = World()
    peer = world.connect("asker", "7.0.0.1")
    seen = SocketAddr("7.0.0.1", 41_000)
    world.service.on_knock(encode_knock(NONCE), seen, 10.0)

    assert world.ask(peer, LocateRequest(NONCE), 11.0) == NatAnswer(NatStatus.OK, seen_at=seen)
    other = world.ask(peer, LocateRequest(b"x" * 32), 11.0)
    late = world.ask(peer, LocateRequest(NONCE), 10.0 + nat_service.SEEN_LIFETIME)
    assert other == late == NatAnswer(NatStatus.NOT_SEEN)


@pytest.mark.spec("NATB-6")
def test_only_so_many_knocks_are_remembered() -> None:
    world = World()
    peer = world.connect("asker", "7.0.0.1")
    seen = SocketAddr("7.0.0.1", 41_000)
    world.service.on_knock(encode_knock(NONCE), seen, 0.0)
    for n in range(nat_service.MAX_SEEN):
        world.service.on_knock(encode_knock(n.to_bytes(32, "big")[::-1] + b"x"), seen, 0.0)

    assert world.ask(peer, LocateRequest(NONCE), 0.0) == NatAnswer(NatStatus.NOT_SEEN)


@pytest.mark.parametrize("payload", [b"", b"\x98", encode_knock(NONCE) + b"x", bytes(33)])
def test_what_is_no_knock_is_not_remembered(payload: bytes) -> None:
    world = World()
    world.service.on_knock(payload, SocketAddr("7.0.0.1", 1), 0.0)

    assert world.service._seen == {}


@pytest.mark.spec("NATB-8")
def test_knocks_are_limited_by_peer_and_the_rest_is_refused() -> None:
    world = World()
    peer = world.connect("asker", "7.0.0.1")
    knock = KnockRequest(50_000, NONCE)
    for _ in range(nat_service.PEER_KNOCKS):
        assert world.ask(peer, knock) == NatAnswer(NatStatus.OK)

    assert world.ask(peer, knock) == StreamResetCode.RATE_LIMITED
    assert len(world.sent()) == nat_service.PEER_KNOCKS
    assert world.ask(peer, knock, nat_service.REQUEST_WINDOW) == NatAnswer(NatStatus.OK)


@pytest.mark.spec("NATB-8")
def test_many_identities_of_one_network_share_their_knocks() -> None:
    world = World()
    knock = KnockRequest(50_000, NONCE)
    answers = [
        world.ask(world.connect(name, "7.0.0.1"), knock)
        for name, _ in zip(names(), range(nat_service.NETWORK_KNOCKS + 5), strict=False)
    ]

    assert answers.count(NatAnswer(NatStatus.OK)) == nat_service.NETWORK_KNOCKS
    assert world.ask(world.connect("elsewhere", "7.0.0.2"), knock) == NatAnswer(NatStatus.OK)


@pytest.mark.spec("NATB-8")
def test_all_knocks_together_are_limited() -> None:
    world = World()
    answers = [
        world.ask(world.connect(f"p{n}", f"7.0.{n // 250}.{n % 250}"), KnockRequest(5000, NONCE))
        for n in range(nat_service.TOTAL_KNOCKS + 5)
    ]

    assert answers.count(NatAnswer(NatStatus.OK)) == nat_service.TOTAL_KNOCKS


@pytest.mark.spec("NATB-8")
def test_requests_of_a_peer_are_limited() -> None:
    world = World()
    peer = world.connect("asker", "7.0.0.1")
    answers = [world.ask(peer, ReportRequest()) for _ in range(nat_service.PEER_REQUESTS + 1)]

    assert answers[-1] == StreamResetCode.RATE_LIMITED
    assert all(isinstance(answer, NatAnswer) for answer in answers[:-1])


def test_a_question_that_never_comes_is_forgotten() -> None:
    world = World()
    peer = world.connect("asker", "7.0.0.1")
    responder = world.service.accept(peer, nat_behaviour.PROTOCOL_ID, 0.0)
    assert responder is not None
    responder.handle_timeout(100.0)
    world.service.on_progress(peer.connection, responder, 100.0)
    world.service.on_stream_over(peer.connection, responder, 100.0)

    assert world.service.poll_commands() == []
    assert world.service._askers == {}


def test_an_answer_is_pumped() -> None:
    world = World()
    peer = world.connect("asker", "7.0.0.1")
    responder = world.service.accept(peer, nat_behaviour.PROTOCOL_ID, 0.0)
    assert responder is not None
    responder.handle_data(encode_frame(encode_request(ReportRequest())), 0.0)

    world.service.on_progress(peer.connection, responder, 0.0)

    assert PumpMachine(peer.connection, responder) in world.service.poll_commands()


# asking


@pytest.mark.spec("NATB-9")
def test_who_is_relayed_is_asked_at_once_and_who_is_not_is_not() -> None:
    world = World()
    world.connect("direct", "7.0.0.1")
    relayed = world.connect("relayed", "7.0.0.2", relayed=True)

    ((connection, requester),) = world.opened()
    world.reply(connection, requester, NatAnswer(NatStatus.OK, FULL), 1.0)

    assert connection == relayed.connection
    assert world.service.theirs(relayed.peer_id) == FULL
    assert world.service.reported(relayed.peer_id) == (FULL, 1.0)
    assert world.service.theirs(peer_id("direct")) is None


@pytest.mark.spec("NATB-9")
def test_who_falls_back_to_a_relay_is_asked() -> None:
    world = World()
    peer = world.connect("peer", "7.0.0.1")
    assert world.opened() == []

    relayed = peer._replace(route=peer.route._replace(socket=SocketId(-1)))
    world.peers[peer.connection] = relayed
    world.service.on_path_changed(relayed, 5.0)

    assert [connection for connection, _ in world.opened()] == [peer.connection]


@pytest.mark.spec("NATB-9")
def test_who_does_not_know_yet_is_asked_again_soon_and_who_does_seldom() -> None:
    world = World()
    world.connect("relayed", "7.0.0.2", relayed=True)
    ((connection, requester),) = world.opened()
    world.reply(connection, requester, NatAnswer(NatStatus.OK, NatFacts()), 0.1)

    deadline = world.service.poll_timeout()
    assert deadline is not None
    assert deadline.at == nat_service.EARLY_REFRESH
    world.service.handle_timeout(deadline.at)
    ((connection, requester),) = world.opened()
    world.reply(connection, requester, NatAnswer(NatStatus.OK, FULL), 6.0)

    deadline = world.service.poll_timeout()
    assert deadline is not None
    assert deadline.at == 6.0 + nat_service.LATE_REFRESH


@pytest.mark.spec("NATB-9")
def test_early_questions_are_few() -> None:
    world = World()
    world.connect("relayed", "7.0.0.2", relayed=True)
    asked = 0
    while True:
        asked += len(world.opened())
        deadline = world.service.poll_timeout()
        assert deadline is not None
        if deadline.at > 100:
            break
        world.service.handle_timeout(deadline.at)

    assert asked == 1 + nat_service.MAX_EARLY_REFRESHES


@pytest.mark.spec("NATB-9")
def test_who_went_direct_or_is_gone_is_asked_no_more() -> None:
    world = World()
    peer = world.connect("went direct", "7.0.0.2", relayed=True)
    gone = world.connect("gone", "7.0.0.3", relayed=True)
    world.opened()
    world.peers[peer.connection] = peer._replace(route=peer.route._replace(socket=SOCKET))
    world.service.on_disconnected(gone, 1.0)

    world.service.handle_timeout(nat_service.EARLY_REFRESH)

    assert world.opened() == []
    assert world.service.poll_timeout() is None


@pytest.mark.spec("NATB-9")
def test_reports_are_bounded_and_the_oldest_goes() -> None:
    world = World()
    for n, name in zip(range(nat_service.MAX_REPORTS + 1), names(), strict=False):
        world.connect(name, f"7.0.{n // 250}.{n % 250}", relayed=True)
        ((connection, requester),) = world.opened()
        world.reply(connection, requester, NatAnswer(NatStatus.OK, FULL), 1.0)

    assert world.service.theirs(peer_id("peer0")) is None
    assert world.service.theirs(peer_id("peer1")) == FULL


def test_who_asks_by_hand_gets_the_answer_or_the_reason() -> None:
    world = World()
    peer = world.connect("peer", "7.0.0.1")
    knock = KnockRequest(5000, NONCE)
    for _ in range(3):
        world.service.ask(peer.connection, knock, 0.0)
    world.service.ask(999, knock, 0.0)
    (_, first), (_, second), _ = world.opened()
    world.reply(peer.connection, first, NatAnswer(NatStatus.NO_PORT), 0.1)
    world.service.on_stream_failed(peer.connection, second, "the peer does not speak it", 0.1)
    world.service.on_disconnected(peer, 0.2)

    assert world.service.poll_events() == [
        NatAnswered(999, knock, None, "the connection is gone"),
        NatAnswered(peer.connection, knock, NatAnswer(NatStatus.NO_PORT), ""),
        NatAnswered(peer.connection, knock, None, "the peer does not speak it"),
        NatAnswered(peer.connection, knock, None, "the connection is gone"),
    ]


# ourselves


@pytest.mark.spec("NATB-10")
def test_an_address_of_our_own_that_peers_see_means_no_nat() -> None:
    world = World(SocketAddr("8.1.1.1", 4001))
    world.known_filtering = Filtering("endpoint-independent", "a stranger came in")
    world.see(world.connect("peer", "7.0.0.1"), world.local)

    report = world.service.behaviour(0.0)

    assert report.mapping.kind is report.filtering.kind is Dependence.NONE
    assert report.port_allocation.kind is PortAllocation.PRESERVING


@pytest.mark.spec("NATB-10")
def test_observers_that_see_different_addresses_mean_that_it_depends_on_them() -> None:
    world = World()
    for n, name in zip(range(4), names(), strict=False):
        world.see(world.connect(name, f"7.0.0.{n}"), SocketAddr("9.9.9.9", 6000 + n))

    report = world.service.behaviour(0.0)

    assert report.mapping.kind is Dependence.ENDPOINT_DEPENDENT
    assert report.port_allocation.kind is PortAllocation.SEQUENTIAL
    assert report.observers == 4


@pytest.mark.spec("NATB-10")
def test_without_evidence_everything_is_unknown_with_a_reason() -> None:
    report = World().service.behaviour(0.0)

    assert report.mapping == (Dependence.UNKNOWN, "no peer sees this socket")
    assert report.filtering == (Dependence.UNKNOWN, "nobody has knocked")
    assert report.port_allocation.kind is PortAllocation.UNKNOWN
    assert report.external == ()


def test_one_observer_leaves_the_mapping_open() -> None:
    world = World()
    world.see(world.connect("peer", "7.0.0.1"), SocketAddr("9.9.9.9", 4001))

    report = world.service.behaviour(0.0)

    assert report.mapping.kind is Dependence.UNKNOWN
    assert "two IPs" in report.mapping.why
    assert report.port_allocation.kind is PortAllocation.PRESERVING


@pytest.mark.spec("NATB-23")
@pytest.mark.parametrize(("over_tcp", "is_told"), [(0, False), (1, False), (2, True)])
def test_peers_are_told_of_blocked_udp_where_tcp_reaches_who_is_silent(
    over_tcp: int, is_told: bool
) -> None:
    world = World()
    world.silence = Silence(3, over_tcp)
    answer = world.ask(world.connect("asker", "192.0.2.1"), ReportRequest())
    assert isinstance(answer, NatAnswer)
    assert answer.facts.is_udp_blocked is is_told
