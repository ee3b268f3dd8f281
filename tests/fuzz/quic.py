"""QUIC's bytes: packets, frames, transport parameters, certificates, and TLS in CRYPTO frames."""

import contextlib
from itertools import pairwise
from typing import Final

from p2pnode.errors import DecodeError, HandshakeError, TransportError
from p2pnode.transports.datagrams.frame import ConnectionClose
from p2pnode.transports.delivery.frame import STREAM_TYPES, decode_stream_untrusted
from p2pnode.transports.quic_v1 import packet
from p2pnode.transports.quic_v1.certificate import peer_of_certificate_untrusted
from p2pnode.transports.quic_v1.epoch import Epoch
from p2pnode.transports.quic_v1.frame import (
    MAX_ACK_RANGES,
    decode_ack_untrusted,
    decode_frame_untrusted,
    encode_ack,
)
from p2pnode.transports.quic_v1.parameters import decode_parameters_untrusted
from p2pnode.transports.quic_v1.tls_engine import MAX_TLS_MESSAGE
from tests.fuzz.choices import Choices
from tests.support.certificates import NOW, Made
from tests.support.tls import make_client, make_server

ID_SIZE: Final = 8


def fuzz_quic_packets(data: bytes) -> None:
    packets = packet.split_datagram_untrusted(data, ID_SIZE)
    assert len(packets) <= packet.MAX_PARTS
    for before, after in pairwise(packets):
        assert before.end <= after.start
    for each in packets:
        assert each.start < each.number_at < each.end <= len(data)
        assert len(each.destination) <= packet.MAX_CONNECTION_ID_SIZE
    with contextlib.suppress(DecodeError):
        invariants = packet.decode_invariants_untrusted(data)
        answer = packet.encode_version_negotiation(invariants, data[0])
        assert packet.decode_invariants_untrusted(answer).source == invariants.destination
        packet.decode_version_negotiation_untrusted(data, invariants.end)


def fuzz_quic_frames(data: bytes) -> None:
    position = 0
    with contextlib.suppress(DecodeError):
        while position < len(data):
            before, kind = position, data[position]
            if kind in STREAM_TYPES:
                *_, position = decode_stream_untrusted(data, position)
            elif kind in (2, 3):
                ack, position = decode_ack_untrusted(data, position, 3)
                assert len(ack.ranges) <= MAX_ACK_RANGES
                assert ack.ranges[-1][0] >= 0
                if ack.delay_us < 1 << 62:
                    assert decode_ack_untrusted(encode_ack(ack), 0, 3)[0] == ack
            elif kind == 0:
                position += 1
            else:
                frame, position = decode_frame_untrusted(data, position)
                again, _ = decode_frame_untrusted(frame.encode(), 0)
                # what is no UTF-8 in a reason gets longer, and is cut
                assert again == frame or isinstance(frame, ConnectionClose)
            assert before < position <= len(data)


def fuzz_quic_parameters(data: bytes) -> None:
    for is_server in (True, False):
        with contextlib.suppress(DecodeError):
            parameters = decode_parameters_untrusted(data, is_server=is_server)
            again = decode_parameters_untrusted(parameters.encode(), is_server=is_server)
            assert again == parameters


def fuzz_quic_certificate(data: bytes) -> None:
    for der in (data, Made(signed_key=data).encode()):
        with contextlib.suppress(HandshakeError):
            peer_of_certificate_untrusted(der, NOW)


def fuzz_quic_tls(data: bytes) -> None:
    """A whole handshake whose messages are changed on the way; and any bytes, to either end."""
    for is_client in (True, False):
        end = make_client() if is_client else make_server()
        if is_client:
            end.start()
        with contextlib.suppress(TransportError):
            end.handle_crypto(Epoch.INITIAL, data)
        assert not end.is_complete
        assert len(end._pending) <= MAX_TLS_MESSAGE
    choices = Choices(data)
    client, server = make_client(), make_server()
    client.start()
    for _ in range(4):
        for sender, receiver in ((client, server), (server, client)):
            for epoch, sent in sender.poll_output():
                taken = choices.mutate(sent) if choices.byte() % 4 == 1 else sent
                with contextlib.suppress(TransportError):
                    receiver.handle_crypto(epoch, taken)
    for end in (client, server):
        assert end.is_complete == (end.peer_id is not None)
