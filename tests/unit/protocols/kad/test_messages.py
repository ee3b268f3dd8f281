"""FIND_NODE's codec: what is sent, and what is taken of what was sent."""

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.errors import DecodeError
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.peer_multiaddr import with_peer_id
from p2pnode.protocols.kad.messages import (
    MAX_ADDRS_PER_PEER,
    MAX_CLOSER_PEERS,
    MAX_KEY_SIZE,
    MAX_MESSAGE_SIZE,
    CloserPeer,
    ConnectionType,
    decode_answer_untrusted,
    decode_request_untrusted,
    encode_answer,
    encode_request,
)
from p2pnode.wire.framing import encode_frame
from p2pnode.wire.multiaddr import parse_multiaddr
from p2pnode.wire.pb import kad_pb2
from tests.support.identities import peer_id
from tests.support.spec_tables import block

ALICE, BOB, RELAY = peer_id("a"), peer_id("b"), peer_id("r")
DIRECT = parse_multiaddr("/ip4/1.2.3.4/udp/4001/noise")
RELAYED = parse_multiaddr(f"/ip4/1.2.3.4/udp/4001/noise/p2p/{RELAY}/p2p-circuit")
TWICE_RELAYED = parse_multiaddr(f"{RELAYED}/p2p/{BOB}/p2p-circuit")
INITIAL_WINDOW = 12_000  # bytes; RFC 9002 section 7.2, at 1,200 bytes a packet
ROOM_FOR_OTHERS = 1_500  # bytes; multistream-select, headers, identify
ZONED = parse_multiaddr("/ip6zone/eth0/ip6/fe80::1/udp/4001/noise")

peer_ids = st.binary(min_size=32, max_size=32).map(lambda digest: PeerId(b"\x12\x20" + digest))
closer_peers = st.builds(
    CloserPeer,
    peer_ids,
    st.lists(st.sampled_from([DIRECT, RELAYED]), max_size=2, unique=True).map(tuple),
    st.sampled_from(ConnectionType),
)


def answer_of(*peers: kad_pb2.KadPeer | bytes) -> bytes:
    raw = [p if isinstance(p, bytes) else p.SerializeToString() for p in peers]
    return kad_pb2.Kad(type=4, closerPeers=raw).SerializeToString()


def told(*addrs: bytes, owner: PeerId = ALICE) -> tuple[str, ...]:
    """Returns what is taken of a peer's addresses."""
    (peer,) = decode_answer_untrusted(answer_of(kad_pb2.KadPeer(id=owner.multihash, addrs=addrs)))
    return tuple(str(addr) for addr in peer.addrs)


@pytest.mark.spec("KAD-1")
def test_the_messages_are_those_of_the_spec() -> None:
    example = PeerId(b"\x12\x20" + bytes(range(32)))
    drawn = [
        bytes.fromhex(re.sub(r"#.*", "", message))
        for message in block("kad.md", "messages").strip().split("\n\n")
    ]

    assert drawn == [
        encode_frame(encode_request(example.multihash)),
        encode_frame(encode_answer([CloserPeer(example, (DIRECT,), ConnectionType.CONNECTED)])),
    ]


@pytest.mark.spec("KAD-1")
@given(st.lists(closer_peers, max_size=MAX_CLOSER_PEERS, unique_by=lambda peer: peer.peer_id))
def test_an_answer_is_decoded_to_what_was_encoded(peers: list[CloserPeer]) -> None:
    assert decode_answer_untrusted(encode_answer(peers)) == tuple(peers)


@pytest.mark.spec("KAD-1")
@given(st.binary(min_size=1, max_size=MAX_KEY_SIZE))
def test_a_request_is_decoded_to_what_was_encoded(key: bytes) -> None:
    assert decode_request_untrusted(encode_request(key)) == key


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_but_decode_error(data: bytes) -> None:
    for decode in (decode_request_untrusted, decode_answer_untrusted):
        with contextlib.suppress(DecodeError):
            decode(data)


@given(st.lists(st.binary(max_size=100), max_size=5), st.lists(st.binary(max_size=40), max_size=5))
def test_no_bytes_inside_of_an_answer_raise_anything(
    peers: list[bytes], addrs: list[bytes]
) -> None:
    known = kad_pb2.KadPeer(id=ALICE.multihash, addrs=addrs)

    decoded = decode_answer_untrusted(answer_of(*peers, known))

    assert ALICE in [peer.peer_id for peer in decoded]


@given(st.integers(0, 2000), st.randoms(use_true_random=False))
def test_a_damaged_message_raises_nothing_but_decode_error(position: int, rng) -> None:
    message = bytearray(encode_answer([CloserPeer(ALICE, (DIRECT, RELAYED))] * 5))
    message[position % len(message)] = rng.randrange(256)
    with contextlib.suppress(DecodeError):
        decode_answer_untrusted(bytes(message))


@pytest.mark.parametrize(
    "message",
    [
        kad_pb2.Kad(type=4),
        kad_pb2.Kad(type=4, key=bytes(MAX_KEY_SIZE + 1)),
        kad_pb2.Kad(type=1, key=b"key"),
        kad_pb2.Kad(key=b"key"),
    ],
    ids=["no key", "long key", "GET_VALUE", "PUT_VALUE"],
)
@pytest.mark.spec("KAD-2")
def test_any_other_request_is_malformed(message: kad_pb2.Kad) -> None:
    with pytest.raises(DecodeError):
        decode_request_untrusted(message.SerializeToString())


@pytest.mark.spec("KAD-2")
def test_an_answer_of_another_type_is_malformed() -> None:
    with pytest.raises(DecodeError, match="type 5"):
        decode_answer_untrusted(kad_pb2.Kad(type=5).SerializeToString())


@pytest.mark.spec("KAD-3")
def test_a_peer_or_an_address_that_does_not_parse_is_left_out() -> None:
    good = kad_pb2.KadPeer(id=ALICE.multihash, addrs=[b"\xff", DIRECT.to_bytes()], connection=7)
    bad = kad_pb2.KadPeer(id=b"nobody", addrs=[DIRECT.to_bytes()])

    decoded = decode_answer_untrusted(answer_of(b"\xff", bad, good))

    assert decoded == (CloserPeer(ALICE, (DIRECT,), ConnectionType.NOT_CONNECTED),)


@pytest.mark.spec("KAD-3")
def test_a_peer_that_is_named_twice_counts_once() -> None:
    first = kad_pb2.KadPeer(id=ALICE.multihash, addrs=[DIRECT.to_bytes()])
    second = kad_pb2.KadPeer(id=ALICE.multihash, addrs=[RELAYED.to_bytes()])

    assert decode_answer_untrusted(answer_of(first, second)) == (CloserPeer(ALICE, (DIRECT,)),)


@pytest.mark.spec("KAD-4")
def test_addresses_through_a_relay_are_taken_and_their_own_peer_id_is_cut_off() -> None:
    addrs = (RELAYED, with_peer_id(RELAYED, ALICE), with_peer_id(DIRECT, ALICE))

    assert told(*(addr.to_bytes() for addr in addrs)) == (str(RELAYED), str(DIRECT))


@pytest.mark.spec("KAD-4")
@pytest.mark.parametrize(
    "useless",
    [
        with_peer_id(DIRECT, BOB),
        with_peer_id(RELAYED, BOB),
        parse_multiaddr(f"/p2p/{ALICE}"),
        TWICE_RELAYED,
    ],
    ids=["another peer's", "another peer's behind a relay", "no host", "two relays"],
)
def test_an_address_that_cannot_be_the_peers_is_left_out(useless) -> None:
    assert told(useless.to_bytes(), DIRECT.to_bytes()) == (str(DIRECT),)


@pytest.mark.spec("KAD-5")
def test_only_as_many_peers_and_addresses_as_fit_are_sent() -> None:
    long_name = "a" * 60
    long = tuple(
        parse_multiaddr(f"/dns/{long_name}.{n}.example.org/udp/{n}/noise/p2p/{RELAY}/p2p-circuit")
        for n in range(MAX_ADDRS_PER_PEER)
    )
    ids = [PeerId(b"\x12\x20" + bytes([n] * 32)) for n in range(MAX_CLOSER_PEERS + 1)]

    message = encode_answer([CloserPeer(i, long, ConnectionType.CONNECTED) for i in ids])
    decoded = decode_answer_untrusted(message)

    assert len(message) <= min(MAX_MESSAGE_SIZE, INITIAL_WINDOW - ROOM_FOR_OTHERS)
    assert [peer.peer_id for peer in decoded] == ids[:MAX_CLOSER_PEERS]
    assert all(peer.addrs == long[: len(peer.addrs)] and peer.addrs for peer in decoded)


@pytest.mark.spec("KAD-5")
def test_only_as_many_peers_and_addresses_as_an_answer_may_hold_are_looked_at() -> None:
    addr = DIRECT.to_bytes()
    bad = [kad_pb2.KadPeer(id=b"nobody")] * MAX_CLOSER_PEERS
    late = kad_pb2.KadPeer(id=BOB.multihash, addrs=[addr])

    assert decode_answer_untrusted(answer_of(*bad, late)) == ()
    assert told(*[b"\xff"] * MAX_ADDRS_PER_PEER, addr) == ()


def test_a_zone_stays_on_this_machine() -> None:
    (peer,) = decode_answer_untrusted(encode_answer([CloserPeer(ALICE, (ZONED,))]))

    assert [str(addr) for addr in peer.addrs] == ["/ip6/fe80::1/udp/4001/noise"]
