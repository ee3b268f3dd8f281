import pytest
from aioquic.buffer import Buffer
from aioquic.quic.packet import QuicFrameType, pull_ack_frame, push_ack_frame
from aioquic.quic.rangeset import RangeSet
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.errors import DecodeError, TransportError
from p2pnode.transports.datagrams.frame import (
    MAX_REASON_SIZE,
    NOT_ACK_ELICITING_TYPES,
    ConnectionClose,
    HandshakeDone,
    NewToken,
    PathChallenge,
    PathResponse,
    Ping,
)
from p2pnode.transports.delivery.frame import (
    Ack,
    DataBlocked,
    MaxData,
    MaxStreamData,
    MaxStreams,
    ResetStream,
    StopSending,
    StreamDataBlocked,
    StreamsBlocked,
)
from p2pnode.transports.delivery.varint import MAX_VARINT, encode_varint
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.quic_v1.epoch import Epoch
from p2pnode.transports.quic_v1.frame import (
    MAX_ACK_RANGES,
    PROBING_TYPES,
    Crypto,
    MaxStreamsUni,
    NewConnectionId,
    RetireConnectionId,
    StreamsBlockedUni,
    check_frame_type,
    crypto_header,
    decode_ack_untrusted,
    decode_frame_untrusted,
    encode_ack,
)

# Written by hand from RFC 9000 section 19.
BYTES = [
    (Ping(), "01"),
    (ResetStream(4, 70, 300), "04 04 4046 412c"),
    (StopSending(4, 7), "05 04 07"),
    (Crypto(300, b"abc"), "06 412c 03 616263"),
    (NewToken(b"abc"), "07 03 616263"),
    (MaxData(0x4000), "10 80004000"),
    (MaxStreamData(8, 1), "11 08 01"),
    (MaxStreams(3), "12 03"),
    (MaxStreamsUni(3), "13 03"),
    (DataBlocked(3), "14 03"),
    (StreamDataBlocked(8, 3), "15 08 03"),
    (StreamsBlocked(3), "16 03"),
    (StreamsBlockedUni(3), "17 03"),
    (NewConnectionId(5, 4, b"\xaa" * 4, b"\xbb" * 16), "18 05 04 04" + "aa" * 4 + "bb" * 16),
    (RetireConnectionId(5), "19 05"),
    (PathChallenge(b"\xcc" * 8), "1a" + "cc" * 8),
    (PathResponse(b"\xcc" * 8), "1b" + "cc" * 8),
    (ConnectionClose(10, 0x18, "no", False), "1c 0a 18 02 6e6f"),
    (ConnectionClose(10, 0, "no", True), "1d 0a 02 6e6f"),
    (HandshakeDone(), "1e"),
]
# RFC 9000 section 12.4, table 3: in which packets (Initial, Handshake, 1-RTT) a frame may be.
TABLE_3 = {
    0x00: "IH1", 0x01: "IH1", 0x02: "IH1", 0x03: "IH1", 0x04: "1", 0x05: "1", 0x06: "IH1",
    0x07: "1", **dict.fromkeys(range(0x08, 0x18), "1"), 0x18: "1", 0x19: "1", 0x1A: "1",
    0x1B: "1", 0x1C: "IH1", 0x1D: "1", 0x1E: "1",
}  # fmt: skip
LETTERS = {"I": Epoch.INITIAL, "H": Epoch.HANDSHAKE, "1": Epoch.APPLICATION}
ACKS = [
    (Ack(0, 800, ((5, 9),)), "02 08 4064 00 03"),
    (Ack(0, 0, ((20, 21), (10, 12), (0, 3)), (7, 0, 1)), "03 14 00 02 00 07 01 06 02 07 00 01"),
    (Ack(0, 0, ((0, 1),)), "02 00 00 00 00"),
]
IDS = [type(frame).__name__ for frame, _ in BYTES]


@pytest.mark.parametrize(("frame", "encoded"), BYTES, ids=IDS)
def test_each_frame_has_the_bytes_of_the_rfc(frame, encoded):
    data = bytes.fromhex(encoded)
    assert frame.encode() == data
    assert decode_frame_untrusted(b"\xff" + data + b"\xff", 1) == (frame, 1 + len(data))


@pytest.mark.parametrize(("ack", "encoded"), ACKS)
def test_an_ack_has_the_bytes_of_the_rfc(ack, encoded):
    data = bytes.fromhex(encoded)
    assert encode_ack(ack, 3) == data
    assert decode_ack_untrusted(b"\xff" + data + b"\xff", 1, 3) == (ack, 1 + len(data))


@pytest.mark.parametrize(("frame", "encoded"), BYTES, ids=IDS)
def test_a_frame_that_runs_past_its_packet_is_refused(frame, encoded):
    data = bytes.fromhex(encoded)
    for size in range(1, len(data)):
        with pytest.raises(DecodeError):
            decode_frame_untrusted(data[:size], 0)


def test_all_frames_of_the_rfc_are_known_and_no_others():
    by_the_receiver = {0x00, 0x02, 0x03, *range(0x08, 0x10)}
    for kind in range(256):
        try:
            decode_frame_untrusted(bytes([kind]) + bytes(100), 0)
        except DecodeError as error:
            is_known = "unknown frame type" not in str(error)
        else:
            is_known = True
        assert is_known == (kind in TABLE_3 and kind not in by_the_receiver), hex(kind)


@pytest.mark.parametrize("kind", range(0x40))
@pytest.mark.spec("QUIC-3")
def test_a_frame_in_an_epoch_where_it_is_forbidden_is_a_violation(kind):
    for letter, epoch in LETTERS.items():
        for is_client in (True, False):
            is_allowed = letter in TABLE_3.get(kind, "1")
            if kind in (0x07, 0x1E) and not is_client:
                is_allowed = False  # only a server sends NEW_TOKEN and HANDSHAKE_DONE
            if kind in (0x30, 0x31):
                is_allowed = False  # RFC 9221: we never declare that we take DATAGRAM
            if is_allowed:
                check_frame_type(kind, epoch, is_client=is_client)
                continue
            with pytest.raises(TransportError) as caught:
                check_frame_type(kind, epoch, is_client=is_client)
            assert caught.value.code == ErrorCode.PROTOCOL_VIOLATION
            assert caught.value.frame_type == kind


def test_which_frames_ask_for_an_ack_and_which_only_probe():
    """RFC 9000, table 3: the columns N and P."""
    assert {0x00, 0x02, 0x03, 0x1C, 0x1D} == NOT_ACK_ELICITING_TYPES
    assert {0x00, 0x18, 0x1A, 0x1B} == PROBING_TYPES


@pytest.mark.parametrize(
    "encoded",
    [
        pytest.param("07 00", id="empty token"),
        pytest.param("18 00 01 04" + "00" * 20, id="id that retires itself"),
        pytest.param("18 01 00 00" + "00" * 16, id="empty id"),
        pytest.param("18 01 00 15" + "00" * 37, id="id of 21 bytes"),
        pytest.param("12 d000000000000001", id="2^60+1 streams"),
        pytest.param("13 d000000000000001", id="2^60+1 uni streams"),
        pytest.param("16 d000000000000001", id="blocked beyond 2^60"),
        pytest.param("17 d000000000000001", id="uni, blocked beyond 2^60"),
        pytest.param("06 ffffffffffffffff 01 00", id="crypto beyond 2^62-1"),
        pytest.param("06 00 ffffffffffffffff 00", id="crypto longer than memory"),
        pytest.param("1c 00 00 ffffffffffffffff 00", id="reason longer than memory"),
        pytest.param("4001", id="a type that is not minimal"),
    ],
)
def test_a_frame_with_impossible_values_is_refused(encoded):
    with pytest.raises(DecodeError):
        decode_frame_untrusted(bytes.fromhex(encoded), 0)


@pytest.mark.parametrize(
    "frame",
    [
        MaxStreams(1 << 60),
        Crypto(MAX_VARINT - 3, b"abc"),
        NewConnectionId(5, 5, b"x", bytes(16)),
        NewConnectionId(5, 0, bytes(20), bytes(16)),
    ],
)
def test_what_is_just_possible_is_taken(frame):
    assert decode_frame_untrusted(frame.encode(), 0) == (frame, len(frame.encode()))


def test_a_long_reason_is_cut_and_any_bytes_are_a_reason():
    close = ConnectionClose(1, 0, "x" * 1000, False)
    frame, end = decode_frame_untrusted(close.encode(), 0)
    assert frame == close._replace(reason="x" * MAX_REASON_SIZE)
    assert end == len(close.encode())
    data = b"\x1d\x01" + encode_varint(1000) + b"\xff" * 1000 + b"\x01"
    frame, end = decode_frame_untrusted(data, 0)
    assert len(frame.reason) == MAX_REASON_SIZE
    assert end == len(data) - 1


def test_a_long_token_is_read():
    token = bytes(1000)
    assert decode_frame_untrusted(NewToken(token).encode(), 0)[0] == NewToken(token)


@st.composite
def packet_numbers(draw):
    """Returns up to MAX_ACK_RANGES ranges, highest first."""
    stop = draw(st.integers(1 << 20, MAX_VARINT))
    ranges = []
    for _ in range(draw(st.integers(1, MAX_ACK_RANGES))):
        start = stop - draw(st.integers(1, 300))
        ranges.append((start, stop))
        stop = start - draw(st.integers(1, 300))
    return tuple(ranges)


counts = st.integers(0, MAX_VARINT)


@given(
    ranges=packet_numbers(),
    delay=st.integers(0, 1 << 40),
    ecn=st.none() | st.tuples(counts, counts, counts),
    exponent=st.integers(0, 20),
)
def test_an_ack_is_read_as_it_was_written(ranges, delay, ecn, exponent):
    ack = Ack(0, delay >> exponent << exponent, ranges, ecn)
    data = encode_ack(ack._replace(delay_us=delay), exponent)
    assert decode_ack_untrusted(b"\xff" + data + b"\x01", 1, exponent) == (ack, 1 + len(data))
    for size in range(1, len(data)):
        with pytest.raises(DecodeError):
            decode_ack_untrusted(data[:size], 0, exponent)


@given(ranges=packet_numbers(), delay=st.integers(0, 1 << 40))
def test_aioquic_writes_and_reads_the_same_acks(ranges, delay):
    data = encode_ack(Ack(0, delay, ranges), 0)
    rangeset, read_delay = pull_ack_frame(Buffer(data=data[1:]))
    assert [(r.start, r.stop) for r in reversed(list(rangeset))] == list(ranges)
    assert read_delay == delay
    buffer = Buffer(capacity=4000)
    buffer.push_uint_var(QuicFrameType.ACK)
    push_ack_frame(
        buffer, RangeSet([range(*pair) for pair in reversed(ranges)]), delay, capacity=4000
    )
    assert buffer.data == data


def test_the_oldest_ranges_of_a_long_ack_are_passed_over():
    count = MAX_ACK_RANGES + 30
    ranges = tuple((number, number + 1) for number in range(4 * count, 2 * count, -2))
    data = encode_ack(Ack(0, 0, ranges, (1, 2, 3)))
    ack, end = decode_ack_untrusted(data, 0, 3)
    assert ack == Ack(0, 0, ranges[:MAX_ACK_RANGES], (1, 2, 3))
    assert end == len(data)


@pytest.mark.parametrize(
    "encoded",
    [
        pytest.param("02 05 00 00 06", id="below packet 0"),
        pytest.param("02 05 00 01 01 03 01", id="second range below packet 0"),
        pytest.param("02 05 00 ffffffffffffffff 00", id="more ranges than bytes"),
    ],
)
def test_an_impossible_ack_is_refused(encoded):
    with pytest.raises(DecodeError):
        decode_ack_untrusted(bytes.fromhex(encoded), 0, 3)


@given(st.integers(0, MAX_VARINT), st.binary(max_size=50))
def test_a_crypto_header_is_what_precedes_the_data(offset, data):
    assert crypto_header(offset, len(data)) + data == Crypto(offset, data).encode()


@given(st.integers(0, 0x1E), st.binary(max_size=60))
def test_any_bytes_raise_nothing_but_what_is_declared(kind, body):
    data = bytes([kind]) + body
    decode = decode_ack_untrusted if kind in (2, 3) else decode_frame_untrusted
    try:
        _, end = decode(data, 0, 3) if kind in (2, 3) else decode(data, 0)
    except DecodeError:
        return
    assert 0 < end <= len(data)
