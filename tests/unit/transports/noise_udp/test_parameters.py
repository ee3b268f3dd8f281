from dataclasses import fields

import pytest

from p2pnode.errors import DecodeError
from p2pnode.transports.delivery.varint import decode_varint_untrusted, encode_varint
from p2pnode.transports.noise_udp.aead import Aead
from p2pnode.transports.noise_udp.config import TransportConfig
from p2pnode.transports.noise_udp.parameters import (
    MAX_ACK_DELAY_US,
    MAX_PARAMETERS,
    decode_parameters_untrusted,
    select_aead,
)
from tests.support import spec_tables
from tests.support.noise_udp import parameters

PARAMETERS = parameters(0x0102030405060708)
ATTRIBUTE = {
    "connection_id": "connection_id",
    "max_idle_timeout": "max_idle_timeout_ms",
    "stateless_reset_token": "reset_token",
    "max_udp_payload_size": "max_udp_payload",
    "max_ack_delay": "max_ack_delay_us",
    "max_datagram_frame_size": "max_datagram_frame",
}
SPEC_ROWS = spec_tables.tables("transport.md", "Transport parameters")[0]


def split(encoded: bytes) -> dict[int, bytes]:
    values, position = {}, 0
    while position < len(encoded):
        key, position = decode_varint_untrusted(encoded, position)
        size, position = decode_varint_untrusted(encoded, position)
        values[key] = encoded[position : position + size]
        position += size
    return values


def join(values: dict[int, bytes]) -> bytes:
    return b"".join(
        encode_varint(key) + encode_varint(len(value)) + value for key, value in values.items()
    )


VALUES = split(PARAMETERS.encode())


def test_parameters_are_read_as_they_were_written():
    assert decode_parameters_untrusted(PARAMETERS.encode()) == PARAMETERS


def test_the_bytes_are_the_specs():
    assert PARAMETERS.encode() == bytes.fromhex(
        "0008 0102030405060708"
        "0104 8000afc8"
        "0210 00000000000000000102030405060708"
        "0304 8000ffe3"
        "0404 80300000"
        "0604 80200000"
        "0802 4100"
        "0b04 800061a8"
        "2004 8000fde8"
        "2101 08"
        "2202 0102"
    )


def test_the_ids_and_names_are_the_specs():
    names = [field.name for field in fields(PARAMETERS)]
    assert sorted(int(row[0], 16) for row in SPEC_ROWS) == sorted(VALUES)
    assert sorted(ATTRIBUTE.get(row[1], row[1]) for row in SPEC_ROWS) == sorted(names)


def test_each_id_stands_for_the_field_that_the_spec_names():
    for number, name, *_ in SPEC_ROWS:
        value = getattr(PARAMETERS, ATTRIBUTE.get(name, name))
        if name == "aeads":
            encoded = bytes(value)
        elif isinstance(value, bytes):
            encoded = value
        elif name == "connection_id":
            encoded = value.to_bytes(8, "big")
        else:
            encoded = encode_varint(value)
        assert VALUES[int(number, 16)] == encoded


def test_the_specs_defaults_are_the_configs():
    config = TransportConfig()
    expected = {
        "max_idle_timeout": config.idle_timeout * 1000,
        "max_udp_payload_size": config.max_udp_payload,
        "initial_max_data": config.max_data,
        "initial_max_stream_data": config.max_stream_data,
        "initial_max_streams": config.max_streams,
        "max_ack_delay": config.max_ack_delay * 1e6,
        "max_datagram_frame_size": config.max_datagram_frame,
        "initial_max_path_id": config.max_path_id,
    }
    stated = {}
    for _, name, _, default in SPEC_ROWS:
        if default[:1].isdigit():
            number, _, unit = default.replace(",", "").partition(" ")
            stated[name] = int(number) * {"": 1, "MiB": 1 << 20}[unit]
    assert stated == expected


def test_unknown_parameters_are_skipped():
    values = VALUES | {0x3FFF: b"later", 0x40: b""}
    assert decode_parameters_untrusted(join(values)) == PARAMETERS


@pytest.mark.parametrize("key", sorted(VALUES))
def test_a_missing_parameter_is_refused(key):
    with pytest.raises(DecodeError):
        decode_parameters_untrusted(join({k: v for k, v in VALUES.items() if k != key}))


@pytest.mark.parametrize("key", [*sorted(VALUES), 0x77])
def test_a_double_parameter_is_refused(key):
    values = {0x77: b"x"} | VALUES
    with pytest.raises(DecodeError):
        decode_parameters_untrusted(join(values) + join({key: values[key]}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (0x00, bytes(7)),
        (0x02, bytes(17)),
        (0x03, encode_varint(1199)),
        (0x08, encode_varint((1 << 60) + 1)),
        (0x0B, encode_varint(MAX_ACK_DELAY_US + 1)),
        (0x21, encode_varint(1 << 32)),
        (0x04, b""),
        (0x04, b"\x40"),
        (0x04, b"\x01\x00"),
    ],
)
def test_a_parameter_out_of_bounds_is_refused(key, value):
    with pytest.raises(DecodeError):
        decode_parameters_untrusted(join(VALUES | {key: value}))


def test_more_parameters_than_anybody_needs_are_refused():
    extra = {1000 + number: b"" for number in range(MAX_PARAMETERS - len(VALUES))}
    decode_parameters_untrusted(join(VALUES | extra))
    with pytest.raises(DecodeError):
        decode_parameters_untrusted(join(VALUES | extra | {999: b""}))


@pytest.mark.spec("TRANSPORT-17")
def test_the_initiators_best_aead_among_the_offered_is_selected():
    chacha, aes = Aead.CHACHA20_POLY1305, Aead.AES_256_GCM
    assert select_aead((aes, chacha), (1, 2)) is aes
    assert select_aead((aes, chacha), (1, 77)) is chacha
    assert select_aead((aes,), (1,)) is None
    assert PARAMETERS.with_aead(aes).aeads == (aes,)
