"""What may be read of a swarm, of two nodes on a wire: swarm/facts.py and what it is made of."""

import dataclasses

import pytest

from p2pnode.netsim.link import LinkParams
from p2pnode.netsim.topology import wire
from p2pnode.protocols import identify, ping
from p2pnode.protocols.autonat import Method, Reachability, ResponseStatus
from p2pnode.protocols.relay import Status
from p2pnode.swarm import SwarmConfig
from p2pnode.swarm.address_book import AddressSource
from p2pnode.swarm.config import RelayMode
from p2pnode.testbed.sim_node import SimNode
from p2pnode.wire.multiaddr import parse_multiaddr
from tests.support.echo import echo
from tests.support.identities import peer_id

PROTOCOL = "/test/1"
DELAY = 0.02
STRANGER = peer_id("stranger")
THERE = parse_multiaddr("/ip4/7.0.0.1/udp/4001/noise")


class Two:
    """`a` has dialled `b`, and both have heard who the other is."""

    def __init__(self, **of_b: object) -> None:
        net = wire(1, LinkParams(delay=DELAY))
        self.world = net.world
        config = dataclasses.replace(SwarmConfig(), **of_b)
        self.a, self.b = SimNode(net.a), SimNode(net.b, config=config)
        self.b.serve(PROTOCOL, echo)
        self.ours, self.theirs = self.a.swarm.facts, self.b.swarm.facts
        self.connection = self.a.connect(self.b)
        self.world.run_for(5.0)

    @property
    def now(self) -> float:
        return self.world.now


def test_a_connection_is_known_on_both_sides() -> None:
    two = Two()
    found = two.ours.connection(two.connection)
    assert found is not None
    assert (found.handle, found.peer_id) == (two.connection, two.b.peer_id)
    assert (found.is_initiator, found.is_closed) == (True, False)
    assert (found.route.remote.ip, found.route.is_relayed) == (two.b.host.ip, False)
    assert found.rtt == two.ours.rtt(two.connection) == pytest.approx(2 * DELAY, rel=0.2)
    assert two.ours.connections() == (found,)
    (other,) = two.theirs.connections()
    assert (other.peer_id, other.is_initiator) == (two.a.peer_id, False)


def test_a_connection_counts_its_streams() -> None:
    two = Two()
    before = two.ours.connection(two.connection)
    two.a.open(two.connection, PROTOCOL)
    after = two.ours.connection(two.connection)
    assert before is not None
    assert after is not None
    assert after.streams == before.streams + 1, "values of a moment do not change"


def test_peers_are_found_by_their_ids() -> None:
    two = Two()
    assert (two.ours.own_id, two.ours.peers()) == (two.a.peer_id, (two.b.peer_id,))
    assert two.ours.handles(two.b.peer_id) == (two.connection,)
    assert two.ours.best(two.b.peer_id) == two.ours.direct(two.b.peer_id) == two.connection
    assert [peer.peer_id for peer in two.ours.neighbours()] == [two.b.peer_id]
    assert two.ours.peer(two.connection) == two.ours.neighbours()[0]
    info = two.ours.info(two.b.peer_id)
    assert info is not None
    assert PROTOCOL in info.protocols


def test_of_a_stranger_nothing_is_known() -> None:
    ours = Two().ours
    assert (ours.best(STRANGER), ours.direct(STRANGER), ours.info(STRANGER)) == (None, None, None)
    assert (ours.handles(STRANGER), ours.circuits_to(STRANGER)) == ((), ())
    assert (ours.connection(999), ours.peer(999), ours.rtt(999)) == (None, None, None)
    assert ours.last_received(999) is None
    assert (ours.nat_of(STRANGER), ours.token(THERE)) == (None, None)


def test_a_closed_connection_is_remembered_for_a_while() -> None:
    two = Two()
    two.a.do(two.a.swarm.disconnect, two.connection, two.now)
    found = two.ours.connection(two.connection)
    assert found is not None
    assert found.is_closed
    assert (two.ours.connections(), two.ours.peers()) == ((), ())
    assert (two.ours.peer(two.connection), two.ours.neighbours()) == (None, ())
    two.world.run_for(60.0)
    assert two.ours.connection(two.connection) is None


def test_addresses_come_with_source_and_lifetime() -> None:
    two = Two()
    assert two.b.peer_id in two.ours.known_peers()
    entries = two.ours.book_entries(two.b.peer_id, two.now)
    addresses = two.ours.known_addresses(two.b.peer_id, two.now)
    assert tuple(entry.address for entry in entries) == addresses
    assert entries[0].source is AddressSource.CONNECTED
    assert entries[0].expires_at > two.now


def test_what_was_known_before_a_start_is_remembered() -> None:
    two, swarm = Two(), Two().a.swarm
    swarm.remember_address(STRANGER, THERE, AddressSource.SIGNED, two.now + 60.0)
    swarm.remember_token(THERE, b"token")
    assert swarm.facts.known_addresses(STRANGER, two.now) == (THERE,)
    assert swarm.facts.token(THERE) == b"token"
    assert swarm.facts.known_addresses(STRANGER, two.now + 60.0) == ()


def test_hearsay_is_known_and_not_told() -> None:
    two = Two()
    book = two.a.swarm
    book.remember_address(STRANGER, THERE, AddressSource.HEARSAY, two.now + 60.0)
    assert two.ours.known_addresses(STRANGER, two.now) == (THERE,)
    assert two.ours.told_addresses(STRANGER, two.now) == ()
    told = two.ours.told_addresses(two.b.peer_id, two.now)
    assert told == two.ours.known_addresses(two.b.peer_id, two.now)


def test_a_node_knows_where_it_is_and_what_it_answers_to() -> None:
    two = Two()
    (address,) = {a for a in two.theirs.listen_addresses() if two.b.host.ip in str(a)}
    assert address == two.b.address()
    assert set(two.theirs.socket_addresses()) <= set(two.b.sockets)
    assert two.b.host.ip in {addr.ip for addr in two.theirs.interface_addresses()}
    assert two.theirs.alternate_ports()[0] not in (None, two.b.address())
    assert {PROTOCOL, ping.PROTOCOL_ID, identify.PROTOCOL_ID} <= set(two.theirs.protocols())
    two.b.do(two.b.swarm.unhandle_protocol, PROTOCOL, two.now)
    assert PROTOCOL not in two.theirs.protocols()


def test_a_node_knows_where_peers_see_it() -> None:
    two = Two()
    (report,) = two.ours.observed(two.now)
    assert [seen.address.ip for seen in report.addresses] == [two.a.host.ip]
    ((socket, address, is_confirmed),) = two.ours.seen_at(two.now)
    assert (socket, address.ip, is_confirmed) == (report.socket, two.a.host.ip, False)
    assert two.ours.seen_by(socket, two.now) == ((two.b.peer_id, address),)


def test_whether_strangers_reach_a_node_is_open_at_first() -> None:
    two = Two()
    assert two.ours.reachability(two.now) is Reachability.UNKNOWN
    verdicts = dict(two.ours.verdicts(two.now))
    assert verdicts[two.a.address()].reachability is Reachability.UNKNOWN
    assert two.ours.filtering(two.now).behaviour == "unknown", "one peer, who was contacted"
    assert not two.ours.is_undecided(two.now), "the time for it has passed"
    assert two.ours.udp_silence(two.now) is None


@pytest.mark.parametrize("handle", ["a", "b"])
def test_why_of_a_direct_connection(handle: str) -> None:
    two = Two()
    facts, other = (two.ours, two.b) if handle == "a" else (two.theirs, two.a)
    assert facts.why(other.peer_id, two.now).path == "direct"
    assert facts.why(STRANGER, two.now).path is None


def test_a_reservation_is_known_to_both_ends() -> None:
    two = Two(relay_mode=RelayMode.ALWAYS)
    (held,) = two.ours.reservations()
    assert held.relay == two.b.peer_id
    assert held.expires_at > two.now
    assert all(f"/p2p/{two.b.peer_id}/p2p-circuit" in str(a) for a in two.ours.relayed_addresses())
    assert two.ours.relayed_addresses()
    counts = two.theirs.counts.relay_server()
    assert (counts.is_serving, counts.reservations, counts.circuits) == (True, 1, 0)
    assert counts.reservation_answers == {Status.OK: 1}
    asked = two.ours.counts.relay_client()
    assert (asked.granted, asked.answers) == (1, {(False, Status.OK): 1})
    assert (two.theirs.relaying(), two.theirs.relayed_volume()) == ((), 0)


def test_a_relay_that_drains_has_nothing_left() -> None:
    two = Two(relay_mode=RelayMode.ALWAYS)
    assert not two.theirs.is_relay_drained()
    two.b.do(two.b.swarm.drain_relay, 1.0, two.now)
    assert two.theirs.is_relay_drained()
    assert not two.theirs.counts.relay_server().is_serving


def test_counts_are_values_of_their_moment() -> None:
    two = Two()
    before, asked = two.ours.counts.byte_totals(), two.theirs.counts.identify()
    assert before.sent_directly > 1000
    assert before.received_directly > 1000
    assert (before.sent_relayed, before.received_relayed) == (0, 0)
    assert asked.answered == 1
    two.a.do(two.a.swarm.identify, two.connection, two.now)
    two.world.run_for(1.0)
    assert two.ours.counts.byte_totals().sent_directly > before.sent_directly
    assert two.theirs.counts.identify().answered == asked.answered + 1


def test_open_streams_are_counted_by_protocol_and_side() -> None:
    two = Two()
    stream = two.a.open(two.connection, PROTOCOL)
    two.a.do(stream.write, b"x")
    two.world.run_for(1.0)
    assert two.ours.counts.open_streams()[PROTOCOL, False] == 1
    assert two.theirs.counts.open_streams()[PROTOCOL, True] == 1


def test_questions_about_reachability_are_counted() -> None:
    two = Two()
    asked, served = two.ours.counts.autonat(), two.theirs.counts.autonat()
    assert asked.v2_dialogues[True] == sum(served.v2_sent.values()) > 0
    assert asked.probes[Method.V2, True] > 0
    assert {answer.status for answer in served.v2_sent} == {ResponseStatus.OK}
    assert (asked.v1_received, served.v1_sent) == ({}, {})
