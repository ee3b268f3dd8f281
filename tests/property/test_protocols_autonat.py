"""AutoNAT's decoders and verdicts: any bytes, any evidence."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pnode.errors import DecodeError
from p2pnode.protocols.autonat import (
    V2_LIMITS,
    Budget,
    Evidence,
    Prober,
    Reachability,
)
from p2pnode.protocols.autonat.budget import Permit
from p2pnode.protocols.autonat.delegated_messages import (
    decode_delegated_message_untrusted,
    decode_done_untrusted,
    decode_order_untrusted,
)
from p2pnode.protocols.autonat.messages_v1 import (
    decode_message_v1_untrusted,
)
from p2pnode.protocols.autonat.messages_v2 import (
    decode_dial_back_untrusted,
    decode_message_v2_untrusted,
)
from p2pnode.protocols.autonat.reachability import AddressEvidence
from tests.support.autonat import asker
from tests.support.dialogues import autonat_messages


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
@given(data=st.binary(max_size=120) | autonat_messages)
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
