import pytest

from p2pnode.errors import DialError, HandshakeError, PeerIdMismatch
from p2pnode.transport.aead import Aead
from p2pnode.transport.dialing import Dialing
from p2pnode.transport.handshake import ResponderHandshake
from p2pnode.transport.packet import (
    Retry,
    VersionNegotiation,
    decode_initial_untrusted,
    decode_message_untrusted,
)
from tests.support.noise_udp import (
    INITIATOR,
    INITIATOR_ID,
    RESPONDER,
    RESPONDER_CID,
    RESPONDER_ID,
    SERVER,
    SOURCE,
    credentials,
    entropy,
    parameters,
    route,
)

ROUTE = route(SERVER)
NOW = 10.0


AEADS = tuple(Aead)


def dialing(*, expected=RESPONDER_ID, token=b"", timeout=10.0, aeads=AEADS):
    return Dialing(
        credentials=INITIATOR,
        parameters=parameters(SOURCE),
        aeads=aeads,
        route=ROUTE,
        expected=expected,
        token=token,
        timeout=timeout,
        entropy=entropy("dial"),
        now=NOW,
    )


def answer(packet, *, who=RESPONDER, seed="r", **changes):
    """Returns (the responder, Noise message 2) for a datagram with message 1."""
    responder = ResponderHandshake(
        who,
        entropy(seed),
        decode_initial_untrusted(packet),
        parameters(RESPONDER_CID, **changes),
    )
    return responder, decode_message_untrusted(responder.packet)[1]


def sent(dial, until):
    """Returns [(time, packet)] of what the dial sends up to a time."""
    packets, now = [], NOW
    while now <= until:
        packet = dial.poll_packet(now)
        if packet is not None:
            packets.append((now, packet))
        deadline = dial.poll_timeout()
        if deadline.at <= now:
            break
        now = deadline.at
    return packets


@pytest.mark.spec("TRANSPORT-10")
def test_message_1_is_repeated_after_half_a_second_and_then_ever_more_rarely():
    packets = sent(dialing(timeout=30.0), 39.0)
    times = [at - NOW for at, _ in packets]
    assert times[:6] == [0, 0.5, 1.5, 3.5, 7.5, 11.5]
    assert len({packet for _, packet in packets}) == 1


def test_a_dial_without_an_answer_fails_when_its_time_is_up():
    dial = dialing(timeout=2.0)
    sent(dial, 20.0)
    assert dial.poll_timeout() == (12.0, "dial timeout")
    assert dial.failure(11.99) is None
    assert isinstance(dial.failure(12.0), DialError)


def test_the_right_peers_answer_opens_the_connection():
    dial = dialing(token=b"token")
    packet = dial.poll_packet(NOW)
    assert decode_initial_untrusted(packet).token == b"token"
    responder, message = answer(packet)
    opening = dial.on_response_untrusted(message, NOW + 0.03)
    final = decode_message_untrusted(opening.final_packet)
    introduction, secrets = responder.read_final_untrusted(final[1])
    assert final[0] == RESPONDER_CID
    assert secrets == opening.secrets
    assert introduction.parameters == opening.local == parameters(SOURCE, aeads=(1,))
    assert opening.remote == parameters(RESPONDER_CID)
    assert (opening.is_initiator, opening.peer_id, opening.route) == (True, RESPONDER_ID, ROUTE)
    assert opening.rtt == pytest.approx(0.03)


def test_the_rtt_is_not_taken_from_a_message_that_was_repeated():
    dial = dialing()
    packet = dial.poll_packet(NOW)
    dial.poll_packet(NOW + 0.5)
    _, message = answer(packet)
    assert dial.on_response_untrusted(message, NOW + 0.6).rtt is None


@pytest.mark.spec("TRANSPORT-6")
@pytest.mark.spec("TRANSPORT-9")
def test_the_answer_of_another_peer_does_not_end_the_dial():
    dial = dialing()
    packet = dial.poll_packet(NOW)
    stranger = credentials("stranger")
    _, message = answer(packet, who=stranger)
    assert dial.on_response_untrusted(message, NOW) is None
    assert dial.failure(NOW) is None
    _, message = answer(packet)
    assert dial.on_response_untrusted(message, NOW).peer_id == RESPONDER_ID


@pytest.mark.spec("TRANSPORT-9")
def test_the_answer_of_another_peer_is_reported_when_nothing_better_came():
    dial = dialing()
    stranger = credentials("stranger")
    _, message = answer(dial.poll_packet(NOW), who=stranger)
    dial.on_response_untrusted(message, NOW)
    failure = dial.failure(NOW + 10)
    assert isinstance(failure, PeerIdMismatch)
    assert (failure.expected, failure.actual) == (RESPONDER_ID, stranger.peer_id)


def test_anybody_may_answer_where_nobody_is_expected_but_not_we_ourselves():
    dial = dialing(expected=None)
    packet = dial.poll_packet(NOW)
    _, own = answer(packet, who=INITIATOR)
    assert dial.on_response_untrusted(own, NOW) is None
    assert dial.failure(NOW + 10).actual == "this node itself"
    stranger = credentials("stranger")
    _, message = answer(packet, who=stranger)
    assert dial.on_response_untrusted(message, NOW).peer_id == stranger.peer_id
    assert stranger.peer_id != INITIATOR_ID


def test_forged_answers_leave_no_trace():
    dial = dialing()
    packet = dial.poll_packet(NOW)
    _, message = answer(packet)
    for forged in (b"", bytes(300), message[:-1], message[:50] + b"\0" + message[51:]):
        assert dial.on_response_untrusted(forged, NOW) is None
    assert isinstance(dial.failure(NOW + 10), DialError)
    assert dial.on_response_untrusted(message, NOW) is not None


@pytest.mark.spec("TRANSPORT-14")
def test_one_retry_is_followed_with_its_token_and_a_fresh_key():
    dial = dialing()
    first = decode_initial_untrusted(dial.poll_packet(NOW))
    dial.on_retry_untrusted(Retry(SOURCE, b"proof"), NOW + 0.1)
    assert dial.poll_timeout().at == NOW + 0.1
    packet = dial.poll_packet(NOW + 0.1)
    second = decode_initial_untrusted(packet)
    assert (first.token, second.token) == (b"", b"proof")
    assert (second.destination, second.source) == (first.destination, first.source)
    assert first.message[:32] != second.message[:32]

    dial.on_retry_untrusted(Retry(SOURCE, b"again"), NOW + 0.2)
    assert dial.poll_packet(NOW + 0.2) is None
    assert dial.poll_packet(NOW + 0.6) == packet
    _, message = answer(packet)
    assert dial.on_response_untrusted(message, NOW + 0.7) is not None


@pytest.mark.spec("TRANSPORT-15")
def test_a_version_negotiation_that_lists_our_version_is_ignored():
    dial = dialing()
    dial.poll_packet(NOW)
    dial.on_version_negotiation_untrusted(VersionNegotiation(SOURCE, (7, 1)))
    assert isinstance(dial.failure(NOW + 10), DialError)


@pytest.mark.spec("TRANSPORT-9")
def test_a_foreign_version_is_reported_when_nothing_better_came():
    dial = dialing()
    packet = dial.poll_packet(NOW)
    dial.on_version_negotiation_untrusted(VersionNegotiation(SOURCE, (7, 9)))
    assert dial.failure(NOW + 9.9) is None
    assert isinstance(dial.failure(NOW + 10), HandshakeError)
    _, message = answer(packet)
    assert dial.on_response_untrusted(message, NOW) is not None


@pytest.mark.spec("TRANSPORT-17")
def test_an_answer_without_an_aead_of_ours_is_no_answer():
    dial = dialing(aeads=(Aead.AES_256_GCM,))
    packet = dial.poll_packet(NOW)
    _, message = answer(packet, aeads=(1, 77))
    assert dial.on_response_untrusted(message, NOW) is None
    _, message = answer(packet, aeads=(77, 2))
    assert dial.on_response_untrusted(message, NOW).local.aeads == (2,)
