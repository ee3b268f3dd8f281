"""A relay that nobody has introduced, and a peer that just starts: both settle by themselves."""

import pytest

from p2pnode.netsim.firewall import FirewallBehaviour
from p2pnode.netsim.host import Host
from p2pnode.netsim.nat_presets import home
from p2pnode.netsim.topology import PairParams, SiteParams, pair
from p2pnode.protocols.autonat import Reachability
from p2pnode.protocols.autonat.contact_log import CONTACT_MEMORY
from p2pnode.swarm.events import DialFailed, DialSucceeded, PeerIdentified
from p2pnode.testbed.sim_node import SimNode
from p2pnode.wire.multiaddr import Multiaddr

SOON = 2.0
"""seconds"""


def reachability(node: SimNode) -> Reachability:
    return node.swarm.facts.reachability(node.host.now)


def public_addresses(node: SimNode) -> list[Multiaddr]:
    verdicts = node.swarm.facts.verdicts(node.host.now)
    return [a for a, verdict in verdicts if verdict.reachability is Reachability.PUBLIC]


def first_run(host: Host, **more: int) -> SimNode:
    node = SimNode(host, **more)
    host.call(node.swarm.has_no_past)
    return node


@pytest.mark.spec("AUTONAT-42")
def test_a_relay_that_nobody_introduced_knows_that_it_is_public_when_somebody_comes() -> None:
    net = pair(1, PairParams(a=SiteParams(nat=home()), b=SiteParams(nat=home())))
    relay, client = first_run(net.public[0]), SimNode(net.a)
    net.world.run_for(60)
    assert reachability(relay) is Reachability.UNKNOWN
    client.connect(relay)
    net.world.run_until(lambda: reachability(relay) is Reachability.PUBLIC, SOON)
    assert relay.address() in public_addresses(relay)


@pytest.mark.spec("AUTONAT-42")
def test_one_that_may_have_run_before_believes_it_once_filters_have_forgotten() -> None:
    net = pair(2, PairParams(a=SiteParams(nat=home()), b=SiteParams(nat=home())))
    relay, client, late = SimNode(net.public[0]), SimNode(net.a), SimNode(net.b)
    client.connect(relay)
    net.world.run_for(60)
    assert reachability(relay) is Reachability.UNKNOWN
    net.world.run_for(CONTACT_MEMORY)
    late.connect(relay)
    net.world.run_until(lambda: reachability(relay) is Reachability.PUBLIC, SOON)


@pytest.mark.spec("AUTONAT-42")
def test_who_was_written_to_before_proves_nothing_though_it_comes_by_itself() -> None:
    """The firewall still lets in whom the run before has dialled."""
    site = SiteParams(firewall=FirewallBehaviour())
    net = pair(3, PairParams(a=site, b=SiteParams(nat=home())))
    shut, peer = SimNode(net.a), SimNode(net.public[0])
    connection = shut.connect(peer)
    net.world.run_for(1)
    shut.host.call(shut.swarm.disconnect, connection, shut.host.now)
    net.world.run_for(1)
    for socket in shut.sockets:
        shut.host.close(socket)
    shut.start()
    peer.connect(shut)
    net.world.run_until(lambda: bool(shut.of(PeerIdentified)), 5)
    net.world.run_for(60)
    assert reachability(shut) is not Reachability.PUBLIC


@pytest.mark.spec("AUTONAT-42")
def test_who_is_dialled_and_crosses_the_dial_proves_nothing() -> None:
    net = pair(4, PairParams(a=SiteParams(firewall=FirewallBehaviour()), b=SiteParams()))
    shut, peer = first_run(net.a), first_run(net.b)
    shut.dial(peer)
    peer.dial(shut)
    net.world.run_for(30)
    assert reachability(shut) is not Reachability.PUBLIC


@pytest.mark.spec("SWARM-28")
def test_a_peer_that_starts_while_it_is_dialled_by_its_id_is_reached() -> None:
    net = pair(5, PairParams(a=SiteParams(nat=home()), b=SiteParams(nat=home())))
    relay, client = first_run(net.public[0]), SimNode(net.a)
    client.connect(relay)
    net.world.run_for(2)
    late = SimNode(net.b)
    dial = client.host.call(client.swarm.dial, late.peer_id, (), client.host.now)
    net.world.run_for(0.3)
    late.dial(relay)
    net.world.run_until(lambda: any(e.dial_id == dial for e in client.of(DialSucceeded)), 5)
    assert not client.of(DialFailed)
