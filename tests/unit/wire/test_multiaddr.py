"""Multiaddrs: what is read, what is refused, and how they are taken apart."""

import pytest

from p2pnode.errors import AddressError, DecodeError
from p2pnode.wire.ip_ranges import IpScope
from p2pnode.wire.multiaddr import (
    MAX_MULTIADDR_SIZE,
    Code,
    Component,
    Multiaddr,
    components,
    concat,
    decode_multiaddr_untrusted,
    is_relayed,
    join_components,
    multiaddr_scope,
    parse_multiaddr,
    split_last_peer,
    without_zone,
)

ID = "12D3KooWD3eckifWpRn9wQpMG9papRXwE2F1dbivbMe4CriodYKU"
ID_AS_CID = "bafzaajaiaejcal72gwuz2or47oyxxn6b3tkwdmmkrxgkjxzy3rqt5kczyn7lcm3l"
NOISE = "/ip4/1.2.3.4/udp/4001/noise"


@pytest.mark.parametrize(
    "text",
    [
        NOISE,
        f"{NOISE}/p2p/{ID}",
        "/ip6/2a00::1/udp/1/noise",
        "/ip6zone/eth0/ip6/fe80::1/udp/1/noise",
        "/dns4/example.com/udp/4001/noise",
        f"/ip4/1.2.3.4/udp/4001/quic-v1/p2p/{ID}/p2p-circuit/p2p/{ID}",
        "/ip4/1.2.3.4/tcp/443/tls/sni/example.com/ws",
    ],
)
def test_addresses_survive_text_and_bytes(text: str) -> None:
    address = parse_multiaddr(text)

    assert str(address) == text
    assert decode_multiaddr_untrusted(address.to_bytes()) == address


@pytest.mark.spec("IDENTITY-14")
@pytest.mark.parametrize("name", ["p2p", "ipfs"])
@pytest.mark.parametrize("written", [ID, ID_AS_CID])
def test_a_peer_id_inside_is_its_multihash_however_it_was_written(name: str, written: str) -> None:
    address = parse_multiaddr(f"{NOISE}/{name}/{written}")

    assert str(address) == f"{NOISE}/p2p/{ID}"
    rest, multihash = split_last_peer(address)
    assert str(rest) == NOISE
    assert multihash is not None
    assert multihash[:2] == b"\x00\x24"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "1.2.3.4:4001",
        "ip4/1.2.3.4/udp/1/noise",
        "/ip4/1.2.3.400/udp/1/noise",
        "/ip4/1.2.3.4/udp/65536/noise",
        "/ip4/1.2.3.4/udp",
        "/ip4/1.2.3.4/udp/ 1/noise",
        "/foo/bar",
        "/unix/tmp/socket",
        f"{NOISE}/p2p/nonsense",
        f"{NOISE}/p2p/zdj7WWeQ43G6JJvLWQWZpyHuAMq6uYWRjkBXFad11vE2LHhQ7",
        "/dns4/\x1b[31m/udp/1/noise",
        "/ip4/" * 2000,
        "/dns4/" + "a" * 3000 + "/udp/1",
    ],
)
def test_what_a_person_mistyped_is_an_address_error_with_a_sentence(text: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse_multiaddr(text)
    assert str(caught.value)


@pytest.mark.spec("IDENTITY-16")
@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"\x04\x01\x02\x03", "cut short"),
        (b"\x04\x01\x02\x03\x04\x91\x02\x01", "cut short"),
        (b"\x04\x01\x02\x03\x04\xff\xff\x7f", "unsupported protocol"),
        (b"\x04\x01\x02\x03\x04\x80", "varint"),
        (b"\x84\x00\x01\x02\x03\x04", "minimal"),
        (b"\xa5\x03\x02\x00\x02", "multihash"),
        (b"\xa5\x03\x22\x13\x20" + bytes(32), "neither"),
        (b"\x36\x03a/b", "malformed"),
        (b"\x2a\x03a/b\x29" + bytes(16), "malformed|ambiguous"),
        (b"\x36\x02\xff\xfe", "malformed"),
        (b"\x36\x00", "malformed"),
        (b"\xc6\x03" * MAX_MULTIADDR_SIZE, "above"),
    ],
)
def test_malformed_bytes_of_a_peer_are_a_decode_error(data: bytes, why: str) -> None:
    with pytest.raises(DecodeError, match=why):
        decode_multiaddr_untrusted(data)


def test_an_address_is_taken_apart_and_put_together() -> None:
    address = parse_multiaddr(NOISE)

    parts = components(address)

    assert parts == [
        Component(Code.IP4, b"\x01\x02\x03\x04"),
        Component(Code.UDP, b"\x0f\xa1"),
        Component(Code.NOISE, b""),
    ]
    assert join_components(parts) == address
    assert concat(address, parse_multiaddr("/p2p-circuit")) == parse_multiaddr(
        f"{NOISE}/p2p-circuit"
    )


def test_an_address_made_elsewhere_is_checked_when_it_is_used() -> None:
    with pytest.raises(AddressError):
        components(Multiaddr(b"\x04\x01"))


def test_only_a_circuit_is_relayed() -> None:
    assert is_relayed(parse_multiaddr(f"{NOISE}/p2p/{ID}/p2p-circuit"))
    assert not is_relayed(parse_multiaddr(f"{NOISE}/p2p/{ID}"))


def test_a_zone_can_be_cut_off() -> None:
    zoned = parse_multiaddr("/ip6zone/eth0/ip6/fe80::1/udp/1/noise")

    assert str(without_zone(zoned)) == "/ip6/fe80::1/udp/1/noise"
    assert without_zone(parse_multiaddr(NOISE)) == parse_multiaddr(NOISE)


@pytest.mark.parametrize(
    ("text", "scope"),
    [
        (NOISE, IpScope.PUBLIC),
        ("/ip6zone/2/ip6/fe80::1/udp/1/noise", IpScope.PRIVATE),
        ("/dns/localhost/udp/1/noise", IpScope.PRIVATE),
        (f"/ip4/127.0.0.1/udp/1/noise/p2p/{ID}/p2p-circuit", IpScope.LOOPBACK),
        ("/dnsaddr/bootstrap.libp2p.io", IpScope.PUBLIC),
        (f"/p2p/{ID}", None),
        ("/ip6zone/2", None),
    ],
)
def test_the_scope_is_that_of_the_first_host(text: str, scope: IpScope | None) -> None:
    assert multiaddr_scope(parse_multiaddr(text)) is scope
