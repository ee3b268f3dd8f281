import pytest
from aioquic.buffer import Buffer
from aioquic.quic.packet import pull_quic_transport_parameters, push_quic_transport_parameters
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.errors import DecodeError, TransportError
from p2pnode.transports.delivery.varint import encode_varint
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.quic_v1.parameters import (
    MAX_ACK_DELAY_EXPONENT,
    MAX_ACK_DELAY_MS,
    MAX_PARAMETERS,
    MAX_STREAM_COUNT,
    TransportParameters,
    check_connection_ids,
    decode_parameters_untrusted,
)

numbers = st.integers(0, (1 << 62) - 1)
ids = st.binary(max_size=20)
parameters = st.builds(
    TransportParameters,
    initial_source=ids,
    original_destination=st.none() | ids,
    retry_source=st.none() | ids,
    reset_token=st.none() | st.binary(min_size=16, max_size=16),
    max_idle_timeout_ms=numbers,
    max_udp_payload=st.integers(1200, 65527),
    initial_max_data=numbers,
    initial_max_stream_data_bidi_local=numbers,
    initial_max_stream_data_bidi_remote=numbers,
    initial_max_stream_data_uni=numbers,
    initial_max_streams_bidi=st.integers(0, MAX_STREAM_COUNT),
    initial_max_streams_uni=st.integers(0, MAX_STREAM_COUNT),
    ack_delay_exponent=st.integers(0, MAX_ACK_DELAY_EXPONENT),
    max_ack_delay_ms=st.integers(0, MAX_ACK_DELAY_MS),
    is_migration_disabled=st.booleans(),
    active_connection_id_limit=st.integers(2, 1 << 30),
    max_datagram_frame=numbers,
)
SOURCE = b"\x0f\x02ab"
"""initial_source_connection_id, which everybody has to declare"""


def entry(key, value):
    return encode_varint(key) + encode_varint(len(value)) + value


def decode(encoded, is_server=True):
    return decode_parameters_untrusted(encoded, is_server=is_server)


@given(parameters)
def test_parameters_are_read_as_they_were_written(written):
    assert decode(written.encode()) == written


@given(parameters)
def test_aioquic_reads_ours(written):
    read = pull_quic_transport_parameters(Buffer(data=written.encode()))
    assert read.original_destination_connection_id == written.original_destination
    assert read.initial_source_connection_id == written.initial_source
    assert read.retry_source_connection_id == written.retry_source
    assert read.stateless_reset_token == written.reset_token
    assert read.max_idle_timeout == written.max_idle_timeout_ms
    assert read.max_udp_payload_size == written.max_udp_payload
    assert read.initial_max_data == written.initial_max_data
    assert read.initial_max_stream_data_bidi_local == written.initial_max_stream_data_bidi_local
    assert read.initial_max_stream_data_bidi_remote == written.initial_max_stream_data_bidi_remote
    assert read.initial_max_stream_data_uni == written.initial_max_stream_data_uni
    assert read.initial_max_streams_bidi == written.initial_max_streams_bidi
    assert read.initial_max_streams_uni == written.initial_max_streams_uni
    assert read.ack_delay_exponent == written.ack_delay_exponent
    assert read.max_ack_delay == written.max_ack_delay_ms
    assert read.disable_active_migration == written.is_migration_disabled
    assert read.active_connection_id_limit == written.active_connection_id_limit
    assert (read.max_datagram_frame_size or 0) == written.max_datagram_frame


@given(parameters)
def test_what_aioquic_writes_is_read(written):
    buffer = Buffer(capacity=600)
    push_quic_transport_parameters(
        buffer, pull_quic_transport_parameters(Buffer(data=written.encode()))
    )
    assert decode(buffer.data) == written


def test_what_is_not_declared_has_the_default_of_the_rfc():
    found = decode(SOURCE, is_server=False)
    assert found == TransportParameters(initial_source=b"ab")
    assert (found.max_udp_payload, found.ack_delay_exponent, found.max_ack_delay_ms) == (
        65527, 3, 25
    )  # fmt: skip
    assert (found.active_connection_id_limit, found.max_datagram_frame) == (2, 0)


def test_parameters_that_are_unknown_or_greased_or_of_unused_extensions_are_passed_over():
    reset_stream_at, grease_quic_bit, version_information = 0x17F7586D2CB571, 0x2AB2, 0x11
    extra = (
        entry(reset_stream_at, b"")
        + entry(grease_quic_bit, b"")
        + entry(version_information, bytes(8))
        + entry(31 * 5 + 27, b"anything")
        + entry(0x20, encode_varint(65535))
    )
    found = decode(SOURCE + extra)
    assert found == TransportParameters(initial_source=b"ab", max_datagram_frame=65535)


@pytest.mark.parametrize(
    "encoded",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(entry(4, b"\1"), id="no source"),
        pytest.param(SOURCE + SOURCE, id="double"),
        pytest.param(SOURCE + entry(0x1234, b"") * 2, id="double, unknown"),
        pytest.param(SOURCE[:-1], id="cut"),
        pytest.param(SOURCE + b"\x04", id="without size"),
        pytest.param(SOURCE + b"\x04\xff" + b"\xff" * 7, id="larger than memory"),
        pytest.param(SOURCE + entry(4, b""), id="number without bytes"),
        pytest.param(SOURCE + entry(4, b"\1\1"), id="number with bytes behind"),
        pytest.param(SOURCE + entry(0x02, bytes(15)), id="short reset token"),
        pytest.param(SOURCE + entry(0x02, bytes(17)), id="long reset token"),
        pytest.param(SOURCE + entry(0x00, bytes(21)), id="long connection id"),
        pytest.param(entry(0x0F, bytes(21)), id="long source"),
        pytest.param(SOURCE + entry(0x03, encode_varint(1199)), id="small datagrams"),
        pytest.param(SOURCE + entry(0x08, encode_varint((1 << 60) + 1)), id="streams"),
        pytest.param(SOURCE + entry(0x09, encode_varint((1 << 60) + 1)), id="uni streams"),
        pytest.param(SOURCE + entry(0x0A, encode_varint(21)), id="exponent"),
        pytest.param(SOURCE + entry(0x0B, encode_varint(1 << 14)), id="ack delay"),
        pytest.param(SOURCE + entry(0x0C, b"\1"), id="flag with a value"),
        pytest.param(SOURCE + entry(0x0E, encode_varint(1)), id="one connection id"),
        pytest.param(SOURCE + entry(0x0D, bytes(24)), id="short preferred address"),
        pytest.param(SOURCE + entry(0x0D, bytes(25 + 16)), id="preferred address, empty id"),
        pytest.param(
            SOURCE + entry(0x0D, bytes(24) + b"\x15" + bytes(21 + 16)), id="preferred, long id"
        ),
        pytest.param(
            SOURCE + b"".join(entry(0x100 + n, b"") for n in range(MAX_PARAMETERS)), id="too many"
        ),
    ],
)
def test_malformed_parameters_are_refused(encoded):
    with pytest.raises(DecodeError):
        decode(encoded)


def test_a_preferred_address_is_taken_and_not_used():
    value = bytes(24) + b"\x04" + b"abcd" + bytes(16)
    assert decode(SOURCE + entry(0x0D, value)) == TransportParameters(initial_source=b"ab")


@pytest.mark.parametrize("key", [0x00, 0x02, 0x0D, 0x10])
def test_a_client_may_not_declare_what_is_a_servers(key):
    value = bytes(24) + b"\x04" + b"abcd" + bytes(16) if key == 0x0D else bytes(16)
    decode(SOURCE + entry(key, value))
    with pytest.raises(DecodeError):
        decode(SOURCE + entry(key, value), is_server=False)


@given(st.binary(max_size=80), st.booleans())
def test_any_bytes_raise_nothing_else(encoded, is_server):
    for data in (encoded, SOURCE + encoded):
        try:
            found = decode(data, is_server)
        except DecodeError:
            continue
        assert decode(found.encode(), is_server) == found


@pytest.mark.spec("QUIC-4")
def test_connection_ids_have_to_be_those_of_the_packets():
    of_server = TransportParameters(
        initial_source=b"server", original_destination=b"first", retry_source=b"retry"
    )
    right = {"source": b"server", "original_destination": b"first", "retry_source": b"retry"}
    check_connection_ids(of_server, **right)
    for name in right:
        for wrong in (b"other", None):
            with pytest.raises(TransportError) as caught:
                check_connection_ids(of_server, **(right | {name: wrong}))
            assert caught.value.code == ErrorCode.TRANSPORT_PARAMETER_ERROR
    of_client = TransportParameters(initial_source=b"client")
    check_connection_ids(of_client, source=b"client", original_destination=None, retry_source=None)
