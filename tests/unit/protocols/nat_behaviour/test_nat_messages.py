"""The codec of NAT requests and answers, and the knock's datagram."""

import contextlib
import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.errors import DecodeError
from p2pnode.machine import SocketAddr
from p2pnode.protocols.nat_behaviour.facts import Dependence, NatFacts
from p2pnode.protocols.nat_behaviour.messages import (
    KNOCK_SIZE,
    LOWEST_KNOCK_PORT,
    MAX_ANSWER_SIZE,
    MAX_COUNT,
    MAX_EXTERNAL_IPS,
    MAX_REQUEST_SIZE,
    NONCE_SIZE,
    KnockRequest,
    LocateRequest,
    NatAnswer,
    NatStatus,
    ReportRequest,
    decode_answer_untrusted,
    decode_request_untrusted,
    encode_answer,
    encode_knock,
    encode_request,
)
from p2pnode.wire.framing import encode_frame
from p2pnode.wire.pb import nat_behaviour_pb2 as pb
from tests.support.spec_tables import block

NONCE = bytes(range(NONCE_SIZE))

ports = st.none() | st.integers(1, 0xFFFF)
ips = st.ip_addresses().map(str)
facts = st.builds(
    NatFacts,
    mapping=st.sampled_from(Dependence),
    filtering=st.sampled_from(Dependence),
    external_ips=st.lists(ips, max_size=MAX_EXTERNAL_IPS, unique=True).map(tuple),
    is_udp_blocked=st.booleans(),
    observers=st.integers(0, MAX_COUNT),
    probes=st.integers(0, MAX_COUNT),
    alternate_port_v4=ports,
    alternate_port_v6=ports,
)
answers = st.builds(
    NatAnswer,
    st.sampled_from(NatStatus),
    facts,
    st.none() | st.tuples(ips, st.integers(1, 0xFFFF)).map(lambda each: SocketAddr(*each)),
)
nonces = st.binary(min_size=NONCE_SIZE, max_size=NONCE_SIZE)
requests = st.one_of(
    st.builds(ReportRequest),
    st.builds(KnockRequest, st.integers(LOWEST_KNOCK_PORT, 0xFFFF), nonces),
    st.builds(LocateRequest, nonces),
)


@pytest.mark.spec("NATB-1")
@given(requests)
def test_a_request_comes_out_as_it_went_in(request_) -> None:  # type: ignore[no-untyped-def]
    encoded = encode_request(request_)

    assert decode_request_untrusted(encoded) == request_
    assert len(encoded) <= MAX_REQUEST_SIZE


@pytest.mark.spec("NATB-3")
@given(answers)
def test_an_answer_comes_out_as_it_went_in(answer: NatAnswer) -> None:
    encoded = encode_answer(answer)

    assert decode_answer_untrusted(encoded) == answer
    assert len(encoded) <= MAX_ANSWER_SIZE


@pytest.mark.spec("NATB-5")
def test_the_example_of_the_spec_is_what_the_code_sends() -> None:
    request, knock, answer = (
        bytes.fromhex(re.sub(r"#.*|\s", "", message))
        for message in block("nat_behaviour.md", "messages").strip().split("\n\n")
    )

    assert encode_frame(encode_request(KnockRequest(50_000, NONCE))) == request
    assert encode_knock(NONCE) == knock
    assert encode_frame(encode_answer(NatAnswer(NatStatus.OK))) == answer


@pytest.mark.spec("NATB-5")
def test_a_knock_is_a_hash_of_the_nonce() -> None:
    knock = encode_knock(NONCE)

    assert knock[0] == 0x98
    assert knock[1:] == hashlib.sha256(b"p2pnode knock 1" + NONCE).digest()
    assert len(knock) == KNOCK_SIZE


@pytest.mark.spec("NATB-5")
def test_a_request_is_larger_than_the_datagram_that_it_causes() -> None:
    request = encode_request(KnockRequest(LOWEST_KNOCK_PORT, bytes(NONCE_SIZE)))

    assert len(request) > KNOCK_SIZE


@pytest.mark.spec("NATB-2")
@pytest.mark.parametrize(
    "message",
    [
        pb.NatRequest(),
        pb.NatRequest(type=4, nonce=NONCE),
        pb.NatRequest(type=2, nonce=NONCE),
        pb.NatRequest(type=2, port=LOWEST_KNOCK_PORT - 1, nonce=NONCE),
        pb.NatRequest(type=2, port=0x10000, nonce=NONCE),
        pb.NatRequest(type=2, port=5000, nonce=NONCE[1:]),
        pb.NatRequest(type=3, nonce=NONCE + b"x"),
    ],
    ids=str,
)
def test_malformed_requests_are_refused(message: pb.NatRequest) -> None:
    with pytest.raises(DecodeError):
        decode_request_untrusted(message.SerializeToString())


@pytest.mark.spec("NATB-2")
def test_what_is_not_known_means_unknown_and_what_does_not_parse_is_left_out() -> None:
    odd = pb.NatFacts(
        mapping=77,
        filtering=6,
        externalIps=[b"\1\2\3\4", b"\1\2\3", b"\1\2\3\4"],
        alternatePort4=0x10000,
        observers=1 << 31,
    )
    answer = pb.NatAnswer(status=99, facts=odd.SerializeToString(), ip=b"\1\2\3\4", port=0)

    found = decode_answer_untrusted(answer.SerializeToString())

    assert found.status is NatStatus.REFUSED
    assert found.facts == NatFacts(external_ips=("1.2.3.4",), observers=MAX_COUNT)
    assert found.seen_at is None


@pytest.mark.spec("NATB-2")
@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_but_decode_error(data: bytes) -> None:
    for decode in (decode_request_untrusted, decode_answer_untrusted):
        with contextlib.suppress(DecodeError):
            decode(data)


@pytest.mark.spec("NATB-3")
def test_more_addresses_than_fit_are_not_sent_nor_read() -> None:
    many = tuple(f"1.2.3.{n}" for n in range(MAX_EXTERNAL_IPS + 2))

    found = decode_answer_untrusted(
        encode_answer(NatAnswer(NatStatus.OK, NatFacts(external_ips=many)))
    )

    assert found.facts.external_ips == many[:MAX_EXTERNAL_IPS]


def test_the_other_port_is_that_of_the_ip_version() -> None:
    some = NatFacts(alternate_port_v4=4, alternate_port_v6=6)

    assert (some.alternate_port(ipv6=False), some.alternate_port(ipv6=True)) == (4, 6)
