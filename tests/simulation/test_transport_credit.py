"""Unread streams take from each other and from nobody else: two whole endpoints."""

import pytest

from p2pnode.transports.delivery.flow_control import (
    CREDIT_RESERVE,
    LITTLE_DATA,
    MAX_CONNECTION_WINDOW,
)
from tests.support.pair import Pair

BIG = 6_000_000
ROUND = 1_000
"""bytes of a question and of its answer"""


def connected() -> Pair:
    pair = Pair()
    pair.connect()
    pair.drive(seconds=1)
    return pair


def unread(pair: Pair, count: int) -> None:
    """The client sends on `count` streams that the server never reads."""
    waiting = {}
    for _ in range(count):
        stream_id = pair.client.connection.streams.open()
        assert stream_id is not None
        waiting[stream_id] = BIG

    def write() -> bool:
        streams = pair.client.connection.streams
        for stream_id, rest in waiting.items():
            waiting[stream_id] = rest - streams.write(stream_id, bytes(rest))
        return False

    pair.drive(write, seconds=10)


def answered_after(pair: Pair) -> float:
    """Seconds until a question on a new stream has its answer."""
    began = pair.now
    stream_id = pair.client.connection.streams.open()
    assert stream_id is not None
    pair.client.connection.streams.write(stream_id, bytes(ROUND))
    pair.client.connection.streams.finish(stream_id)
    heard = bytearray()

    def answer() -> bool:
        asking, answering = pair.client.connection.streams, pair.server.connection.streams
        question = answering.read(stream_id, ROUND)
        if question:
            answering.write(stream_id, question)
            answering.finish(stream_id)
        heard.extend(asking.read(stream_id, ROUND))
        return len(heard) == ROUND and asking.at_eof(stream_id)

    assert pair.drive(answer, seconds=10), "no answer"
    return pair.now - began


@pytest.mark.spec("STREAM-24")
@pytest.mark.parametrize("count", [1, 2, 20, 100])
def test_unread_streams_do_not_keep_a_new_one_from_its_answer(count: int) -> None:
    pair = connected()
    unread(pair, count)
    for _ in range(3):
        assert answered_after(pair) < 0.2


@pytest.mark.spec("STREAM-24")
def test_a_dialogue_that_has_lasted_goes_on_beside_unread_streams() -> None:
    """It has sent more than a little in all, and never has more than a little to send."""
    pair = connected()
    dialogue = pair.client.connection.streams.open()
    assert dialogue is not None

    def goes_on() -> bool:
        pair.client.connection.streams.write(dialogue, bytes(ROUND))
        return pair.drive(
            lambda: bool(pair.server.connection.streams.read(dialogue, ROUND)), seconds=1
        )

    for _ in range(2 * LITTLE_DATA // ROUND):
        assert goes_on()
    unread(pair, 20)
    for _ in range(2 * CREDIT_RESERVE // ROUND):
        assert goes_on()


@pytest.mark.spec("STREAM-23")
@pytest.mark.spec("STREAM-24")
def test_the_reserve_lasts_for_any_number_of_questions() -> None:
    """Each uses some of it: what was used is given anew, not only what was read."""
    pair = connected()
    unread(pair, 20)
    for _ in range(2 * CREDIT_RESERVE // ROUND):
        assert answered_after(pair) < 0.2


@pytest.mark.spec("STREAM-23")
def test_what_a_connection_holds_unread_is_bounded() -> None:
    pair = connected()
    unread(pair, 100)
    held = pair.server.connection.streams.bytes_received
    assert held <= MAX_CONNECTION_WINDOW
    # ours keep the reserve back, so that it is not even given out
    assert held <= 3 << 20
