"""The worked example of specs/transport.md: the vectors, field by field.

Made from the JSON alone by the field lists below, not by the code under test: each list is the
spec's layout of a packet or frame, and a packet that it does not cover to the last byte is an
error.
"""

import textwrap
from typing import Any, Final

WIDTH: Final = 64
"""hex digits a line"""
VARINT: Final = -1
"""The size of a field that is RFC 9000's variable-length integer."""
REST: Final = -2
"""The size of a field that runs to the end."""

Row = tuple[str, str]
"""A name, and hex."""
Field = tuple[str, int]
"""A name, and a size in bytes, VARINT or REST."""

IDS: Final[list[Field]] = [("destination id", 8), ("source id", 8)]
LONG_HEADER: Final[list[Field]] = [("first byte", 1), ("version", 1), ("destination id", 8)]
DATA_HEADER: Final[list[Field]] = [
    ("first byte", 1),
    ("destination id", 8),
    ("packet number", 4),
    ("ciphertext", REST),
]
PARAMETERS: Final[dict[int, tuple[str, bool]]] = {
    0x00: ("connection_id", False),
    0x01: ("max_idle_timeout", True),
    0x02: ("stateless_reset_token", False),
    0x03: ("max_udp_payload_size", True),
    0x04: ("initial_max_data", True),
    0x06: ("initial_max_stream_data", True),
    0x08: ("initial_max_streams", True),
    0x0B: ("max_ack_delay", True),
    0x20: ("max_datagram_frame_size", True),
    0x21: ("initial_max_path_id", True),
    0x22: ("aeads", False),
}
"""Names, and whether the value is one integer."""
FRAMES: Final[dict[str, list[Field]]] = {
    "STREAM": [("type", 1), ("stream", VARINT), ("data", REST)],
    "ACK": [
        ("type", 1),
        ("path", VARINT),
        ("largest", VARINT),
        ("delay", VARINT),
        ("count", VARINT),
        ("first", VARINT),
    ],
    "HANDSHAKE_DONE": [("type", 1)],
    "NEW_TOKEN": [("type", 1), ("length", VARINT), ("token", REST)],
    "OBSERVED_ADDRESS": [
        ("type", 1),
        ("path", VARINT),
        ("sequence", VARINT),
        ("length", VARINT),
        ("address", 4),
        ("port", 2),
    ],
    "NEW_CONNECTION_ID": [
        ("type", 1),
        ("path", VARINT),
        ("sequence", VARINT),
        ("retire prior to", VARINT),
        ("id", 8),
        ("reset token", 16),
    ],
    "PATH_CHALLENGE": [("type", 1), ("data", 8)],
}


class Reader:
    """Takes fields off the front of a hex string."""

    def __init__(self, text: str) -> None:
        self.left = text

    def take(self, size: int) -> str:
        taken, self.left = self.left[: 2 * size], self.left[2 * size :]
        assert len(taken) == 2 * size
        return taken

    def take_varint(self) -> str:
        return self.take(1 << (int(self.left[0], 16) >> 2))

    def rows(self, fields: list[Field]) -> list[Row]:
        found: list[Row] = []
        for name, size in fields:
            if size == VARINT:
                value = self.take_varint()
                found.append((name, value + value_of(value)))
            elif size == REST:
                found.append((name, self.take(len(self.left) // 2)))
            else:
                found.append((name, self.take(size)))
        return found

    def message(self, parts: list[Field]) -> list[Row]:
        """Reads Message Length and the Noise message of that length."""
        length = self.take(2)
        inner = Reader(self.take(int(length, 16)))
        rows = inner.rows(parts)
        rows.append(("  payload", inner.left))
        return [("message length", f"{length} = {int(length, 16)}"), *rows]


def number_of(varint: str) -> int:
    return int(varint, 16) & (1 << 4 * len(varint) - 2) - 1


def value_of(varint: str) -> str:
    return f" = {number_of(varint)}" if len(varint) > 2 else ""


def decode(text: str, fields: list[Field]) -> list[Row]:
    """Returns the fields of a packet or frame that consists of them."""
    reader = Reader(text)
    rows = reader.rows(fields)
    assert not reader.left
    return rows


def block(caption: str, rows: list[Row]) -> str:
    """Returns a code block under a caption; long values are wrapped."""
    width = max(len(name) for name, _ in rows) + 2
    lines: list[str] = []
    for name, value in rows:
        pieces = textwrap.wrap(value, WIDTH) or [""]
        lines.append(name.ljust(width) + pieces[0])
        lines += [" " * width + piece for piece in pieces[1:]]
    return f"{caption}\n\n```text\n" + "\n".join(lines) + "\n```\n"


def secrets(vectors: dict[str, Any]) -> list[Row]:
    rows: list[Row] = []
    for side in ("initiator", "responder"):
        rows += [
            (f"{side}'s identity, seed", vectors[side]["identity_seed"]),
            ("  peer id", vectors[side]["peer_id"]),
            (f"{side}'s static key, secret", vectors[side]["static"]),
            ("  public", vectors[side]["static_public"]),
            (f"{side}'s ephemeral key, secret", vectors[side]["ephemeral"]),
            ("  public", vectors[side]["ephemeral_public"]),
        ]
    return rows


def prologue(text: str) -> list[Row]:
    label = len("p2pnode noise-udp")
    return decode(
        text, [("label", label), ("version", 1), *IDS, ("token length", 1), ("token", REST)]
    )


def initial(text: str) -> list[Row]:
    reader = Reader(text)
    rows = reader.rows([("first byte", 1), ("version", 1), ("pattern", 1), *IDS])
    size = reader.take(1)
    rows += [("token length", size), ("token", reader.take(int(size, 16)))]
    rows += reader.message([("  e", 32)])
    assert not int(reader.left, 16)
    return [*rows, ("padding", f"{len(reader.left) // 2} bytes of 00")]


def response(text: str) -> list[Row]:
    reader = Reader(text)
    rows = reader.rows(LONG_HEADER) + reader.message([("  e", 32), ("  s, with tag", 48)])
    assert not reader.left
    return rows


def final(text: str) -> list[Row]:
    reader = Reader(text)
    rows = reader.rows(LONG_HEADER) + reader.message([("  s, with tag", 48)])
    return [*rows, *data(reader.left)]


def data(text: str) -> list[Row]:
    return [*decode(text[:-32], DATA_HEADER), ("tag", text[-32:])]


def payload(text: str) -> list[Row]:
    """Reads the plaintext of messages 2 and 3."""
    reader = Reader(text)
    size = reader.take_varint()
    rows = [("length", size + value_of(size))]
    identity = Reader(reader.take(number_of(size)))
    rows += [
        ("identity_key, Ed25519", f"{identity.take(2)} {identity.take(4)}"),
        ("  key", identity.take(32)),
        ("identity_sig", identity.take(2)),
        ("  signature", identity.take(64)),
    ]
    assert not identity.left
    while reader.left:
        key, length = reader.take_varint(), reader.take_varint()
        name, is_number = PARAMETERS[number_of(key)]
        value = reader.take(number_of(length))
        shown = f"{value} = {number_of(value)}" if is_number else value
        rows.append((name, f"{key} {length} {shown}"))
    return rows


def packet(secret: str, vector: dict[str, Any]) -> list[Row]:
    """Returns the derivation of a data packet's nonce, and its frames."""
    counter = f"{vector['path_id']:08x} {vector['packet_number']:016x}"
    rows = [
        ("secret", secret),
        ("key", vector["key"]),
        ("iv", vector["iv"]),
        ("path id, packet number", counter),
        ("nonce", vector["nonce"]),
        ("header", vector["header"]),
    ]
    for frame in vector["frames"]:
        fields = decode(frame["bytes"], FRAMES[frame["frame"]])
        (_, kind), *others = fields
        rows += [(frame["frame"], kind), *((f"  {name}", value) for name, value in others)]
    return rows


def ack(text: str) -> list[Row]:
    """Reads an ACK with counts, and says what each number acknowledges."""
    reader = Reader(text)
    rows = reader.rows(FRAMES["ACK"])
    largest, count, first = (number_of(rows[index][1].partition(" ")[0]) for index in (2, 4, 5))
    start = largest - first
    rows[-1] = (rows[-1][0], f"{rows[-1][1]}: packets {start} to {largest}")
    for _ in range(count):
        gap, length = reader.take_varint(), reader.take_varint()
        stop = start - number_of(gap) - 2
        missing = f"{stop + 1} to {start - 1} missing"
        start = stop - number_of(length)
        rows += [("gap", f"{gap}: {missing}"), ("length", f"{length}: packets {start} to {stop}")]
    rows += reader.rows([("ECT(0)", VARINT), ("ECT(1)", VARINT), ("CE", VARINT)])
    assert not reader.left
    return rows


def worked_example(vectors: dict[str, Any]) -> str:
    """Returns the connection on ChaCha20-Poly1305, step by step, as Markdown."""
    connection = vectors["connections"][0]
    retry = decode(vectors["retry_packet"], [*LONG_HEADER, ("token length", 1), ("token", REST)])
    negotiation = decode(
        vectors["version_negotiation_packet"],
        [("first byte", 1), ("destination id", 8), ("count", 1), ("versions", REST)],
    )
    reset = decode(
        vectors["stateless_reset_packet"], [("first byte", 1), ("echoed id", 8), ("token", 16)]
    )
    blocks = [
        block("What both sides begin with:", secrets(vectors)),
        block("The Retry that was sent for a first Initial, which is not shown:", retry),
        block("The prologue, once the Initial carries the Retry's token:", prologue(
            connection["prologue"])),
        block("The Initial; its payload is the versions:", initial(connection["initial_datagram"])),
        block("The Response:", response(connection["response_datagram"])),
        block("The payload of message 2 in the clear; each transport parameter is id, length, "
              "value:", payload(connection["response_payload"])),
        block("The Final, and behind it in the same datagram the first data packet:",
              final(connection["final_datagram"])),
        block("The payload of message 3 in the clear:", payload(connection["final_payload"])),
        block("The keys of the first data packet of the initiator (ChaCha20-Poly1305), and its "
              "one frame:",
              packet(connection["initiator_secret"], connection["initiator_first_packet"])),
        block("The first data packet of the responder:",
              data(connection["responder_first_packet"]["packet"])),
        block("Its keys and frames:",
              packet(connection["responder_secret"], connection["responder_first_packet"])),
        block("A packet of the initiator on path 1 in key phase 1:",
              data(connection["initiator_packet_on_path_1"]["packet"])),
        block("Its keys and its frame:",
              packet(connection["initiator_secret_of_phase_1"],
                     connection["initiator_packet_on_path_1"])),
        block("An ACK of three ranges, with ECN counts:", ack(vectors["ack_frame"])),
        block("A Version Negotiation:", negotiation),
        block("A stateless reset for the responder's id:", reset),
    ]  # fmt: skip
    return "\n".join(blocks)
