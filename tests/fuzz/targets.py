"""Fuzz targets: each takes any bytes and fails where anything but the allowed exceptions comes out.

Decoders may raise DecodeError (of text: AddressError); machines may raise nothing at all.
"""

import contextlib
import json
from collections.abc import Callable
from typing import Final, TypeAlias

from p2pnode.clock import UnixTime
from p2pnode.errors import AddressError, DecodeError, HandshakeError
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.peer_multiaddr import split_peer_id
from p2pnode.identity.peer_record import decode_peer_record_untrusted
from p2pnode.identity.public_key import decode_public_key_untrusted
from p2pnode.identity.signed_envelope import decode_envelope_untrusted
from p2pnode.identity.transport_addr import transport_addr
from p2pnode.io.control.messages import decode_request_untrusted
from p2pnode.noise import IK, XX, CipherState
from p2pnode.noise.payload import decode_payload_untrusted
from p2pnode.noise.primitives import CHACHAPOLY
from p2pnode.protocols.autonat import DialBackReceiver, V1Requester, V2Requester
from p2pnode.protocols.autonat.delegated_messages import (
    decode_delegated_message_untrusted,
    decode_done_untrusted,
    decode_order_untrusted,
    decode_probe_untrusted,
)
from p2pnode.protocols.autonat.messages_v1 import decode_message_v1_untrusted
from p2pnode.protocols.autonat.messages_v2 import (
    decode_dial_back_untrusted,
    decode_message_v2_untrusted,
)
from p2pnode.protocols.dcutr import DcutrInitiator, DcutrResponder, make_plan, punchable
from p2pnode.protocols.dcutr.dialogue import PunchAgreed
from p2pnode.protocols.dcutr.messages import decode_hole_punch_untrusted
from p2pnode.protocols.dcutr.plan import MAX_PUNCH_ADDRS, Role
from p2pnode.protocols.file_transfer import messages as file_transfer
from p2pnode.protocols.identify import IdentifyRequester, PushReceiver
from p2pnode.protocols.identify.messages import decode_identify_message_untrusted
from p2pnode.protocols.kad import FindNodeRequester, FindNodeResponder
from p2pnode.protocols.kad.messages import (
    MAX_ADDRS_PER_PEER,
    MAX_CLOSER_PEERS,
    decode_answer_untrusted,
)
from p2pnode.protocols.kad.messages import (
    decode_request_untrusted as decode_kad_request_untrusted,
)
from p2pnode.protocols.nat_behaviour import KnockRequest
from p2pnode.protocols.nat_behaviour import messages as nat_behaviour
from p2pnode.protocols.nat_behaviour.dialogue import NatRequester, NatResponder
from p2pnode.protocols.ping import PingRequester, PingResponder
from p2pnode.protocols.relay import (
    CircuitRequester,
    CircuitResponder,
    ReservationRequester,
    StreamConnector,
)
from p2pnode.protocols.relay.circuit_messages import decode_circuit_untrusted
from p2pnode.protocols.relay.hop import HopResponder
from p2pnode.protocols.relay.messages import (
    Limit,
    decode_hop_untrusted,
    decode_stop_untrusted,
)
from p2pnode.protocols.relay.stop import StopRequester, StopResponder
from p2pnode.protocols.relay.voucher import open_voucher_untrusted
from p2pnode.transports.delivery.frame import STREAM_TYPES, decode_stream_untrusted
from p2pnode.transports.delivery.varint import decode_varint_untrusted
from p2pnode.transports.noise_udp import packet
from p2pnode.transports.noise_udp.frame import decode_frame_untrusted
from p2pnode.transports.noise_udp.parameters import decode_parameters_untrusted
from p2pnode.transports.noise_udp.token import TokenIssuer
from p2pnode.wire.framing import FrameReader
from p2pnode.wire.multiaddr import (
    components,
    decode_multiaddr_untrusted,
    is_relayed,
    join_components,
    multiaddr_scope,
    parse_multiaddr,
    split_last_peer,
)
from p2pnode.wire.multihash import check_peer_multihash_untrusted
from p2pnode.wire.multistream import Initiator, Responder
from p2pnode.wire.multistream.messages import decode_message_untrusted as multistream_message
from p2pnode.wire.varint import decode_uvarint_untrusted, encode_uvarint
from tests.fuzz.choices import Choices
from tests.fuzz.connections import fuzz_authenticated_peer, fuzz_endpoint, fuzz_handshake
from tests.fuzz.quic import (
    fuzz_quic_certificate,
    fuzz_quic_frames,
    fuzz_quic_packets,
    fuzz_quic_parameters,
    fuzz_quic_tls,
)
from tests.fuzz.relays import fuzz_circuits, fuzz_relay_server
from tests.fuzz.sessions import fuzz_yamux
from tests.fuzz.swarms import fuzz_swarm
from tests.fuzz.tcp_links import fuzz_tcp
from tests.fuzz.upgrades import fuzz_upgrade
from tests.support.frames import encode
from tests.support.identities import peer_id
from tests.support.noise import make_pair
from tests.support.noise_udp import CLIENT

Target: TypeAlias = Callable[[bytes], None]
ALICE: Final = peer_id("a")
PROTOCOLS: Final = frozenset({"/a", "/p2pnode/file/1.0.0"})


def fuzz_wire_varint(data: bytes) -> None:
    with contextlib.suppress(DecodeError):
        value, end = decode_uvarint_untrusted(data)
        assert encode_uvarint(value) == data[:end], "a second form of the same number"
    with contextlib.suppress(DecodeError):
        decode_varint_untrusted(data, 0)
    with contextlib.suppress(DecodeError):
        check_peer_multihash_untrusted(data)


def fuzz_framing(data: bytes) -> None:
    choices, reader = Choices(data), FrameReader(64)
    with contextlib.suppress(DecodeError):
        while not choices.is_empty:
            reader.feed(choices.take(choices.byte() % 16))
            while (frame := reader.next_frame_untrusted()) is not None:
                assert len(frame) <= 64


def fuzz_multiaddr(data: bytes) -> None:
    try:
        address = decode_multiaddr_untrusted(data)
    except DecodeError:
        return
    assert join_components(components(address)) == address
    assert parse_multiaddr(str(address)) == address, "text that does not lead back"
    multiaddr_scope(address)
    is_relayed(address)
    split_last_peer(address)
    with contextlib.suppress(AddressError):
        split_peer_id(address)
    with contextlib.suppress(AddressError):
        transport_addr(address)


def fuzz_text(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    with contextlib.suppress(AddressError):
        parse_multiaddr(text)
    with contextlib.suppress(AddressError):
        assert PeerId.parse(str(PeerId.parse(text))) == PeerId.parse(text)


def fuzz_identity(data: bytes) -> None:
    for decode in (
        decode_public_key_untrusted,
        PeerId.decode_untrusted,
        decode_envelope_untrusted,
        decode_peer_record_untrusted,
    ):
        with contextlib.suppress(DecodeError):
            decode(data)
    with contextlib.suppress(DecodeError):
        decode_public_key_untrusted(data).verify(b"message", data[:72])


def fuzz_noise(data: bytes) -> None:
    choices = Choices(data)
    with contextlib.suppress(DecodeError, HandshakeError):
        decode_payload_untrusted(data).authenticate(data[:32], expected=None)
    writer, reader = make_pair((XX, IK)[choices.byte() % 2])
    with contextlib.suppress(DecodeError, HandshakeError):
        while not writer.is_finished:
            reader.read_message(choices.mutate(writer.write_message(b"payload")))
            writer, reader = reader, writer
    with contextlib.suppress(DecodeError):
        CipherState(CHACHAPOLY, bytes(32)).decrypt_with_ad(b"", data)


def fuzz_identify(data: bytes) -> None:
    with contextlib.suppress(DecodeError):
        decode_identify_message_untrusted([data])
    for machine in (IdentifyRequester(ALICE, 0.0), PushReceiver(ALICE, 0.0)):
        choices = Choices(data)
        while not choices.is_empty:
            machine.handle_data(choices.take(1 + choices.byte()), 0.0)
        machine.handle_eof(0.0)
        machine.handle_data(data, 0.0)
        machine.poll_output()
        assert machine.is_done
        assert machine.outcome is not None


def fuzz_autonat(data: bytes) -> None:
    for decode in (
        decode_message_v1_untrusted,
        decode_message_v2_untrusted,
        decode_dial_back_untrusted,
        decode_delegated_message_untrusted,
        decode_order_untrusted,
        decode_done_untrusted,
        decode_probe_untrusted,
    ):
        with contextlib.suppress(DecodeError):
            decode(data)
    address = parse_multiaddr("/ip4/1.2.3.4/udp/4001/noise")
    for machine in (
        V1Requester(ALICE, (address,), 0.0),
        V2Requester((address,), 1, 0.0),
        DialBackReceiver(0.0),
    ):
        choices = Choices(data)
        while not choices.is_empty:
            machine.handle_data(choices.take(1 + choices.byte()), 0.0)
        machine.handle_timeout(60.0)
        machine.poll_output()
        assert machine.is_done


def fuzz_dcutr(data: bytes) -> None:
    with contextlib.suppress(DecodeError):
        decode_hole_punch_untrusted(data)
    for machine in (DcutrInitiator((), 0.0), DcutrResponder((), 0.0)):
        choices = Choices(data)
        while not choices.is_empty:
            machine.handle_data(choices.take(1 + choices.byte()), 0.5)
        machine.handle_timeout(60.0)
        machine.poll_output()
        assert machine.is_done
        if isinstance(machine.outcome, PunchAgreed):
            addrs = punchable(machine.outcome.addrs, ())
            plan = make_plan(1, Role.RESPONDER, addrs, machine.outcome.start_at)
            assert len(plan.addrs) <= MAX_PUNCH_ADDRS


def fuzz_kad(data: bytes) -> None:
    with contextlib.suppress(DecodeError):
        decode_kad_request_untrusted(data)
    with contextlib.suppress(DecodeError):
        peers = decode_answer_untrusted(data)
        assert len(peers) <= MAX_CLOSER_PEERS
        assert all(len(peer.addrs) <= MAX_ADDRS_PER_PEER for peer in peers)
    requester, responder = FindNodeRequester(bytes(34), 0.0), FindNodeResponder(0.0)
    choices = Choices(data)
    while not choices.is_empty:
        part = choices.take(1 + choices.byte())
        requester.handle_data(part, 0.0)
        responder.handle_data(part, 0.0)
        for _ in responder.poll_requests():
            responder.answer(())
    for machine in (requester, responder):
        machine.handle_timeout(60.0)
        machine.poll_output()
        assert machine.is_done


def fuzz_nat_behaviour(data: bytes) -> None:
    for decode in (
        nat_behaviour.decode_request_untrusted,
        nat_behaviour.decode_answer_untrusted,
    ):
        with contextlib.suppress(DecodeError):
            decode(data)
    for machine in (NatRequester(KnockRequest(4001, bytes(32)), 0.0), NatResponder(0.0)):
        choices = Choices(data)
        while not choices.is_empty:
            machine.handle_data(choices.take(1 + choices.byte()), 0.0)
        machine.handle_timeout(60.0)
        machine.poll_output()
        assert machine.is_done


def fuzz_relay(data: bytes) -> None:
    for decode in (
        decode_hop_untrusted,
        decode_stop_untrusted,
        decode_circuit_untrusted,
        open_voucher_untrusted,
    ):
        with contextlib.suppress(DecodeError):
            decode(data)
    for machine in (
        ReservationRequester(ALICE, ALICE, now=0.0),
        StreamConnector(ALICE, 0.0),
        HopResponder(0.0),
        StopRequester(ALICE, Limit(), 0.0),
        StopResponder(0.0),
        CircuitRequester(ALICE, bytes(8), 0.0),
        CircuitResponder(0.0),
    ):
        choices = Choices(data)
        while not choices.is_empty:
            machine.handle_data(choices.take(1 + choices.byte()), 0.0)
        machine.poll_output()
        machine.handle_timeout(1000.0)
        machine.handle_reset(0, 1000.0)
        assert machine.is_done


def fuzz_ping(data: bytes) -> None:
    requester, responder = PingRequester(lambda size: bytes(size)), PingResponder(0.0)
    requester.ping(0.0)
    choices = Choices(data)
    while not choices.is_empty:
        part = choices.take(1 + choices.byte() % 64)
        for machine in (requester, responder):
            machine.handle_data(part, 0.0)
            machine.poll_output()
        requester.poll_events()
    requester.handle_eof(1.0)
    responder.handle_eof(1.0)


def fuzz_multistream(data: bytes) -> None:
    with contextlib.suppress(DecodeError):
        multistream_message(data)
    for side in (Initiator(["/a", "/b"]), Responder(PROTOCOLS.__contains__)):
        choices = Choices(data)
        while side.outcome is None and not choices.is_empty:
            side.handle_data(choices.take(1 + choices.byte() % 64))
            side.poll_data()
        if side.outcome is None:
            side.handle_eof()
        assert side.outcome is not None


def fuzz_file_transfer(data: bytes) -> None:
    for decode in (
        file_transfer.decode_offer_untrusted,
        file_transfer.decode_reply_untrusted,
        file_transfer.decode_digest_untrusted,
    ):
        with contextlib.suppress(DecodeError):
            decode(data)


def fuzz_control(data: bytes) -> None:
    with contextlib.suppress(DecodeError):
        decode_request_untrusted(data)
    with contextlib.suppress(DecodeError):
        decode_request_untrusted(json.dumps({"op": "ping", "target": data.hex()}).encode())


def fuzz_frames(data: bytes) -> None:
    position = 0
    with contextlib.suppress(DecodeError):
        while position < len(data):
            before = position
            if data[position] in STREAM_TYPES:
                *_, position = decode_stream_untrusted(data, position)
            elif data[position] == 0:
                position += 1
            else:
                frame, position = decode_frame_untrusted(data, position)
                assert decode_frame_untrusted(encode(frame), 0)[0] == frame
            assert before < position <= len(data)


def fuzz_packets(data: bytes) -> None:
    padded = data.ljust(packet.MIN_INITIAL_SIZE, b"\0")
    for decode, datagram in (
        (packet.decode_initial_untrusted, data),
        (packet.decode_initial_untrusted, padded),
        (packet.decode_message_untrusted, data),
        (packet.decode_retry_untrusted, data),
        (packet.decode_version_negotiation_untrusted, data),
        (packet.decode_stateless_reset_untrusted, data),
    ):
        with contextlib.suppress(DecodeError):
            decode(datagram)


def fuzz_parameters(data: bytes) -> None:
    with contextlib.suppress(DecodeError):
        parameters = decode_parameters_untrusted(data)
        assert decode_parameters_untrusted(parameters.encode()) == parameters


def fuzz_token(data: bytes) -> None:
    issuer = TokenIssuer(bytes(32))
    assert issuer.check_untrusted(data, CLIENT, 1, 2, UnixTime(1.7e9)) is None


TARGETS: Final[dict[str, Target]] = {
    "authenticated_peer": fuzz_authenticated_peer,
    "autonat": fuzz_autonat,
    "circuits": fuzz_circuits,
    "control": fuzz_control,
    "dcutr": fuzz_dcutr,
    "endpoint": fuzz_endpoint,
    "file_transfer": fuzz_file_transfer,
    "frames": fuzz_frames,
    "framing": fuzz_framing,
    "handshake": fuzz_handshake,
    "identify": fuzz_identify,
    "identity": fuzz_identity,
    "kad": fuzz_kad,
    "multiaddr": fuzz_multiaddr,
    "multistream": fuzz_multistream,
    "nat_behaviour": fuzz_nat_behaviour,
    "noise": fuzz_noise,
    "packets": fuzz_packets,
    "parameters": fuzz_parameters,
    "ping": fuzz_ping,
    "quic_certificate": fuzz_quic_certificate,
    "quic_frames": fuzz_quic_frames,
    "quic_packets": fuzz_quic_packets,
    "quic_parameters": fuzz_quic_parameters,
    "quic_tls": fuzz_quic_tls,
    "relay": fuzz_relay,
    "relay_server": fuzz_relay_server,
    "swarm": fuzz_swarm,
    "tcp": fuzz_tcp,
    "text": fuzz_text,
    "token": fuzz_token,
    "upgrade": fuzz_upgrade,
    "wire_varint": fuzz_wire_varint,
    "yamux": fuzz_yamux,
}
