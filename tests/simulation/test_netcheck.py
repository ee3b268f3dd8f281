"""Netcheck against simulated NAT boxes: what it prints is what the box is."""

from dataclasses import replace

import pytest

from p2pnode.machine import SocketAddr
from p2pnode.netcheck.netcheck import Bootstrap, Netcheck, NetcheckDone, NetcheckEvent
from p2pnode.netcheck.report import NetcheckReport
from p2pnode.netsim import nat_presets, topology
from p2pnode.netsim.firewall import FirewallBehaviour
from p2pnode.netsim.host import Host
from p2pnode.netsim.link import LinkParams
from p2pnode.netsim.nat_behaviour import Dependence, FilterScope, Hairpin, NatBehaviour, PortChoice
from p2pnode.netsim.topology import ACCESS, SiteParams
from p2pnode.netsim.udp_block import BlockPolicy
from p2pnode.netsim.world import World
from p2pnode.protocols.nat_behaviour.udp_silence import Silence, silence_text
from p2pnode.protocols.nat_behaviour.why import explain
from p2pnode.swarm import SwarmConfig
from p2pnode.swarm.config import RelayMode
from p2pnode.swarm.events import Fault
from p2pnode.testbed.sim_node import SimNode
from p2pnode.transports.noise_udp.config import TransportConfig
from tests.support.addresses import noise_udp_multiaddr
from tests.support.pair import endpoint_of

INDEPENDENT = "endpoint-independent"
TIME_TO_PRINT = 9.5  # seconds; the command's ten, without its start


class Check:
    """A world with public peers that know one another, and a netcheck somewhere else."""

    def __init__(self, site: SiteParams | None, *, peers: int = 3, seed: int = 1) -> None:
        self.world = World(seed)
        core = topology.internet(self.world)
        self.peers = [SimNode(core.host(f"s{n}", ipv6=False)) for n in range(peers)]
        for one, other in zip(self.peers, self.peers[1:], strict=False):
            one.connect(other)
        if peers > 2:
            self.peers[0].connect(self.peers[-1])
        if site is None:
            self.host = core.host("a", ipv6=False)
        else:
            self.site = core.site("a", site)
            self.host = self.site.hosts[0]
        self.world.run_for(5)
        self.done: list[NetcheckReport] = []

    def run(
        self, *, bootstrap: int = 1, lifetime: bool = False, limit: float = TIME_TO_PRINT
    ) -> NetcheckReport:
        targets = [Bootstrap(p.peer_id, p.address()) for p in self.peers[:bootstrap]]
        self.started = self.world.now
        attach(self.host, targets, self.done, lifetime=lifetime)
        self.world.run_until(lambda: bool(self.done), limit)
        return self.done[0]


def attach(
    host: Host,
    targets: list[Bootstrap],
    done: list[NetcheckReport],
    *,
    lifetime: bool,
    faults: list[Exception] | None = None,
) -> Netcheck:
    def make(host: Host) -> Netcheck:
        return Netcheck(
            SwarmConfig(relay_mode=RelayMode.OFF),
            TransportConfig(),
            bootstrap=targets,
            wants_lifetime=lifetime,
            secret=bytes(32),
            entropy=host.entropy,
            rng=host.rng,
            now=host.now,
            unix_now=host.unix_now,
            isolates_faults=faults is not None,
        )

    def on_event(event: NetcheckEvent) -> None:
        match event:
            case NetcheckDone(report):
                done.append(report)
            case Fault(error):
                assert faults is not None
                faults.append(error)

    netcheck = host.attach(make, on_event)
    main, probe = host.bind(), host.bind()
    host.call(netcheck.add_main_socket, main, host.local_addr(main), host.now)
    host.call(netcheck.add_probe_socket, probe, host.local_addr(probe))
    for _ in range(netcheck.measuring_sockets_wanted):
        measuring = host.bind()
        host.call(netcheck.add_measuring_socket, measuring, host.local_addr(measuring))
    addresses = tuple(a for i in host.interfaces for a in i.addresses)
    host.call(netcheck.handle_interfaces_changed, addresses, host.now)
    host.call(netcheck.begin, host.now)
    return netcheck


def check(nat: NatBehaviour, *, peers: int = 3, seed: int = 1) -> NetcheckReport:
    return Check(SiteParams(nat=nat), peers=peers, seed=seed).run()


@pytest.mark.spec("NATB-11")
def test_one_peer_is_met_at_first_and_others_when_strangers_have_knocked() -> None:
    scene = Check(SiteParams(nat=nat_presets.home()), peers=3)
    targets = [Bootstrap(p.peer_id, p.address()) for p in scene.peers]
    netcheck = attach(scene.host, targets, scene.done, lifetime=False)
    scene.world.run_for(0.5)
    assert len(netcheck.swarm.facts.peers()) == 1
    scene.world.run_until(lambda: bool(scene.done), TIME_TO_PRINT)
    assert len(netcheck.swarm.facts.peers()) > 1


@pytest.mark.spec("SWARM-29")
@pytest.mark.parametrize("place", ["handle_received", "handle_timeout", "poll_transmits"])
@pytest.mark.parametrize("is_measuring", [False, True])
def test_a_bug_of_one_connection_costs_a_check_no_more_than_that(
    place: str, is_measuring: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    bug = ZeroDivisionError("a bug")

    def fail(*_: object, **__: object) -> None:
        raise bug

    scene, faults = Check(SiteParams(nat=nat_presets.home()), peers=3), list[Exception]()
    targets = [Bootstrap(p.peer_id, p.address()) for p in scene.peers]
    netcheck = attach(scene.host, targets, scene.done, lifetime=False, faults=faults)
    sockets, swarm = netcheck._measuring_sockets, netcheck.swarm
    connections = (sockets._endpoint if is_measuring else endpoint_of(swarm)).connections
    scene.world.run_until(lambda: bool(connections), TIME_TO_PRINT)
    monkeypatch.setattr(next(iter(connections.values())), place, fail)

    scene.world.run_until(lambda: bool(scene.done), TIME_TO_PRINT)

    assert set(faults) == {bug}
    assert scene.done[0].mapping.value == INDEPENDENT


@pytest.mark.spec("NATB-13")
@pytest.mark.parametrize("scope", FilterScope, ids=lambda s: s.value)
@pytest.mark.parametrize(
    ("mapping", "filtering"),
    nat_presets.NINE_KINDS,
    ids=[f"{m.value} x {f.value}" for m, f in nat_presets.NINE_KINDS],
)
def test_the_report_is_the_truth_behind_each_of_the_nine_kinds(
    mapping: Dependence, filtering: Dependence, scope: FilterScope
) -> None:
    box = nat_presets.box(mapping, filtering, scope)

    report = check(box)

    assert (report.mapping.value, report.filtering.value) == (mapping.value, filtering.value)
    expected = "preserving" if box.port_choice is PortChoice.PRESERVING else "random"
    assert report.port_allocation.value == expected
    assert report.hairpin is False
    assert report.udp
    is_open = filtering is Dependence.ENDPOINT_INDEPENDENT
    assert report.reachability.value == ("public" if is_open else "private")
    assert list(report.unknown) == ["binding_lifetime_s"]


@pytest.mark.parametrize(
    ("name", "mapping", "filtering", "allocation", "hairpin"),
    [
        ("home", INDEPENDENT, "address-and-port-dependent", "preserving", False),
        ("full_cone", INDEPENDENT, INDEPENDENT, "preserving", True),
        ("address_restricted", INDEPENDENT, "address-dependent", "preserving", False),
        ("corporate", "address-and-port-dependent", "address-and-port-dependent", "random", False),
        (
            "symmetric_sequential",
            "address-and-port-dependent",
            "address-and-port-dependent",
            "sequential",
            False,
        ),
        ("cgnat", INDEPENDENT, INDEPENDENT, "block", True),
        ("mobile", "address-and-port-dependent", "address-and-port-dependent", "block", False),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_the_report_is_the_truth_behind_named_boxes(
    name: str, mapping: str, filtering: str, allocation: str, hairpin: bool, seed: int
) -> None:
    report = check(getattr(nat_presets, name)(), seed=seed)

    found = report.fields()
    assert (found["mapping"], found["filtering"]) == (mapping, filtering)
    assert (found["port_allocation"], found["hairpin"]) == (allocation, hairpin)


@pytest.mark.slow
@pytest.mark.spec("NATB-13")
@pytest.mark.parametrize("seed", range(6))
def test_the_report_is_the_truth_at_one_per_cent_of_loss(seed: int) -> None:
    access = LinkParams(delay=ACCESS.delay, loss=0.01)
    kinds = nat_presets.NINE_KINDS
    mapping, filtering = kinds[(seed * 4) % len(kinds)]
    box = nat_presets.box(mapping, filtering)

    report = Check(SiteParams(nat=box, access=access), seed=seed).run(bootstrap=3)

    assert (report.mapping.value, report.filtering.value) == (mapping.value, filtering.value)
    assert "port_allocation" not in report.unknown


@pytest.mark.spec("NATB-13")
def test_the_outer_of_two_nats_shows_where_it_is_the_stricter_one() -> None:
    world = World(1)
    core = topology.internet(world)
    peers = [SimNode(core.host(f"s{n}", ipv6=False)) for n in range(3)]
    peers[0].connect(peers[1])
    peers[1].connect(peers[2])
    carrier, _ = core.carrier("isp", nat_presets.corporate())
    host = carrier.site("a", SiteParams(nat=nat_presets.full_cone())).hosts[0]
    world.run_for(5)
    done: list[NetcheckReport] = []

    attach(host, [Bootstrap(peers[0].peer_id, peers[0].address())], done, lifetime=False)
    world.run_until(lambda: bool(done), TIME_TO_PRINT)

    found = done[0].fields()
    assert found["mapping"] == found["filtering"] == "address-and-port-dependent"
    assert found["port_allocation"] == "random"


@pytest.mark.spec("NATB-14")
def test_without_a_nat_there_is_no_mapping_and_no_filter() -> None:
    check = Check(None)

    report = check.run()

    found = report.fields()
    assert (found["mapping"], found["filtering"]) == ("none", "none")
    assert (found["port_allocation"], found["reachability"]) == ("preserving", "public")
    assert found["hairpin"] is None
    assert found["unknown"]["hairpin"] == "there is no NAT to turn packets round"
    assert all(address.startswith(f"/ip4/{check.host.ip}/udp/") for address in found["external"])


@pytest.mark.spec("NATB-14")
@pytest.mark.parametrize("filtering", Dependence, ids=lambda d: d.value)
def test_a_firewall_without_a_nat_filters_and_maps_nothing(filtering: Dependence) -> None:
    site = SiteParams(firewall=FirewallBehaviour(filtering=filtering))

    found = Check(site).run().fields()

    assert found["mapping"] == "none"
    is_open = filtering is Dependence.ENDPOINT_INDEPENDENT
    assert found["filtering"] == ("none" if is_open else filtering.value)


@pytest.mark.spec("NATB-15")
def test_with_one_peer_what_it_cannot_tell_is_unknown_with_the_reason() -> None:
    report = check(nat_presets.full_cone(), peers=1)

    found = report.fields()
    assert (found["mapping"], found["filtering"]) == ("unknown", "unknown")
    assert "connect to peers on two IPs" in found["unknown"]["mapping"]
    assert "connect to peers on two IPs" in found["unknown"]["filtering"]
    assert (found["port_allocation"], found["hairpin"]) == ("preserving", True)
    assert len(found["external"]) == 1
    assert "--lifetime" in found["unknown"]["binding_lifetime_s"]


@pytest.mark.spec("NATB-15")
def test_one_peer_tells_a_nat_that_looks_at_ports() -> None:
    found = check(nat_presets.corporate(), peers=1).fields()

    assert found["mapping"] == found["filtering"] == "address-and-port-dependent"
    assert found["reachability"] == "unknown"
    assert found["unknown"]["reachability"] == "only 1 of the 2 witnesses needed found it closed"


@pytest.mark.spec("NATB-16")
@pytest.mark.parametrize("peers", [1, 3])
def test_where_udp_is_blocked_it_says_so_in_time(peers: int) -> None:
    site = SiteParams(nat=nat_presets.home(), block=BlockPolicy())

    report = Check(site, peers=peers).run(bootstrap=peers)

    found = report.fields()
    assert found["udp"] is False
    assert found["external"] == []
    assert (found["mapping"], found["hairpin"]) == ("unknown", None)
    assert set(found["unknown"]) >= {"mapping", "filtering", "hairpin", "reachability", "udp"}
    assert found["unknown"]["udp"] == silence_text(Silence(peers))


@pytest.mark.spec("NATB-16")
def test_a_first_peer_that_is_gone_does_not_spoil_the_check() -> None:
    check = Check(SiteParams(nat=nat_presets.home()))
    gone = noise_udp_multiaddr(SocketAddr(check.peers[0].host.ip, 9))
    targets = [Bootstrap(None, gone), Bootstrap(None, check.peers[0].address())]

    attach(check.host, targets, check.done, lifetime=False)
    check.world.run_until(lambda: bool(check.done), TIME_TO_PRINT)

    found = check.done[0].fields()
    assert (found["mapping"], found["filtering"]) == (INDEPENDENT, "address-and-port-dependent")


@pytest.mark.spec("NATB-12")
def test_peers_that_are_found_and_gone_do_not_hold_the_check_up() -> None:
    check = Check(SiteParams(nat=nat_presets.home()), peers=4)
    check.peers[3].host.suspend()

    check.run()

    assert check.world.now - check.started < 5


@pytest.mark.slow
@pytest.mark.spec("NATB-17")
@pytest.mark.parametrize(
    ("box", "lifetime"),
    [
        (nat_presets.impatient(), 20.0),
        (nat_presets.mobile(), 65.0),
        (nat_presets.linux(), 120.0),
    ],
    ids=["impatient", "mobile", "linux"],
)
def test_the_lifetime_of_a_mapping_is_found_to_a_tenth(box: NatBehaviour, lifetime: float) -> None:
    report = Check(SiteParams(nat=box)).run(lifetime=True, limit=3 * lifetime + 20)

    assert report.binding_lifetime is not None
    assert 0.9 * lifetime <= report.binding_lifetime <= lifetime


@pytest.mark.slow
@pytest.mark.spec("NATB-17")
def test_a_lifetime_above_what_is_waited_is_unknown_with_the_bound() -> None:
    report = Check(SiteParams(nat=nat_presets.home())).run(lifetime=True, limit=400)

    assert report.binding_lifetime is None
    assert report.unknown["binding_lifetime_s"].startswith("more than 252 s")


def test_a_box_that_turns_packets_round_is_seen_whatever_source_it_shows() -> None:
    for hairpin in (Hairpin.INTERNAL_SOURCE, Hairpin.EXTERNAL_SOURCE):
        report = check(replace(nat_presets.full_cone(), hairpin=hairpin))

        assert report.hairpin is True


@pytest.mark.spec("NATB-9")
@pytest.mark.parametrize(
    ("ours", "theirs", "side"),
    [("corporate", "home", "ours"), ("home", "corporate", "theirs"), ("mobile", "mobile", "both")],
)
def test_two_relayed_peers_know_of_each_other_what_keeps_them_apart(
    ours: str, theirs: str, side: str
) -> None:
    sites = [SiteParams(nat=getattr(nat_presets, name)()) for name in (ours, theirs)]
    net = topology.pair(1, topology.PairParams(a=sites[0], b=sites[1], public_hosts=3))
    relaying = SwarmConfig(relay_mode=RelayMode.ALWAYS)
    public = [SimNode(host, config=relaying) for host in net.public]
    a, b = SimNode(net.a), SimNode(net.b)
    for one, other in ((0, 1), (1, 2), (0, 2)):
        public[one].connect(public[other])
    for node in (a, b):
        node.connect(public[0])
    net.world.run_until(lambda: bool(b.swarm.facts.relayed_addresses()), 10)
    net.world.run_for(3)
    for node in (a, b):
        for each in public[1:]:
            node.connect(each)
    a.do(a.swarm.dial, b.peer_id, (), net.world.now)

    def knows() -> bool:
        known = a.swarm.facts.nat_of(b.peer_id)
        return known is not None and "unknown" not in (known.mapping.value, known.filtering.value)

    net.world.run_until(knows, 20)
    explanation = explain(
        peer_id=b.peer_id,
        path="relayed",
        ours=a.swarm.facts.own_nat(net.world.now),
        theirs=a.swarm.facts.nat_of(b.peer_id),
        attempts=(),
    )

    assert "cannot work" in explanation.verdict
    assert explanation.side == side
