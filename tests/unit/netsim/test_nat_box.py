"""p2pnode/netsim/nat_box.py: the box in a network."""

from dataclasses import replace

import pytest

from p2pnode.machine import SocketAddr
from p2pnode.netsim import nat_presets as presets
from p2pnode.netsim.nat_behaviour import Hairpin
from p2pnode.netsim.topology import (
    Pair,
    PairParams,
    SiteParams,
    double_nat_pair,
    nat_pair,
    pair,
    shared_nat,
)
from p2pnode.netsim.trace import Drop
from tests.unit.netsim.machines import echo, payloads, sender, sources


def reflexive(net: Pair, port: int = 4001) -> SocketAddr:
    """Lets host a ask the first public host who it is."""
    server = echo(net.public[0])
    machine, socket = sender(net.a, port)
    net.a.call(machine.send, socket, server)
    net.world.run_for(1)
    ip, _, seen = payloads(net.a)[-1].decode().rpartition(":")
    return SocketAddr(ip, int(seen))


def test_outbound_packets_carry_the_public_address_and_answers_come_back() -> None:
    net = nat_pair(1, presets.home(), presets.home())

    seen = reflexive(net)

    assert net.site_a.nat is not None
    assert seen == SocketAddr(net.site_a.nat.public_ips[0], 4001)


def test_a_packet_to_another_address_than_the_public_one_is_not_for_the_box() -> None:
    net = nat_pair(1, presets.full_cone(), presets.home())
    seen = reflexive(net)
    machine, socket = sender(net.public[1])

    net.public[1].call(machine.send, socket, SocketAddr(seen.ip.rpartition(".")[0] + ".77", 4001))
    net.world.run_for(1)

    assert net.world.trace.drops == {("a-nat", Drop.NOT_OURS): 1}


@pytest.mark.spec("NETSIM-8")
def test_a_reboot_forgets_mappings_filters_and_forwards() -> None:
    net = nat_pair(1, presets.full_cone(), presets.home())
    seen = reflexive(net)
    box = net.site_a.nat
    assert box is not None
    box.add_forward(SocketAddr(seen.ip, 9000), SocketAddr(net.a.ip, 4001))
    machine, socket = sender(net.public[1])

    for port in (seen.port, 9000):
        net.public[1].call(machine.send, socket, SocketAddr(seen.ip, port))
    net.world.run_for(1)
    box.reboot()
    for port in (seen.port, 9000):
        net.public[1].call(machine.send, socket, SocketAddr(seen.ip, port))
    net.world.run_for(1)

    assert payloads(net.a)[1:] == [b"hello"] * 2
    assert net.world.trace.drops == {("a-nat", Drop.NO_MAPPING): 2}


def test_a_port_forward_can_be_taken_back() -> None:
    net = nat_pair(1, presets.home(), presets.home())
    box = net.site_a.nat
    assert box is not None
    external = SocketAddr(box.public_ips[0], 9000)

    box.add_forward(external, SocketAddr(net.a.ip, 4001))
    box.remove_forward(external)

    with pytest.raises(KeyError):
        box.remove_forward(external)


def test_a_new_public_address_is_what_others_see_from_then_on() -> None:
    net = nat_pair(1, presets.home(), presets.home())
    seen = reflexive(net)
    assert net.site_a.nat is not None

    new = seen.ip.rpartition(".")[0] + ".200"
    net.site_a.nat.change_public_ips((new,))

    assert reflexive(net, 4002) == SocketAddr(new, 4002)


def test_a_box_can_change_its_behaviour() -> None:
    net = nat_pair(1, presets.home(), presets.home())
    assert reflexive(net).port == 4001
    assert net.site_a.nat is not None

    net.site_a.nat.change_behaviour(presets.corporate())

    assert reflexive(net, 4002).port != 4002


@pytest.mark.spec("NETSIM-11")
@pytest.mark.parametrize("hairpin", Hairpin)
def test_hairpin_says_whose_address_a_neighbour_sees(hairpin: Hairpin) -> None:
    behaviour = replace(presets.full_cone(), hairpin=hairpin)
    net = shared_nat(1, behaviour)
    server = echo(net.public[0])
    first, second = net.site.hosts
    at_first, socket_1 = sender(first, 4001)
    at_second, socket_2 = sender(second, 4002)
    for host, machine, socket in ((first, at_first, socket_1), (second, at_second, socket_2)):
        host.call(machine.send, socket, server)
    net.world.run_for(1)
    public_ip = behaviour and net.site.nat and net.site.nat.public_ips[0]
    assert public_ip

    first.call(at_first.send, socket_1, SocketAddr(public_ip, 4002), b"neighbour")
    net.world.run_for(1)

    seen = [source for _, source, payload in second.events if payload == b"neighbour"]
    match hairpin:
        case Hairpin.NONE:
            assert seen == []
            assert net.world.trace.drops == {("home-nat", Drop.NO_HAIRPIN): 1}
        case Hairpin.INTERNAL_SOURCE:
            assert seen == [SocketAddr(first.ip, 4001)]
        case Hairpin.EXTERNAL_SOURCE:
            assert seen == [SocketAddr(public_ip, 4001)]


@pytest.mark.spec("NETSIM-11")
def test_hairpinned_packets_pass_the_filter_like_all_others() -> None:
    net = shared_nat(1, replace(presets.home(), hairpin=Hairpin.EXTERNAL_SOURCE))
    first, second = net.site.hosts
    assert net.site.nat is not None
    public_ip = net.site.nat.public_ips[0]
    at_first, socket_1 = sender(first, 4001)
    at_second, socket_2 = sender(second, 4002)

    first.call(at_first.send, socket_1, SocketAddr(public_ip, 4002))
    second.call(at_second.send, socket_2, SocketAddr(public_ip, 4001))
    first.call(at_first.send, socket_1, SocketAddr(public_ip, 4002))
    net.world.run_for(1)

    assert net.world.trace.drops == {("home-nat", Drop.NO_MAPPING): 1}
    assert sources(first) == [SocketAddr(public_ip, 4002)]
    assert sources(second) == [SocketAddr(public_ip, 4001)]


def test_neighbours_reach_each_other_on_the_lan_without_the_box() -> None:
    net = shared_nat(1, presets.home())
    first, second = net.site.hosts
    sender(second, 4002)
    machine, socket = sender(first, 4001)

    first.call(machine.send, socket, SocketAddr(second.ip, 4002))
    net.world.run_for(1)

    assert sources(second) == [SocketAddr(first.ip, 4001)]


def test_boxes_stack() -> None:
    net = double_nat_pair(1, presets.home(), presets.corporate())

    seen = reflexive(net)

    assert net.site_a.nat is not None
    assert net.site_a.nat.public_ips[0].startswith("100.64.")
    assert not seen.ip.startswith("100.64.")
    assert payloads(net.a) == [str(seen).encode()]


@pytest.mark.parametrize(
    ("ttl", "dies_at"), [(1, "a-nat"), (2, "internet"), (9, "internet"), (10, "b-nat"), (11, None)]
)
def test_a_low_hop_limit_opens_our_own_box_without_reaching_the_other(
    ttl: int, dies_at: str | None
) -> None:
    net = nat_pair(1, presets.home(), presets.full_cone())
    server = echo(net.public[0])
    at_b, socket_b = sender(net.b, 4002)
    net.b.call(at_b.send, socket_b, server)
    at_a, socket_a = sender(net.a, 4001)
    net.world.run_for(1)
    assert net.site_a.nat is not None
    assert net.site_b.nat is not None

    net.a.call(at_a.send, socket_a, SocketAddr(net.site_b.nat.public_ips[0], 4002), ttl=ttl)
    net.world.run_for(1)

    died = [where for where, reason in net.world.trace.drops if reason is Drop.TTL_EXPIRED]
    assert died == ([] if dies_at is None else [dies_at])
    is_open = bool(net.site_a.nat.table.mappings(net.world.now))
    assert is_open is (dies_at != "a-nat")


def test_ipv6_passes_untranslated_where_the_box_has_no_ipv6_address() -> None:
    site = SiteParams(nat=presets.home(), ipv6=True)
    net = pair(1, PairParams(a=site, b=site))
    address = net.b.stack.addresses()[1]
    socket_b = net.b.bind(4002, "::")
    _, socket_a = sender(net.a, 4001, "::")
    machine, _ = sender(net.a, 4002)
    sender(net.b, 4003)
    assert socket_b

    net.a.call(machine.send, socket_a, SocketAddr(address, 4002))
    net.world.run_for(1)

    assert sources(net.b) == [SocketAddr(net.a.stack.addresses()[1], 4001)]
