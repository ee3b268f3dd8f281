"""Two streams that are one circuit, stepped by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.machine import ResetStream, SendData, SendEof
from p2pnode.protocols.relay import Limit
from p2pnode.swarm.services.relay.splice import MAX_BACKLOG, MAX_OVERRUN, SplicedStream
from p2pnode.swarm.stream_pump import READ_SIZE
from p2pnode.wire.reset_code import StreamResetCode

CHUNK = st.binary(min_size=1, max_size=40)


class Dialogue:
    """Hands over at once what it was made with."""

    is_handed_over = True
    is_done = True

    def __init__(self, rest: bytes = b"") -> None:
        self._rest = rest
        self._output = [SendData(b"answer")]

    def take_rest(self) -> bytes:
        rest, self._rest = self._rest, b""
        return rest

    def poll_output(self):
        output, self._output = self._output, []
        return output

    def poll_timeout(self):
        return None

    def handle_data(self, data, now):
        self._rest += data

    def handle_eof(self, now): ...

    def handle_reset(self, code, now): ...

    def handle_timeout(self, now): ...


def joined(limit: Limit = Limit(), rests: tuple[bytes, bytes] = (b"", b"")):  # noqa: B008
    one, other = (SplicedStream(i, Dialogue(rest)) for i, rest in enumerate(rests))
    one.join(other, limit, 0.0)
    return one, other


def said(stream: SplicedStream, *, taken: bool = True) -> list[object]:
    """Returns what a pump would move, the answer of the dialogue left out."""
    output = [o for o in stream.poll_output() if o != SendData(b"answer")]
    if taken:
        stream.handle_unsent(0)
    return output


@pytest.mark.spec("RELAY-8")
def test_what_came_behind_the_dialogues_comes_first() -> None:
    one, other = joined(rests=(b"early", b""))
    one.handle_data(b" late", 0.0)

    assert other.poll_output() == [SendData(b"answer"), SendData(b"early late")]
    assert one.poll_output() == [SendData(b"answer")]
    assert (one.taken, other.given) == (10, 10)


@pytest.mark.spec("RELAY-32")
@given(st.lists(st.tuples(st.booleans(), CHUNK | st.none(), st.booleans()), max_size=60))
def test_bytes_arrive_in_order_and_an_end_leaves_the_other_direction_open(steps) -> None:
    ends = joined()
    put_in = [bytearray(), bytearray()]
    got_out = [bytearray(), bytearray()]
    finished = [False, False]
    finished_seen = [False, False]

    def drain(side: int) -> None:
        for output in said(ends[side]):
            match output:
                case SendData(data):
                    assert not finished_seen[side]
                    got_out[side] += data
                case _:
                    assert output == SendEof()
                    finished_seen[side] = True

    for side, chunk, drains in steps:
        if not finished[side]:
            if chunk is None:
                finished[side] = True
                ends[side].handle_eof(0.0)
            else:
                put_in[side] += chunk
                ends[side].handle_data(chunk, 0.0)
        if drains:
            drain(1 - side)
    drain(0)
    drain(1)

    assert got_out == [put_in[1], put_in[0]]
    assert finished_seen == [finished[1], finished[0]]
    assert [end.is_done for end in ends] == [all(finished)] * 2
    assert [end.end_reason for end in ends] == [None, None]


@pytest.mark.spec("RELAY-32")
@given(
    st.integers(1, 300),
    st.lists(st.tuples(st.booleans(), CHUNK), max_size=40),
)
def test_a_volume_holds_for_each_direction_and_breaks_both(cap: int, steps) -> None:
    ends = joined(Limit(0, cap))
    carried = [0, 0]
    for side, chunk in steps:
        ends[side].handle_data(chunk, 0.0)
        carried[side] += len(chunk)
        outputs = [said(end) for end in ends]
        if carried[side] > cap:
            reset = [ResetStream(StreamResetCode.RESOURCE_LIMIT)]
            assert outputs == [reset, reset]
            assert ends[0].end_reason == ends[1].end_reason == "its volume is spent"
            assert all(end.is_done for end in ends)
            return
        assert sum(len(o.data) for o in outputs[1 - side]) == len(chunk)


@pytest.mark.spec("RELAY-32")
def test_a_time_breaks_both() -> None:
    one, other = joined(Limit(120, 0))
    other.handle_timeout(119.9)
    assert other.end_reason is None
    deadline = one.poll_timeout()
    assert deadline is not None
    assert deadline.at == 120.0

    one.end_by(60.0)
    one.end_by(90.0)
    deadline = other.poll_timeout()
    assert deadline is not None
    assert deadline.at == 60.0
    other.handle_timeout(60.0)

    reset = [ResetStream(StreamResetCode.RESOURCE_LIMIT)]
    assert (one.poll_output(), other.poll_output()) == (reset, reset)
    assert one.poll_timeout() is None


@pytest.mark.spec("RELAY-32")
def test_a_reset_of_one_stream_resets_the_other_and_drops_what_waits() -> None:
    one, other = joined()
    one.handle_data(b"never to arrive", 0.0)
    one.handle_reset(7, 0.0)

    assert one.poll_output() == []
    assert other.poll_output() == [ResetStream(StreamResetCode.NONE)]
    assert one.is_done
    assert other.is_done
    other.handle_data(b"too late", 0.0)
    other.handle_eof(0.0)
    one.handle_reset(7, 0.0)
    assert (one.has_output, other.has_output) == (False, False)


@pytest.mark.spec("RELAY-33")
def test_a_stream_is_not_read_while_the_other_one_takes_nothing() -> None:
    one, other = joined()
    read = 0
    while not one.is_paused:
        one.handle_data(bytes(READ_SIZE), 0.0)
        read += READ_SIZE
        output = said(other, taken=False)  # given to a pump that cannot write it
        other.handle_unsent(read)
        assert output
    assert read == MAX_BACKLOG
    assert not other.is_paused

    other.handle_unsent(MAX_BACKLOG - 1)
    assert not one.is_paused


@pytest.mark.spec("RELAY-33")
def test_a_circuit_is_not_over_before_its_last_byte_is_taken() -> None:
    one, other = joined(Limit(120, 0))
    one.handle_data(b"last", 0.0)
    one.handle_eof(0.0)
    other.handle_eof(0.0)
    said(one)
    assert said(other, taken=False) == [SendData(b"last"), SendEof()]
    assert not other.is_done
    assert other.poll_timeout() is not None
    other.handle_unsent(0)
    assert other.is_done


@pytest.mark.spec("RELAY-33")
def test_who_reads_on_for_an_end_that_takes_nothing_breaks_the_circuit() -> None:
    one, other = joined()
    for _ in range((MAX_BACKLOG + MAX_OVERRUN) // READ_SIZE):
        one.handle_data(bytes(READ_SIZE), 0.0)
    assert one.end_reason is None
    one.handle_data(b"x", 0.0)

    assert one.end_reason == other.end_reason == "one end takes nothing"
    assert said(one) == said(other) == [ResetStream(StreamResetCode.RESOURCE_LIMIT)]


def test_nothing_is_read_between_the_dialogue_and_the_circuit() -> None:
    stream = SplicedStream(0, Dialogue())
    assert stream.is_paused
    assert not stream.is_done
    stream.handle_eof(0.0)
    far = SplicedStream(1, Dialogue())
    stream.join(far, Limit(), 0.0)
    assert said(far) == [SendEof()]

    stream = SplicedStream(0, Dialogue())
    stream.end("not wanted", StreamResetCode.NONE)
    assert stream.poll_output() == [ResetStream(0)]
    assert stream.is_done
