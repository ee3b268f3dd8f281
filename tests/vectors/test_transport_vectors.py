"""specs/vectors/transport.json is what this implementation does, and can be read without it."""

import json
import re

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from p2pnode.noise.handshake_state import HandshakeState
from p2pnode.noise.patterns import XX
from p2pnode.noise.primitives import KeyPair
from p2pnode.transports.delivery.frame import Ack
from p2pnode.transports.noise_udp.frame import decode_frame_untrusted
from tests.vectors.make_transport_vectors import EXAMPLE, FILE, SPEC, make_vectors
from tests.vectors.transport_example import worked_example

VECTORS = json.loads(FILE.read_text(encoding="utf-8"))
CONNECTIONS = VECTORS["connections"]
NAMES = ["ChaCha20-Poly1305", "AES-256-GCM"]
PACKETS = ["initiator_first_packet", "responder_first_packet", "initiator_packet_on_path_1"]


def test_the_file_is_made_anew_byte_for_byte():
    assert make_vectors() == VECTORS


def test_the_worked_example_of_the_spec_is_the_files():
    found = EXAMPLE.search(SPEC.read_text(encoding="utf-8"))
    assert found
    assert found[0] == worked_example(VECTORS)


def example_blocks() -> list[str]:
    """Returns the hex of each code block of the spec's example, names and comments taken off."""
    found = EXAMPLE.search(SPEC.read_text(encoding="utf-8"))
    assert found
    blocks = []
    for text in re.findall(r"```text\n(.*?)```", found[0], re.DOTALL):
        values = [re.split(r"\s{2,}", line.strip())[-1] for line in text.splitlines()]
        assert all(len(value.replace(" ", "")) <= 90 for value in values)
        blocks.append("".join(re.split(" = |: ", value)[0].replace(" ", "") for value in values))
    return blocks


def test_the_fields_of_the_worked_example_make_up_the_packets():
    connection = CONNECTIONS[0]
    blocks = example_blocks()
    initial = connection["initial_datagram"].rstrip("0")
    zeros = 1200 - len(initial) // 2
    for expected in (
        VECTORS["retry_packet"],
        connection["prologue"],
        f"{initial}{zeros}bytesof00",
        connection["response_datagram"],
        connection["response_payload"],
        connection["final_datagram"],
        connection["final_payload"],
        *(connection[name]["packet"] for name in PACKETS[1:]),
        VECTORS["ack_frame"],
        VECTORS["version_negotiation_packet"],
        VECTORS["stateless_reset_packet"],
    ):
        assert expected in blocks


def test_the_ranges_of_the_worked_ack_are_those_that_the_decoder_finds():
    frame, _ = decode_frame_untrusted(bytes.fromhex(VECTORS["ack_frame"]), 0)
    assert isinstance(frame, Ack)
    shown = re.findall(r"packets ([0-9]+) to ([0-9]+)$", worked_example(VECTORS), re.MULTILINE)
    assert [(int(first), int(last) + 1) for first, last in shown] == list(frame.ranges)


@pytest.mark.parametrize("name", PACKETS)
@pytest.mark.parametrize("connection", CONNECTIONS, ids=NAMES)
def test_a_plain_hkdf_expands_the_secrets_to_the_keys(connection, name):
    def expand(secret, label, size):
        info = b"p2pnode noise-udp " + label
        return HKDFExpand(SHA256(), size, info).derive(bytes.fromhex(secret)).hex()

    assert connection["initiator_secret_of_phase_1"] == expand(
        connection["initiator_secret"], b"ku", 32
    )
    side = name.partition("_")[0]
    phase = "_of_phase_1" if connection[name]["key_phase"] else ""
    secret = connection[f"{side}_secret{phase}"]
    assert connection[name]["key"] == expand(secret, b"key", 32)
    assert connection[name]["iv"] == expand(secret, b"iv", 12)


@pytest.mark.parametrize("connection", CONNECTIONS, ids=NAMES)
def test_a_plain_noise_state_reads_the_handshake(connection):
    """Nothing of the transport is used: prologue, offsets and keys are the file's own words."""

    def side(name):
        secret = bytes.fromhex(VECTORS[name]["ephemeral"])
        return HandshakeState(
            XX,
            initiator=name == "initiator",
            prologue=bytes.fromhex(connection["prologue"]),
            entropy=lambda size: secret[:size],
            s=KeyPair.from_secret(bytes.fromhex(VECTORS[name]["static"])),
        )

    initial = bytes.fromhex(connection["initial_datagram"])
    assert len(initial) == 1200
    start = 20 + initial[19]
    messages = [initial[start + 2 : start + 2 + int.from_bytes(initial[start : start + 2])]]
    for name in ("response_datagram", "final_datagram"):
        packet = bytes.fromhex(connection[name])
        messages.append(packet[12 : 12 + int.from_bytes(packet[10:12])])

    initiator, responder = side("initiator"), side("responder")
    payloads = []
    for message in messages:
        writer, reader = (initiator, responder) if initiator.is_our_turn else (responder, initiator)
        payloads.append(reader.read_message(message))
        assert writer.write_message(payloads[-1]) == message
    assert payloads[0] == b"\x01"
    assert payloads[1].hex() == connection["response_payload"]
    assert payloads[2].hex() == connection["final_payload"]
    assert payloads[1].endswith(bytes.fromhex(connection["responder_parameters"]))
    assert payloads[2].endswith(bytes.fromhex(connection["initiator_parameters"]))
    secrets = [bytes.fromhex(connection[f"{name}_secret"]) for name in ("initiator", "responder")]
    assert list(initiator.split_secrets()) == list(responder.split_secrets()) == secrets


@pytest.mark.parametrize("name", PACKETS)
@pytest.mark.parametrize("connection", CONNECTIONS, ids=NAMES)
def test_a_plain_aead_opens_the_packets(connection, name):
    vector = connection[name]
    cipher = {1: ChaCha20Poly1305, 2: AESGCM}[connection["aead"]](bytes.fromhex(vector["key"]))
    counter = vector["path_id"].to_bytes(4) + vector["packet_number"].to_bytes(8)
    nonce = bytes(a ^ b for a, b in zip(bytes.fromhex(vector["iv"]), counter, strict=True))
    assert nonce.hex() == vector["nonce"]
    packet = bytes.fromhex(vector["packet"])
    assert packet[:13].hex() == vector["header"]
    assert packet[0] == 0x80 | vector["key_phase"]
    assert packet[9:13] == (vector["packet_number"] & 0xFFFF_FFFF).to_bytes(4)
    frames = "".join(frame["bytes"] for frame in vector["frames"])
    assert cipher.decrypt(nonce, packet[13:], packet[:13]).hex() == frames


@pytest.mark.parametrize("connection", CONNECTIONS, ids=NAMES)
def test_the_first_data_packet_rides_behind_message_3(connection):
    packet = connection["initiator_first_packet"]["packet"]
    assert connection["final_datagram"].endswith(packet)
