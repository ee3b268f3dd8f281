"""Whatever a peer sends and whatever is left unread: what is held is bounded, a few starve nobody.

The sender here keeps nothing back, so that the receiver has to see to it alone.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pnode.transports.delivery.flow_control import (
    CREDIT_RESERVE,
    LITTLE_DATA,
    MAX_CONNECTION_WINDOW,
)
from p2pnode.transports.delivery.stream_set import StreamSet
from p2pnode.transports.noise_udp.config import TransportConfig
from tests.support.greedy_sender import GreedySender
from tests.support.stream_link import Limits

MIB = 1 << 20
MANY = 200
DEFAULTS = TransportConfig()
LIMITS = Limits(DEFAULTS.max_data, DEFAULTS.max_stream_data, MANY)
UNREAD = 4
"""streams that may be left unread whatever their windows have grown to (STREAM-23)"""
UNREAD_SINCE_THEIR_START = 11
"""streams that may be left unread where none was ever read"""
BEYOND = 13
"""streams, that hold all that a connection may"""


def ends() -> tuple[GreedySender, StreamSet]:
    receiver = StreamSet(False, LIMITS, LIMITS, 0.0)
    return GreedySender(receiver, LIMITS), receiver


def held(sender: GreedySender, read: int) -> int:
    """Bytes that the sender was allowed and the application has not read."""
    return sender.max_data - read


@pytest.mark.spec("STREAM-23")
@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(st.integers(0, UNREAD - 1), st.integers(1, 6 * MIB), st.booleans()),
        max_size=12,
    )
)
def test_a_few_unread_streams_starve_nobody(steps: list[tuple[int, int, bool]]) -> None:
    sender, receiver = ends()
    read = 0
    for which, size, is_read in steps:
        sender.send(which << 1, size)
        if is_read:
            read += len(receiver.read(which << 1, 2 * size))
            sender.listen()
        assert held(sender, read) <= MAX_CONNECTION_WINDOW
    for which in range(UNREAD):
        sender.send(which << 1, MAX_CONNECTION_WINDOW)
    for which in range(UNREAD, MANY):
        fresh = which << 1
        assert sender.send(fresh, LITTLE_DATA) == LITTLE_DATA
        assert len(receiver.read(fresh, LITTLE_DATA)) == LITTLE_DATA
        read += LITTLE_DATA
        assert held(sender, read) <= MAX_CONNECTION_WINDOW


@pytest.mark.spec("STREAM-23")
@pytest.mark.parametrize("count", [2, UNREAD_SINCE_THEIR_START])
def test_streams_that_nobody_ever_read_starve_nobody(count: int) -> None:
    sender, receiver = ends()
    for which in range(count):
        assert sender.send(which << 1, 6 * MIB) == LIMITS.initial_max_stream_data
    for which in range(count, MANY):
        assert sender.send(which << 1, LITTLE_DATA) == LITTLE_DATA
        assert len(receiver.read(which << 1, LITTLE_DATA)) == LITTLE_DATA


@pytest.mark.spec("STREAM-23")
def test_beyond_the_bound_others_wait_until_something_is_read() -> None:
    sender, receiver = ends()
    for which in range(BEYOND):
        sender.send(which << 1, 6 * MIB)
    assert 0 <= MAX_CONNECTION_WINDOW - receiver.bytes_received < CREDIT_RESERVE // 2
    fresh = BEYOND << 1
    assert sender.send(fresh, LITTLE_DATA) == 0
    receiver.stop(0, 1)
    assert sender.send(fresh, LITTLE_DATA) == LITTLE_DATA


@pytest.mark.spec("STREAM-13")
def test_windows_grow_together_by_no_more_than_one_may_alone_and_again_once_one_is_gone() -> None:
    sender, receiver = ends()

    def grown(stream_id: int) -> int:
        """Reads and sends until the window no longer grows; returns what can be sent then."""
        for _ in range(12):
            sender.send(stream_id, 16 * MIB)
            receiver.read(stream_id, 16 * MIB)
            sender.listen()
        return sender.send(stream_id, 32 * MIB)

    assert grown(0) == 16 * MIB
    assert grown(2) == 2 * MIB
    receiver.reset(0, 1)
    receiver.stop(0, 1)
    sender.end(0)
    assert grown(2) == 16 * MIB
