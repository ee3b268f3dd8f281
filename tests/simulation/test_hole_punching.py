"""Whole nodes meet through a relay, punch, and go on when networks change under them.

Every network has 50 ms of round trip between any two hosts, and 100 ms through a relay.
"""

from dataclasses import replace

import pytest

from p2pnode.io.node.dial_failure import dial_failure_text
from p2pnode.io.node.status import node_status
from p2pnode.netsim import nat_presets as nats
from p2pnode.netsim.firewall import FirewallBehaviour
from p2pnode.netsim.link import LinkParams
from p2pnode.netsim.nat_behaviour import Hairpin, NatBehaviour
from p2pnode.netsim.nat_box import NatBox
from p2pnode.netsim.topology import (
    Pair,
    PairParams,
    SharedNat,
    SiteParams,
    double_nat_pair,
    internet,
    ipv6_pair,
    nat_pair,
    pair,
)
from p2pnode.netsim.trace import Kind
from p2pnode.netsim.udp_block import BlockPolicy
from p2pnode.netsim.world import World
from p2pnode.protocols.dcutr import PunchPolicy, StartRound
from p2pnode.protocols.nat_behaviour.udp_silence import SILENCE_TIME, Silence, silence_text
from p2pnode.protocols.nat_behaviour.why import UDP_SILENT
from p2pnode.swarm import events
from p2pnode.testbed.sim_node import SimNode
from p2pnode.transports.noise_udp.config import TransportConfig
from tests.support.identities import peer_id
from tests.support.swarm_worlds import (
    TICK,
    Meeting,
    Ticker,
    Transfer,
    cut_at,
    die,
    external_ip,
    join_at,
    neighbours,
    roam,
    with_relays,
)

pytestmark = pytest.mark.slow

RTT = 0.05
RELAYED_RTT = 0.1
RESERVATION = 1.0
FIRST_PONG = 0.7
DIRECT = 1.0
DIRECT_SYMMETRIC = 2.0
FILE = 1_000_000
FIREWALL = SiteParams(firewall=FirewallBehaviour())
PUBLIC = SiteParams()
LAN_DELAY = 0.0005
IDLE_PACKETS = 300
"""in ten seconds, by three nodes; chosen: MTU probes, AutoNAT and keep-alives, and no more"""
KEEP_ALIVE = TransportConfig().keep_alive


def behind(nat: NatBehaviour) -> SiteParams:
    return SiteParams(nat=nat)


def joined(net: Pair, *, direct: bool = True) -> Meeting:
    """B has pinged A, and both send directly if they are to."""
    meeting = with_relays(net)
    meeting.reserve()
    meeting.join()
    if direct:
        assert meeting.await_direct() is not None
        meeting.world.run_for(1)
    return meeting


# times


@pytest.mark.parametrize("head_start", [0.0, 6.0])
@pytest.mark.parametrize(
    ("a", "b", "limit"),
    [
        (behind(nats.home()), behind(nats.home()), DIRECT),
        (behind(nats.linux()), behind(nats.linux()), DIRECT),
        (behind(nats.leaky_linux()), behind(nats.leaky_linux()), DIRECT),
        (behind(nats.address_restricted()), behind(nats.cgnat()), DIRECT),
        (FIREWALL, FIREWALL, DIRECT),
        (FIREWALL, behind(nats.home()), DIRECT),
        (behind(nats.home()), FIREWALL, DIRECT),
        (behind(nats.corporate()), behind(nats.full_cone()), DIRECT_SYMMETRIC),
        (behind(nats.full_cone()), behind(nats.corporate()), DIRECT_SYMMETRIC),
    ],
)
def test_two_nodes_meet_in_the_times_that_we_aim_at(
    a: SiteParams, b: SiteParams, limit: float, head_start: float
) -> None:
    meeting = with_relays(pair(1, PairParams(a=a, b=b)))
    assert meeting.reserve() <= RESERVATION
    meeting.world.run_for(head_start)
    assert meeting.join() <= FIRST_PONG
    direct = meeting.await_direct()
    assert direct is not None
    assert direct <= limit


@pytest.mark.parametrize("head_start", [0.0, 6.0])
@pytest.mark.parametrize("nat", [nats.home(), nats.corporate(), nats.leaky_linux()])
@pytest.mark.parametrize("public", ["a", "b"])
def test_where_one_end_is_public_it_is_called_back(
    public: str, nat: NatBehaviour, head_start: float
) -> None:
    a, b = (PUBLIC, behind(nat)) if public == "a" else (behind(nat), PUBLIC)
    meeting = with_relays(pair(1, PairParams(a=a, b=b)))
    meeting.reserve()
    meeting.world.run_for(head_start)
    assert meeting.join() <= FIRST_PONG
    direct = meeting.await_direct()
    assert direct is not None
    assert direct <= DIRECT


# places


@pytest.mark.parametrize(
    ("inner", "outer", "works"),
    [
        (nats.home(), nats.home(), True),
        (nats.home(), nats.cgnat(), True),
        (nats.linux(), nats.cgnat(), True),
        (nats.home(), nats.mobile(), False),
        (nats.corporate(), nats.cgnat(), False),
    ],
)
def test_behind_two_boxes_each_the_worse_one_decides(
    inner: NatBehaviour, outer: NatBehaviour, works: bool
) -> None:
    meeting = with_relays(double_nat_pair(1, inner, outer))
    meeting.reserve()
    assert meeting.join() <= FIRST_PONG
    direct = meeting.await_direct()
    assert (direct is not None) is works
    if direct is not None:
        assert direct <= DIRECT
    else:
        assert [e.strategy for e in meeting.rounds()] == [
            "plain",
            "initiator opens",
            "responder opens",
        ]
        assert {e.reason for e in meeting.rounds()} == {"no answer to any probe"}


def on_one_lan(nat: NatBehaviour) -> Meeting:
    world = World(1)
    core = internet(world)
    relay = core.host("s0")
    site = core.site("home", SiteParams(nat=nat, hosts=2, lan=LinkParams(delay=LAN_DELAY)))
    meeting = neighbours(SharedNat(world, core, site, (relay,)))
    meeting.reserve()
    assert meeting.join() <= FIRST_PONG
    direct = meeting.await_direct()
    assert direct is not None
    assert direct <= DIRECT
    return meeting


NATS_OF_ONE_LAN = [
    nats.home(),
    replace(nats.home(), hairpin=Hairpin.EXTERNAL_SOURCE),
    replace(nats.home(), hairpin=Hairpin.INTERNAL_SOURCE),
    nats.full_cone(),
    nats.corporate(),
]


@pytest.mark.parametrize("nat", NATS_OF_ONE_LAN)
def test_two_nodes_behind_one_nat_meet_on_their_own_network(nat: NatBehaviour) -> None:
    meeting = on_one_lan(nat)
    meeting.world.run_for(1)
    for node in (meeting.a, meeting.b):
        (connection,) = [
            c
            for c in node.swarm._transports.connections.values()
            if c.peer_id != meeting.relays[0].peer_id
        ]
        assert connection.route.remote.ip.startswith("192.168.1.")


def idle_packets(meeting: Meeting) -> int:
    """Returns what both ends sent in ten seconds in which nothing happens."""
    meeting.world.run_for(5)
    before = meeting.world.trace.counts[Kind.SENT]
    meeting.world.run_for(10)
    return meeting.world.trace.counts[Kind.SENT] - before


@pytest.mark.parametrize(
    "nat",
    [
        nats.home(),
        replace(nats.home(), hairpin=Hairpin.EXTERNAL_SOURCE),
    ],
)
def test_a_second_way_on_the_lan_makes_no_storm(nat: NatBehaviour) -> None:
    assert idle_packets(on_one_lan(nat)) <= IDLE_PACKETS


def test_a_second_ip_version_makes_no_storm() -> None:
    site = SiteParams(ipv6=True, nat=nats.home(), firewall=FirewallBehaviour(ip_version=6))
    assert idle_packets(joined(pair(1, PairParams(a=site, b=site)))) <= IDLE_PACKETS


def test_ipv6_behind_stateful_firewalls_works_at_once() -> None:
    meeting = with_relays(ipv6_pair(1))
    assert meeting.reserve() <= RESERVATION
    assert meeting.join() <= FIRST_PONG
    direct = meeting.await_direct()
    assert direct is not None
    assert direct <= DIRECT


def test_ipv6_wins_where_ipv4_cannot_be_punched() -> None:
    site = SiteParams(ipv6=True, nat=nats.corporate(), firewall=FirewallBehaviour(ip_version=6))
    meeting = joined(pair(1, PairParams(a=site, b=site)))
    assert ":" in meeting.b.swarm._transports.connections[meeting.connection].route.remote.ip


def test_where_udp_is_blocked_the_dial_says_so() -> None:
    site = SiteParams(nat=nats.home(), block=BlockPolicy())
    meeting = with_relays(pair(1, PairParams(a=behind(nats.home()), b=site)))
    meeting.reserve()
    b = SimNode(meeting.b_host)
    join_at(b, meeting.relays[0])
    meeting.world.run_until(lambda: bool(b.of(events.DialFailed)), 30)
    attempts = b.of(events.DialFailed)[0].attempts
    told = tuple((str(address), str(reason)) for address, reason in attempts)
    sentence = dial_failure_text(str(meeting.relays[0].peer_id), told)
    assert "no answer" in sentence
    assert "UDP" in sentence


@pytest.mark.spec("NATB-22")
@pytest.mark.parametrize(("hosts", "side"), [(1, None), (2, "ours")])
def test_where_nothing_is_heard_over_udp_why_and_status_say_so(hosts: int, side: str) -> None:
    site = SiteParams(nat=nats.home(), block=BlockPolicy())
    net = pair(1, PairParams(a=behind(nats.home()), b=site, public_hosts=hosts))
    meeting = with_relays(net, relays=hosts)
    target = meeting.a.peer_id
    b = SimNode(meeting.b_host)
    for relay in meeting.relays:
        join_at(b, relay)
    meeting.world.run_for(SILENCE_TIME - 1.0)
    assert b.swarm.facts.why(target, meeting.world.now).property is None
    assert node_status(b.swarm.facts, meeting.world.now).silence is None
    meeting.world.run_for(1.5)

    found = b.swarm.facts.why(target, meeting.world.now)
    assert (found.path, found.side, found.property) == (None, side, UDP_SILENT)
    assert silence_text(Silence(hosts)) in found.verdict
    assert node_status(b.swarm.facts, meeting.world.now).silence == silence_text(Silence(hosts))


@pytest.mark.spec("NATB-22")
def test_who_hears_anything_over_udp_has_no_silence_to_tell() -> None:
    meeting = joined(pair(1, PairParams(a=behind(nats.home()), b=behind(nats.home()))))
    meeting.world.run_for(60)
    for node in (meeting.a, meeting.b):
        assert node_status(node.swarm.facts, meeting.world.now).silence is None


# dials at once


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("nat", [nats.home(), nats.corporate()])
def test_who_dial_each_other_at_once_end_with_one_connection(nat: NatBehaviour, seed: int) -> None:
    net = nat_pair(seed, nat, nat)
    meeting = with_relays(net)
    a, b, world = meeting.a, SimNode(net.b), net.world
    for node in (a, b):
        join_at(node, meeting.relays[0])
    world.run_for(2)
    a.do(a.swarm.dial, b.peer_id, (), world.now)
    b.do(b.swarm.dial, a.peer_id, (), world.now)
    world.run_until(lambda: bool(a.swarm.facts.best(b.peer_id)), 5)
    world.run_for(40)
    assert a.connections_to(b) == b.connections_to(a) == 1
    is_direct = a.swarm.facts.direct(b.peer_id) is not None
    assert is_direct is (nat == nats.home())
    assert is_direct is (b.swarm.facts.direct(a.peer_id) is not None)


def test_through_two_relays_at_once_the_nodes_still_punch() -> None:
    meeting = with_relays(nat_pair(4, nats.home(), nats.home()), relays=2)
    meeting.reserve(1)
    meeting.world.run_for(2)
    meeting.join(*meeting.relays)
    direct = meeting.await_direct()
    assert direct is not None
    assert direct <= DIRECT
    assert meeting.b.connections_to(meeting.a) == 1


def test_a_dial_through_two_relays_names_the_connection_that_stays() -> None:
    meeting = with_relays(nat_pair(4, nats.home(), nats.home()), relays=2)
    meeting.reserve()
    meeting.world.run_for(2)
    meeting.join(*meeting.relays)
    (dialled,) = [e for e in meeting.b.of(events.DialSucceeded) if e.peer_id == meeting.a.peer_id]
    assert dialled.connection in meeting.b.swarm._transports.connections
    assert dialled.connection == meeting.connection


def test_a_round_whose_connection_was_replaced_begins_again_on_the_other_one() -> None:
    policy, peer = PunchPolicy(nat_pair(0, nats.home(), nats.home()).world.rng("x")), peer_id("a")
    policy.handle_relayed(peer, "evidence")
    first = policy.poll_commands()
    policy.handle_round_interrupted(peer)
    assert policy.poll_commands() == first
    assert isinstance(first[0], StartRound)
    policy.handle_direct(peer)
    policy.handle_round_interrupted(peer)
    assert not policy.poll_commands()


# a planned switch


def test_a_transfer_that_began_relayed_goes_on_directly() -> None:
    meeting = joined(nat_pair(1, nats.home(), nats.home()), direct=False)
    transfer = Transfer(meeting.b, meeting.a, meeting.connection, FILE)
    transfer.run(until=meeting.is_direct)
    assert 0 < len(transfer.received) < FILE
    transfer.run()
    assert transfer.is_over
    assert len(meeting.b.of(events.PathChanged)) == 1


def gap_of(nat: NatBehaviour, seed: int) -> float:
    """Returns the longest pause of a ticker in the seconds in which nodes punch or fail to."""
    meeting = joined(nat_pair(seed, nat, nat), direct=False)
    ticker = Ticker(meeting.b, meeting.a, meeting.connection)
    meeting.world.run_for(RELAYED_RTT)  # so long does the first tick take
    since = meeting.world.now
    assert not meeting.is_direct()
    meeting.world.run_for(8)
    assert meeting.is_direct() is (nat == nats.home())
    return ticker.largest_gap(since)


@pytest.mark.parametrize("seed", range(3))
def test_a_planned_switch_adds_no_gap(seed: int) -> None:
    assert gap_of(nats.home(), seed) <= gap_of(nats.corporate(), seed) + TICK / 2


# what happens on the way


MEANTIME = 0.15
"""seconds after the start of a transfer"""
RECOVERY = 3.0
"""seconds that a change in the network may keep a transfer from ending; chosen: rounds of punching
take a second"""


def transfer_through(meeting: Meeting, event: object) -> Transfer:
    """Sends a file directly; something happens meanwhile."""
    assert callable(event)
    transfer = Transfer(meeting.b, meeting.a, meeting.connection, 2 * FILE)
    meeting.world.after(MEANTIME, event)
    transfer.run(60)
    assert transfer.is_over
    assert not meeting.b.of(events.ConnectionClosed)
    return transfer


def nat_of(meeting: Meeting, site: str) -> NatBox:
    box = meeting.world.parts[f"{site}-nat"]
    assert isinstance(box, NatBox)
    return box


PAIRS = [
    (nats.home(), nats.home()),
    (nats.corporate(), nats.full_cone()),
    (nats.full_cone(), nats.corporate()),
    (nats.linux(), nats.linux()),
    (nats.cgnat(), nats.home()),
]


@pytest.mark.parametrize("site", ["a", "b"])
@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_a_transfer_survives_a_reboot_of_a_nat(a: NatBehaviour, b: NatBehaviour, site: str) -> None:
    meeting = joined(nat_pair(3, a, b))
    start = meeting.world.now
    transfer = transfer_through(meeting, nat_of(meeting, site).reboot)
    assert transfer.largest_gap(start) <= RECOVERY


@pytest.mark.parametrize("site", ["a", "b"])
@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_a_transfer_survives_another_public_address(
    a: NatBehaviour, b: NatBehaviour, site: str
) -> None:
    meeting = joined(nat_pair(3, a, b))
    box = nat_of(meeting, site)
    other = (box.public_ips[0].rsplit(".", 1)[0] + ".77",)
    start = meeting.world.now
    transfer = transfer_through(meeting, lambda: box.change_public_ips(other))
    assert transfer.largest_gap(start) <= RECOVERY


@pytest.mark.parametrize("who", ["a", "b"])
@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_a_transfer_survives_another_address_of_the_machine(
    a: NatBehaviour, b: NatBehaviour, who: str
) -> None:
    net = nat_pair(3, a, b)
    meeting = joined(net)
    site = net.site_a if who == "a" else net.site_b
    node = meeting.a if who == "a" else meeting.b
    port = node.host.interfaces[0].peer
    assert port is not None
    site.switch.add_route("192.168.1.77/32", port)
    start = meeting.world.now
    transfer = transfer_through(meeting, lambda: roam(node, "192.168.1.77"))
    assert transfer.largest_gap(start) <= RECOVERY


# deaths


def two_relays(nat: NatBehaviour) -> Meeting:
    site = behind(nat)
    meeting = with_relays(pair(4, PairParams(a=site, b=site, public_hosts=2)), relays=2)
    meeting.reserve()
    meeting.join()
    return meeting


def test_the_standby_relay_takes_over_in_a_transfer() -> None:
    meeting = two_relays(nats.corporate())
    meeting.world.run_until(lambda: len(meeting.relays_in_use()) == 2, 20)
    meeting.world.run_for(2)
    transfer = Transfer(meeting.b, meeting.a, meeting.connection, FILE)
    transfer.run(until=transfer.has_arrived(FILE // 10))
    in_use = meeting.b.swarm._transports.connections[meeting.connection].route
    carrier = meeting.b.swarm.facts.relay_of(in_use)
    die(next(relay for relay in meeting.relays if relay.peer_id == carrier))
    died_at = meeting.world.now
    transfer.run()
    assert transfer.is_over
    assert transfer.largest_gap(died_at) <= RECOVERY
    assert meeting.b.swarm.facts.best(meeting.a.peer_id) is not None


def test_the_death_of_the_relay_does_not_touch_a_direct_path() -> None:
    meeting = joined(nat_pair(1, nats.home(), nats.home()))
    transfer = Transfer(meeting.b, meeting.a, meeting.connection, 2 * FILE)
    transfer.run(until=transfer.has_arrived(FILE // 10))
    die(meeting.relays[0])
    died_at = meeting.world.now
    transfer.run()
    assert transfer.is_over
    assert transfer.largest_gap(died_at) <= 2 * RTT
    meeting.world.run_for(120)
    assert meeting.is_direct()
    assert not [e for e in meeting.b.of(events.ConnectionClosed) if e.peer_id == meeting.a.peer_id]


@pytest.mark.parametrize("seed", range(3))
def test_when_the_direct_path_dies_in_use_the_relay_takes_over(seed: int) -> None:
    net = nat_pair(seed, nats.home(), nats.home())
    meeting = joined(net)
    cut = cut_at(net.site_b, net.world)
    ticker = Ticker(meeting.b, meeting.a, meeting.connection)
    meeting.world.run_for(3)
    assert meeting.is_direct()
    cut.lost = (external_ip(meeting, meeting.a),)
    died_at = meeting.world.now
    active = meeting.b.swarm._transports.connections[meeting.connection].paths.active
    limit = 2 * active.pto(TransportConfig().max_ack_delay) + RELAYED_RTT
    meeting.world.run_for(10)
    assert ticker.largest_gap(died_at) <= limit + TICK


@pytest.mark.parametrize("seed", range(3))
def test_a_transfer_outlives_its_direct_path(seed: int) -> None:
    net = nat_pair(seed, nats.home(), nats.home())
    meeting = joined(net)
    cut = cut_at(net.site_b, net.world)
    transfer = Transfer(meeting.b, meeting.a, meeting.connection, FILE)
    transfer.run(until=transfer.has_arrived(FILE // 3))
    cut.lost = (external_ip(meeting, meeting.a),)
    died_at = meeting.world.now
    transfer.run()
    assert transfer.is_over
    assert transfer.largest_gap(died_at) <= RECOVERY


@pytest.mark.parametrize("seed", range(3))
def test_the_death_of_an_idle_direct_path_is_seen_within_a_keep_alive_interval(seed: int) -> None:
    net = nat_pair(seed, nats.home(), nats.home())
    meeting = joined(net)
    meeting.world.run_for(5)
    cut = cut_at(net.site_b, net.world)
    cut.lost = (external_ip(meeting, meeting.a),)
    died_at = meeting.world.now
    active = meeting.b.swarm._transports.connections[meeting.connection].paths.active
    limit = KEEP_ALIVE + 3 * active.pto(TransportConfig().max_ack_delay) + RELAYED_RTT
    meeting.world.run_until(lambda: not meeting.is_direct(), 60)
    assert meeting.world.now - died_at <= limit
    meeting.world.run_for(1)
    changes = len(meeting.b.of(events.PathChanged))
    meeting.world.run_for(20)
    assert len(meeting.b.of(events.PathChanged)) - changes <= 1
