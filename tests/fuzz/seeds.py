"""What good input looks like, for each target: fuzzers find little when they begin with nothing."""

from typing import Final

from p2pnode.identity.peer_record import seal_peer_record
from p2pnode.noise.payload import make_payload
from p2pnode.protocols.autonat import delegated_messages as dial_back
from p2pnode.protocols.autonat.messages_v1 import DialResponseV1, DialV1, encode_message_v1
from p2pnode.protocols.autonat.messages_v2 import (
    DialDataRequest,
    DialRequest,
    DialResponse,
    encode_message_v2,
)
from p2pnode.protocols.dcutr.messages import Connect, Sync, encode_hole_punch
from p2pnode.protocols.file_transfer.messages import (
    Digest,
    Offer,
    Reply,
    TransferStatus,
    encode_digest,
    encode_offer,
    encode_reply,
)
from p2pnode.protocols.identify.messages import IdentifyMessage, encode_identify_frames
from p2pnode.protocols.kad import messages as kad
from p2pnode.protocols.nat_behaviour import messages as nat
from p2pnode.protocols.relay import seal_voucher
from p2pnode.protocols.relay.messages import (
    HopStatus,
    Limit,
    Reservation,
    StopConnect,
    encode_hop,
    encode_stop,
)
from p2pnode.transports.delivery import frame as stream_frame
from p2pnode.transports.noise_udp import frame
from p2pnode.transports.noise_udp.packet import (
    FinalMessage,
    Initial,
    Retry,
    VersionNegotiation,
    stateless_reset,
)
from p2pnode.transports.noise_udp.token import ADDRESS_LIFETIME, TokenIssuer
from p2pnode.transports.quic_v1 import frame as quic_frame
from p2pnode.transports.quic_v1 import packet as quic_packet
from p2pnode.transports.quic_v1.parameters import TransportParameters
from p2pnode.wire.framing import encode_frame
from p2pnode.wire.multiaddr import parse_multiaddr
from p2pnode.wire.multistream.messages import encode_message
from tests.fuzz.relays import WORDS
from tests.support.certificates import Made
from tests.support.identities import peer_id, private_key
from tests.support.noise_udp import CLIENT, parameters

ADDRESS: Final = parse_multiaddr(f"/ip4/192.0.2.1/udp/4001/noise/p2p/{peer_id('a')}")
ADDRESS6: Final = parse_multiaddr("/ip6/2001:db8::1/udp/4001/noise")
IDENTIFY: Final = IdentifyMessage(
    public_key=private_key("a").public_key,
    listen_addrs=(ADDRESS, ADDRESS6),
    protocols=("/a", "/b"),
    observed_addr=ADDRESS6,
    protocol_version="p2pnode",
    agent_version="test",
    signed_peer_record=None,
)
VOUCHER: Final = seal_voucher(private_key("a"), peer_id("a"), 1 << 32).encode()
FRAMES: Final = [
    frame.encode_ack(stream_frame.Ack(0, 100, ((7, 9), (0, 3)), (1, 2, 3))),
    stream_frame.stream_header(0, 0, False, 5) + b"hello",
    stream_frame.stream_header(4, 70, True, None) + b"x",
    stream_frame.ResetStream(0, 1, 2).encode() + stream_frame.StopSending(0, 1).encode(),
    frame.NewConnectionId(1, 0, 0, bytes(8), bytes(16)).encode(),
    frame.RetireConnectionId(0, 0).encode() + frame.MaxPathId(9).encode(),
    frame.PathChallenge(bytes(8)).encode() + frame.PathResponse(bytes(8)).encode(),
    frame.PathAbandon(1, 0).encode() + frame.PathStatus(0, 1, False).encode(),
    frame.ObservedAddress(0, 0, CLIENT).encode() + frame.AckFrequency(1, 10, 9000).encode(),
    stream_frame.MaxData(1 << 30).encode() + stream_frame.MaxStreamData(0, 9).encode(),
    stream_frame.MaxStreams(99).encode()
    + frame.ImmediateAck().encode()
    + frame.Datagram(b"d").encode(),
    frame.ConnectionClose(1, 2, "reason", False).encode(),
    frame.HandshakeDone().encode() + frame.NewToken(b"token").encode(),
]
# An action, its size and the frames: see `act_as_peer`.
TALK: Final = b"\0" + b"".join(b"\x07" + bytes([len(each)]) + each for each in FRAMES)

# Peer, action and its choices: see `swarms._Scene.act`.
ANSWERS: Final = b"".join(bytes([peer, 4, peer, 2]) + b"\1\0\1\1" * 4 for peer in range(3))
DIALOGUES: Final = b"".join(bytes([0, 1, protocol, 0, 1]) for protocol in range(16)) + ANSWERS
RELAYED: Final = (
    b"\0\1\x0b\0\1\2\1\x0b\0\1"  # two reserve
    + b"\0\1\x0d\2\1\2\2\0\x0d\3\1"  # one asks for a circuit to the other, which answers
    + b"\0\5\0\0\0\0" + bytes(60)
    + b"\0\x08\1\0\6" + ANSWERS + b"\0\0\x20" + ANSWERS  # the user dials through a peer
)  # fmt: skip
SERVED: Final = (
    b"\1\6\xff" + b"\1\7\0\0" * 4  # as much is provoked as may be; then circuits, as paths
    + b"".join(bytes([1, 7, 0, 1, kind]) for kind in range(13)) + ANSWERS
)  # fmt: skip
COMMANDS: Final = b"".join(bytes([n % 3, 8, 1, n, n]) for n in range(23)) + ANSWERS

QUIC_IDS: Final = b"8 bytes!", b"source"
QUIC_PACKETS: Final = [
    quic_packet.long_header(kind, *QUIC_IDS, 1, 2, 40, token) + bytes(56)
    for kind, token in (
        (quic_packet.PacketType.INITIAL, b"token"),
        (quic_packet.PacketType.HANDSHAKE, b""),
        (quic_packet.PacketType.ZERO_RTT, b""),
    )
] + [quic_packet.short_header(QUIC_IDS[0], 1, 2, 1) + bytes(40)]

SEEDS: Final[dict[str, list[bytes]]] = {
    "authenticated_peer": [TALK, b"\1" + TALK[1:]],
    "autonat": [
        encode_message_v1(DialV1(peer_id("a"), (ADDRESS,))),
        encode_frame(encode_message_v1(DialResponseV1(0, "text", ADDRESS))),
        encode_message_v2(DialRequest((ADDRESS, ADDRESS6), 1)),
        encode_frame(encode_message_v2(DialDataRequest(0, 300)))
        + encode_frame(encode_message_v2(DialResponse(200, 0, 200))),
        dial_back.encode_delegated_message(dial_back.Ask(ADDRESS)),
        dial_back.encode_delegated_message(dial_back.DialBackOffer(("192.0.2.1", "2001:db8::1"))),
        dial_back.encode_delegated_message(dial_back.Choice((bytes(16), None))),
        dial_back.encode_order(dial_back.Order(ADDRESS, bytes(16), bytes(32), "192.0.2.1")),
    ],
    "circuits": [
        b"\x00\x10" + b"\x00\x00" + bytes(7) + b"\x01\x00" + bytes(7),
        b"\x00\x20" + b"\x02\x01" + bytes(31) + b"\x01\x03" + bytes(40),
    ],
    "control": [b'{"op": "ping", "target": "x", "count": 1, "interval": 1.0}'],
    "dcutr": [
        encode_frame(encode_hole_punch(Connect((ADDRESS, ADDRESS6))))
        + encode_frame(encode_hole_punch(Sync())),
        encode_hole_punch(Connect((ADDRESS,))),
    ],
    "endpoint": [bytes(range(256)), bytes(range(255, 0, -1))],
    "file_transfer": [
        encode_offer(Offer("name", 5)),
        encode_reply(Reply(TransferStatus.OK, "")),
        encode_digest(Digest(bytes(32))),
    ],
    "frames": FRAMES,
    "framing": [b"\x06\x05hello\x04\x03abc"],
    "handshake": [bytes(8), b"\x05token\x01\x00\x30\x02\x01"],
    "identify": [encode_identify_frames(IDENTIFY)],
    "identity": [
        private_key("a").public_key.encode(),
        peer_id("a").to_bytes(),
        seal_peer_record(private_key("a"), [ADDRESS], 1).encode(),
    ],
    "kad": [
        kad.encode_request(peer_id("a").multihash),
        kad.encode_answer([kad.CloserPeer(peer_id("b"), (ADDRESS6,))]),
        encode_frame(kad.encode_request(peer_id("a").multihash)),
        encode_frame(kad.encode_answer([kad.CloserPeer(peer_id("b"), (ADDRESS6,))])),
    ],
    "multiaddr": [ADDRESS.to_bytes(), ADDRESS6.to_bytes()],
    "multistream": [b"".join(map(encode_message, ("/multistream/1.0.0", "/a", "na")))],
    "nat_behaviour": [
        nat.encode_request(nat.KnockRequest(4001, bytes(32))),
        nat.encode_request(nat.ReportRequest()),
        encode_frame(nat.encode_request(nat.LocateRequest(bytes(32)))),
        nat.encode_answer(nat.NatAnswer(nat.NatStatus.OK, seen_at=CLIENT)),
    ],
    "noise": [make_payload(private_key("a"), bytes(32)).encode()],
    "packets": [
        Initial(1, 1, 1, 2, b"token", bytes(40)).encode()[:80],
        FinalMessage(1, bytes(40)).encode(),
        Retry(1, b"token").encode(),
        VersionNegotiation(1, (1, 2)).encode(),
        stateless_reset(1, bytes(16)),
    ],
    "parameters": [parameters(1).encode()],
    "ping": [bytes(64)],
    "quic_certificate": [
        Made().encode(),
        Made(is_critical=True).encode(),
        b"\x30\x2e\x04\x24" + private_key("a").public_key.encode() + b"\x04\x06signed",
    ],
    "quic_frames": [
        quic_frame.encode_ack(stream_frame.Ack(0, 100, ((7, 9), (0, 3)), (1, 2, 3))),
        quic_frame.Crypto(70, b"message").encode() + quic_frame.Ping().encode(),
        stream_frame.stream_header(4, 70, True, 1) + b"x" + stream_frame.MaxStreams(9).encode(),
        quic_frame.NewConnectionId(1, 0, bytes(8), bytes(16)).encode()
        + quic_frame.RetireConnectionId(0).encode(),
        quic_frame.PathChallenge(bytes(8)).encode() + quic_frame.PathResponse(bytes(8)).encode(),
        quic_frame.ConnectionClose(1, 2, "reason", False).encode()
        + quic_frame.NewToken(b"token").encode(),
    ],
    "quic_packets": [
        *QUIC_PACKETS,
        b"".join(QUIC_PACKETS),
        quic_packet.encode_retry(*QUIC_IDS, b"token", b"original"),
        quic_packet.encode_version_negotiation(quic_packet.Invariants(7, *QUIC_IDS, 0), 0),
    ],
    "quic_parameters": [
        TransportParameters(initial_source=b"source").encode(),
        TransportParameters(
            initial_source=b"",
            original_destination=bytes(8),
            reset_token=bytes(16),
            initial_max_streams_bidi=256,
            is_migration_disabled=True,
        ).encode(),
    ],
    "quic_tls": [b"\1\3\0\0\5" * 8, b"\x01\x00\x00\x20" + bytes(32), b"\0\0\1" + bytes(20)],
    "relay": [encode_frame(word) for word in WORDS]
    + [
        encode_hop(HopStatus(100, Reservation(2 << 31, (ADDRESS6,), VOUCHER), Limit(1, 2))),
        encode_stop(StopConnect(peer_id("a"), Limit(1, 2))),
        VOUCHER,
    ],
    "relay_server": [
        # reservations of two peers, a circuit between them and packets on it: see `_Relay.act`
        b"\x00\x00\x00"
        + b"\x00\x02\x00\x00\x00"
        + b"\x01\x00\x00"
        + b"\x01\x02\x00\x00\x00"
        + b"\x00\x00\x01"
        + b"\x00\x02\x00\x05\x00"
        + b"\x00\x02\x01\x07\x00"
        + b"\x00\x05\x00\x10"
        + bytes(16)
        + b"\x00\x18"
        + b"\x00\x06\x01",
        b"\x02\x00\x00" + b"\x00\x02\x00\x00\x00" + b"\x00\x04\x00\x01" + b"\x02\x07\x00",
    ],
    "swarm": [DIALOGUES, RELAYED, SERVED, COMMANDS],
    "tcp": [
        bytes([1, 0, 0, 5, 0, 0, 1, 1, 1, 0, 0]) * 8,
        bytes([0, 1, 1, 0, 2, 1, 1, 1, 1, 7, 40]) + b"\x13/multistream/1.0.0\n\x07/noise\n",
        bytes([4, 0, 1, 1, 0, 3, 1, 0, 0, 4, 9, 9, 2, 0, 1, 3, 3, 0]) * 4,
    ],
    "text": [str(ADDRESS).encode(), str(ADDRESS6).encode(), str(peer_id("a")).encode()],
    "token": [TokenIssuer(bytes(32)).address_token(CLIENT, 1.7e9 - ADDRESS_LIFETIME - 1)],
    "upgrade": [
        b"".join(map(encode_message, ("/multistream/1.0.0", "/noise"))) + b"\0\x20" + bytes(32),
        b"".join(map(encode_message, ("/multistream/1.0.0", "/tls/1.0.0", "na"))),
    ],
    "wire_varint": [b"\x80\x01", b"\x40\x25"],
    "yamux": [
        # the peer opens stream 1, sends and ends; it is read, answered and reset
        b"\x01"
        + b"\x01\x01\x01\x01\x01\x00\x00"
        + b"\x01\x01\x00\x04\x01\x00\x10"
        + b"\x01\x06\x01\x03\x00\x40"
        + b"\x01\x06\x01\x01\x40\x00"
        + b"\x01\x05\x03"
        + b"\x01\x06\x01\x02"
        + b"\x01\x01\x01\x08\x01\x00\x07",
        # bytes as they come: a header in two parts, and a ping that is not answered
        b"\x01" + b"\x00\x00\x06\x00\x02\x00\x01\x00\x00" + b"\x00\x00\x06\x00\x00\x00\x00\x00\x07"
        b"\xff\x04" + b"\xff\x04" * 16,
    ],
}

FOUND: Final[dict[str, list[bytes]]] = {
    # A stream of a connection that was closed for a violation raised what is no ConnectionLost.
    "swarm": [
        bytes.fromhex("b199ed83422d38676f4dd6e318abdbec5679856983dbe6f2e722a17d409e80000896d1")
    ],
    # An IPv6 zone with control characters was taken, and its text was not an address.
    "multiaddr": [bytes.fromhex("2a0440000f29")],
}
"""Inputs that a fuzzer has found to fail, since mended."""
