"""The Noise vectors of cacophony, every one of the file, byte for byte, from both sides."""

import pytest

from p2pnode.noise import HandshakeState, KeyPair, NoiseProtocol
from tests.vectors import published_files

FILE = "noise_cacophony_25519_chachapoly.json"
VECTORS = published_files.load(FILE)["vectors"]

pytestmark = [
    pytest.mark.spec("NOISE-1"),
    pytest.mark.spec("NOISE-2"),
]


def test_the_file_holds_each_pattern_that_the_spec_names() -> None:
    assert len(VECTORS) == 18


def state(vector: dict, side: str) -> HandshakeState:
    def unhex(name: str) -> bytes | None:
        value = vector.get(f"{side}_{name}")
        return None if value is None else bytes.fromhex(value)

    def ephemeral(size: int) -> bytes:
        secret = unhex("ephemeral")
        assert secret is not None
        assert len(secret) == size
        return secret

    static = unhex("static")
    return HandshakeState(
        NoiseProtocol.from_name(vector["protocol_name"]),
        initiator=side == "init",
        prologue=unhex("prologue") or b"",
        entropy=ephemeral,
        s=None if static is None else KeyPair.from_secret(static),
        rs=unhex("remote_static"),
        psks=[bytes.fromhex(psk) for psk in vector.get(f"{side}_psks", [])],
    )


@pytest.mark.parametrize("vector", VECTORS, ids=[v["protocol_name"] for v in VECTORS])
def test_both_sides_write_and_read_the_bytes_of_the_vector(vector: dict) -> None:
    writer, reader = state(vector, "init"), state(vector, "resp")
    messages = [
        (bytes.fromhex(m["payload"]), bytes.fromhex(m["ciphertext"])) for m in vector["messages"]
    ]
    count = 0
    while not writer.is_finished:
        payload, ciphertext = messages[count]
        assert writer.write_message(payload) == ciphertext
        assert reader.read_message(ciphertext) == payload
        writer, reader = reader, writer
        count += 1
    assert reader.is_finished

    binding = bytes.fromhex(vector["handshake_hash"])
    assert writer.handshake_hash == binding
    assert reader.handshake_hash == binding

    assert count < len(messages)
    # Transport messages go on in turns; index 0 of Split() is the initiator's direction.
    outgoing, incoming = writer.split(), reader.split()
    for index in range(count, len(messages)):
        payload, ciphertext = messages[index]
        assert outgoing[index % 2].encrypt_with_ad(b"", payload) == ciphertext
        assert incoming[index % 2].decrypt_with_ad(b"", ciphertext) == payload


@pytest.mark.parametrize("vector", VECTORS, ids=[v["protocol_name"] for v in VECTORS])
def test_each_side_learns_the_static_key_that_the_other_sent(vector: dict) -> None:
    initiator, responder = state(vector, "init"), state(vector, "resp")
    while not initiator.is_finished:
        writer, reader = (initiator, responder) if initiator.is_our_turn else (responder, initiator)
        reader.read_message(writer.write_message())

    for us, peer in ((initiator, "resp"), (responder, "init")):
        static = vector.get(f"{peer}_static")
        expected = None if static is None else KeyPair.from_secret(bytes.fromhex(static)).public
        assert us.remote_static == expected
