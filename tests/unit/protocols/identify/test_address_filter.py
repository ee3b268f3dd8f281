"""Which addresses go to whom, and which are believed."""

import pytest

from p2pnode.protocols.identify.address_filter import (
    MAX_OWN_ADDRS,
    addrs_to_accept,
    addrs_to_send,
    trim_addrs,
)
from p2pnode.swarm.address_book import MAX_ADDRESSES_PER_PEER
from p2pnode.swarm.dialer import MAX_ADDRESSES
from p2pnode.wire.multiaddr import parse_multiaddr
from tests.support.identities import peer_id

PUBLIC = parse_multiaddr("/ip4/1.2.3.4/udp/1/noise")
LAN = parse_multiaddr("/ip4/192.168.1.2/udp/1/noise")
LOOPBACK = parse_multiaddr("/ip4/127.0.0.1/udp/1/noise")
NOBODY = parse_multiaddr("/ip4/203.0.113.1/udp/1/noise")
NO_HOST = parse_multiaddr(f"/p2p/{peer_id('a')}")
ZONED = parse_multiaddr("/ip6zone/eth0/ip6/fe80::1/udp/1/noise")
LINK = parse_multiaddr("/ip6/fe80::1/udp/1/noise")
VIA_LAN = parse_multiaddr(f"/ip4/10.0.0.1/udp/1/noise/p2p/{peer_id('r')}/p2p-circuit")
ALL = (LOOPBACK, LAN, PUBLIC, NOBODY, NO_HOST, ZONED, LINK, VIA_LAN, PUBLIC)


@pytest.mark.spec("IDENTIFY-10")
@pytest.mark.parametrize("remote", ["8.8.8.8", "10.0.0.7", None])
def test_loopback_is_told_to_nobody_else(remote: str | None) -> None:
    assert addrs_to_send(ALL, remote) == (PUBLIC, LAN, LINK, VIA_LAN)


@pytest.mark.spec("IDENTIFY-10")
def test_in_a_lab_its_own_kind_of_addresses_is_told_and_believed() -> None:
    assert addrs_to_send(ALL, "198.18.0.1") == (PUBLIC, LAN, LINK, VIA_LAN, NOBODY)
    assert addrs_to_accept(ALL, "203.0.113.9") == (PUBLIC, NOBODY)


@pytest.mark.spec("IDENTIFY-10")
def test_on_one_machine_everything_is_told_and_believed() -> None:
    assert addrs_to_send(ALL, "127.0.0.1") == (PUBLIC, LAN, LINK, VIA_LAN, LOOPBACK)
    assert addrs_to_accept(ALL, "::1") == (LOOPBACK, LAN, PUBLIC, LINK, VIA_LAN)


@pytest.mark.spec("IDENTIFY-10")
@pytest.mark.parametrize(
    ("remote", "believed"),
    [
        ("192.168.1.9", (LAN, PUBLIC, LINK, VIA_LAN)),
        ("fe80::9", (LAN, PUBLIC, LINK, VIA_LAN)),
        ("8.8.8.8", (PUBLIC,)),
        (None, (PUBLIC,)),
    ],
)
def test_what_is_believed_depends_on_where_the_peer_is(
    remote: str | None, believed: tuple[object, ...]
) -> None:
    assert addrs_to_accept(ALL, remote) == believed


@pytest.mark.spec("IDENTIFY-11")
def test_the_best_addresses_survive_the_cut() -> None:
    via = f"noise/p2p/{peer_id('r')}/p2p-circuit/p2p/{peer_id('us')}" + f"/dns4/{60 * 'a'}.example"
    many = [parse_multiaddr(f"/ip4/10.0.0.1/udp/{i}/{via}") for i in range(1, 400)]
    quic = parse_multiaddr("/ip4/1.2.3.4/udp/1/quic-v1")
    tcp = parse_multiaddr("/ip4/1.2.3.4/tcp/1")
    other = parse_multiaddr("/dns4/example.com")

    kept = trim_addrs([*many, LOOPBACK, other, tcp, quic, PUBLIC])

    assert kept[:4] == (PUBLIC, quic, tcp, other)
    assert list(kept[4:]) == many[: len(kept) - 4]
    assert 3900 < sum(len(addr.to_bytes()) + 3 for addr in kept) <= 4096


@pytest.mark.spec("IDENTIFY-11")
def test_no_more_addresses_are_told_than_a_peer_keeps() -> None:
    many = [parse_multiaddr(f"/ip4/172.{i}.0.1/udp/1/noise") for i in range(16, 31)]
    more = [parse_multiaddr(f"/ip4/10.0.{i}.1/udp/1/noise") for i in range(60)]

    told = addrs_to_send([*many, *more, PUBLIC], "8.8.8.8")

    assert told == (PUBLIC, *many, *more)[:MAX_OWN_ADDRS]
    assert MAX_OWN_ADDRS == MAX_ADDRESSES == MAX_ADDRESSES_PER_PEER


@pytest.mark.spec("IDENTIFY-10")
@pytest.mark.parametrize("remote", ["203.0.113.9", "127.0.0.1", "10.0.0.7", "8.8.8.8", None])
@pytest.mark.parametrize(
    "host",
    ["ip4/224.0.0.1", "ip4/255.255.255.255", "ip4/0.0.0.0", "ip6/ff02::1", "ip6/::"],
)
def test_groups_everybody_and_nobody_are_never_believed(host: str, remote: str | None) -> None:
    told = parse_multiaddr(f"/{host}/udp/1/noise")
    behind = parse_multiaddr(f"{told}/p2p/{peer_id('r')}/p2p-circuit")
    assert addrs_to_accept([told, behind, PUBLIC], remote) == (PUBLIC,)
