"""Lists of addresses hold some of protocols that nobody here knows: those go, the message stays."""

from collections.abc import Callable, Sequence

import pytest

from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.peer_record import CURRENT, open_peer_record_untrusted
from p2pnode.identity.signed_envelope import seal_envelope
from p2pnode.protocols.autonat.messages_v1 import DialV1, decode_message_v1_untrusted
from p2pnode.protocols.autonat.messages_v2 import DialRequest, decode_message_v2_untrusted
from p2pnode.protocols.dcutr.messages import Connect, decode_hole_punch_untrusted
from p2pnode.protocols.identify.messages import decode_identify_message_untrusted
from p2pnode.protocols.kad.messages import FIND_NODE, decode_answer_untrusted
from p2pnode.protocols.relay.messages import HopStatus, Status, decode_hop_untrusted
from p2pnode.wire.multiaddr import Multiaddr, parse_multiaddr
from p2pnode.wire.pb import (
    autonat_v1_pb2,
    autonat_v2_pb2,
    dcutr_pb2,
    envelope_pb2,
    identify_pb2,
    kad_pb2,
    relay_pb2,
)
from p2pnode.wire.varint import encode_uvarint
from tests.support.identities import peer_id

KEY, THEM = PrivateKey(bytes(32)), peer_id("them")
HOST = parse_multiaddr("/ip4/7.0.0.1/tcp/443").to_bytes()
GOOD = [
    parse_multiaddr("/ip4/7.0.0.1/tcp/4001"),
    parse_multiaddr("/ip4/7.0.0.1/udp/4001/quic-v1"),
]
UNKNOWN = [
    HOST + encode_uvarint(481) + b"\x04/api",  # http-path, as go-libp2p's HTTP peers tell
    HOST + encode_uvarint(480),  # http
    HOST + encode_uvarint(0x3F_FFFF),  # whatever comes
    encode_uvarint(444) + bytes(10),  # onion
    HOST[:-1],
    b"",
]


def identify(raw: Sequence[bytes]) -> tuple[Multiaddr | None, ...]:
    message = identify_pb2.Identify(listenAddrs=raw, observedAddr=raw[0])
    return decode_identify_message_untrusted([message.SerializeToString()]).listen_addrs


def record(raw: Sequence[bytes]) -> tuple[Multiaddr | None, ...]:
    infos = [envelope_pb2.AddressInfo(multiaddr=each).SerializeToString() for each in raw]
    own = PeerId.from_public_key(KEY.public_key).multihash
    payload = envelope_pb2.PeerRecord(peer_id=own, seq=1, addresses=infos).SerializeToString()
    envelope = seal_envelope(
        KEY, domain=CURRENT.domain, payload_type=CURRENT.payload_type, payload=payload
    )
    return open_peer_record_untrusted(envelope).addrs


def kad(raw: Sequence[bytes]) -> tuple[Multiaddr | None, ...]:
    peer = kad_pb2.KadPeer(id=THEM.multihash, addrs=raw).SerializeToString()
    answer = kad_pb2.Kad(type=FIND_NODE, closerPeers=[peer]).SerializeToString()
    (found,) = decode_answer_untrusted(answer)
    return found.addrs


def dcutr(raw: Sequence[bytes]) -> tuple[Multiaddr | None, ...]:
    message = dcutr_pb2.HolePunch(type=100, ObsAddrs=raw)
    found = decode_hole_punch_untrusted(message.SerializeToString())
    assert isinstance(found, Connect)
    return found.addrs


def reservation(raw: Sequence[bytes]) -> tuple[Multiaddr | None, ...]:
    held = relay_pb2.Reservation(expire=1, addrs=raw).SerializeToString()
    message = relay_pb2.HopMessage(type=2, reservation=held, status=Status.OK)
    found = decode_hop_untrusted(message.SerializeToString())
    assert isinstance(found, HopStatus)
    assert found.reservation is not None
    return found.reservation.addrs


def autonat_v1(raw: Sequence[bytes]) -> tuple[Multiaddr | None, ...]:
    peer = autonat_v1_pb2.AutonatV1PeerInfo(id=THEM.to_bytes(), addrs=raw).SerializeToString()
    dial = autonat_v1_pb2.AutonatV1Dial(peer=peer).SerializeToString()
    message = autonat_v1_pb2.AutonatV1(type=0, dial=dial)
    found = decode_message_v1_untrusted(message.SerializeToString())
    assert isinstance(found, DialV1)
    return found.addrs


def autonat_v2(raw: Sequence[bytes]) -> tuple[Multiaddr | None, ...]:
    request = autonat_v2_pb2.AutonatV2DialRequest(addrs=raw, nonce=1).SerializeToString()
    message = autonat_v2_pb2.AutonatV2(dialRequest=request)
    found = decode_message_v2_untrusted(message.SerializeToString())
    assert isinstance(found, DialRequest)
    return found.addrs


MESSAGES = [identify, record, kad, dcutr, reservation, autonat_v1, autonat_v2]


@pytest.mark.spec("SWARM-41")
@pytest.mark.parametrize("message", MESSAGES)
def test_unknown_addresses_are_skipped_and_the_others_count(
    message: Callable[[Sequence[bytes]], tuple[Multiaddr | None, ...]],
) -> None:
    good = [address.to_bytes() for address in GOOD]
    found = message([UNKNOWN[0], good[0], *UNKNOWN[1:], good[1]])
    assert [address for address in found if address is not None] == GOOD
