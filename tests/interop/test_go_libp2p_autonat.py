"""go-libp2p's AutoNAT messages in our hands, and ours byte for byte the same.

The fixtures were written by `go run . autonat` in libp2p_fixtures/.
"""

import json
from pathlib import Path

import pytest

from p2pnode.identity.peer_id import parse_peer_id
from p2pnode.protocols.autonat.messages_v1 import (
    DialResponseV1,
    DialV1,
    StatusV1,
    decode_message_v1_untrusted,
    encode_message_v1,
)
from p2pnode.protocols.autonat.messages_v2 import (
    DialDataRequest,
    DialDataResponse,
    DialRequest,
    DialResponse,
    DialStatus,
    ResponseStatus,
    decode_dial_back_untrusted,
    decode_message_v2_untrusted,
    encode_dial_back,
    encode_dial_back_response,
    encode_message_v2,
)
from p2pnode.wire.multiaddr import parse_multiaddr

FIXTURES = json.loads(
    (Path(__file__).parent / "fixtures" / "go_libp2p_autonat.json").read_text(encoding="utf-8")
)
ADDRS = (
    parse_multiaddr("/ip4/1.2.3.4/udp/4001/noise"),
    parse_multiaddr("/ip6/2a00:1450:4001::1/udp/4001/quic-v1"),
)
NONCE = 0x0102030405060708
V1 = {
    "v1_dial": DialV1(parse_peer_id(FIXTURES["peer_id"]), ADDRS),
    "v1_ok": DialResponseV1(StatusV1.OK, addr=ADDRS[0]),
    "v1_refused": DialResponseV1(StatusV1.E_DIAL_REFUSED, "refused"),
}
V2 = {
    "v2_request": DialRequest(ADDRS, NONCE),
    "v2_ok": DialResponse(ResponseStatus.OK, 1, DialStatus.OK),
    "v2_rejected": DialResponse(ResponseStatus.E_REQUEST_REJECTED),
    "v2_zeros": DialResponse(ResponseStatus.E_INTERNAL_ERROR),
    "v2_data_request": DialDataRequest(1, 30_000),
    "v2_data": DialDataResponse(b"some data"),
}


@pytest.mark.parametrize("name", V1)
def test_v1_messages_have_the_same_bytes(name: str) -> None:
    data = bytes.fromhex(FIXTURES[name])

    assert encode_message_v1(V1[name]).hex() == FIXTURES[name]
    assert decode_message_v1_untrusted(data) == V1[name]


@pytest.mark.parametrize("name", V2)
def test_v2_messages_have_the_same_bytes(name: str) -> None:
    data = bytes.fromhex(FIXTURES[name])

    assert encode_message_v2(V2[name]).hex() == FIXTURES[name]
    assert decode_message_v2_untrusted(data) == V2[name]


def test_the_dial_back_has_the_same_bytes() -> None:
    assert encode_dial_back(NONCE).hex() == FIXTURES["v2_dial_back"]
    assert decode_dial_back_untrusted(bytes.fromhex(FIXTURES["v2_dial_back"])) == NONCE
    assert encode_dial_back_response().hex() == FIXTURES["v2_dial_back_response"]
