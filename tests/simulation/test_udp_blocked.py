"""Whole nodes where UDP does not get through: what TCP carries, and what is said of it."""

import pytest

from p2pnode.identity.peer_multiaddr import with_peer_id
from p2pnode.identity.transport_addr import transport_multiaddr
from p2pnode.io.node.status import node_status
from p2pnode.machine import SocketAddr
from p2pnode.netsim import nat_presets as nats
from p2pnode.netsim.topology import PairParams, SiteParams, pair
from p2pnode.netsim.trace import Drop
from p2pnode.netsim.udp_block import BlockPolicy
from p2pnode.protocols.nat_behaviour.udp_silence import SILENCE_TIME, Silence, silence_text
from p2pnode.protocols.nat_behaviour.why import UDP_BLOCKED
from p2pnode.swarm.address_book import AddressSource
from p2pnode.swarm.events import (
    AddressObserved,
    ConnectionEstablished,
    DialFailed,
    ReservationsChanged,
)
from p2pnode.testbed.sim_node import PORT, SimNode
from p2pnode.wire.multiaddr import Multiaddr
from p2pnode.wire.transport_name import TransportName
from tests.support.addresses import NOISE_UDP, TCP
from tests.support.swarm_worlds import RELAY
from tests.support.tcp_node import BothTcpNode


def at(node: SimNode, transport: TransportName) -> Multiaddr:
    return transport_multiaddr(SocketAddr(node.host.ip, PORT), transport)


class Office:
    """A client behind a NAT and a firewall that lets no UDP through, and public relays."""

    def __init__(self, relays: int = 2, *, is_udp_blocked: bool = True) -> None:
        block = BlockPolicy() if is_udp_blocked else None
        site = SiteParams(nat=nats.home(), block=block)
        net = pair(1, PairParams(a=site, b=SiteParams(nat=nats.home()), public_hosts=relays))
        self.net, self.world = net, net.world
        self.relays = [BothTcpNode(host, config=RELAY) for host in net.public]
        self.client = BothTcpNode(net.a)

    def join(self, node: SimNode) -> None:
        for relay in self.relays:
            node.dial(relay, at(relay, NOISE_UDP), at(relay, TCP))

    def until_reserved(self, node: SimNode) -> None:
        self.world.run_until(lambda: bool(node.swarm.facts.reservations()), 10)


@pytest.mark.spec("SWARM-35", "SWARM-40")
def test_a_relay_is_reserved_with_over_tcp_within_a_second_of_the_last_try_over_udp() -> None:
    office = Office()
    began = office.world.now
    office.join(office.client)
    office.until_reserved(office.client)
    assert office.world.trace.drop_count(Drop.BLOCKED) >= len(office.relays)
    assert office.world.now - began < 1.0, "each was tried over UDP at the start"
    (made, *_) = office.client.of(ConnectionEstablished)
    assert made.transport is TCP
    told = office.client.of(ReservationsChanged)[-1]
    through = with_peer_id(at(office.relays[0], TCP), office.relays[0].peer_id)
    assert any(str(address).startswith(str(through)) for address in told.addresses)


@pytest.mark.spec("NATB-22", "NATB-23")
def test_status_and_why_say_that_tcp_works_and_udp_does_not() -> None:
    office = Office()
    office.join(office.client)
    office.world.run_for(SILENCE_TIME + 1)
    facts, now = office.client.swarm.facts, office.world.now
    silence = facts.udp_silence(now)
    assert silence == Silence(2, 2)
    assert node_status(facts, now).silence == silence_text(silence)
    found = facts.why(office.relays[0].peer_id, now)
    assert (found.path, found.side) == ("direct", None)
    assert found.verdict == f"direct over TCP: {silence_text(silence)}"
    nobody = facts.why(office.client.peer_id, now)
    assert (nobody.path, nobody.side, nobody.property) == (None, "ours", UDP_BLOCKED)


@pytest.mark.spec("NATB-23")
def test_one_host_does_not_tell_on_which_side_udp_is_blocked() -> None:
    office = Office(relays=1)
    office.join(office.client)
    office.world.run_for(SILENCE_TIME + 1)
    facts, now = office.client.swarm.facts, office.world.now
    assert facts.udp_silence(now) == Silence(1, 1)
    found = facts.why(office.client.peer_id, now)
    assert (found.side, found.property) == (None, UDP_BLOCKED)


@pytest.mark.spec("SWARM-40")
def test_a_circuit_of_datagrams_is_not_laid_over_a_connection_that_carries_none() -> None:
    office = Office(relays=1)
    other = BothTcpNode(office.net.b)
    office.join(office.client)
    office.join(other)
    office.until_reserved(office.client)
    office.until_reserved(other)
    other.dial(office.client.peer_id)
    office.client.dial(other.peer_id)
    for node in (other, office.client):
        office.world.run_until(lambda node=node: bool(node.of(DialFailed)), 30)
    reasons = [str(reason) for _, reason in office.client.of(DialFailed)[-1].attempts]
    assert any("its circuits are for datagrams" in reason for reason in reasons)
    told_by_relay = [str(reason) for _, reason in other.of(DialFailed)[-1].attempts]
    assert told_by_relay == ["CONNECTION_FAILED"]
    assert office.relays[0].swarm.facts.relaying() == ()


@pytest.mark.spec("SWARM-40", "SWARM-42")
def test_a_link_that_was_quicker_does_not_keep_datagrams_away_for_good() -> None:
    office = Office(relays=1)
    office.join(office.client)
    office.until_reserved(office.client)
    assert office.net.site_a.block is not None
    office.net.site_a.block._policy = BlockPolicy(allowed_ports=(PORT,))
    office.world.run_for(10)
    made = [each.transport for each in office.client.of(ConnectionEstablished)]
    assert made == [TCP, NOISE_UDP], "what had begun goes on"
    relay = office.relays[0]
    best = office.client.swarm.facts.best(relay.peer_id)
    assert best is not None
    found = office.client.swarm.facts.connection(best)
    assert found is not None
    assert found.transport is NOISE_UDP
    known = office.client.swarm.facts.book_entries(relay.peer_id, office.world.now)
    assert known[0].source is known[1].source is AddressSource.CONNECTED

    other = BothTcpNode(office.net.b)
    office.join(other)
    office.until_reserved(other)
    other.connect(office.client.peer_id)
    (way,) = [e for e in other.of(ConnectionEstablished) if e.peer_id == office.client.peer_id]
    assert way.transport is NOISE_UDP


@pytest.mark.spec("SWARM-42")
def test_where_udp_stays_blocked_what_goes_on_ends_with_its_time() -> None:
    office = Office()
    office.join(office.client)
    office.world.run_for(20)
    assert {each.transport for each in office.client.of(ConnectionEstablished)} == {TCP}
    tried = office.world.trace.drop_count(Drop.BLOCKED)
    office.world.run_for(60)
    assert office.world.trace.drop_count(Drop.BLOCKED) == tried
    assert office.client.of(DialFailed) == []
    used = office.client.swarm.facts.account.connections.used
    assert used == len(office.relays)


@pytest.mark.spec("IDENTIFY-18", "SWARM-17", "SWARM-39")
def test_where_a_listener_is_seen_is_known_and_told_to_nobody() -> None:
    office = Office()
    office.join(office.client)
    office.world.run_for(SILENCE_TIME)
    assert office.net.site_a.nat is not None
    outside = office.net.site_a.nat.public_ips[0]
    facts, now = office.client.swarm.facts, office.world.now
    (report,) = facts.observed(now)
    assert [seen.address for seen in report.addresses] == [SocketAddr(outside, PORT)]
    assert report.addresses[0].observers == 2
    assert {each.transport for each in office.client.of(AddressObserved)} == {TCP}
    seen = transport_multiaddr(SocketAddr(outside, PORT), TCP)
    assert seen in [each.address for each in node_status(facts, now).addresses]
    assert seen not in facts.advertised_addresses()

    office.client.do(office.client.swarm.handle_interfaces_changed, ("192.168.1.77",), now)
    assert office.client.swarm.facts.observed(now) == (), "that was another network"


@pytest.mark.spec("SWARM-17", "SWARM-39")
def test_a_public_address_over_tcp_is_told_to_nobody_before_strangers_have_reached_it() -> None:
    office = Office(is_udp_blocked=False)
    office.join(office.client)
    office.world.run_for(60)
    for relay in office.relays:
        assert at(relay, TCP) in relay.swarm.facts.listen_addresses()
        assert at(relay, TCP) not in relay.swarm.facts.advertised_addresses()
        known = office.client.swarm.facts.info(relay.peer_id)
        assert known is not None
        assert at(relay, TCP) not in known.listen_addrs
