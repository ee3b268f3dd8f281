"""Strategies for the frames of noise-udp."""

import ipaddress

from hypothesis import strategies as st

from p2pnode.machine import SocketAddr
from p2pnode.transports.delivery import frame as stream_frame
from p2pnode.transports.delivery.varint import MAX_VARINT
from p2pnode.transports.noise_udp import frame

integers = st.one_of(
    st.integers(0, MAX_VARINT), st.sampled_from([0, 63, 64, 16383, 16384, 1 << 30, MAX_VARINT])
)
addresses = st.builds(
    lambda packed, port: SocketAddr(str(ipaddress.ip_address(packed)), port),
    st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16),
    st.integers(0, 65535),
)
challenges = st.binary(min_size=8, max_size=8)


@st.composite
def acks(draw, numbers, top):
    """Draws an ACK of any set of packet numbers with at most 64 ranges."""
    gaps = draw(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 1000)), max_size=63))
    stop = draw(top)
    ranges = []
    for gap, length in [(0, draw(st.integers(1, 1000))), *gaps]:
        stop -= gap
        if stop <= 0:
            break
        ranges.append((max(0, stop - length), stop))
        stop -= length
    ecn = draw(st.none() | st.tuples(numbers, numbers, numbers))
    return stream_frame.Ack(draw(numbers), draw(numbers), tuple(ranges), ecn)


@st.composite
def new_connection_ids(draw, numbers):
    sequence = draw(numbers)
    retire = draw(st.integers(0, sequence))
    connection_id = draw(st.binary(min_size=8, max_size=8))
    token = draw(st.binary(min_size=16, max_size=16))
    return frame.NewConnectionId(draw(numbers), sequence, retire, connection_id, token)


def frames_of(numbers, top):
    """Returns a strategy for any frame whose integers are `numbers`; ACKs end below `top`."""
    reasons = st.text(max_size=60)
    return st.one_of(
        st.builds(frame.Ping),
        acks(numbers, top),
        st.builds(stream_frame.ResetStream, numbers, numbers, numbers),
        st.builds(stream_frame.StopSending, numbers, numbers),
        st.builds(frame.NewToken, st.binary(min_size=1, max_size=frame.MAX_TOKEN_SIZE)),
        st.builds(stream_frame.MaxData, numbers),
        st.builds(stream_frame.MaxStreamData, numbers, numbers),
        st.builds(stream_frame.MaxStreams, numbers),
        st.builds(stream_frame.DataBlocked, numbers),
        st.builds(stream_frame.StreamDataBlocked, numbers, numbers),
        st.builds(stream_frame.StreamsBlocked, numbers),
        new_connection_ids(numbers),
        st.builds(frame.RetireConnectionId, numbers, numbers),
        st.builds(frame.PathChallenge, challenges),
        st.builds(frame.PathResponse, challenges),
        st.builds(frame.ConnectionClose, numbers, numbers, reasons, st.just(False)),
        st.builds(frame.ConnectionClose, numbers, st.just(0), reasons, st.just(True)),
        st.builds(frame.HandshakeDone),
        st.builds(frame.ImmediateAck),
        st.builds(frame.PathAbandon, numbers, numbers),
        st.builds(frame.PathStatus, numbers, numbers, st.booleans()),
        st.builds(frame.MaxPathId, numbers),
        st.builds(frame.ObservedAddress, numbers, numbers, addresses),
        st.builds(frame.AckFrequency, numbers, numbers, numbers),
        st.builds(frame.Datagram, st.binary(max_size=100)),
    )


def encode(one: frame.Frame) -> bytes:
    """Returns the bytes of any frame."""
    return frame.encode_ack(one) if isinstance(one, stream_frame.Ack) else one.encode()
