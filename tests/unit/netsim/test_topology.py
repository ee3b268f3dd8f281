"""p2pnode/netsim/topology.py"""

import ipaddress
import pickle

import pytest

from p2pnode.machine import SocketAddr
from p2pnode.netsim import nat_presets as presets
from p2pnode.netsim.firewall import FirewallBehaviour
from p2pnode.netsim.host import Host
from p2pnode.netsim.link import LinkParams
from p2pnode.netsim.topology import (
    PairParams,
    SiteParams,
    internet,
    ipv6_pair,
    nat_pair,
    pair,
    shared_nat,
)
from p2pnode.netsim.udp_block import BlockPolicy
from p2pnode.netsim.world import SimulationError, World
from tests.unit.netsim.machines import echo, sender


def round_trip(host: Host, server: SocketAddr) -> float:
    machine, socket = sender(host, 0, "::" if server.is_ipv6 else "0.0.0.0")
    started = host.now
    host.call(machine.send, socket, server)
    host.world.run_until(lambda: bool(host.events), timeout=5)
    return host.events[-1][0] - started


def test_any_two_hosts_are_fifty_milliseconds_apart() -> None:
    net = pair(1, PairParams(a=SiteParams(nat=presets.home()), public_hosts=2))

    assert round_trip(net.a, echo(net.public[0])) == pytest.approx(0.050)
    assert round_trip(net.b, SocketAddr(net.public[0].ip, 3478)) == pytest.approx(0.050)
    assert round_trip(net.public[1], SocketAddr(net.public[0].ip, 3478)) == pytest.approx(0.050)


def test_ipv6_reaches_through_a_carrier_and_its_home_router() -> None:
    site = SiteParams(nat=presets.home(), ipv6=True, ipv4=True)
    net = pair(1, PairParams(a=site, carrier_a=presets.cgnat()))
    server = net.public[0]
    server.bind(3478, "::")
    echo(server)

    assert round_trip(net.a, SocketAddr(server.stack.addresses()[1], 3478)) == pytest.approx(0.050)


def test_public_addresses_are_globally_routable_and_differ_in_their_first_octet() -> None:
    core = internet(World(1))

    hosts = [core.host(f"h{i}") for i in range(100)]

    ips = [ipaddress.ip_address(ip) for host in hosts for ip in host.stack.addresses()]
    assert all(ip.is_global for ip in ips)
    assert len({host.ip.partition(".")[0] for host in hosts}) == 100
    assert len(set(ips)) == 200


def test_sites_of_one_carrier_share_its_public_address() -> None:
    core = internet(World(1))
    server = echo(core.host("s"))
    isp, nat = core.carrier("isp", presets.cgnat())
    hosts = [isp.site(name, SiteParams(nat=presets.home())).hosts[0] for name in ("a", "b")]

    for host in hosts:
        round_trip(host, server)

    seen = {host.events[-1][2].decode().partition(":")[0] for host in hosts}
    assert seen == set(nat.public_ips)


def test_everything_that_a_site_may_have_fits_together() -> None:
    site = SiteParams(
        hosts=3,
        nat=presets.home(),
        public_ips=2,
        ipv6=True,
        firewall=FirewallBehaviour(ip_version=6),
        block=BlockPolicy(allowed_ports=(3478,)),
        access_down=LinkParams(delay=0.1),
        lan=LinkParams(delay=0.001),
    )
    net = pair(1, PairParams(a=site))
    server = echo(net.public[0])

    assert [host.name for host in net.site_a.hosts] == ["a-0", "a-1", "a-2"]
    for host in net.site_a.hosts:
        assert round_trip(host, server) == pytest.approx(0.1395)


@pytest.mark.spec("NETSIM-1")
def test_parameters_are_values_that_travel_and_make_the_same_world_elsewhere() -> None:
    params = PairParams(a=SiteParams(nat=presets.mobile(), access=LinkParams(jitter=0.01)))
    digests = []
    for copy in (params, pickle.loads(pickle.dumps(params))):
        assert copy == params
        net = pair(5, copy)
        round_trip(net.a, echo(net.public[0]))
        digests.append(net.world.trace.digest())

    assert digests[0] == digests[1]


@pytest.mark.spec("NETSIM-2")
def test_a_further_host_leaves_the_others_dice_as_they_were() -> None:
    ports = []
    for public_hosts in (1, 3):
        site = SiteParams(nat=presets.corporate())
        net = pair(5, PairParams(a=site, public_hosts=public_hosts))
        round_trip(net.a, echo(net.public[0]))
        ports.append(net.a.events[-1][2].rpartition(b":")[2])

    assert ports[0] == ports[1]


def test_short_builders_give_what_their_names_say() -> None:
    assert nat_pair(1, presets.home(), presets.cloud()).a.ip == "192.168.1.10"
    assert len(shared_nat(1, presets.home(), hosts=4).site.hosts) == 4
    assert ipaddress.ip_address(ipv6_pair(1).a.ip).version == 6


def test_a_realm_has_room_for_a_bounded_number_of_sites() -> None:
    core = internet(World(1))
    core._next_ipv4 = 4_000

    with pytest.raises(SimulationError, match=r"more than 4000 sites in internet"):
        core.host("one too many")
