"""A stream joined to file descriptors."""

import os
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import trio

from p2pnode.errors import ConnectionLost, ProtocolNotSupported
from p2pnode.io.applications.pipe import (
    READY,
    DescriptorSink,
    DescriptorSource,
    begin_verdict,
    join_pipe,
)
from p2pnode.wire.reset_code import StreamResetCode
from tests.shell.fake_streams import FakeStream, fake_peer_id, fake_stream_pair


@dataclass
class Ends:
    """The outer ends of our stdin and stdout, and the peer's end of the stream."""

    feed: int
    """Write here what our stdin shall bring."""
    drain: int
    """Read here what our stdout gets."""
    source: DescriptorSource
    sink: DescriptorSink
    sink_fd: int
    ours: FakeStream
    theirs: FakeStream

    async def join(self) -> None:
        await join_pipe(self.ours, self.source, self.sink)

    def finish_input(self) -> None:
        os.close(self.feed)
        self.feed = -1

    async def read(self, size: int) -> bytes:
        return await trio.to_thread.run_sync(os.read, self.drain, size)


@pytest.fixture
def ends() -> Iterator[Ends]:
    source_fd, feed = os.pipe()
    drain, sink_fd = os.pipe()
    ours, theirs = fake_stream_pair(fake_peer_id(1), fake_peer_id(2))
    ends = Ends(
        feed, drain, DescriptorSource(source_fd), DescriptorSink(sink_fd), sink_fd, ours, theirs
    )
    yield ends
    for fd in (ends.feed, drain, source_fd, sink_fd):
        if fd >= 0:
            os.close(fd)


async def test_bytes_go_both_ways_as_they_are(ends: Ends) -> None:
    every_byte = bytes(range(256))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ends.join)
        os.write(ends.feed, every_byte)
        assert await ends.theirs.receive_some() == every_byte
        await ends.theirs.send_all(every_byte[::-1])
        assert await ends.read(1000) == every_byte[::-1]
        ends.finish_input()
        await ends.theirs.send_eof()
    assert ends.ours.reset_code is None


async def test_our_end_leaves_the_peers_direction_open(ends: Ends) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ends.join)
        ends.finish_input()
        assert await ends.theirs.receive_some() == b""
        await ends.theirs.send_all(b"still here")
        assert await ends.read(1000) == b"still here"
        await ends.theirs.send_eof()


async def test_the_peers_end_is_the_end_of_stdout_and_leaves_our_direction_open(
    ends: Ends,
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ends.join)
        await ends.theirs.send_eof()
        assert await ends.read(1000) == b""
        os.write(ends.feed, b"still here")
        assert await ends.theirs.receive_some() == b"still here"
        ends.finish_input()


async def test_a_lost_connection_is_a_failure(ends: Ends) -> None:
    ends.ours.fail(ConnectionLost("the network is down"))
    with pytest.raises(trio.BrokenResourceError):
        await ends.join()
    assert ends.ours.reset_code is not None


async def test_cancellation_is_a_reset_for_the_peer(ends: Ends) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ends.join)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert ends.ours.reset_code is not None
    os.write(ends.feed, b"for the thread that still reads")


async def test_a_reader_of_stdout_that_goes_away_ends_the_pipe(ends: Ends) -> None:
    os.close(ends.drain)
    ends.drain = os.dup(ends.feed)
    await ends.theirs.send_all(b"nobody reads this")
    with pytest.raises(BrokenPipeError):
        await ends.join()
    assert ends.ours.reset_code is not None


async def test_a_sink_writes_the_bytes_of_items_of_any_size(ends: Ends) -> None:
    samples = array("d", [1.5, 2.5])
    await ends.sink.write(memoryview(samples))
    assert await ends.read(100) == samples.tobytes()


async def test_last_bytes_that_are_not_acknowledged_are_a_failure(
    ends: Ends, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ends.ours, "wait_delivered", trio.sleep_forever)
    ends.finish_input()
    await ends.theirs.send_eof()
    with pytest.raises(trio.BrokenResourceError, match="did not acknowledge"):
        await ends.join()
    assert ends.ours.reset_code is not None


@pytest.mark.spec("PIPE-3")
@pytest.mark.parametrize("has_written", [True, False])
async def test_the_verdict_says_whether_the_peer_could_write(ends: Ends, has_written: bool) -> None:
    ours, theirs = fake_stream_pair(fake_peer_id(1), fake_peer_id(2))
    failures: list[trio.BrokenResourceError] = []
    is_over = trio.Event()

    async def join() -> None:
        try:
            await join_pipe(ends.ours, ends.source, ends.sink, ours)
        except trio.BrokenResourceError as exc:
            failures.append(exc)
        is_over.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(join)
        ends.finish_input()
        await ends.theirs.send_eof()
        assert await theirs.receive_some() == b""  # it has written all that came
        assert not is_over.is_set()
        if has_written:
            await theirs.send_eof()
        else:
            theirs.reset(StreamResetCode.SHUTDOWN)
    assert ["could not write" in str(failure) for failure in failures] == [True] * (not has_written)


@pytest.mark.spec("PIPE-1")
async def test_who_cannot_write_resets_both_streams(ends: Ends) -> None:
    ours, _ = fake_stream_pair(fake_peer_id(1), fake_peer_id(2))
    null = os.open(os.devnull, os.O_RDONLY)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ends.theirs.send_all, b"x")
            with pytest.raises(OSError, match="Bad file descriptor"):
                await join_pipe(ends.ours, ends.source, DescriptorSink(null), ours)
    finally:
        ends.finish_input()  # a read goes on in its thread
        os.close(null)
    assert ends.ours.reset_code == ours.reset_code == StreamResetCode.SHUTDOWN


@pytest.mark.spec("PIPE-2")
async def test_a_peer_that_gives_no_verdicts_is_known_by_its_answer() -> None:
    ours, theirs = fake_stream_pair(fake_peer_id(1), fake_peer_id(2))
    ours.fail(ProtocolNotSupported(("/x",)))
    assert not await begin_verdict(ours)

    ours, theirs = fake_stream_pair(fake_peer_id(1), fake_peer_id(2))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(theirs.send_all, READY)
        assert await begin_verdict(ours)
