"""Our Noise against the package noiseprotocol, another author's: whole handshakes, both roles."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from noise.connection import Keypair, NoiseConnection

from p2pnode.noise import CipherState, HandshakeState, KeyPair, NoiseProtocol

SUITES = ("ChaChaPoly_SHA256", "ChaChaPoly_BLAKE2s", "AESGCM_SHA512")
NAMES = tuple(
    f"Noise_{pattern}_25519_{suite}" for pattern in ("XX", "IK", "XXpsk3") for suite in SUITES
)
PSK = b"\x07" * 32

secrets = st.binary(min_size=32, max_size=32)
payloads = st.lists(st.binary(max_size=300), min_size=3, max_size=3)
messages = st.lists(st.tuples(st.booleans(), st.binary(max_size=300)), max_size=6)


def make_ours(
    name: str, *, initiator: bool, prologue: bytes, static: bytes, ephemeral: bytes, peer: bytes
) -> HandshakeState:
    protocol = NoiseProtocol.from_name(name)
    return HandshakeState(
        protocol,
        initiator=initiator,
        prologue=prologue,
        entropy=lambda size: ephemeral[:size],
        s=KeyPair.from_secret(static),
        rs=peer if protocol.pattern.static_known(initiator=not initiator) else None,
        psks=[PSK] * protocol.pattern.psk_count,
    )


def make_theirs(
    name: str, *, initiator: bool, prologue: bytes, static: bytes, ephemeral: bytes, peer: bytes
) -> NoiseConnection:
    connection = NoiseConnection.from_name(name.encode("ascii"))
    if initiator:
        connection.set_as_initiator()
    else:
        connection.set_as_responder()
    connection.set_prologue(prologue)
    connection.set_keypair_from_private_bytes(Keypair.STATIC, static)
    connection.set_keypair_from_private_bytes(Keypair.EPHEMERAL, ephemeral)
    if initiator and "_IK_" in name:
        connection.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, peer)
    if "psk" in name:
        connection.set_psks(psks=[PSK])
    connection.start_handshake()
    return connection


def shake_hands(ours: HandshakeState, theirs: NoiseConnection, said: list[bytes]) -> None:
    for payload in said:
        if ours.is_finished:
            break
        if ours.is_our_turn:
            assert theirs.read_message(ours.write_message(payload)) == payload
        else:
            assert ours.read_message(bytes(theirs.write_message(payload))) == payload


def talk(
    ours: tuple[CipherState, CipherState],
    theirs: NoiseConnection,
    said: list[tuple[bool, bytes]],
) -> None:
    outgoing, incoming = ours
    for from_us, text in said:
        if from_us:
            assert theirs.decrypt(outgoing.encrypt_with_ad(b"", text)) == text
        else:
            assert incoming.decrypt_with_ad(b"", theirs.encrypt(text)) == text


@pytest.mark.spec("NOISE-1")
@pytest.mark.spec("NOISE-7")
# Its ephemeral keys are set so that an example is repeatable; it warns that one never should.
@pytest.mark.filterwarnings("ignore:One of ephemeral keypairs is already set")
@settings(max_examples=120, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    initiator=st.booleans(),
    prologue=st.binary(max_size=64),
    keys=st.tuples(secrets, secrets, secrets, secrets),
    said=payloads,
    before_rekey=messages,
    after_rekey=messages,
)
def test_handshakes_and_transport_messages_interoperate(
    name: str,
    initiator: bool,
    prologue: bytes,
    keys: tuple[bytes, bytes, bytes, bytes],
    said: list[bytes],
    before_rekey: list[tuple[bool, bytes]],
    after_rekey: list[tuple[bool, bytes]],
) -> None:
    our_static, our_ephemeral, their_static, their_ephemeral = keys
    ours = make_ours(
        name,
        initiator=initiator,
        prologue=prologue,
        static=our_static,
        ephemeral=our_ephemeral,
        peer=KeyPair.from_secret(their_static).public,
    )
    theirs = make_theirs(
        name,
        initiator=not initiator,
        prologue=prologue,
        static=their_static,
        ephemeral=their_ephemeral,
        peer=KeyPair.from_secret(our_static).public,
    )

    shake_hands(ours, theirs, said)

    assert ours.is_finished
    assert theirs.handshake_finished
    assert ours.handshake_hash == theirs.get_handshake_hash()
    assert ours.remote_static == KeyPair.from_secret(their_static).public
    first, second = ours.split()
    outgoing, incoming = (first, second) if initiator else (second, first)
    talk((outgoing, incoming), theirs, before_rekey)
    outgoing.rekey()
    incoming.rekey()
    theirs.rekey_inbound_cipher()
    theirs.rekey_outbound_cipher()
    talk((outgoing, incoming), theirs, after_rekey)
