"""Makes specs/vectors/transport.json and the worked example in specs/transport.md.

    python -m tests.vectors.make_transport_vectors

Everything follows from the inputs that the file itself names, so that any implementation can make
it anew.  Integers are numbers, everything else is hex.
"""

import json
import re
from pathlib import Path
from typing import Any

from p2pnode.clock import UnixTime
from p2pnode.entropy import Entropy
from p2pnode.identity.keys import PrivateKey
from p2pnode.machine import SocketAddr
from p2pnode.noise.primitives import KeyPair
from p2pnode.transports.datagrams.frame import HandshakeDone, NewToken, PathChallenge
from p2pnode.transports.delivery.frame import Ack, stream_header
from p2pnode.transports.delivery.varint import encode_varint
from p2pnode.transports.noise_udp.aead import Aead, hkdf_expand, next_secret, packet_key
from p2pnode.transports.noise_udp.frame import NewConnectionId, ObservedAddress, encode_ack
from p2pnode.transports.noise_udp.handshake import (
    PROLOGUE_LABEL,
    Credentials,
    InitiatorHandshake,
    ResponderHandshake,
)
from p2pnode.transports.noise_udp.packet import (
    DATA,
    DATA_HEADER,
    VERSION,
    Retry,
    VersionNegotiation,
    decode_initial_untrusted,
    decode_message_untrusted,
    stateless_reset,
)
from p2pnode.transports.noise_udp.parameters import TransportParameters
from p2pnode.transports.noise_udp.token import TokenIssuer
from tests.vectors.transport_example import worked_example

ROOT = Path(__file__).parents[2]
FILE = ROOT / "specs" / "vectors" / "transport.json"
SPEC = ROOT / "specs" / "transport.md"
EXAMPLE = re.compile(r"(?<=<!-- vectors -->\n\n).*(?=\n<!-- end of the vectors -->)", re.DOTALL)

UNIX_NOW = UnixTime(1_700_000_000.0)
REMOTE = SocketAddr("192.0.2.1", 1111)
DESTINATION = 0x0011_2233_4455_6677
TOKEN_SECRET = b"\x55" * 32
INITIATOR = {"identity_seed": b"\x01" * 32, "static": b"\x11" * 32, "ephemeral": b"\x33" * 32}
RESPONDER = {"identity_seed": b"\x02" * 32, "static": b"\x22" * 32, "ephemeral": b"\x44" * 32}
INITIATOR_ID = 0xA0A1_A2A3_A4A5_A6A7
RESPONDER_ID = 0xB0B1_B2B3_B4B5_B6B7
RESPONDER_ID_PATH_1 = 0xC0C1_C2C3_C4C5_C6C7
ACK = Ack(1, 25_000, ((95, 101), (90, 93), (0, 88)), (180, 0, 2))
REQUEST = b"\x13/multistream/1.0.0\n"


def constant(value: bytes) -> Entropy:
    """Returns "entropy" that gives one value, once."""
    values = iter([value])

    def take(size: int) -> bytes:
        taken = next(values)
        assert len(taken) == size
        return taken

    return take


def make_credentials(side: dict[str, bytes]) -> Credentials:
    return Credentials.create(PrivateKey(side["identity_seed"]), constant(side["static"]))


def make_parameters(issuer: TokenIssuer, cid: int, aeads: tuple[int, ...]) -> TransportParameters:
    return TransportParameters(
        connection_id=cid,
        reset_token=issuer.reset_token(cid),
        aeads=aeads,
        max_idle_timeout_ms=45_000,
        max_udp_payload=65_507,
        initial_max_data=3 << 20,
        initial_max_stream_data=2 << 20,
        initial_max_streams=256,
        max_ack_delay_us=25_000,
        max_datagram_frame=65_000,
        initial_max_path_id=8,
    )


def message_payload(side: dict[str, bytes], parameters: TransportParameters) -> bytes:
    """Returns what message 2 or 3 carries, in the clear."""
    identity = make_credentials(side).payload
    return encode_varint(len(identity)) + identity + parameters.encode()


def data_packet(
    secret: bytes, aead: Aead, destination: int, frames: dict[str, bytes], *, number: int = 0,
    path_id: int = 0, phase: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Returns a sealed packet with all that went into it."""
    key = packet_key(secret, aead)
    header = DATA_HEADER.pack(DATA | phase & 1, destination, number & 0xFFFF_FFFF)
    nonce = (key.iv ^ (path_id << 64 | number)).to_bytes(12, "big")
    payload = b"".join(frames.values())
    return {
        "path_id": path_id,
        "packet_number": number,
        "key_phase": phase,
        "key": hkdf_expand(secret, "key", 32).hex(),
        "iv": hkdf_expand(secret, "iv", 12).hex(),
        "nonce": nonce.hex(),
        "header": header.hex(),
        "frames": [{"frame": name, "bytes": data.hex()} for name, data in frames.items()],
        "packet": (header + key.seal(nonce, payload, header)).hex(),
    }


def make_connection(aead: Aead) -> dict[str, Any]:
    """Returns a handshake that selects `aead`, and packets under its keys."""
    issuer = TokenIssuer(TOKEN_SECRET)
    token = issuer.retry_token(REMOTE, DESTINATION, INITIATOR_ID, UNIX_NOW)
    ours = make_parameters(issuer, INITIATOR_ID, (aead,))
    theirs = make_parameters(issuer, RESPONDER_ID, (1, 2))
    initiator = InitiatorHandshake(
        make_credentials(INITIATOR),
        constant(INITIATOR["ephemeral"]),
        destination=DESTINATION,
        source=INITIATOR_ID,
        token=token,
    )
    initial = decode_initial_untrusted(initiator.packet)
    responder = ResponderHandshake(
        make_credentials(RESPONDER), constant(RESPONDER["ephemeral"]), initial, theirs
    )
    answer = initiator.read_response_untrusted(decode_message_untrusted(responder.packet)[1])
    final, secrets = initiator.finish(answer, ours)
    _, read = responder.read_final_untrusted(decode_message_untrusted(final)[1])
    assert read == secrets
    first = data_packet(
        secrets.initiator,
        aead,
        RESPONDER_ID,
        {"STREAM": stream_header(0, 0, False, None) + REQUEST},
    )
    return {
        "aead": int(aead),
        "initiator_parameters": ours.encode().hex(),
        "responder_parameters": theirs.encode().hex(),
        "prologue": (
            PROLOGUE_LABEL
            + bytes([VERSION])
            + DESTINATION.to_bytes(8, "big")
            + INITIATOR_ID.to_bytes(8, "big")
            + bytes([len(token)])
            + token
        ).hex(),
        "initial_datagram": initiator.packet.hex(),
        "response_datagram": responder.packet.hex(),
        "final_datagram": final.hex() + first["packet"],
        "response_payload": message_payload(RESPONDER, theirs).hex(),
        "final_payload": message_payload(INITIATOR, ours).hex(),
        "initiator_secret": secrets.initiator.hex(),
        "responder_secret": secrets.responder.hex(),
        "initiator_secret_of_phase_1": next_secret(secrets.initiator).hex(),
        "initiator_first_packet": first,
        "responder_first_packet": data_packet(
            secrets.responder, aead, INITIATOR_ID, responder_frames(issuer)
        ),
        "initiator_packet_on_path_1": data_packet(
            next_secret(secrets.initiator),
            aead,
            RESPONDER_ID_PATH_1,
            {"PATH_CHALLENGE": PathChallenge(b"\x77" * 8).encode()},
            number=0x1_0000_0005,
            path_id=1,
            phase=1,
        ),
    }


def responder_frames(issuer: TokenIssuer) -> dict[str, bytes]:
    cid = RESPONDER_ID_PATH_1.to_bytes(8, "big")
    return {
        "ACK": encode_ack(Ack(0, 150, ((0, 1),))),
        "HANDSHAKE_DONE": HandshakeDone().encode(),
        "NEW_TOKEN": NewToken(issuer.address_token(REMOTE, UNIX_NOW)).encode(),
        "OBSERVED_ADDRESS": ObservedAddress(0, 0, REMOTE).encode(),
        "NEW_CONNECTION_ID": NewConnectionId(
            1, 0, 0, cid, issuer.reset_token(RESPONDER_ID_PATH_1)
        ).encode(),
    }


def make_vectors() -> dict[str, Any]:
    """Returns the whole file as an object."""
    issuer = TokenIssuer(TOKEN_SECRET)
    token = issuer.retry_token(REMOTE, DESTINATION, INITIATOR_ID, UNIX_NOW)
    sides = {
        name: {key: value.hex() for key, value in side.items()}
        | {
            f"{key}_public": KeyPair.from_secret(side[key]).public.hex()
            for key in ("static", "ephemeral")
        }
        | {"peer_id": str(make_credentials(side).peer_id), "connection_id": cid.to_bytes(8).hex()}
        for name, side, cid in (
            ("initiator", INITIATOR, INITIATOR_ID),
            ("responder", RESPONDER, RESPONDER_ID),
        )
    }
    return {
        "spec": "specs/transport.md",
        "version": VERSION,
        **sides,
        "destination_id": DESTINATION.to_bytes(8).hex(),
        "remote_address": str(REMOTE),
        "unix_time": int(UNIX_NOW),
        "token_secret": TOKEN_SECRET.hex(),
        "retry_token": token.hex(),
        "address_token": issuer.address_token(REMOTE, UNIX_NOW).hex(),
        "retry_packet": Retry(INITIATOR_ID, token).encode().hex(),
        "version_negotiation_packet": VersionNegotiation(INITIATOR_ID, (VERSION,)).encode().hex(),
        "stateless_reset_packet": stateless_reset(
            RESPONDER_ID, issuer.reset_token(RESPONDER_ID)
        ).hex(),
        "ack_frame": encode_ack(ACK).hex(),
        "connections": [make_connection(aead) for aead in Aead],
    }


def main() -> None:
    vectors = make_vectors()
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps(vectors, indent=1) + "\n", encoding="utf-8")
    text = SPEC.read_text(encoding="utf-8")
    text = EXAMPLE.sub(lambda _: worked_example(vectors), text)
    SPEC.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
