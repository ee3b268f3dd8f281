import re

import pytest

from p2pnode.errors import DecodeError
from p2pnode.machine import SocketAddr
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
    STREAM_TYPES,
    Ack,
    DataBlocked,
    FrameType,
    MaxData,
    MaxStreamData,
    MaxStreams,
    ResetStream,
    StopSending,
    StreamDataBlocked,
    StreamsBlocked,
    decode_stream_untrusted,
    stream_header,
)
from p2pnode.transports.delivery.varint import decode_varint_untrusted
from p2pnode.transports.noise_udp.frame import (
    MAX_ACK_RANGES,
    MAX_TOKEN_SIZE,
    PROBING_TYPES,
    AckFrequency,
    Datagram,
    ImmediateAck,
    MaxPathId,
    NewConnectionId,
    ObservedAddress,
    PathAbandon,
    PathStatus,
    RetireConnectionId,
    decode_frame_untrusted,
    encode_ack,
)
from tests.support import spec_tables
from tests.support.frames import encode

# Written by hand from the table of specs/transport.md.
BYTES = [
    (Ping(), "01"),
    (Ack(1, 100, ((5, 9),)), "02 01 08 4064 00 03"),
    (Ack(1, 0, ((20, 21), (10, 12), (0, 3)), (7, 0, 1)), "03 01 14 00 02 00 07 01 06 02 07 00 01"),
    (ResetStream(4, 70, 300), "04 04 4046 412c"),
    (StopSending(4, 7), "05 04 07"),
    (NewToken(b"abc"), "07 03 616263"),
    (MaxData(0x4000), "10 80004000"),
    (MaxStreamData(8, 1), "11 08 01"),
    (MaxStreams(3), "12 03"),
    (DataBlocked(3), "14 03"),
    (StreamDataBlocked(8, 3), "15 08 03"),
    (StreamsBlocked(3), "16 03"),
    (
        NewConnectionId(2, 5, 4, b"\xaa" * 8, b"\xbb" * 16),
        "18 02 05 04" + "aa" * 8 + "bb" * 16,
    ),
    (RetireConnectionId(2, 5), "19 02 05"),
    (PathChallenge(b"\xcc" * 8), "1a" + "cc" * 8),
    (PathResponse(b"\xcc" * 8), "1b" + "cc" * 8),
    (ConnectionClose(10, 0x18, "no", False), "1c 0a 18 02 6e6f"),
    (ConnectionClose(10, 0, "no", True), "1d 0a 02 6e6f"),
    (HandshakeDone(), "1e"),
    (ImmediateAck(), "1f"),
    (PathAbandon(2, 0), "20 02 00"),
    (PathStatus(2, 3, True), "21 02 03 01"),
    (PathStatus(2, 3, False), "21 02 03 00"),
    (MaxPathId(9), "22 09"),
    (ObservedAddress(1, 2, SocketAddr("192.0.2.1", 4001)), "23 01 02 04 c0000201 0fa1"),
    (
        ObservedAddress(1, 2, SocketAddr("2001:db8::1", 4001)),
        "23 01 02 10 20010db8000000000000000000000001 0fa1",
    ),
    (AckFrequency(1, 10, 50_000), "24 01 0a 8000c350"),
    (Datagram(b"data"), "31 04 64617461"),
]


@pytest.mark.parametrize(("frame", "encoded"), BYTES, ids=[type(f).__name__ for f, _ in BYTES])
def test_each_frame_has_the_bytes_of_the_spec(frame, encoded):
    data = bytes.fromhex(encoded)
    assert encode(frame) == data
    assert decode_frame_untrusted(b"\xff" + data + b"\xff", 1) == (frame, 1 + len(data))


@pytest.mark.parametrize(("frame", "encoded"), BYTES, ids=[type(f).__name__ for f, _ in BYTES])
@pytest.mark.spec("TRANSPORT-22")
def test_a_frame_that_runs_past_its_packet_is_refused(frame, encoded):
    data = bytes.fromhex(encoded)
    for size in range(1, len(data)):
        with pytest.raises(DecodeError):
            decode_frame_untrusted(data[:size], 0)


def test_every_frame_class_is_in_the_hand_written_bytes():
    kinds = {bytes.fromhex(encoded)[0] for _, encoded in BYTES}
    assert kinds == {*FrameType} - {FrameType.PADDING, FrameType.STREAM}


@pytest.mark.spec("TRANSPORT-22")
def test_an_unknown_frame_type_is_refused():
    known = {*FrameType} | {*STREAM_TYPES}
    for kind in range(256):
        if kind not in known:
            with pytest.raises(DecodeError, match="unknown frame type"):
                decode_frame_untrusted(bytes([kind]) + bytes(60), 0)


@pytest.mark.parametrize(
    "encoded",
    [
        "07 00",  # an empty token
        "07 4081" + "aa" * (MAX_TOKEN_SIZE + 1),
        "18 00 01 02" + "00" * 24,  # retires itself
        "21 00 00 02",  # neither standby nor available
        "23 00 00 05 0000000000 0000",  # no address has five bytes
        "02 00 05 00 00 06",  # below packet 0
        "02 00 05 00 01 01 03 01",  # the second range ends below packet 0
        "02 00 4100 00 4040 00" + "0000" * MAX_ACK_RANGES,
    ],
)
def test_a_frame_with_impossible_values_is_refused(encoded):
    with pytest.raises(DecodeError):
        decode_frame_untrusted(bytes.fromhex(encoded), 0)


def expand(encoded: bytes) -> set[int]:
    """Returns the packet numbers of an ACK frame, read as RFC 9000 section 19.3.1 describes it."""
    values, position = [], 1
    while position < len(encoded):
        value, position = decode_varint_untrusted(encoded, position)
        values.append(value)
    _path, largest, _delay, count, first, *rest = values
    smallest = largest - first
    numbers = set(range(smallest, largest + 1))
    for index in range(count):
        gap, length = rest[2 * index : 2 * index + 2]
        largest = smallest - gap - 2
        smallest = largest - length
        numbers |= set(range(smallest, largest + 1))
    return numbers


@pytest.mark.parametrize(
    "ranges",
    [
        ((0, 1),),
        ((7, 100),),
        ((5, 6), (3, 4), (0, 2)),
        ((1000, 2000), (500, 998), (0, 1)),
    ],
)
def test_an_ack_means_what_rfc_9000_makes_of_its_fields(ranges):
    ack = Ack(0, 0, ranges)
    assert expand(encode_ack(ack)) == {n for start, stop in ranges for n in range(start, stop)}
    assert ack.largest == max(expand(encode_ack(ack)))


@pytest.mark.parametrize("is_application", [False, True])
def test_a_long_close_reason_is_cut_by_the_sender_and_by_the_reader(is_application):
    reason = "x" * (MAX_REASON_SIZE + 50)
    encoded = ConnectionClose(1, 0, reason, is_application).encode()
    assert decode_frame_untrusted(encoded, 0)[0].reason == "x" * MAX_REASON_SIZE

    kind = b"\x1d\x01" if is_application else b"\x1c\x01\x00"
    longer = kind + b"\x41\x32" + reason.encode()
    frame, end = decode_frame_untrusted(longer, 0)
    assert (frame.reason, end) == ("x" * MAX_REASON_SIZE, len(longer))


def test_a_close_reason_that_is_not_utf_8_is_read_with_replacements():
    frame, _ = decode_frame_untrusted(b"\x1d\x00\x02\xffa", 0)
    assert frame.reason == "\ufffda"


def test_a_close_reason_that_cannot_be_encoded_is_sent_with_replacements():
    assert ConnectionClose(0, 0, "\ud800", True).encode() == b"\x1d\x00\x01?"


@pytest.mark.parametrize(
    ("arguments", "header", "rest", "expected"),
    [
        ((4, 0, False, None), "08 04", "data", (4, 0, b"data", False)),
        ((4, 0, True, None), "09 04", "", (4, 0, b"", True)),
        ((4, 0, False, 2), "0a 04 02", "data", (4, 0, b"da", False)),
        ((4, 70, False, None), "0c 04 4046", "data", (4, 70, b"data", False)),
        ((4, 70, True, 4), "0f 04 4046 04", "data", (4, 70, b"data", True)),
    ],
)
def test_a_stream_frame_has_the_bytes_of_the_spec(arguments, header, rest, expected):
    assert stream_header(*arguments) == bytes.fromhex(header)
    packet = b"\0" + bytes.fromhex(header) + rest.encode()
    *decoded, position = decode_stream_untrusted(packet, 1)
    assert tuple(decoded) == expected
    assert position == len(packet) - (len(rest) - len(expected[2]))


@pytest.mark.spec("TRANSPORT-22")
def test_a_stream_frame_that_runs_past_its_packet_is_refused():
    for encoded in ("08", "0c 04", "0a 04", "0a 04 03 6161"):
        with pytest.raises(DecodeError):
            decode_stream_untrusted(bytes.fromhex(encoded), 0)


def frame_rows():
    """Yields (types, name, ack-eliciting, probing) of the spec's table."""
    for types, name, _fields, eliciting, probing in spec_tables.tables("transport.md", "Frames")[0]:
        low, *more = (int(number, 16) for number in re.findall(r"0x[0-9a-f]+", types))
        kinds = range(low, more[0] + 1) if "-" in types else [low, *more]
        yield list(kinds), name, eliciting == "yes", probing == "yes"


def test_the_specs_frame_table_names_the_frame_types():
    named = {}
    for kinds, name, _, _ in frame_rows():
        named |= dict.fromkeys(kinds, name)
    renamed = {
        FrameType.ACK_ECN: "ACK",
        FrameType.APPLICATION_CLOSE: "CONNECTION_CLOSE of the application",
    }
    expected = {int(kind): renamed.get(kind, kind.name) for kind in FrameType}
    assert named == expected | dict.fromkeys(STREAM_TYPES, "STREAM")


def test_the_specs_columns_are_the_sets_that_the_code_uses():
    rows = list(frame_rows())
    assert {k for kinds, _, _, probing in rows if probing for k in kinds} == PROBING_TYPES
    assert {
        k for kinds, _, eliciting, _ in rows if not eliciting for k in kinds
    } == NOT_ACK_ELICITING_TYPES
