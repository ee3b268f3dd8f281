from dataclasses import replace

import pytest

from p2pnode.errors import DecodeError, HandshakeError
from p2pnode.noise.handshake_state import HandshakeState
from p2pnode.noise.patterns import XX
from p2pnode.transports.noise_udp.aead import Aead
from p2pnode.transports.noise_udp.handshake import (
    Credentials,
    InitiatorHandshake,
    ResponderHandshake,
    choose_aead,
    chosen_aead,
)
from p2pnode.transports.noise_udp.packet import (
    MAX_HANDSHAKE_SIZE,
    VERSIONS,
    decode_initial_untrusted,
    decode_message_untrusted,
)
from tests.support.identities import private_key
from tests.support.noise_udp import (
    DESTINATION,
    INITIATOR,
    INITIATOR_ID,
    LOW_ORDER_POINTS,
    RESPONDER,
    RESPONDER_CID,
    RESPONDER_ID,
    SOURCE,
    credentials,
    entropy,
    exchange,
    parameters,
)


def test_both_sides_get_the_same_secrets_and_know_each_other():
    dialogue = exchange(token=b"token")
    answer = dialogue.answer()
    message, ours = dialogue.finish()
    introduction, theirs = dialogue.responder.read_final_untrusted(message)
    assert ours == theirs
    assert ours.initiator != ours.responder
    assert answer.introduction == (RESPONDER_ID, dialogue.responder_parameters)
    assert introduction == (INITIATOR_ID, dialogue.initiator_parameters)


def test_the_packets_go_to_the_ids_that_the_other_side_chose():
    dialogue = exchange(token=b"token")
    assert dialogue.initial[:5] == (1, 1, DESTINATION, SOURCE, b"token")
    assert decode_message_untrusted(dialogue.responder.packet)[0] == SOURCE
    packet, _ = dialogue.initiator.finish(dialogue.answer(), dialogue.initiator_parameters)
    assert decode_message_untrusted(packet)[0] == RESPONDER_CID


def test_the_prologue_is_the_specs():
    """A Noise state with the prologue written out by hand understands message 1 and answers it."""
    token = b"some token"
    initiator = InitiatorHandshake(
        INITIATOR, entropy("i"), destination=DESTINATION, source=SOURCE, token=token
    )
    prologue = (
        b"p2pnode noise-udp\x01"
        + DESTINATION.to_bytes(8, "big")
        + SOURCE.to_bytes(8, "big")
        + bytes([len(token)])
        + token
    )
    state = HandshakeState(
        XX, initiator=False, prologue=prologue, entropy=entropy("r"), s=RESPONDER.static
    )
    versions = state.read_message(decode_initial_untrusted(initiator.packet).message)
    assert tuple(versions) == VERSIONS
    payload = bytes([len(RESPONDER.payload)]) if len(RESPONDER.payload) < 64 else None
    assert payload is None, "the length of a payload with a signature takes two bytes"
    size = (0x4000 | len(RESPONDER.payload)).to_bytes(2, "big")
    message = state.write_message(size + RESPONDER.payload + parameters(7).encode())
    assert initiator.read_response_untrusted(message).introduction.peer_id == RESPONDER_ID


@pytest.mark.parametrize(
    "change",
    [
        {"destination": DESTINATION + 1},
        {"source": SOURCE + 1},
        {"token": b"another"},
        {"token": b""},
    ],
)
def test_both_sides_must_agree_on_ids_and_token(change):
    dialogue = exchange(token=b"token", tamper=lambda initial: initial._replace(**change))
    with pytest.raises(HandshakeError):
        dialogue.answer()


@pytest.mark.spec("TRANSPORT-8")
def test_a_forged_response_leaves_the_handshake_as_it_was():
    dialogue = exchange()
    damaged = dialogue.response[:-1] + bytes([dialogue.response[-1] ^ 1])
    for forged in (damaged, b"", dialogue.response[:-1], bytes(200)):
        with pytest.raises((DecodeError, HandshakeError)):
            dialogue.initiator.read_response_untrusted(forged)
    message, ours = dialogue.finish()
    assert dialogue.responder.read_final_untrusted(message)[1] == ours


@pytest.mark.spec("TRANSPORT-8")
def test_a_forged_final_leaves_the_handshake_as_it_was():
    dialogue = exchange()
    message, ours = dialogue.finish()
    for forged in (b"", message[:-1], message[:40] + b"\0" + message[41:], bytes(200)):
        with pytest.raises((DecodeError, HandshakeError)):
            dialogue.responder.read_final_untrusted(forged)
    assert dialogue.responder.read_final_untrusted(message)[1] == ours
    assert dialogue.responder.read_final_untrusted(message)[1] == ours


@pytest.mark.spec("TRANSPORT-8")
def test_an_answer_that_is_not_wanted_does_not_use_the_handshake_up():
    """Two valid answers of different peers: either may be finished, in any order."""
    initiator = InitiatorHandshake(
        INITIATOR, entropy("i"), destination=DESTINATION, source=SOURCE, token=b""
    )
    initial = decode_initial_untrusted(initiator.packet)
    finals = []
    for number, who in enumerate(["fast", "right"]):
        responder = ResponderHandshake(
            credentials(who), entropy(number), initial, parameters(number)
        )
        answer = initiator.read_response_untrusted(decode_message_untrusted(responder.packet)[1])
        finals.append((responder, answer))
    for responder, answer in reversed(finals):
        packet, ours = initiator.finish(answer, parameters(SOURCE, aeads=(1,)))
        message = decode_message_untrusted(packet)[1]
        assert responder.read_final_untrusted(message)[1] == ours


def imposter(name: str) -> Credentials:
    """Returns credentials whose static key is not the one that their identity signed."""
    honest, other = credentials(name), credentials("other static key")
    return replace(honest, static=other.static)


@pytest.mark.spec("TRANSPORT-6")
def test_an_initiator_refuses_a_static_key_that_the_identity_did_not_sign():
    initiator = InitiatorHandshake(
        INITIATOR, entropy("i"), destination=DESTINATION, source=SOURCE, token=b""
    )
    initial = decode_initial_untrusted(initiator.packet)
    responder = ResponderHandshake(imposter("responder"), entropy("r"), initial, parameters(7))
    with pytest.raises(HandshakeError, match="not signed"):
        initiator.read_response_untrusted(decode_message_untrusted(responder.packet)[1])


@pytest.mark.spec("TRANSPORT-6")
def test_a_responder_refuses_a_static_key_that_the_identity_did_not_sign():
    initiator = InitiatorHandshake(
        imposter("initiator"), entropy("i"), destination=DESTINATION, source=SOURCE, token=b""
    )
    initial = decode_initial_untrusted(initiator.packet)
    responder = ResponderHandshake(RESPONDER, entropy("r"), initial, parameters(7))
    answer = initiator.read_response_untrusted(decode_message_untrusted(responder.packet)[1])
    packet, _ = initiator.finish(answer, parameters(SOURCE, aeads=(1,)))
    with pytest.raises(HandshakeError, match="not signed"):
        responder.read_final_untrusted(decode_message_untrusted(packet)[1])


@pytest.mark.parametrize("point", LOW_ORDER_POINTS, ids=[p.hex()[:8] for p in LOW_ORDER_POINTS])
def test_an_ephemeral_key_of_low_order_gets_no_answer(point):
    with pytest.raises(HandshakeError):
        exchange(tamper=lambda i: i._replace(message=point + i.message[32:]))


@pytest.mark.parametrize("point", LOW_ORDER_POINTS, ids=[p.hex()[:8] for p in LOW_ORDER_POINTS])
def test_a_response_with_an_ephemeral_key_of_low_order_is_refused(point):
    dialogue = exchange()
    with pytest.raises(HandshakeError):
        dialogue.initiator.read_response_untrusted(point + dialogue.response[32:])
    dialogue.finish()


def test_the_static_key_is_fresh_and_the_identity_the_same():
    identity = private_key("who")
    one, two = (Credentials.create(identity, entropy(seed)) for seed in (1, 2))
    assert one.peer_id == two.peer_id
    assert one.static.public != two.static.public
    assert identity.public_key.data not in (one.static.public, two.static.public)


@pytest.mark.spec("TRANSPORT-4")
def test_messages_with_ed25519_identities_leave_room_for_data():
    dialogue = exchange(token=bytes(128))
    packet, _ = dialogue.initiator.finish(dialogue.answer(), dialogue.initiator_parameters)
    for size in (len(dialogue.responder.packet), len(packet)):
        assert size < MAX_HANDSHAKE_SIZE / 2


@pytest.mark.spec("TRANSPORT-17")
def test_only_an_offered_aead_can_be_selected():
    chacha, aes = Aead.CHACHA20_POLY1305, Aead.AES_256_GCM
    assert choose_aead((aes, chacha), (1, 2)) is aes
    with pytest.raises(HandshakeError):
        choose_aead((aes,), (1, 77))
    assert chosen_aead((chacha, aes), (2,)) is aes
    for selected in ((), (2,), (1, 1), (77,)):
        with pytest.raises(HandshakeError):
            chosen_aead((chacha,), selected)
