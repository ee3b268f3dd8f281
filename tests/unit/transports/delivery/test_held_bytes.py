"""What is accounted for against what the interpreter says, and against what was sent for it."""

import tracemalloc

import pytest

from p2pnode.errors import TransportError
from p2pnode.transports.delivery.held_bytes import STREAM_SIZE
from p2pnode.transports.delivery.reassembly import MAX_GAPS
from p2pnode.transports.delivery.stream_set import StreamSet
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.noise_udp.config import TransportConfig
from tests.support.stream_link import Limits

DEFAULT = Limits(
    TransportConfig().max_data, TransportConfig().max_stream_data, TransportConfig().max_streams
)
FACTOR = 1.6
"""How many times the accounted bytes the real ones may be."""


def receiver():
    return StreamSet(False, DEFAULT, DEFAULT, 0.0)


def memory_of(pieces):
    """Gives (stream, offset, data) to a connection; returns it and the memory that it then has."""
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    streams = receiver()
    for stream_id, offset, data in pieces:
        streams.handle_stream(stream_id, offset, data, False)
    streams.poll_events()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return streams, after - before


def holes(size, distance, count=4000):
    """Pieces of a few bytes on many streams, a hole in front of each."""
    for n in range(count):
        yield 2 * (n % 200), n // 200 * distance + 1, bytes(size)


def without_holes(size, count, step=1):
    """Pieces on ten streams that lack their first byte only."""
    for n in range(count)[::step]:
        for stream in range(10):
            yield 2 * stream, n * size + 1, bytes(size)


@pytest.mark.spec("RESOURCES-20")
@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param(lambda: holes(1, 2), id="holes of a byte"),
        pytest.param(lambda: holes(2, 100), id="holes of a hundred bytes"),
        pytest.param(lambda: holes(300, 600), id="holes between larger pieces"),
        pytest.param(lambda: without_holes(2, 5000), id="tiny pieces"),
        pytest.param(lambda: without_holes(2, 5000, -1), id="tiny pieces, the last one first"),
        pytest.param(lambda: without_holes(255, 500), id="small pieces"),
        pytest.param(lambda: without_holes(256, 500), id="chunks of their own"),
        pytest.param(lambda: without_holes(256, 500, -1), id="chunks, the last one first"),
        pytest.param(lambda: without_holes(1400, 150), id="packets"),
        pytest.param(lambda: ((2 * (n % 9), n // 9, b"x") for n in range(20_000)), id="in order"),
        pytest.param(lambda: [(2 * 255, 0, b"x")], id="nothing but streams"),
    ],
)
def test_memory_is_what_is_accounted_for(pieces):
    streams, memory = memory_of(pieces())
    assert streams.held.total == streams.count_held()
    assert memory <= FACTOR * streams.held.total
    assert memory >= streams.held.total / FACTOR


@pytest.mark.spec("STREAM-20")
def test_the_holes_of_all_streams_of_a_connection_are_bounded_together():
    streams = receiver()
    for stream_id, offset, data in holes(1, 2, MAX_GAPS):
        streams.handle_stream(stream_id, offset, data, False)
    held = streams.held.total
    assert held < 2 * 1024 * 1024
    with pytest.raises(TransportError) as refused:
        streams.handle_stream(0, 1_000_000, b"x", False)
    assert refused.value.code == ErrorCode.PROTOCOL_VIOLATION


@pytest.mark.spec("RESOURCES-20")
def test_a_hole_is_not_held_and_what_is_behind_it_is():
    streams = receiver()
    streams.handle_stream(0, 0, bytes(1000), False)
    assert streams.held.total == STREAM_SIZE + 1000
    streams.handle_stream(0, 1_000_000, bytes(1000), False)
    assert STREAM_SIZE + 2000 < streams.held.total < STREAM_SIZE + 3000
    streams.stop(0, 1)
    assert streams.held.total == STREAM_SIZE


def test_what_was_read_is_held_no_longer_than_the_chunk_that_it_is_of():
    streams = receiver()
    chunk = 60_000
    tracemalloc.start()
    streams.handle_stream(0, 0, bytes(chunk), False)
    streams.read(0, chunk - 100)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert streams.held.total == STREAM_SIZE + 100
    assert after < chunk // 10
