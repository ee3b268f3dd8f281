import pytest

from p2pnode.errors import NO_ANSWER, DialError, HandshakeError, PeerIdMismatch
from p2pnode.machine import MAX_BEGINNING, Obstacle, Unreachable
from p2pnode.transports.noise_udp.aead import Aead
from p2pnode.transports.noise_udp.dialing import MIN_QUOTED, UNREACHABLE_GRACE, Dialing
from p2pnode.transports.noise_udp.handshake import ResponderHandshake
from p2pnode.transports.noise_udp.packet import (
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


def unreachable(packet, obstacle, *, is_local=True, where=ROUTE, quoted=MAX_BEGINNING):
    return Unreachable(where.socket, where.remote, obstacle, is_local, packet[:quoted])


@pytest.mark.spec("TRANSPORT-49")
@pytest.mark.parametrize(
    ("obstacle", "words"),
    [
        (Obstacle.NO_ROUTE, f"no route to {SERVER.ip} from this machine"),
        (
            Obstacle.TOO_BIG,
            "this network does not carry packets of 1,228 bytes, which p2pnode needs",
        ),
    ],
)
def test_a_dial_whose_first_packet_cannot_be_sent_ends_at_once(obstacle, words):
    dial = dialing()
    packet = dial.poll_packet(NOW)
    assert dial.on_unreachable_untrusted(unreachable(packet, obstacle), NOW)
    assert isinstance(dial.failure(NOW), DialError)
    assert str(dial.failure(NOW)) == words


@pytest.mark.spec("TRANSPORT-49")
def test_a_dial_of_which_one_packet_has_left_outlives_the_loss_of_the_route():
    dial = dialing()
    packet = dial.poll_packet(NOW)
    assert dial.poll_packet(NOW + 0.5) == packet
    assert dial.on_unreachable_untrusted(unreachable(packet, Obstacle.NO_ROUTE), NOW + 0.5)
    assert dial.failure(NOW + 9.9) is None
    assert str(dial.failure(NOW + 10)) == f"no route to {SERVER.ip} from this machine"


@pytest.mark.spec("TRANSPORT-49")
@pytest.mark.parametrize(
    ("obstacle", "is_local", "words"),
    [
        (
            Obstacle.PORT_CLOSED,
            False,
            f"port {SERVER.port} of {SERVER.ip} is refused: nothing listens there",
        ),
        (
            Obstacle.NO_ROUTE,
            False,
            f"{SERVER.ip} cannot be reached: the network on the way says so",
        ),
        (
            Obstacle.TOO_BIG,
            False,
            f"the network on the way to {SERVER.ip} does not carry packets of 1,228 bytes,"
            " which p2pnode needs",
        ),
        (Obstacle.FORBIDDEN, False, f"a firewall on the way lets nothing through to {SERVER}"),
        (Obstacle.FORBIDDEN, True, f"this machine's firewall lets nothing through to {SERVER}"),
    ],
)
def test_what_others_say_of_a_packet_leaves_the_peer_a_second(obstacle, is_local, words):
    dial = dialing()
    packet = dial.poll_packet(NOW)
    report = unreachable(packet, obstacle, is_local=is_local)
    assert dial.on_unreachable_untrusted(report, NOW + 0.1)
    assert dial.on_unreachable_untrusted(report, NOW + 0.6)  # it does not begin anew
    assert dial.poll_packet(NOW + 0.5) == packet
    assert dial.failure(NOW + 1.0) is None
    assert dial.poll_timeout().at == NOW + 0.1 + UNREACHABLE_GRACE
    assert str(dial.failure(NOW + 0.1 + UNREACHABLE_GRACE)) == words


@pytest.mark.spec("TRANSPORT-49")
def test_the_peers_answer_counts_though_somebody_said_that_its_port_is_closed():
    dial = dialing()
    packet = dial.poll_packet(NOW)
    dial.on_unreachable_untrusted(unreachable(packet, Obstacle.PORT_CLOSED, is_local=False), NOW)
    assert dial.on_response_untrusted(answer(packet)[1], NOW + 0.9) is not None


@pytest.mark.spec("TRANSPORT-49")
@pytest.mark.parametrize("is_local", [True, False])
def test_what_is_said_of_other_packets_changes_no_dial(is_local):
    """Who has not seen message 1 knows its address at most, not the random ids in it."""
    dial = dialing()
    packet = dial.poll_packet(NOW)
    guessed = packet[:3] + bytes(16) + packet[19:]
    elsewhere = ROUTE._replace(remote=SERVER._replace(port=SERVER.port + 1))
    for report in (
        unreachable(guessed, Obstacle.PORT_CLOSED, is_local=is_local),
        unreachable(packet, Obstacle.PORT_CLOSED, is_local=is_local, quoted=MIN_QUOTED - 1),
        unreachable(b"", Obstacle.NO_ROUTE, is_local=is_local),
        unreachable(packet, Obstacle.NO_ROUTE, is_local=is_local, where=elsewhere),
    ):
        assert not dial.on_unreachable_untrusted(report, NOW)
    assert dial.failure(NOW + 9.9) is None
    assert str(dial.failure(NOW + 10)) == NO_ANSWER


def test_that_another_peer_is_there_is_not_forgotten_for_a_closed_port():
    dial = dialing(expected=INITIATOR_ID)
    packet = dial.poll_packet(NOW)
    dial.on_response_untrusted(answer(packet)[1], NOW)
    dial.on_unreachable_untrusted(unreachable(packet, Obstacle.PORT_CLOSED, is_local=False), NOW)
    assert isinstance(dial.failure(NOW + 10), PeerIdMismatch)
