"""Handshakes under attack: nothing that was changed is ever believed, and nothing is spoiled."""

import contextlib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from p2pnode.errors import DecodeError, HandshakeError
from p2pnode.machine import SocketAddr
from p2pnode.transports.noise_udp.token import TokenIssuer, TokenKind
from tests.support.noise_udp import LOW_ORDER_POINTS, entropy, exchange

REFUSED = (DecodeError, HandshakeError)
DIALOGUE = exchange(token=b"token")
FINAL, SECRETS = DIALOGUE.finish()
positions = st.floats(0, 1, exclude_max=True)


def changed(message, place, bit, cut):
    """Returns a message with one bit flipped, or cut at a place."""
    at = int(place * len(message))
    if cut:
        return message[:at]
    return message[:at] + bytes([message[at] ^ 1 << bit]) + message[at + 1 :]


@settings(max_examples=60)
@given(positions, st.integers(0, 7), st.booleans())
@example(0.999, 7, False)
@example(0.0, 7, False)
def test_a_changed_message_1_leads_to_no_connection(place, bit, cut):
    def tamper(initial):
        return initial._replace(message=changed(initial.message, place, bit, cut))

    with pytest.raises(REFUSED):
        # Bit 255 of a public key is ignored by X25519; the handshake hash is not fooled by it.
        exchange(token=b"token", tamper=tamper).answer()


@settings(max_examples=60)
@given(positions, st.integers(0, 7), st.booleans())
@pytest.mark.spec("TRANSPORT-8")
def test_a_changed_message_2_is_refused_and_spoils_nothing(place, bit, cut):
    with pytest.raises(REFUSED):
        DIALOGUE.initiator.read_response_untrusted(changed(DIALOGUE.response, place, bit, cut))
    message, ours = DIALOGUE.finish()
    assert DIALOGUE.responder.read_final_untrusted(message)[1] == ours


@settings(max_examples=60)
@given(positions, st.integers(0, 7), st.booleans())
@pytest.mark.spec("TRANSPORT-8")
def test_a_changed_message_3_is_refused_and_spoils_nothing(place, bit, cut):
    with pytest.raises(REFUSED):
        DIALOGUE.responder.read_final_untrusted(changed(FINAL, place, bit, cut))
    assert DIALOGUE.responder.read_final_untrusted(FINAL)[1] == SECRETS


@settings(max_examples=60)
@given(st.binary(max_size=400), st.sampled_from([b"", *LOW_ORDER_POINTS]))
@pytest.mark.spec("TRANSPORT-8")
def test_bytes_of_any_kind_are_refused_and_spoil_nothing(data, start):
    message = start + data
    with contextlib.suppress(DecodeError, HandshakeError):
        # A stranger's message 1 may be anything that looks like a key.
        exchange(tamper=lambda initial: initial._replace(message=message))
    for read in (
        DIALOGUE.initiator.read_response_untrusted,
        DIALOGUE.responder.read_final_untrusted,
    ):
        with pytest.raises(REFUSED):
            read(message)
    assert DIALOGUE.responder.read_final_untrusted(FINAL)[1] == SECRETS


ids = st.integers(0, (1 << 64) - 1)


@settings(max_examples=40)
@given(ids, ids, st.binary(max_size=128))
def test_ids_and_token_are_part_of_what_is_authenticated(destination, source, token):
    facts = {"destination": destination, "source": source, "token": token}
    dialogue = exchange(token=b"token", tamper=lambda initial: initial._replace(**facts))
    with pytest.raises(HandshakeError):
        dialogue.answer()


@settings(max_examples=30)
@given(st.integers(), st.binary(max_size=128))
def test_every_handshake_has_secrets_of_its_own(seed, token):
    dialogue = exchange(token=token, name=("fresh", seed))
    message, ours = dialogue.finish()
    assert dialogue.responder.read_final_untrusted(message)[1] == ours
    assert not set(ours) & set(SECRETS)
    with pytest.raises(REFUSED):
        DIALOGUE.responder.read_final_untrusted(message)


ISSUER = TokenIssuer(entropy("issuer")(32))
addresses = st.builds(
    SocketAddr,
    st.ip_addresses(v=4).map(str) | st.ip_addresses(v=6).map(str),
    st.integers(0, 65535),
    st.just(0),  # a scope is the link's own and no part of an address
)
times = st.floats(1e9, 2e9)


@given(addresses, ids, ids, times, addresses, ids, ids, st.floats(-100, 100))
def test_a_retry_token_is_good_for_its_own_facts_only(
    remote, destination, source, issued, other, other_destination, other_source, later
):
    token = ISSUER.retry_token(remote, destination, source, issued)
    own = (remote, destination, source)
    assert ISSUER.check_untrusted(token, *own, issued) is TokenKind.RETRY
    shown = (other, other_destination, other_source)
    expected = TokenKind.RETRY if shown == own else None
    assert ISSUER.check_untrusted(token, *shown, issued) is expected
    in_time = 0 <= (issued + later) - issued <= 15
    verdict = ISSUER.check_untrusted(token, *own, issued + later)
    assert verdict is (TokenKind.RETRY if in_time else None)


@given(st.binary(max_size=60), addresses, ids, ids, times)
def test_bytes_of_any_kind_are_no_token(data, remote, destination, source, now):
    assert ISSUER.check_untrusted(data, remote, destination, source, now) is None
