"""Frames and packets: what is encoded is read back, and no bytes raise anything but DecodeError."""

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from p2pnode.errors import DecodeError
from p2pnode.transports.delivery import frame as stream_frame
from p2pnode.transports.delivery.varint import (
    MAX_VARINT,
    decode_varint_untrusted,
    encode_varint,
    varint_size,
)
from p2pnode.transports.noise_udp import frame, packet
from p2pnode.transports.noise_udp.aead import Aead
from p2pnode.transports.noise_udp.parameters import (
    MAX_ACK_DELAY_US,
    TransportParameters,
    decode_parameters_untrusted,
)
from tests.support.frames import encode, frames_of, integers

ids = st.integers(0, (1 << 64) - 1)
frames = frames_of(integers, st.integers(1 << 20, 1 << 40))


@given(integers, st.binary(max_size=3))
def test_integers_are_read_back_from_the_shortest_form(value, prefix):
    encoded = encode_varint(value)
    assert decode_varint_untrusted(prefix + encoded + b"\xff", len(prefix)) == (
        value,
        len(prefix) + len(encoded),
    )
    assert varint_size(value) == len(encoded)


@given(st.lists(frames, min_size=1, max_size=5))
def test_frames_are_read_back_one_behind_the_other(several):
    encoded = b"".join(encode(each) for each in several)
    position, found = 0, []
    while position < len(encoded):
        one, position = frame.decode_frame_untrusted(encoded, position)
        found.append(one)
    assert found == several


@given(integers, integers, st.booleans(), st.binary(max_size=50), st.booleans())
def test_stream_frames_are_read_back(stream_id, offset, fin, data, is_last):
    header = stream_frame.stream_header(stream_id, offset, fin, None if is_last else len(data))
    encoded = header + data + (b"" if is_last else b"\x01")
    assert stream_frame.decode_stream_untrusted(encoded, 0) == (
        stream_id,
        offset,
        data,
        fin,
        len(header) + len(data),
    )


@given(st.sets(st.integers(0, 400), min_size=1, max_size=60))
def test_an_ack_expands_to_the_numbers_that_it_was_made_of(numbers):
    ordered = sorted(numbers, reverse=True)
    ranges, stop = [], ordered[0] + 1
    for high, low in zip(ordered, [*ordered[1:], -5], strict=True):
        if low != high - 1:
            ranges.append((high, stop))
            stop = low + 1
    values, position, encoded = [], 1, encode(stream_frame.Ack(0, 0, tuple(ranges)))
    while position < len(encoded):
        value, position = decode_varint_untrusted(encoded, position)
        values.append(value)
    _, largest, _, count, first, *rest = values
    expanded, smallest = set(range(largest - first, largest + 1)), largest - first
    for gap, length in zip(rest[::2], rest[1::2], strict=True):  # RFC 9000 section 19.3.1
        largest = smallest - gap - 2
        smallest = largest - length
        expanded |= set(range(smallest, largest + 1))
    assert expanded == numbers
    assert count == len(ranges) - 1


parameters = st.builds(
    TransportParameters,
    connection_id=ids,
    reset_token=st.binary(min_size=16, max_size=16),
    aeads=st.lists(st.integers(0, 255), max_size=5).map(tuple),
    max_idle_timeout_ms=integers,
    max_udp_payload=st.integers(1200, MAX_VARINT),
    initial_max_data=integers,
    initial_max_stream_data=integers,
    initial_max_streams=st.integers(0, 1 << 60),
    max_ack_delay_us=st.integers(0, MAX_ACK_DELAY_US),
    max_datagram_frame=integers,
    initial_max_path_id=st.integers(0, (1 << 32) - 1),
)


@given(parameters)
def test_parameters_are_read_back(values):
    assert decode_parameters_untrusted(values.encode()) == values
    assert values.with_aead(Aead.AES_256_GCM).aeads == (2,)


messages = st.binary(max_size=300)
tokens = st.binary(min_size=1, max_size=128)
initials = st.builds(packet.Initial, st.just(1), st.just(1), ids, ids, tokens, messages)


@given(initials)
def test_initials_are_read_back(initial):
    assert packet.decode_initial_untrusted(initial.encode()) == initial


@given(ids, messages, tokens, st.lists(st.integers(0, 255), min_size=1, max_size=16).map(tuple))
def test_the_other_handshake_packets_are_read_back(destination, message, token, versions):
    for cls in (packet.Response, packet.FinalMessage):
        encoded = cls(destination, message).encode()
        expected = destination, message, len(encoded)
        assert packet.decode_message_untrusted(encoded + b"more") == expected
    retry = packet.Retry(destination, token)
    assert packet.decode_retry_untrusted(retry.encode()) == retry
    offer = packet.VersionNegotiation(destination, versions)
    assert packet.decode_version_negotiation_untrusted(offer.encode()) == offer


@given(st.integers(0, (1 << 62) - 1), st.integers(-(1 << 31) + 1, 1 << 31))
def test_a_packet_number_is_recovered_within_half_a_window(expected, distance):
    number = expected + distance
    if number >= 0:
        assert packet.decode_packet_number(number & 0xFFFF_FFFF, expected) == number


@st.composite
def mutated(draw, valid):
    """Draws valid bytes of which some are changed, cut out or put in."""
    data = bytearray(draw(valid))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(data)


DECODERS = {
    "frame": (
        lambda data: frame.decode_frame_untrusted(data or b"\0", 0),
        frames.map(encode),
    ),
    "stream": (
        lambda data: stream_frame.decode_stream_untrusted(data or b"\0", 0),
        st.binary(min_size=1, max_size=20).map(lambda b: bytes([8 | b[0] & 7]) + b),
    ),
    "parameters": (decode_parameters_untrusted, parameters.map(lambda p: p.encode())),
    "initial": (packet.decode_initial_untrusted, initials.map(lambda i: i.encode())),
    "message": (
        packet.decode_message_untrusted,
        st.builds(packet.Response, ids, messages).map(lambda r: r.encode()),
    ),
    "retry": (
        packet.decode_retry_untrusted,
        st.builds(packet.Retry, ids, tokens).map(lambda r: r.encode()),
    ),
    "version negotiation": (
        packet.decode_version_negotiation_untrusted,
        st.builds(
            packet.VersionNegotiation, ids, st.lists(st.integers(0, 255), max_size=16).map(tuple)
        ).map(lambda v: v.encode()),
    ),
    "stateless reset": (
        packet.decode_stateless_reset_untrusted,
        st.binary(min_size=25, max_size=25),
    ),
    "varint": (lambda data: decode_varint_untrusted(data, 0), integers.map(encode_varint)),
}


@pytest.mark.parametrize("name", DECODERS)
@given(data=st.data())
@example(data=None)
@pytest.mark.spec("TRANSPORT-5")
def test_bytes_of_any_kind_raise_nothing_but_decode_errors(name, data):
    decode, valid = DECODERS[name]
    raw = b"" if data is None else data.draw(mutated(valid) | st.binary(max_size=80))
    with contextlib.suppress(DecodeError):
        decode(raw)
