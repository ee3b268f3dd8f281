"""Hole punching in the swarm, two services stepped by hand: swarm/services/dcutr.py."""

from random import Random

import pytest

from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import SocketAddr, SocketId
from p2pnode.protocols import dcutr
from p2pnode.protocols.dcutr import DcutrInitiator, DcutrResponder
from p2pnode.protocols.dcutr.budget import PEER_PACKETS
from p2pnode.protocols.dcutr.plan import MAX_PUNCH_ADDRS, ROUND_TIME
from p2pnode.protocols.dcutr.policy import MIN_INTERVAL
from p2pnode.protocols.identify import IdentifyInfo
from p2pnode.swarm.events import PunchEnded
from p2pnode.swarm.peer import Peer
from p2pnode.swarm.services.dcutr import MAX_OWN_ADDRS, DcutrService
from p2pnode.swarm.services.service import OpenStream, PunchRoutes
from p2pnode.transports.route import Route
from p2pnode.wire.multiaddr import Multiaddr, parse_multiaddr
from tests.support.addresses import NOISE_UDP, TCP, noise_udp_multiaddr
from tests.support.autonat_swarm import FakeFacts
from tests.support.identities import peer_id
from tests.support.machine_streams import StreamEnd

US, THEM = peer_id("us"), peer_id("them")
CIRCUIT = Route(SocketId(-1), None, SocketAddr("9.0.0.1", 4001))
DIRECT = Route(SocketId(1), None, SocketAddr("8.0.0.1", 4001))
LOOPBACK = parse_multiaddr("/ip4/127.0.0.1/udp/5000/noise")
C = 3
"""the connection, at both ends"""


class Node:
    """One end of a relayed connection."""

    def __init__(self, local: str, seen: str, far: PeerId, *, is_initiator: bool) -> None:
        self.facts = FakeFacts(SocketAddr(local, 4001))
        self.see(seen)
        self.service = DcutrService(self.facts, Random(1))
        self.peer = Peer(C, far, CIRCUIT, is_initiator, NOISE_UDP)
        self.punches: list[PunchRoutes] = []
        self.streams: list[tuple[StreamEnd, StreamEnd]] = []
        self.ended: list[PunchEnded] = []

    def see(self, *seen: str, is_confirmed: bool = True) -> None:
        self.facts.seen = [
            (SocketId(1), SocketAddr(ip, 5000 + n), is_confirmed) for n, ip in enumerate(seen)
        ]

    def connect(self, now: float = 0.0) -> None:
        self.facts.peers[C] = self.peer
        self.service.on_connected(self.peer, now)

    def become_direct(self, now: float) -> None:
        self.service.on_path_validated(C, DIRECT, now)
        self.peer = self.facts.peers[C] = self.peer._replace(route=DIRECT)
        self.service.on_path_changed(self.peer, now)


class World:
    """We were dialled through a relay, so we begin; they answer."""

    def __init__(self, ours: str = "7.0.0.1", theirs: str = "8.0.0.1") -> None:
        self.now = 0.0
        self.us = Node("192.168.0.2", ours, THEM, is_initiator=False)
        self.them = Node("192.168.0.3", theirs, US, is_initiator=True)
        self.refusals = 0

    def connect(self) -> None:
        self.us.connect(self.now)
        self.them.connect(self.now)
        self.run()

    def run(self) -> None:
        moved = True
        while moved:
            moved = self._carry_out(self.us, self.them) | self._carry_out(self.them, self.us)
            for node, far_node in ((self.us, self.them), (self.them, self.us)):
                for near, far in list(node.streams):
                    if near.pump(far, self.now):
                        moved = True
                        node.service.on_progress(C, near.machine, self.now)
                    if far.pump(near, self.now):
                        moved = True
                        far_node.service.on_progress(C, far.machine, self.now)
        for node in (self.us, self.them):
            node.ended += [e for e in node.service.poll_events() if isinstance(e, PunchEnded)]

    def _carry_out(self, node: Node, far: Node) -> bool:
        commands = node.service.poll_commands()
        for command in commands:
            match command:
                case OpenStream(connection, protocol, machine):
                    assert (connection, protocol) == (C, dcutr.PROTOCOL_ID)
                    answer = far.service.accept(far.peer, protocol, self.now)
                    if answer is None:
                        self.refusals += 1
                        node.service.on_stream_failed(C, machine, "refused", self.now)
                    else:
                        node.streams.append((StreamEnd(machine), StreamEnd(answer)))
                case PunchRoutes():
                    node.punches.append(command)
                case _:
                    raise AssertionError(command)
        return bool(commands)

    def time(self, until: float) -> None:
        """Lets both act at each deadline up to `until`."""
        while True:
            timers = [n.service.poll_timeout() for n in (self.us, self.them)]
            due = [t.at for t in timers if t is not None and t.at <= until]
            if not due:
                break
            self.now = max(self.now, min(due))
            for node in (self.us, self.them):
                node.service.handle_timeout(self.now)
            self.run()
        self.now = until


def test_both_ends_punch_where_the_other_one_is_seen() -> None:
    world = World()
    world.connect()
    (ours,), (theirs,) = world.us.punches, world.them.punches
    assert ours.remotes == (SocketAddr("8.0.0.1", 5000),)
    assert theirs.remotes == (SocketAddr("7.0.0.1", 5000),)
    assert ours.connection == C
    assert ours.punch.gives_up_at == ours.punch.start_at + ROUND_TIME
    assert (world.us.service._dialogues, world.them.service._dialogues) == ({}, {})


@pytest.mark.spec("DCUTR-5", "DCUTR-7")
def test_three_rounds_follow_one_another_and_both_ends_count_them() -> None:
    world = World()
    world.connect()
    world.time(3 * ROUND_TIME + 0.1)
    for node in (world.us, world.them):
        assert [(e.round, e.is_direct) for e in node.ended] == [(1, False), (2, False), (3, False)]
        assert node.service._rounds == {}
    assert len({e.strategy for e in world.us.ended}) == 3
    world.time(600.0)
    assert len(world.us.ended) == 3, "no more before something changes"


def test_a_direct_path_ends_the_rounds() -> None:
    world = World()
    world.connect()
    world.us.become_direct(0.2)
    world.them.become_direct(0.2)
    world.run()
    for node in (world.us, world.them):
        assert [(e.round, e.is_direct, e.reason) for e in node.ended] == [(1, True, "")]
        assert node.service._rounds == {}
    world.time(600.0)
    assert len(world.us.punches) == 1


@pytest.mark.spec("DCUTR-14")
def test_when_the_direct_path_dies_a_session_begins_anew() -> None:
    world = World()
    world.connect()
    world.us.become_direct(0.2)
    world.run()
    world.us.peer = world.us.facts.peers[C] = world.us.peer._replace(route=CIRCUIT)
    world.us.service.on_path_changed(world.us.peer, 5.0)
    world.run()
    assert len(world.us.punches) == 2


@pytest.mark.spec("DCUTR-13")
def test_another_address_of_ours_is_worth_one_more_round() -> None:
    world = World()
    world.connect()
    world.time(60.0)
    world.us.see("6.0.0.1")
    world.us.service.on_observed(world.us.peer, 60.0)
    world.time(60.0 + MIN_INTERVAL + ROUND_TIME)
    assert len(world.us.ended) == 4
    world.us.see("6.0.0.1", "7.0.0.1")
    world.us.see("6.0.0.1")
    world.us.service.on_addresses_changed(world.now)
    world.time(600.0)
    assert len(world.us.ended) == 4


def test_only_relayed_connections_are_punched() -> None:
    world = World()
    world.us.peer = world.us.peer._replace(route=DIRECT)
    world.connect()
    assert world.us.punches == []
    assert world.us.service.accept(world.us.peer, dcutr.PROTOCOL_ID, 0.0) is None


def test_nobody_punches_to_a_peer_that_is_reached_directly_by_another_connection() -> None:
    world = World()
    world.us.facts.peers[9] = Peer(9, THEM, DIRECT, True, NOISE_UDP)
    world.connect()
    assert world.us.punches == []


def test_dialogues_are_forgotten_with_their_streams() -> None:
    world = World()
    world.connect()
    service = world.us.service
    lost = service.accept(world.us.peer, dcutr.PROTOCOL_ID, 0.0)
    late = service.accept(world.us.peer, dcutr.PROTOCOL_ID, 0.0)
    assert lost is not None
    assert late is not None
    service.on_stream_over(C, lost, 0.0)
    late.handle_timeout(99.0)
    service.on_progress(C, late, 99.0)

    assert service._dialogues == {}


@pytest.mark.spec("DCUTR-12")
def test_rounds_begun_without_end_are_paid_from_the_budget() -> None:
    world = World()
    world.connect()
    victims = tuple(
        noise_udp_multiaddr(SocketAddr(f"5.0.{n}.1", 9)) for n in range(MAX_PUNCH_ADDRS)
    )
    for _ in range(40):
        assert agree(world.them, victims, world.now)
    world.run()
    sent = [p for p in world.them.punches if p.remotes[0].ip.startswith("5.")]
    packets = sum(len(p.remotes) * len(p.punch.probes) for p in sent)
    assert 0 < packets <= PEER_PACKETS
    refused = [e for e in world.them.ended if "no address" in e.reason]
    assert refused


def agree(node: Node, addresses: tuple[Multiaddr, ...], now: float) -> bool:
    """A hostile peer begins a round with a node; returns whether it was let."""
    machine = node.service.accept(node.peer, dcutr.PROTOCOL_ID, now)
    if machine is None:
        return False
    near, far = StreamEnd(machine), StreamEnd(DcutrInitiator(addresses, now))
    while far.pump(near, now) | near.pump(far, now):
        node.service.on_progress(C, machine, now)
    return True


@pytest.mark.spec("DCUTR-9", "DCUTR-10")
def test_our_own_network_and_our_own_addresses_are_no_targets() -> None:
    world = World()
    world.connect()
    told = [
        "/ip4/192.168.0.1/udp/80/noise",
        "/ip4/127.0.0.1/udp/4001/noise",
        "/ip4/169.254.1.1/udp/1/noise",
        "/ip4/8.0.0.1/udp/5000/noise",
        "/dns4/victim.example/udp/1/noise",
        "/ip4/5.5.5.5/tcp/1",
    ]
    before = len(world.them.punches)
    assert agree(world.them, tuple(map(parse_multiaddr, told)), world.now)
    world.run()
    assert len(world.them.punches) == before


def test_a_round_of_the_other_side_does_not_hide_our_own() -> None:
    """Or the policy would wait for ever for the end of ours."""
    world = World()
    world.connect()
    assert agree(world.us, (parse_multiaddr("/ip4/8.0.0.1/udp/5000/noise"),), world.now)
    world.time(3 * ROUND_TIME + 0.1)
    assert [e.round for e in world.us.ended] == [1, 2, 3]


def test_a_peer_that_refuses_costs_three_dialogues_and_no_packet() -> None:
    world = World()
    world.them.peer = world.them.peer._replace(route=DIRECT)
    world.connect()
    assert world.refusals == 3
    assert world.us.punches == []
    world.time(600.0)
    assert world.refusals == 3


def test_a_peer_without_an_address_that_may_be_tried_fails_the_round() -> None:
    world = World()
    world.them.see()
    world.them.facts.local = SocketAddr("127.0.0.1", 1)
    world.connect()
    assert world.us.punches == []
    assert {e.reason for e in world.us.ended} == {"the peer told no address that may be tried"}


def test_nothing_is_kept_of_a_connection_that_is_gone() -> None:
    world = World()
    world.connect()
    for node in (world.us, world.them):
        peer = node.facts.peers.pop(C)
        node.service.on_disconnected(peer, 1.0)
        assert node.service._rounds == {}
        assert node.service.poll_timeout() is None
    world.run()
    assert world.us.ended == []


@pytest.mark.spec("DCUTR-8")
def test_public_addresses_of_the_peer_are_probed_at_once() -> None:
    world = World()
    public = parse_multiaddr("/ip4/8.0.0.9/udp/4001/noise")
    near = parse_multiaddr("/ip4/192.168.0.9/udp/4001/noise")
    world.us.facts.infos[THEM] = IdentifyInfo(THEM, listen_addrs=(near, public))
    world.us.connect()
    (first,) = [c for c in world.us.service.poll_commands() if isinstance(c, PunchRoutes)]
    assert first.remotes == (SocketAddr("8.0.0.9", 4001),)
    assert first.punch.start_at == 0.0


@pytest.mark.spec("DCUTR-16")
@pytest.mark.parametrize("is_initiator", [True, False])
def test_a_peer_on_this_machine_is_probed_there_at_once(is_initiator: bool) -> None:
    node = Node("127.0.0.1", "127.0.0.1", THEM, is_initiator=is_initiator)
    node.facts.known[THEM] = (LOOPBACK, parse_multiaddr("/ip4/192.168.0.9/udp/4001/noise"))
    node.connect()

    (first,) = [c for c in node.service.poll_commands() if isinstance(c, PunchRoutes)]
    assert first.remotes == (SocketAddr("127.0.0.1", 5000),)
    assert first.punch.start_at == 0.0


@pytest.mark.spec("DCUTR-16")
def test_a_peer_that_is_heard_to_be_on_this_machine_is_probed_as_soon_as_that_is_known() -> None:
    node = Node("127.0.0.1", "127.0.0.1", THEM, is_initiator=True)
    node.connect()
    nothing = node.service.poll_commands()
    node.facts.known[THEM] = (LOOPBACK,)

    node.service.on_addresses_learned(US, 1.0)
    of_another = node.service.poll_commands()
    node.service.on_addresses_learned(THEM, 1.0)
    node.service.on_addresses_learned(THEM, 1.1)  # while the first probes are under way
    (probes,) = node.service.poll_commands()
    node.become_direct(1.2)
    node.service.on_addresses_learned(THEM, 10.0)

    assert isinstance(probes, PunchRoutes)
    assert probes.remotes == (SocketAddr("127.0.0.1", 5000),)
    assert (nothing, of_another, node.service.poll_commands()) == ([], [], [])


@pytest.mark.spec("DCUTR-9", "DCUTR-16")
def test_a_relayed_peer_has_no_loopback_address_probed_by_its_own_word() -> None:
    world = World()
    world.us.facts.infos[THEM] = IdentifyInfo(THEM, listen_addrs=(LOOPBACK,))
    world.them.see("127.0.0.1", is_confirmed=False)
    world.connect()
    world.us.service.on_identified(world.us.peer, world.us.facts.infos[THEM], world.now)
    world.run()

    assert [e.reason for e in world.us.ended][:1] == ["the peer told no address that may be tried"]
    assert world.us.punches == []


@pytest.mark.spec("SWARM-17")
def test_a_peer_that_punches_is_told_also_what_we_only_believe_in() -> None:
    world = World()
    world.us.see("7.0.0.1", "7.0.0.2", is_confirmed=False)
    world.us.connect()
    (command,) = world.us.service.poll_commands()
    assert isinstance(command, OpenStream)
    answer = DcutrResponder((), 0.0)
    near, far = StreamEnd(command.machine), StreamEnd(answer)
    while near.pump(far, 0.0) | far.pump(near, 0.0):
        pass
    outcome = answer.outcome
    assert isinstance(outcome, dcutr.PunchAgreed)
    assert {str(a) for a in outcome.addrs} == {
        "/ip4/7.0.0.1/udp/5000/noise",
        "/ip4/7.0.0.2/udp/5001/noise",
        "/ip4/192.168.0.2/udp/4001/noise",
    }


def test_so_many_of_our_addresses_are_told() -> None:
    world = World()
    world.us.see(*(f"7.0.1.{n}" for n in range(40)))
    assert len(world.us.service._own_addrs(0.0)) == MAX_OWN_ADDRS


@pytest.mark.spec("SWARM-37")
def test_nobody_punches_beside_a_direct_connection_and_somebody_does_when_it_has_gone() -> None:
    world = World()
    world.connect()
    us = world.us
    direct = Peer(C + 1, THEM, Route(SocketId(2), None, SocketAddr("8.0.0.1", 4001)), True, TCP)
    us.facts.peers = {direct.connection: direct, C: us.peer}
    us.service.on_connected(direct, world.now)
    world.time(3 * ROUND_TIME + 0.1)
    assert [e.round for e in us.ended] == [1], "the one that was under way"

    us.facts.peers = {C: us.peer}
    us.service.on_disconnected(direct, world.now)
    world.run()
    world.time(world.now + ROUND_TIME + 0.1)
    assert [e.round for e in us.ended] == [1, 1]
