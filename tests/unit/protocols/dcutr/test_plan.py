"""What a round sends: strategies, addresses, budgets."""

import pytest

from p2pnode.identity.transport_addr import transport_multiaddr
from p2pnode.machine import SocketAddr
from p2pnode.protocols.dcutr.budget import (
    PEER_PACKETS,
    TARGET_PACKETS,
    TOTAL_PACKETS,
    WINDOW,
    PunchBudget,
)
from p2pnode.protocols.dcutr.plan import (
    BURST,
    LAN_SHARE,
    MAX_PROBES_PER_ADDR,
    MAX_PUNCH_ADDRS,
    MAX_ROUNDS,
    OPENER_TTL,
    OPENING_BURST,
    ROUND_TIME,
    SAME_IP_SHARE,
    Role,
    Strategy,
    make_plan,
    make_reversal,
    on_this_machine,
    punchable,
    strategy_of,
)
from p2pnode.wire.multiaddr import Multiaddr, parse_multiaddr
from tests.support.addresses import NOISE_UDP, QUIC_V1, TCP, noise_udp_multiaddr
from tests.support.identities import peer_id
from tests.support.spec_tables import tables

INITIATOR, RESPONDER = Role.INITIATOR, Role.RESPONDER
BURSTS = {"BURST": BURST, "OPENING_BURST": OPENING_BURST}


def addr(ip: str, port: int = 4001) -> Multiaddr:
    return noise_udp_multiaddr(SocketAddr(ip, port))


OURS = (addr("9.9.9.9"), addr("192.168.1.5"))
ADDRS = tuple(addr(f"1.2.{i}.4") for i in range(MAX_PUNCH_ADDRS))


@pytest.mark.spec("DCUTR-5")
def test_the_rounds_are_the_specs() -> None:
    for row in tables("dcutr.md", "Rounds")[0]:
        number = int(row[0])
        assert strategy_of(number).value == row[1]
        assert make_plan(number, INITIATOR, ADDRS, 0.0).probes == BURSTS[row[2]]
        assert make_plan(number, RESPONDER, ADDRS, 0.0).probes == BURSTS[row[3]]
    assert len({strategy_of(number) for number in range(1, MAX_ROUNDS + 1)}) == MAX_ROUNDS
    assert strategy_of(MAX_ROUNDS + 1) is Strategy.PLAIN


@pytest.mark.spec("DCUTR-5")
def test_openers_die_early_and_leave_before_the_others_full_packets() -> None:
    openers = [probe for probe in OPENING_BURST if probe.ttl is not None]
    full = [probe for probe in OPENING_BURST if probe.ttl is None]
    assert [probe.ttl for probe in openers] == [OPENER_TTL] * 2
    assert openers[0].offset == BURST[0].offset == 0.0
    assert full[0].offset > openers[-1].offset
    assert all(probe.ttl is None for probe in BURST)


@pytest.mark.spec("DCUTR-6")
def test_the_third_round_swaps_who_is_client() -> None:
    roles = [
        (
            make_plan(n, INITIATOR, ADDRS, 0.0).is_client,
            make_plan(n, RESPONDER, ADDRS, 0.0).is_client,
        )
        for n in (1, 2, 3)
    ]
    assert roles == [(False, True), (False, True), (True, False)]


@pytest.mark.spec("DCUTR-7")
def test_a_plan_says_when_it_starts_and_when_it_has_failed() -> None:
    plan = make_plan(2, INITIATOR, ADDRS, 12.5)
    assert plan.start_at == 12.5
    assert plan.gives_up_at == 12.5 + ROUND_TIME
    assert max(probe.offset for probe in plan.probes) < ROUND_TIME


@pytest.mark.spec("DCUTR-11")
@pytest.mark.parametrize("role", [INITIATOR, RESPONDER])
def test_a_session_keeps_the_budget_of_an_address(role: Role) -> None:
    plans = [make_plan(number, role, ADDRS * 3, 0.0) for number in range(1, MAX_ROUNDS + 1)]
    assert sum(len(plan.probes) for plan in plans) == MAX_PROBES_PER_ADDR == 12
    assert {len(plan.addrs) for plan in plans} == {MAX_PUNCH_ADDRS} == {8}
    assert {plan.probe_size for plan in plans} == {100}
    assert plans[0].packets == 32


@pytest.mark.spec("DCUTR-8")
def test_a_reversal_is_full_packets_at_once() -> None:
    plan = make_reversal(ADDRS, 3.0)
    assert (plan.strategy, plan.start_at, plan.probes) == (Strategy.REVERSAL, 3.0, BURST)


@pytest.mark.spec("DCUTR-9")
def test_only_addresses_that_can_work_are_punched_and_both_ip_versions_get_room() -> None:
    theirs = [addr(f"1.1.1.{i}") for i in range(1, 10)] + [addr("2600::1"), addr("2600::2")]
    useless = [
        addr("127.0.0.1"),
        addr("0.0.0.0"),
        addr("224.0.0.1"),
        addr("fe80::1"),
        addr("169.254.1.1"),
        addr("1.1.1.1", 0),
        addr("9.9.9.9"),
        parse_multiaddr("/ip6zone/1/ip6/2600::9/udp/1/noise"),
        parse_multiaddr("/dns/example.com/udp/1/noise"),
        parse_multiaddr("/ip4/1.1.1.1/tcp/4001"),
        parse_multiaddr("/ip4/1.1.1.1/udp/4001/quic-v1"),
    ]
    chosen = punchable(useless + theirs + theirs, OURS, NOISE_UDP)

    assert len(chosen) == MAX_PUNCH_ADDRS
    assert chosen[:4] == (addr("2600::1"), addr("1.1.1.1"), addr("2600::2"), addr("1.1.1.2"))
    assert punchable(useless, OURS, NOISE_UDP) == ()
    assert punchable([addr("9.9.9.9", 4002)], OURS, NOISE_UDP) == (addr("9.9.9.9", 4002),)


@pytest.mark.spec("DCUTR-9")
def test_addresses_of_other_transports_are_not_punched_and_a_port_is_udps_or_tcps() -> None:
    at = SocketAddr("1.1.1.1", 4001)
    noise, quic, tcp = (transport_multiaddr(at, name) for name in (NOISE_UDP, QUIC_V1, TCP))

    assert punchable([tcp, quic, noise], OURS, NOISE_UDP) == (noise,)
    assert punchable([tcp, quic, noise], OURS, QUIC_V1) == (quic,)
    assert punchable([noise], [tcp], NOISE_UDP) == (noise,)
    assert punchable([noise], [quic], NOISE_UDP) == (), "that UDP port is our own"


@pytest.mark.spec("DCUTR-10")
def test_private_addresses_are_for_neighbours_only() -> None:
    private = [addr(f"192.168.1.{i}") for i in range(10, 20)]
    stranger = [addr("1.1.1.1"), *private]
    neighbour = [addr("9.9.9.9", 4002), *private]

    assert punchable(stranger, OURS, NOISE_UDP) == (addr("1.1.1.1"),)
    assert punchable(neighbour, OURS, NOISE_UDP) == (*private[:LAN_SHARE], addr("9.9.9.9", 4002))
    assert punchable(private, [addr("192.168.1.5")], NOISE_UDP) == tuple(private[:LAN_SHARE])


@pytest.mark.spec("DCUTR-16")
def test_on_this_machine_are_loopback_addresses_that_are_not_our_own() -> None:
    ours = [addr("127.0.0.1", 4001)]
    theirs = [addr("127.0.0.1", port) for port in range(4001, 4010)]
    elsewhere = [addr("192.168.0.2"), addr("9.9.9.9"), parse_multiaddr("/ip4/127.0.0.1/tcp/4001")]

    assert on_this_machine([*elsewhere, *theirs], ours, NOISE_UDP) == tuple(
        theirs[1 : 1 + LAN_SHARE]
    )
    assert on_this_machine([addr("::1"), *elsewhere], ours, NOISE_UDP) == (addr("::1"),)


@pytest.mark.spec("DCUTR-12")
def test_each_packet_is_paid_by_peer_target_and_node() -> None:
    budget = PunchBudget()
    plan = make_plan(1, RESPONDER, ADDRS, 0.0)
    for _ in range(3):  # a session
        assert budget.allow(peer_id("a"), plan, 0.0) == ADDRS
    assert budget.allow(peer_id("a"), plan, 0.0) == ()
    assert 3 * plan.packets == PEER_PACKETS
    other = make_plan(1, RESPONDER, (addr("5.5.5.5"),), 0.0)
    assert budget.allow(peer_id("a"), other, 0.0) == ()
    assert budget.allow(peer_id("b"), other, 0.0) == other.addrs
    assert budget.allow(peer_id("a"), plan, WINDOW) == ADDRS

    total = 0
    for index in range(100):
        target = tuple(addr(f"3.{index}.{i}.1") for i in range(8))
        plan = make_plan(1, RESPONDER, target, 0.0)
        total += 4 * len(PunchBudget.allow(budget, peer_id(index), plan, 1000.0))
    assert total == TOTAL_PACKETS


@pytest.mark.spec("DCUTR-12")
def test_many_peers_cannot_aim_at_one_target() -> None:
    budget = PunchBudget()
    sent = 0
    for index in range(50):
        # Another port, or another host of one IPv6 /64, is the same target.
        targets = (addr("1.2.3.4", 1000 + index), addr(f"2600:1:2:3::{index + 1:x}"))
        plan = make_plan(1, RESPONDER, targets, 0.0)
        sent += 4 * len(budget.allow(peer_id(index), plan, 0.0))
    assert sent == 2 * TARGET_PACKETS


@pytest.mark.spec("DCUTR-12")
def test_a_name_has_no_target_to_pay_and_is_not_punched() -> None:
    plan = make_plan(1, RESPONDER, (parse_multiaddr("/dns/a.b/udp/1/noise"),), 0.0)
    assert PunchBudget().allow(peer_id(0), plan, 0.0) == ()


@pytest.mark.spec("DCUTR-15")
def test_of_one_ip_few_ports_are_punched() -> None:
    told = tuple(noise_udp_multiaddr(SocketAddr("20.0.0.1", port)) for port in range(5001, 5009))
    other = noise_udp_multiaddr(SocketAddr("21.0.0.1", 4001))
    assert punchable((*told, other), (), NOISE_UDP) == (*told[:SAME_IP_SHARE], other)
