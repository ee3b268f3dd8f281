"""AutoNAT's dialogues and verdicts: any chunking, any bytes, any evidence."""

import contextlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pnode.errors import DecodeError
from p2pnode.protocols.autonat import (
    DELEGATION_LIMITS,
    HELPER_LIMITS,
    V1_LIMITS,
    V2_LIMITS,
    Budget,
    DelegatedAsker,
    DelegatedServer,
    DialBackReceiver,
    DialBackSender,
    Evidence,
    Helper,
    OrderReceiver,
    OrderSender,
    Prober,
    Reachability,
    V1Requester,
    V1Server,
    V2Requester,
    V2Server,
)
from p2pnode.protocols.autonat.budget import Permit
from p2pnode.protocols.autonat.delegated_messages import (
    Ask,
    Choice,
    DialBackOffer,
    HelperStatus,
    Order,
    Report,
    asker_commitment,
    decode_delegated_message_untrusted,
    decode_done_untrusted,
    decode_order_untrusted,
    encode_delegated_message,
    encode_done,
    encode_order,
)
from p2pnode.protocols.autonat.messages_v1 import (
    DialResponseV1,
    DialV1,
    decode_message_v1_untrusted,
    encode_message_v1,
)
from p2pnode.protocols.autonat.messages_v2 import (
    DialDataRequest,
    DialDataResponse,
    DialRequest,
    DialResponse,
    decode_dial_back_untrusted,
    decode_message_v2_untrusted,
    encode_dial_back,
    encode_message_v2,
)
from p2pnode.protocols.autonat.reachability import AddressEvidence
from tests.support.autonat import ABILITY, ALICE, ASKER, OTHER_IP, PRIVATE_IP, SAME_IP, asker, frame
from tests.support.identities import peer_id

NONCE = bytes(range(16))
ORDER = Order(SAME_IP, NONCE, asker_commitment(ALICE, NONCE), "7.0.0.1")
HELPERS = [Helper(peer_id(f"h{n}"), f"7.0.0.{n}") for n in range(1, 4)]
IPS = [helper.ip for helper in HELPERS]

addrs = st.lists(st.sampled_from([SAME_IP, OTHER_IP, PRIVATE_IP]), max_size=3, unique=True)
v1_messages = st.builds(DialV1, st.just(ALICE), addrs.map(tuple)) | st.builds(
    DialResponseV1, st.sampled_from([0, 100, 101, 200, 7]), st.just("text"), st.none()
)
small = st.integers(0, 4)
v2_messages = st.one_of(
    st.builds(DialRequest, addrs.map(tuple), st.integers(0, 2**64 - 1)),
    st.builds(DialResponse, st.sampled_from([0, 100, 200]), small, st.sampled_from([0, 100, 200])),
    st.builds(DialDataRequest, small, st.integers(0, 9000)),
    st.builds(DialDataResponse, st.binary(max_size=300)),
)
delegated_messages = st.one_of(
    st.just(Ask(SAME_IP)),
    st.builds(DialBackOffer, st.lists(st.sampled_from(IPS), max_size=4).map(tuple)),
    st.builds(Choice, st.lists(st.none() | st.just(NONCE), max_size=4).map(tuple)),
    st.builds(Report, small, small),
)
framed = st.one_of(
    v1_messages.map(encode_message_v1),
    v2_messages.map(encode_message_v2),
    delegated_messages.map(encode_delegated_message),
    st.just(encode_order(ORDER)),
    st.sampled_from(list(HelperStatus)).map(encode_done),
    st.integers(0, 9).map(encode_dial_back),
).map(frame)
streams = st.lists(framed | st.binary(max_size=8), max_size=6).map(b"".join)
cut_points = st.lists(st.integers(0, 600), max_size=5)


def machines():
    """Returns one of each kind, with the owner's answers where it waits for them."""
    rng = random.Random(1)
    entropy = random.Random(2).randbytes
    return [
        V1Requester(ALICE, (SAME_IP,), 0.0),
        V1Server(ASKER, ABILITY, Budget(V1_LIMITS), 0.0),
        V2Requester((SAME_IP, OTHER_IP), 1, 0.0),
        V2Server(ASKER, ABILITY, Budget(V2_LIMITS), rng, 0.0),
        DialBackReceiver(0.0),
        DialBackSender(1, 0.0),
        DelegatedAsker(ALICE, SAME_IP, server_ip="8.8.8.8", entropy=entropy, now=0.0),
        DelegatedServer(ASKER, ABILITY, Budget(DELEGATION_LIMITS), rng, 0.0),
        OrderSender(ORDER, 0.0),
        OrderReceiver(asker("s", "8.8.8.8"), ABILITY, Budget(HELPER_LIMITS), 0.0),
    ]


def act(machine) -> None:
    """Does what an owner does."""
    match machine:
        case V1Server() if machine.wants_dial is not None:
            machine.on_dialled(SAME_IP, 0.0)
        case V2Server() if machine.wants_dial is not None:
            machine.on_dialled(200, 0.0)
        case DelegatedAsker() if machine.offer is not None:
            machine.on_chosen(IPS, 0.0)
        case DelegatedServer() if machine.wants_helpers:
            machine.on_helpers(HELPERS, 0.0)
        case OrderReceiver() if machine.wants_probe is not None:
            machine.on_sent(HelperStatus.SENT, 0.0)
        case _:
            pass


def state(machine):
    return [
        getattr(machine, name, None)
        for name in ("outcome", "results", "status", "nonce", "wants_dial", "orders", "is_done")
    ]


def feed(machine, data: bytes, cuts: list[int]):
    points = sorted(min(cut, len(data)) for cut in cuts)
    for start, end in zip([0, *points], [*points, len(data)], strict=True):
        machine.handle_data(data[start:end], 0.0)
    return state(machine), machine.poll_output()


@given(streams, cut_points)
def test_any_chunking_gives_the_same_dialogue(data: bytes, cuts: list[int]) -> None:
    for whole, pieces in zip(machines(), machines(), strict=True):
        assert feed(whole, data, []) == feed(pieces, data, cuts)


@given(st.lists(streams, max_size=3), st.sampled_from(["eof", "reset", "time"]))
def test_no_bytes_raise_and_every_dialogue_ends(parts: list[bytes], ending: str) -> None:
    for machine in machines():
        for data in parts:
            machine.handle_data(data, 0.0)
            act(machine)
        if ending == "eof":
            machine.handle_eof(0.0)
        if ending == "reset":
            machine.handle_reset(0, 0.0)
            assert machine.poll_output() == []
            assert machine.is_done
        for _ in range(10):
            deadline = machine.poll_timeout()
            if deadline is None:
                break
            machine.handle_timeout(deadline.at)
            act(machine)
        machine.poll_output()
        machine.handle_data(b"more", 99.0)
        machine.handle_eof(99.0)
        assert machine.is_done
        assert machine.poll_timeout() is None
        assert machine.poll_output() == []
        assert state(machine)[:3] != [None] * 3 or not hasattr(machine, "outcome")


@pytest.mark.parametrize(
    "decode",
    [
        decode_message_v1_untrusted,
        decode_message_v2_untrusted,
        decode_dial_back_untrusted,
        decode_delegated_message_untrusted,
        decode_order_untrusted,
        decode_done_untrusted,
    ],
)
@given(data=st.binary(max_size=120) | framed.map(lambda data: data[1:]))
def test_decoders_raise_decode_errors_only(decode, data: bytes) -> None:
    with contextlib.suppress(DecodeError):
        decode(data)


witnesses = st.sampled_from(["w1", "w2", "w3", "w4"])
pieces = st.builds(
    Evidence,
    st.just(0.0),
    st.booleans(),
    st.sampled_from(Prober),
    witnesses,
    st.sampled_from(["s1", "s2"]),
    st.just(""),
)


@given(st.lists(pieces, max_size=12))
def test_a_verdict_never_says_more_than_its_evidence(given_pieces: list[Evidence]) -> None:
    fold = AddressEvidence(acquaintances_suffice=False)
    for piece in given_pieces:
        fold.add(piece)
    found = fold.verdict(1.0)

    heard = [p for p in found.evidence if p.is_heard and p.prober is Prober.STRANGER]
    silent = {p.witness for p in found.evidence if not p.is_heard}
    if found.reachability is Reachability.PUBLIC:
        assert heard
    if found.reachability is Reachability.PRIVATE:
        assert len(silent) >= 2
    assert found.why
    assert 0 <= found.confidence <= 3
    assert len(found.evidence) <= 10


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.floats(0, 20)), max_size=120),
)
def test_no_minute_sees_more_than_the_limits(events: list[tuple[int, int, float]]) -> None:
    budget, now, granted = Budget(V2_LIMITS), 0.0, []
    for peer, net, pause in events:
        now += pause
        permit = budget.admit(asker(peer, f"1.1.1.{net}"), now)
        if isinstance(permit, Permit):
            granted.append((now, peer, net))
            permit.release()
    for at, peer, net in granted:
        minute = [g for g in granted if at <= g[0] < at + 60.0]
        assert len(minute) <= V2_LIMITS.in_all
        assert sum(g[1] == peer for g in minute) <= V2_LIMITS.per_peer
        assert sum(g[2] == net for g in minute) <= V2_LIMITS.per_prefix
