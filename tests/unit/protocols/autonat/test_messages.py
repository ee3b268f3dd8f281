"""AutoNAT's messages: libp2p's bytes, and ours."""

import pytest

from p2pnode.errors import DecodeError
from p2pnode.protocols.autonat import delegated_messages as delegated
from p2pnode.protocols.autonat import messages_v1 as v1
from p2pnode.protocols.autonat import messages_v2 as v2
from p2pnode.transports.noise_udp import packet
from p2pnode.wire.framing import encode_frame
from tests.support.autonat import ALICE, OTHER_IP, SAME_IP
from tests.support.identities import peer_id

V1 = [
    v1.DialV1(ALICE, (SAME_IP, OTHER_IP)),
    v1.DialV1(ALICE, ()),
    v1.DialResponseV1(v1.StatusV1.OK, addr=SAME_IP),
    v1.DialResponseV1(v1.StatusV1.E_DIAL_REFUSED, "no"),
    v1.DialResponseV1(4711),
]
V2 = [
    v2.DialRequest((SAME_IP, None), 2**64 - 1),
    v2.DialRequest((), 0),
    v2.DialResponse(v2.ResponseStatus.OK, 1, v2.DialStatus.E_DIAL_BACK_ERROR),
    v2.DialResponse(v2.ResponseStatus.E_INTERNAL_ERROR),
    v2.DialDataRequest(0, 30_000),
    v2.DialDataResponse(b"data"),
]
NONCE = bytes(range(16))
DELEGATED = [
    delegated.Ask(SAME_IP),
    delegated.DialBackOffer(("1.1.1.1", "2a00::1")),
    delegated.DialBackOffer(()),
    delegated.Choice((NONCE, None)),
    delegated.Report(1, delegated.HelperStatus.SENT),
    delegated.Report(0, 0),
]
ORDER = delegated.Order(SAME_IP, NONCE, delegated.asker_commitment(ALICE, NONCE), "7.7.7.7")


@pytest.mark.parametrize("message", V1)
def test_v1_messages_come_back(message: v1.MessageV1) -> None:
    assert v1.decode_message_v1_untrusted(v1.encode_message_v1(message)) == message


@pytest.mark.parametrize("message", V2)
def test_v2_messages_come_back(message: v2.MessageV2) -> None:
    assert v2.decode_message_v2_untrusted(v2.encode_message_v2(message)) == message


@pytest.mark.parametrize("message", DELEGATED)
def test_delegated_messages_come_back(message: delegated.DelegatedMessage) -> None:
    encoded = delegated.encode_delegated_message(message)

    assert delegated.decode_delegated_message_untrusted(encoded) == message


def test_orders_and_answers_come_back() -> None:
    status = delegated.HelperStatus.ACQUAINTED

    assert delegated.decode_order_untrusted(delegated.encode_order(ORDER)) == ORDER
    assert delegated.decode_done_untrusted(delegated.encode_done(status)) == status


def test_the_request_of_the_spec_has_the_bytes_of_the_spec() -> None:
    encoded = encode_frame(v2.encode_message_v2(v2.DialRequest((SAME_IP,), 1)))

    assert encoded.hex(" ") == bytes.fromhex(
        "18 0a16 0a0b 0401020304 91020fa1 c603 110100000000000000"
    ).hex(" ")


def test_a_dial_back_response_that_says_ok_is_one_zero_byte() -> None:
    assert encode_frame(v2.encode_dial_back_response()) == b"\0"
    assert v2.encode_dial_back(1) == b"\x09\x01" + bytes(7)
    assert v2.decode_dial_back_untrusted(v2.encode_dial_back(2**64 - 1)) == 2**64 - 1
    assert v2.decode_dial_back_untrusted(b"") == 0


@pytest.mark.spec("AUTONAT-24")
def test_addresses_that_do_not_parse_do_not_spoil_a_request() -> None:
    dial = v1.encode_message_v1(v1.DialV1(ALICE, (SAME_IP, OTHER_IP)))
    broken = dial.replace(OTHER_IP.to_bytes(), b"\xff" * len(OTHER_IP.to_bytes()))
    request = v2.encode_message_v2(v2.DialRequest((OTHER_IP, SAME_IP), 1))
    broken_v2 = request.replace(OTHER_IP.to_bytes(), b"\xff" * len(OTHER_IP.to_bytes()))

    assert v1.decode_message_v1_untrusted(broken) == v1.DialV1(ALICE, (SAME_IP,))
    assert v2.decode_message_v2_untrusted(broken_v2) == v2.DialRequest((None, SAME_IP), 1)


def test_no_more_addresses_are_parsed_than_are_inspected() -> None:
    request = v2.encode_message_v2(v2.DialRequest((SAME_IP,) * 60, 1))
    decoded = v2.decode_message_v2_untrusted(request)

    assert isinstance(decoded, v2.DialRequest)
    assert len(decoded.addrs) == v2.MAX_ADDRS_INSPECTED


@pytest.mark.parametrize(
    "data",
    [b"", b"\x08\x00", b"\x08\x01", b"\x08\x02\x12\x00", b"\x08\x01\x1a\x00", b"\xff"],
)
def test_v1_messages_without_a_meaning_are_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        v1.decode_message_v1_untrusted(data)


@pytest.mark.parametrize("data", [b"", b"\x2a\x00", b"\xff", b"\x0a\x01\xff"])
def test_v2_messages_without_a_meaning_are_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        v2.decode_message_v2_untrusted(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"\x0a\x0e\x0a\x0c" + SAME_IP.to_bytes(),  # an ask without padding
        b"\x12\x04\x0a\x02\x01\x02",  # an IP address of two bytes
        b"\x12\x36" + 9 * b"\x0a\x04\x01\x01\x01\x01",  # nine helpers
        b"\x1a\x03\x0a\x01\x00",  # a nonce of one byte
    ],
)
def test_delegated_messages_without_a_meaning_are_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        delegated.decode_delegated_message_untrusted(data)


@pytest.mark.parametrize("part", ["nonce", "asker", "helper_ip", "address"])
def test_orders_that_lack_a_part_are_refused(part: str) -> None:
    order = delegated.pb.DialBackOrder(
        address=SAME_IP.to_bytes(), nonce=bytes(16), asker=bytes(32), helperIp=bytes(4)
    )
    order.ClearField({"helper_ip": "helperIp"}.get(part, part))

    with pytest.raises(DecodeError):
        delegated.decode_order_untrusted(order.SerializeToString())


def test_a_status_that_nobody_has_defined_is_a_refusal() -> None:
    for number in (0, 3, 77):
        data = delegated.pb.DialBackDone(status=number).SerializeToString()
        assert delegated.decode_done_untrusted(data) is delegated.HelperStatus.REFUSED


@pytest.mark.spec("AUTONAT-17")
def test_the_token_is_bound_to_asker_helper_address_and_nonce() -> None:
    other_nonce = bytes(16)
    others = [
        delegated.Order(OTHER_IP, NONCE, ORDER.asker, ORDER.helper_ip),
        delegated.Order(SAME_IP, other_nonce, ORDER.asker, ORDER.helper_ip),
        delegated.Order(SAME_IP, NONCE, ORDER.asker, "7.7.7.8"),
        delegated.Order(
            SAME_IP, NONCE, delegated.asker_commitment(peer_id("b"), NONCE), ORDER.helper_ip
        ),
    ]
    tokens = {delegated.probe_token(order) for order in [ORDER, *others]}

    assert len(tokens) == 5


@pytest.mark.spec("AUTONAT-16")
def test_a_probe_is_small_and_costs_more_than_it_sends() -> None:
    probe = delegated.encode_probe(delegated.probe_token(ORDER))
    ask = delegated.encode_delegated_message(delegated.Ask(SAME_IP))

    assert len(probe) == delegated.PROBE_SIZE == 33
    assert len(ask) >= delegated.MAX_HELPERS_CHOSEN * len(probe)
    assert len(delegated.encode_order(ORDER)) > len(probe)
    assert delegated.decode_probe_untrusted(probe) == probe[1:]
    assert ALICE.to_bytes() not in delegated.encode_order(ORDER)


def test_a_probe_is_no_packet_of_noise_udp() -> None:
    first_bytes = {packet.DATA, packet.DATA | packet.KEY_PHASE, packet.STATELESS_RESET}
    first_bytes |= {packet.CIRCUIT, *packet.HandshakeType}

    assert delegated.PROBE_FIRST_BYTE not in first_bytes
    assert delegated.PROBE_FIRST_BYTE & 0xC0 == 0x80
    for other in (b"", bytes(33), bytes((delegated.PROBE_FIRST_BYTE,)) + bytes(31)):
        with pytest.raises(DecodeError):
            delegated.decode_probe_untrusted(other)
