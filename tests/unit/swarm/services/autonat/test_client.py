"""The asking side: who is asked when, and what comes out behind each kind of NAT."""

from random import Random

import pytest

from p2pnode.identity.transport_addr import transport_multiaddr
from p2pnode.machine import SendData, SocketAddr, SocketId
from p2pnode.netsim.nat_behaviour import Dependence, FilterScope, NatBehaviour
from p2pnode.protocols.autonat import (
    DELEGATION_PROTOCOL_ID,
    DIAL_BACK_PROTOCOL_ID,
    DIAL_REQUEST_PROTOCOL_ID,
    PROBE_SIZE,
    V1_PROTOCOL_ID,
    ContactLog,
    DialBackReceiver,
    DialBackSender,
    Method,
    Reachability,
)
from p2pnode.protocols.autonat.delegated_messages import (
    DelegatedMessage,
    DialBackOffer,
    HelperStatus,
    Report,
    encode_delegated_message,
)
from p2pnode.protocols.identify import IdentifyInfo
from p2pnode.swarm.events import ReachabilityChanged
from p2pnode.swarm.peer import Peer
from p2pnode.swarm.reachability import OwnReachability
from p2pnode.swarm.services.autonat import asks, candidates
from p2pnode.swarm.services.autonat.candidates import CANDIDATE_GRACE, CandidateBook
from p2pnode.swarm.services.autonat.client import AVOIDANCE_TIME, AutonatClient
from p2pnode.swarm.services.service import OpenStream, PumpMachine, Readvertise
from p2pnode.transports.route import Route
from tests.support.addresses import NOISE_UDP, QUIC_V1, TCP, noise_udp_multiaddr
from tests.support.autonat import deliver, frame
from tests.support.autonat_swarm import SOCKET, AutonatWorld, FakeFacts, SimNode
from tests.support.identities import peer_id
from tests.support.spec_tables import constant, tables

EI = Dependence.ENDPOINT_INDEPENDENT
AD = Dependence.ADDRESS_DEPENDENT
APD = Dependence.ADDRESS_AND_PORT_DEPENDENT
KINDS = [(mapping, filtering) for mapping in Dependence for filtering in Dependence]
NAMES = {"p1": "8.8.8.1", "p2": "9.8.8.2", "p3": "7.8.8.3"}


def world(mapping, filtering, scope=FilterScope.MAPPING) -> tuple[AutonatWorld, SimNode]:
    """Three public peers that know one another, and a node behind a box."""
    made = AutonatWorld()
    peers = [made.add(name, ip) for name, ip in NAMES.items()]
    for number, one in enumerate(peers):
        for other in peers[number + 1 :]:
            made.connect(one, other)
    made.run(1.0)
    nat = NatBehaviour(mapping=mapping, filtering=filtering, filter_scope=scope)
    return made, made.add("node", "1.2.3.4", nat=nat)


def settled(made: AutonatWorld, node: SimNode):
    return lambda: node.reachability.overall(made.now) is not Reachability.UNKNOWN


def meet(made: AutonatWorld, node: SimNode, *names: str) -> None:
    for name in names:
        made.connect(node, made.nodes[name])


def changes(node: SimNode) -> list[str]:
    """Returns what the node has said of itself, in order."""
    return [e.reachability.value for _, e in node.events if isinstance(e, ReachabilityChanged)]


# behind NAT boxes, in virtual time


@pytest.mark.spec("AUTONAT-35")
@pytest.mark.parametrize("scope", FilterScope)
@pytest.mark.parametrize(("mapping", "filtering"), KINDS)
def test_by_one_server_with_two_helpers_the_truth_is_found_in_three_seconds(
    mapping, filtering, scope
) -> None:
    made, node = world(mapping, filtering, scope)
    meet(made, node, "p1")
    made.run(1.0 + 3.0, settled(made, node))
    truth = Reachability.PUBLIC if made.would_reach(node) else Reachability.PRIVATE

    assert node.reachability.overall(made.now) is truth
    assert made.now < 1.0 + 3.0
    assert (truth is Reachability.PUBLIC) is (filtering is EI)
    assert bool(node.reachability.confirmed(made.now)) is (truth is Reachability.PUBLIC)


@pytest.mark.parametrize(("mapping", "filtering"), KINDS)
def test_meeting_more_peers_later_does_not_unsettle_the_verdict(mapping, filtering) -> None:
    made, node = world(mapping, filtering)
    meet(made, node, "p1")
    made.run(4.0)
    meet(made, node, "p2")
    made.run(8.0)
    meet(made, node, "p3")
    made.run(60.0)

    assert changes(node)
    assert set(changes(node)) == {"public" if filtering is EI else "private"}


@pytest.mark.spec("AUTONAT-39")
@pytest.mark.parametrize(("mapping", "filtering"), KINDS)
def test_what_the_filter_does_is_known_ten_seconds_later(mapping, filtering) -> None:
    made, node = world(mapping, filtering)
    assert node.reachability.filtering(made.now).behaviour == "unknown"
    meet(made, node, "p1")
    made.run(1.0 + 10.0)

    assert node.reachability.filtering(made.now).behaviour == filtering.value
    assert node.reachability.filtering(made.now).why
    assert node.reachability.filtering(made.now, ipv6=True).behaviour == "unknown"


@pytest.mark.parametrize("mapping", Dependence)
def test_who_has_met_everybody_already_learns_of_strict_filters_from_acquaintances(mapping) -> None:
    made, node = world(mapping, APD)
    meet(made, node, *NAMES)
    made.run(4.0, settled(made, node))

    assert node.reachability.overall(made.now) is Reachability.PRIVATE
    assert made.now < 4.0


@pytest.mark.spec("AUTONAT-26")
@pytest.mark.parametrize("filtering", [EI, AD])
def test_where_only_acquaintances_knock_success_stays_unknown(filtering) -> None:
    made, node = world(EI, filtering)
    meet(made, node, *NAMES)
    made.run(30.0)
    [(_, verdict)] = node.reachability.verdicts(made.now)

    assert verdict.reachability is Reachability.UNKNOWN
    assert "no stranger has tried" in verdict.why
    assert changes(node) == ["unknown"]


@pytest.mark.spec("AUTONAT-35")
@pytest.mark.parametrize("filtering", [EI, AD])
def test_the_first_stranger_that_the_servers_meet_settles_it(filtering) -> None:
    made, node = world(EI, filtering)
    meet(made, node, *NAMES)
    made.run(12.0)
    for name, ip in {"p4": "6.8.8.4", "p5": "5.8.8.5"}.items():
        made.connect(made.add(name, ip), made.nodes["p1"])
    made.run(60.0, settled(made, node))

    assert made.now < 60.0
    assert node.reachability.overall(made.now) is (
        Reachability.PUBLIC if filtering is EI else Reachability.PRIVATE
    )


@pytest.mark.spec("AUTONAT-27")
@pytest.mark.parametrize("filtering", Dependence)
def test_one_public_peer_alone_cannot_tell(filtering) -> None:
    made = AutonatWorld()
    made.add("p1", NAMES["p1"])
    node = made.add("node", "1.2.3.4", nat=NatBehaviour(mapping=EI, filtering=filtering))
    meet(made, node, "p1")
    made.run(120.0)

    assert node.reachability.overall(made.now) is Reachability.UNKNOWN
    assert node.reachability.confirmed(made.now) == ()
    assert changes(node) == ["unknown"]  # said once, with the reason


def test_a_public_node_without_a_box_is_public() -> None:
    made, _ = world(EI, EI)
    node = made.add("open", "4.4.4.4")
    meet(made, node, "p1")
    made.run(4.0, settled(made, node))

    assert [str(a) for a in node.reachability.confirmed(made.now)] == [
        "/ip4/4.4.4.4/udp/4001/noise"
    ]
    assert made.now < 1.5


@pytest.mark.slow
def test_with_one_packet_in_a_hundred_lost_no_verdict_is_wrong() -> None:
    wrong = []
    for seed in range(60):
        for filtering in Dependence:
            made, node = world(EI, filtering)
            dice = Random(seed)
            made.loses = lambda dice=dice: dice.random() < 0.01
            meet(made, node, "p1")
            made.run(10.0)
            truth = Reachability.PUBLIC if filtering is EI else Reachability.PRIVATE
            if node.reachability.overall(made.now) is not truth:
                wrong.append((seed, filtering))

    assert wrong == []


@pytest.mark.spec("AUTONAT-36")
def test_helpers_are_left_alone_while_they_are_about_to_knock() -> None:
    made, node = world(EI, AD)
    meet(made, node, "p1")
    assert node.reachability.is_undecided(made.now)
    made.run(1.0 + 0.4)
    assert sorted(node.client.ips_to_avoid(made.now)) == [NAMES["p3"], NAMES["p2"]]
    made.run(4.0)

    assert node.client.ips_to_avoid(made.now) == ()
    assert not node.reachability.is_undecided(made.now)


@pytest.mark.spec("AUTONAT-18")
def test_a_plain_dial_at_a_helper_poisons_no_verdict() -> None:
    made, node = world(EI, AD)
    meet(made, node, "p1")
    made.run(1.0 + 0.26)  # the probes are on their way
    meet(made, node, "p2", "p3")  # they get in now, but are no strangers any more
    assert made.contaminated == ["p2", "p3"]
    made.run(20.0)

    assert made.probes_arrived
    assert node.reachability.overall(made.now) is Reachability.UNKNOWN


@pytest.mark.spec("AUTONAT-33")
@pytest.mark.parametrize(
    ("protocols", "needed"),
    [((V1_PROTOCOL_ID,), 40.0), ((DIAL_REQUEST_PROTOCOL_ID,), 3.0)],
)
def test_servers_of_the_older_protocols_are_asked_by_them(protocols, needed) -> None:
    made = AutonatWorld()
    for name, ip in NAMES.items():
        made.add(name, ip, protocols=protocols)
    node = made.add("node", "1.2.3.4", nat=NatBehaviour(mapping=EI, filtering=APD))
    meet(made, node, *NAMES)
    made.run(needed, settled(made, node))

    assert node.reachability.overall(made.now) is Reachability.PRIVATE


# stepped by hand

HOME = SocketAddr("1.2.3.4", 4001)
THERE = noise_udp_multiaddr(HOME)


class Hand:
    """A client, and what it says."""

    def __init__(self) -> None:
        self.reachability = OwnReachability()
        self.facts = FakeFacts(SocketAddr("192.168.1.10", 4001))
        self.facts.seen = [(SOCKET, HOME, False)]
        self.contacts = ContactLog()
        self.client = AutonatClient(
            self.facts,
            peer_id("me"),
            self.contacts,
            self.reachability,
            rng=Random(1),
            entropy=Random(1).randbytes,
        )

    def meet(
        self, number: int, ip: str, *protocols: str, socket: int = SOCKET, now: float = 0.0
    ) -> Peer:
        who = peer_id(ip)
        peer = Peer(
            number, who, Route(SocketId(socket), None, SocketAddr(ip, 4001)), True, NOISE_UDP
        )
        self.facts.peers[number] = peer
        self.client.on_connected(peer, now)
        info = IdentifyInfo(who, protocols=protocols, observed_addr=THERE)
        self.facts.infos[who] = info
        self.client.on_identified(peer, info, now)
        return peer

    def asked(self) -> list[tuple[int, str]]:
        commands = self.client.poll_commands()
        return [(c.connection, c.protocol) for c in commands if isinstance(c, OpenStream)]


ALL = tuple(method.value for method in Method)


@pytest.mark.spec("AUTONAT-34")
@pytest.mark.parametrize("ip", ["192.168.1.2", "127.0.0.1", "100.64.0.9", "198.18.0.1", "1.2.3.4"])
def test_peers_inside_of_ones_own_network_are_not_asked(ip: str) -> None:
    hand = Hand()
    hand.meet(1, ip, *ALL)

    assert hand.asked() == []


@pytest.mark.spec("AUTONAT-34")
def test_peers_behind_a_relay_are_not_asked_until_their_data_goes_directly() -> None:
    hand = Hand()
    peer = hand.meet(1, "8.8.8.1", *ALL, socket=-1)
    assert hand.asked() == []
    hand.facts.peers[1] = direct = peer._replace(route=peer.route._replace(socket=SOCKET))
    hand.client.on_path_changed(direct, 1.0)

    assert hand.asked() == [(1, DELEGATION_PROTOCOL_ID)]


@pytest.mark.spec("AUTONAT-43")
def test_nobody_is_asked_to_have_a_port_of_tcp_probed() -> None:
    hand = Hand()
    hand.meet(1, "8.8.8.1", *ALL)
    by_tcp = transport_multiaddr(HOME, TCP)
    peers = [peer_id("8.8.8.1")]

    (over_udp,) = asks.candidates_for(THERE, peers, (), hand.facts, Random(1))
    (over_tcp,) = asks.candidates_for(by_tcp, peers, (), hand.facts, Random(1))
    assert over_udp.methods == (Method.DELEGATED, Method.V2)
    assert over_udp.sees_us_there
    assert over_tcp.methods == (Method.V2,)
    assert not over_tcp.sees_us_there, "it sees us at that port of UDP"


@pytest.mark.spec("SWARM-34")
def test_transports_that_share_a_socket_are_seen_together_and_asked_about_one_by_one() -> None:
    facts = FakeFacts(SocketAddr("192.168.1.10", 4001))
    facts.transports = (NOISE_UDP, QUIC_V1, TCP)
    facts.seen = [(SOCKET, SocketAddr(f"8.1.1.{n}", 1), False) for n in (1, 2, 3)]

    assert [str(address) for address in CandidateBook().update(facts, 0.0)] == [
        "/ip4/8.1.1.1/udp/1/noise",
        "/ip4/8.1.1.2/udp/1/noise",
        "/ip4/8.1.1.1/udp/1/quic-v1",
        "/ip4/8.1.1.2/udp/1/quic-v1",
    ]


@pytest.mark.spec("AUTONAT-35")
def test_the_first_question_goes_out_with_the_first_server() -> None:
    hand = Hand()
    hand.meet(1, "8.8.8.1")
    assert hand.asked() == []
    hand.meet(2, "8.8.8.2", *ALL, now=0.2)

    assert hand.asked() == [(2, DELEGATION_PROTOCOL_ID)]


@pytest.mark.spec("AUTONAT-35")
def test_a_server_that_does_not_answer_is_not_waited_for() -> None:
    hand = Hand()
    hand.meet(1, "8.8.8.1", *ALL)
    hand.meet(2, "8.8.8.2", *ALL)
    assert [connection for connection, _ in hand.asked()] == [1]
    deadline = hand.client.poll_timeout()
    assert deadline is not None
    assert deadline.at == asks.OFFER_PATIENCE
    hand.client.handle_timeout(deadline.at)

    assert hand.asked() == [(2, DELEGATION_PROTOCOL_ID)]


@pytest.mark.spec("AUTONAT-14")
def test_helpers_that_this_node_has_contacted_are_struck_out() -> None:
    hand = Hand()
    hand.meet(1, "8.8.8.1", *ALL)
    [opened] = [c for c in hand.client.poll_commands() if isinstance(c, OpenStream)]
    hand.contacts.note("7.0.0.1", 0.0)
    offer = encode_delegated_message(DialBackOffer(("7.0.0.1", "7.0.0.2")))
    opened.machine.handle_data(frame(offer), 0.1)
    hand.client.on_progress(1, opened.machine, 0.1)

    assert hand.client.ips_to_avoid(0.1) == ("7.0.0.2",)
    assert PumpMachine(1, opened.machine) in hand.client.poll_commands()


@pytest.mark.spec("AUTONAT-39")
def test_what_the_filter_does_is_asked_once_the_only_server_has_time_for_it() -> None:
    hand = Hand()
    hand.facts.transports = (NOISE_UDP, QUIC_V1)
    hand.meet(1, "8.8.8.1", *ALL)
    opened = [c.machine for c in hand.client.poll_commands() if isinstance(c, OpenStream)]
    assert len(opened) == 2  # one for each transport, and a server has no more at a time
    asking, _ = opened

    def say(message: DelegatedMessage, now: float) -> None:
        asking.handle_data(frame(encode_delegated_message(message)), now)
        hand.client.on_progress(1, asking, now)

    say(DialBackOffer(("7.0.0.1", "6.0.0.1", "5.0.0.1")), 0.1)
    for helper in (0, 1):
        say(Report(helper, HelperStatus.SENT), 0.2)
    hand.asked()
    for now in (1.3, 1.4):  # what did not come yet does not come any more
        asking.handle_timeout(now)
        hand.client.on_progress(1, asking, now)
    assert hand.reachability.overall(1.4) is Reachability.PRIVATE
    assert hand.asked() == []

    say(Report(2, HelperStatus.ACQUAINTED), 1.5)
    [question] = [c for c in hand.client.poll_commands() if isinstance(c, OpenStream)]
    assert question.protocol == DIAL_REQUEST_PROTOCOL_ID
    said = [each.data for each in question.machine.poll_output() if isinstance(each, SendData)]
    assert THERE.to_bytes() in b"".join(said)


def test_without_anybody_to_ask_it_waits_and_does_not_spin() -> None:
    hand = Hand()
    hand.client.handle_timeout(0.0)
    moments = []
    for _ in range(8):
        deadline = hand.client.poll_timeout()
        assert deadline is not None
        moments.append(deadline.at)
        hand.client.handle_timeout(deadline.at)

    assert moments == sorted(moments)
    assert moments[0] >= 5.0
    assert moments[-1] >= 300.0


def test_questions_are_bounded_whatever_the_servers_do() -> None:
    hand, asked, now = Hand(), 0, 0.0
    for number in range(100):
        hand.meet(number, f"8.8.{number}.1", *ALL)
    while now < 600.0:
        for command in hand.client.poll_commands():
            if isinstance(command, OpenStream):
                asked += 1
                hand.client.on_stream_failed(command.connection, command.machine, "no", now)
        deadline = hand.client.poll_timeout()
        assert deadline is not None
        assert deadline.at > now or hand.client._commands
        now = max(now, min(deadline.at, 600.0))
        hand.client.handle_timeout(now)

    assert asked == 10


def test_a_lost_connection_ends_its_questions_and_others_are_asked() -> None:
    hand = Hand()
    peer = hand.meet(1, "8.8.8.1", *ALL)
    hand.meet(2, "8.8.8.2", *ALL)
    hand.asked()
    del hand.facts.peers[1]
    hand.client.on_disconnected(peer, 0.1)

    assert hand.asked() == [(2, DELEGATION_PROTOCOL_ID)]


@pytest.mark.spec("AUTONAT-31")
def test_another_network_voids_verdicts_and_questions() -> None:
    made, node = world(EI, EI)
    meet(made, node, "p1")
    made.run(4.0)
    assert node.reachability.confirmed(made.now)
    node.client.on_network_changed(made.now)
    assert node.reachability.overall(made.now) is Reachability.UNKNOWN
    assert any(isinstance(command, Readvertise) for command in node.client.poll_commands())
    assert changes(node) == ["public"]


def test_other_datagrams_than_awaited_probes_are_ignored() -> None:
    hand = Hand()
    hand.meet(1, "8.8.8.1", *ALL)
    stranger = SocketAddr("9.9.9.9", 9)

    assert not hand.client.on_probe(b"", stranger, SOCKET, 0.0)
    assert not hand.client.on_probe(b"\x98" * 40, stranger, SOCKET, 0.0)
    assert not hand.client.on_probe(b"\x98" * PROBE_SIZE, stranger, SOCKET, 0.0)
    assert not hand.client.on_probe(b"\x98" * PROBE_SIZE, stranger, SocketId(7), 0.0)


def test_a_probe_counts_at_the_sockets_that_peers_would_reach_and_at_no_other() -> None:
    made, node = world(EI, EI)
    was_awaited: list[tuple[SocketId, bool]] = []
    on_probe = node.client.on_probe

    def at_both(payload: bytes, source: SocketAddr, socket: SocketId, now: float) -> bool:
        elsewhere = SocketId(9)
        was_awaited.append((elsewhere, on_probe(payload, source, elsewhere, now)))
        was_awaited.append((socket, on_probe(payload, source, socket, now)))
        return was_awaited[-1][1]

    node.client.on_probe = at_both
    meet(made, node, "p1")
    made.run(4.0)

    assert was_awaited[:2] == [(SocketId(9), False), (SOCKET, True)]


@pytest.mark.spec("AUTONAT-10")
def test_a_dial_back_with_an_unknown_nonce_is_reset() -> None:
    hand = Hand()
    peer = hand.meet(1, "8.8.8.1", DIAL_REQUEST_PROTOCOL_ID)
    assert hand.asked() == [(1, DIAL_REQUEST_PROTOCOL_ID)]
    stranger = Peer(
        9, peer_id("x"), Route(SOCKET, None, SocketAddr("8.8.8.1", 999)), False, NOISE_UDP
    )
    receiver = hand.client.accept(stranger, DIAL_BACK_PROTOCOL_ID, 0.1)
    assert isinstance(receiver, DialBackReceiver)
    deliver(DialBackSender(7, 0.1), receiver, 0.1)
    hand.client.on_progress(9, receiver, 0.1)

    assert deliver(receiver, DialBackSender(7, 0.1), 0.1) == ["reset 0x1004"]
    assert PumpMachine(9, receiver) in hand.client.poll_commands()
    assert hand.client.accept(peer._replace(route=Route(SocketId(-1), None, HOME)), "", 0.1) is None


def test_dial_backs_are_taken_only_while_one_is_expected() -> None:
    hand = Hand()
    stranger = Peer(
        9, peer_id("x"), Route(SOCKET, None, SocketAddr("8.8.8.1", 999)), False, NOISE_UDP
    )
    assert hand.client.accept(stranger, DIAL_BACK_PROTOCOL_ID, 0.0) is None
    hand.meet(1, "8.8.8.1", DIAL_REQUEST_PROTOCOL_ID)

    assert hand.client.accept(stranger, DIAL_BACK_PROTOCOL_ID, 0.0) is not None


@pytest.mark.spec("AUTONAT-36")
def test_a_server_cannot_keep_this_node_from_its_peers_for_long() -> None:
    made, node = world(EI, AD)
    for name in ("p2", "p3"):
        made.nodes[name].server.on_progress = lambda *_: None  # takes orders, does nothing
    meet(made, node, "p1")
    made.run(1.0 + 0.3)
    started = 1.0 + 0.15  # when the first peer was identified
    assert node.client.ips_to_avoid(started + AVOIDANCE_TIME - 0.1)
    assert node.client.ips_to_avoid(started + AVOIDANCE_TIME) == ()


# candidates


def seen(*addrs: str) -> FakeFacts:
    facts = FakeFacts(SocketAddr("192.168.1.10", 4001))
    facts.seen = [(SOCKET, SocketAddr(ip, 4001), False) for ip in addrs]
    return facts


def ips(found) -> list[str]:
    return [str(address).split("/")[2] for address in found]


@pytest.mark.spec("AUTONAT-38")
def test_candidates_are_public_interfaces_and_where_peers_see_us() -> None:
    facts = seen("8.1.1.1", "10.0.0.1", "2400::1", "64:ff9b::1")
    assert ips(CandidateBook().update(facts, 0.0)) == ["8.1.1.1", "2400::1"]
    facts.local = SocketAddr("2400::2", 4001)
    assert ips(CandidateBook().update(facts, 0.0)) == ["2400::2", "8.1.1.1", "2400::1"]
    facts.seen = [(SOCKET, facts.local, True), (SocketId(9), SocketAddr("8.1.1.1", 1), True)]
    assert ips(CandidateBook().update(facts, 0.0)) == ["2400::2"]


@pytest.mark.spec("AUTONAT-38")
def test_of_a_socket_two_observed_addresses_are_candidates_and_they_do_not_flap() -> None:
    book = CandidateBook()
    assert ips(book.update(seen("8.1.1.1", "8.1.1.2", "8.1.1.3"), 0.0)) == ["8.1.1.1", "8.1.1.2"]
    assert ips(book.update(seen("8.1.1.1", "8.1.1.3", "8.1.1.2"), 1.0)) == ["8.1.1.1", "8.1.1.2"]
    assert ips(book.update(seen("8.1.1.3", "8.1.1.1", "8.1.1.2"), 2.0)) == ["8.1.1.3", "8.1.1.1"]


@pytest.mark.spec("AUTONAT-38")
def test_a_candidate_outlives_its_observers_for_a_while() -> None:
    book = CandidateBook()
    book.update(seen("8.1.1.1"), 0.0)
    assert book.poll_timeout() is None
    assert ips(book.update(seen(), 10.0)) == ["8.1.1.1"]
    deadline = book.poll_timeout()
    assert deadline is not None
    assert deadline.at == CANDIDATE_GRACE
    assert book.update(seen(), deadline.at) == ()
    assert book.poll_timeout() is None


def test_candidates_are_bounded() -> None:
    facts = seen()
    facts.seen = [(SocketId(n), SocketAddr(f"8.1.1.{n}", 1), True) for n in range(20)]
    facts.socket_addresses = lambda: dict.fromkeys(map(SocketId, range(20)), facts.local)

    assert len(CandidateBook().update(facts, 0.0)) == candidates.MAX_CANDIDATES


# the spec

ROWS = tables("autonat.md", "In the swarm")[0]


@pytest.mark.parametrize(("name", "value"), [(row[0].strip("`"), row[1]) for row in ROWS])
def test_each_limit_has_the_value_of_the_spec(name: str, value: str) -> None:
    assert constant(name) == float(value)
