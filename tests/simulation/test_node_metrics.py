"""What the metrics of whole nodes say after they have met through a relay, and then directly."""

from p2pnode.io.metrics.exposition import NodeMetrics
from p2pnode.io.metrics.facts import Histogram, NodeFacts
from p2pnode.io.metrics.node_metrics import NodeFactsSource
from p2pnode.io.metrics.table import METRICS
from p2pnode.machine import SocketAddr
from p2pnode.netsim.nat_presets import corporate, home
from p2pnode.netsim.topology import PairParams, SiteParams, nat_pair, pair
from p2pnode.protocols.identify import PROTOCOL_ID as IDENTIFY
from p2pnode.testbed.sim_node import SimNode
from tests.support.addresses import NOISE_UDP, noise_udp_multiaddr
from tests.support.swarm_worlds import with_relays

ECHO = "/echo/1.0.0"


def source_of(node: SimNode) -> NodeFactsSource:
    """Returns a source that was told all that has happened so far."""
    source = NodeFactsSource(node.swarm.facts, lambda: node.host.world.now)
    for event in node.events:
        source.count(event)
    return source


def facts_of(node: SimNode) -> NodeFacts:
    return source_of(node).metric_facts()


def number(times: Histogram) -> int:
    return times.cumulative()[-1][1]


def test_a_meeting_through_a_relay_that_becomes_direct_is_counted_on_all_three_sides() -> None:
    meeting = with_relays(nat_pair(1, home(), home()))
    meeting.reserve()
    meeting.join()
    meeting.a.serve(ECHO)
    meeting.b.open(meeting.connection, ECHO)
    assert meeting.await_direct() is not None
    a, b = facts_of(meeting.a), facts_of(meeting.b)
    relay = facts_of(meeting.relays[0])

    assert (a.own_relays.held, a.own_relays.opened, a.own_relays.closed) == (1, 1, 0)
    assert a.own_relays.answers == {("new", "OK"): 1}
    assert relay.relay.reservation_steps["opened"] >= 1
    assert relay.relay.reservation_steps["closed"] == 0
    assert relay.relay.circuit_steps["opened"] == 1
    assert a.punches.rounds == {("initiator", 1, "success"): 1}
    assert b.punches.rounds == {("receiver", 1, "success"): 1}
    assert sum(number(times) for (outcome, _), times in b.dial_times.items() if outcome) >= 2
    assert number(b.handshake_times["p2p-circuit", "ip4"]) == 1
    assert b.streams[ECHO, "outbound"] == a.streams[ECHO, "inbound"] == 1
    assert b.identifies["outbound"] >= 2
    assert relay.identifies["inbound"] >= 2
    assert b.sent_bytes["relayed"] > 0
    assert b.received_bytes["direct"] > 0


def test_an_address_that_nobody_answers_at_is_an_error_of_a_dial() -> None:
    net = nat_pair(1, home(), home())
    a, b = SimNode(net.a), SimNode(net.b)
    a.dial(b, noise_udp_multiaddr(SocketAddr(net.public[0].ip, 4001)))
    net.world.run_for(30)

    facts = facts_of(a)
    assert facts.dial_errors == {(NOISE_UDP, "timeout", "ip4"): 1}
    assert [outcome for outcome, _ in facts.dial_times] == ["failed"]


def test_questions_about_reachability_are_counted_by_who_asks_and_who_answers() -> None:
    net = pair(1, PairParams(a=SiteParams(nat=corporate()), public_hosts=4))
    servers = [SimNode(host) for host in net.public]
    asker = SimNode(net.a)
    for server in servers:
        for other in servers:
            if other is not server:
                server.dial(other)
        asker.dial(server)
    net.world.run_for(30)

    asked = facts_of(asker).autonat
    assert asked.reachability == "private"
    assert asked.probes
    assert {outcome for _, outcome in asked.probes} == {"not reached"}
    answered = [facts_of(server).autonat for server in servers]
    if asked.v1_received:
        assert any(facts.v1_sent for facts in answered)
    assert sum(asked.v2_requests.values()) <= sum(sum(f.v2_served.values()) for f in answered)


def test_every_metric_of_a_node_that_did_something_can_be_rendered() -> None:
    meeting = with_relays(nat_pair(1, home(), home()))
    meeting.reserve()
    meeting.join()
    text = NodeMetrics(source_of(meeting.relays[0]), of_process=False).render().decode()

    for metric in METRICS:
        assert (
            f"# TYPE {metric.name}" in text
            or f"# TYPE {metric.name.removesuffix('_total')}" in text
        )
    assert f'p2pnode_streams{{dir="inbound",protocol="{IDENTIFY}"}}' not in text  # they have ended
