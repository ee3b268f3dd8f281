"""Which addresses a server dials, and on which terms."""

import pytest

from p2pnode.machine import SocketAddr
from p2pnode.protocols.autonat.dialable import (
    Asker,
    DialAbility,
    Refusal,
    choose_v1,
    choose_v2,
    probe_target,
    refusal,
)
from tests.support.addresses import NOISE_UDP, QUIC_V1, TCP
from tests.support.autonat import (
    ABILITY,
    ALICE,
    ASKER,
    OTHER_IP,
    PRIVATE_IP,
    RELAYED,
    SAME_IP,
    addr,
)
from tests.support.identities import peer_id

BOB = peer_id("b")


@pytest.mark.spec("AUTONAT-21")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/ip4/1.2.3.4/udp/4001/noise", None),
        (f"/ip4/1.2.3.4/udp/4001/noise/p2p/{ALICE}", None),
        ("/ip6/2a00::1/udp/4001/noise", None),
        (f"/ip4/1.2.3.4/udp/4001/noise/p2p/{BOB}", Refusal.OTHER_PEER),
        (f"/ip4/1.2.3.4/udp/4001/noise/p2p/{BOB}/p2p-circuit", Refusal.RELAYED),
        (f"/ip4/1.2.3.4/udp/4001/noise/p2p/{BOB}/p2p-circuit/p2p/{ALICE}", Refusal.RELAYED),
        ("/ip4/10.0.0.1/udp/4001/noise", Refusal.NOT_PUBLIC),
        ("/ip4/192.168.1.1/udp/4001/noise", Refusal.NOT_PUBLIC),
        ("/ip4/172.16.0.1/udp/4001/noise", Refusal.NOT_PUBLIC),
        ("/ip4/100.64.0.1/udp/4001/noise", Refusal.NOT_PUBLIC),
        ("/ip4/127.0.0.1/udp/4001/noise", Refusal.NOT_PUBLIC),
        ("/ip4/169.254.1.1/udp/4001/noise", Refusal.NOT_PUBLIC),
        ("/ip4/224.0.0.1/udp/4001/noise", Refusal.NOT_PUBLIC),
        ("/ip4/255.255.255.255/udp/4001/noise", Refusal.NOT_PUBLIC),
        ("/ip4/203.0.113.1/udp/4001/noise", Refusal.NOT_PUBLIC),
        ("/ip6/fe80::1/udp/4001/noise", Refusal.NOT_PUBLIC),
        ("/ip6/::ffff:1.2.3.4/udp/4001/noise", Refusal.NOT_PUBLIC),
        ("/ip6/64:ff9b::a00:1/udp/4001/noise", Refusal.TRANSLATOR),
        ("/ip6zone/eth0/ip6/fe80::1/udp/4001/noise", Refusal.NO_IP),
        ("/dns4/example.com/udp/4001/noise", Refusal.NO_IP),
        ("/ip4/9.9.9.9/udp/4001/noise", Refusal.OWN),
        ("/ip4/1.2.3.4/tcp/4001", Refusal.TRANSPORT),
        ("/ip4/1.2.3.4/udp/4001/quic-v1", Refusal.TRANSPORT),
        ("/ip4/1.2.3.4/udp/0/noise", Refusal.TRANSPORT),
        ("/ip4/1.2.3.4", Refusal.TRANSPORT),
    ],
)
def test_only_what_is_public_and_can_be_dialled_is_dialled(
    text: str, expected: Refusal | None
) -> None:
    assert refusal(addr(text), ASKER, ABILITY) is expected


@pytest.mark.spec("AUTONAT-21")
def test_a_node_without_ipv6_does_not_promise_to_dial_it() -> None:
    only_v4 = DialAbility((NOISE_UDP,), ipv6=False)

    assert refusal(addr("/ip6/2a00::1/udp/1/noise"), ASKER, only_v4) is Refusal.FAMILY
    assert refusal(SAME_IP, ASKER, DialAbility((NOISE_UDP,), ipv4=False)) is Refusal.FAMILY


@pytest.mark.spec("AUTONAT-21")
def test_the_transports_that_a_server_dials_are_told_to_it() -> None:
    quic, tcp = addr("/ip4/1.2.3.4/udp/4001/quic-v1"), addr(f"/ip4/1.2.3.4/tcp/4001/p2p/{ALICE}")
    ability = DialAbility((QUIC_V1, TCP))

    assert refusal(quic, ASKER, ability) is None
    assert refusal(tcp, ASKER, ability) is None
    assert refusal(addr("/ip4/1.2.3.4/tcp/4001/ws"), ASKER, ability) is Refusal.TRANSPORT
    assert refusal(SAME_IP, ASKER, ability) is Refusal.TRANSPORT


@pytest.mark.spec("AUTONAT-2")
def test_v1_dials_the_observed_address_by_the_transport_of_the_request() -> None:
    by_quic = Asker(ALICE, ASKER.observed, QUIC_V1)

    chosen = choose_v1((SAME_IP,), by_quic, DialAbility((NOISE_UDP, QUIC_V1)))
    assert chosen == (addr("/ip4/1.2.3.4/udp/4001/quic-v1"), SAME_IP)
    assert choose_v1((), by_quic, ABILITY) == ()


@pytest.mark.spec("AUTONAT-43")
def test_a_probe_tries_ports_of_udp_only() -> None:
    assert probe_target(SAME_IP) == SocketAddr("1.2.3.4", 4001)
    assert probe_target(addr("/ip6/2a00::1/udp/1/quic-v1")) == SocketAddr("2a00::1", 1)
    assert probe_target(addr("/ip4/1.2.3.4/tcp/4001")) is None
    assert probe_target(addr("/dns4/example.com/udp/1/noise")) is None


@pytest.mark.spec("AUTONAT-4")
def test_the_first_dialable_address_is_chosen_and_keeps_its_index() -> None:
    chosen = choose_v2((None, PRIVATE_IP, OTHER_IP, SAME_IP), ASKER, ABILITY)

    assert chosen is not None
    assert (chosen.index, chosen.address, chosen.needs_dial_data) == (2, OTHER_IP, True)
    assert choose_v2((None, PRIVATE_IP), ASKER, ABILITY) is None


def test_the_observed_ip_needs_no_dial_data_whatever_the_port() -> None:
    chosen = choose_v2((addr("/ip4/1.2.3.4/udp/9/noise"),), ASKER, ABILITY)

    assert chosen is not None
    assert not chosen.needs_dial_data


@pytest.mark.spec("AUTONAT-2")
def test_v1_dials_the_observed_ip_only_and_the_observed_address_first() -> None:
    asked = (
        addr("/ip4/10.0.0.7/udp/5000/noise"),
        addr("/ip4/5.6.7.8/udp/6000/noise"),
        addr("/ip6/2a00::1/udp/7000/noise"),
        addr("/ip4/1.2.3.4/tcp/80"),
        addr(f"/ip4/1.2.3.4/udp/1/noise/p2p/{BOB}/p2p-circuit"),
    )

    assert choose_v1(asked, ASKER, ABILITY) == (
        SAME_IP,
        addr("/ip4/1.2.3.4/udp/5000/noise"),
        addr("/ip4/1.2.3.4/udp/6000/noise"),
    )
    assert (
        len(choose_v1([addr(f"/ip4/1.1.1.1/udp/{n}/noise") for n in range(1, 99)], ASKER, ABILITY))
        == 17
    )


@pytest.mark.spec("AUTONAT-22")
def test_v1_dials_nothing_over_a_relay_or_into_a_private_network() -> None:
    at_home = Asker(ALICE, SocketAddr("192.168.1.7", 4001), NOISE_UDP)

    assert choose_v1((SAME_IP,), RELAYED, ABILITY) == ()
    assert choose_v1((SAME_IP,), at_home, ABILITY) == ()
