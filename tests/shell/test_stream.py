from array import array
from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock, check_half_closeable_stream, wait_all_tasks_blocked

from p2pnode.errors import (
    ClosedByPeer,
    ClosedLocally,
    ProtocolNotSupported,
    StreamReset,
    StreamStopped,
)
from p2pnode.transports.delivery.send_stream import SEND_BUFFER_SIZE
from p2pnode.transports.noise_udp.config import TransportConfig
from p2pnode.wire.multistream.messages import MULTISTREAM_PROTOCOL, encode_message
from tests.support.node_pair import PROTOCOL, StreamPair, node_pair

CHUNK = 64 * 1024
NEGOTIATION = len(encode_message(MULTISTREAM_PROTOCOL)) + len(encode_message(PROTOCOL))
# Whole chunks fit: the send buffer, and what the peer allows beside the negotiation.
SMALL_WINDOW = TransportConfig(max_stream_data=2 * CHUNK + NEGOTIATION)
CAPACITY = SEND_BUFFER_SIZE + 2 * CHUNK


async def clog(stream: trio.abc.SendStream) -> None:
    """Sends until neither the peer nor the send buffer takes any more."""
    for _ in range(2):
        await stream.send_all(bytes(CHUNK))
    await trio.sleep(1)  # acknowledged, so that the buffer is empty
    await stream.send_all(bytes(SEND_BUFFER_SIZE))
    with trio.move_on_after(1):
        await stream.send_all(b"x")
        raise AssertionError("there is room yet")


async def read_all(stream: trio.abc.ReceiveStream) -> int:
    return sum([len(data) async for data in stream])


async def test_streams_are_what_trio_expects_of_half_closeable_streams(
    autojump_clock: MockClock,
) -> None:
    async with node_pair(SMALL_WINDOW) as pair:

        async def make_clogged() -> StreamPair:
            streams = await pair.streams()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(clog, streams.opened)
                nursery.start_soon(clog, streams.accepted)
            return streams

        await check_half_closeable_stream(pair.streams, make_clogged)


async def test_data_and_the_end_arrive_in_order(autojump_clock: MockClock) -> None:
    async with node_pair() as pair:
        ours, theirs = await pair.streams()
        async with ours, theirs:
            await ours.send_all(b"to be ")
            await ours.send_all(bytearray(b"or not"))
            await ours.send_eof()

            received = b"".join([data async for data in theirs])

            assert received == b"to be or not"
            assert theirs.peer_id == pair.client.peer_id
            assert ours.peer_id == pair.server.peer_id
            assert ours.protocol == theirs.protocol == PROTOCOL


async def test_a_large_send_arrives_whole_at_a_slow_reader(autojump_clock: MockClock) -> None:
    content = bytes(range(256)) * (40 * 1024)
    async with node_pair(SMALL_WINDOW) as pair:
        ours, theirs = await pair.streams()

        async def send() -> None:
            await ours.send_all(content)
            await ours.aclose()

        received = bytearray()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            while data := await theirs.receive_some(100_000):
                received += data
                await trio.sleep(0.001)

        assert received == content
        await theirs.aclose()


async def test_a_sender_waits_while_nobody_reads(autojump_clock: MockClock) -> None:
    async with node_pair(SMALL_WINDOW) as pair:
        ours, theirs = await pair.streams()
        await clog(ours)

        with trio.move_on_after(60) as scope:
            await ours.send_all(b"x")

        assert scope.cancelled_caught
        assert await theirs.receive_some(1) == b"\0"


async def test_closing_right_after_sending_loses_nothing(autojump_clock: MockClock) -> None:
    async with node_pair() as pair:
        stream = await pair.client.open_stream(pair.address, PROTOCOL)
        await stream.send_all(b"and goodbye")
        await stream.aclose()

        theirs = await pair.accept()

        assert await theirs.receive_some() == b"and goodbye"
        assert await theirs.receive_some() == b""


async def test_a_reset_is_a_failure_on_the_other_side(autojump_clock: MockClock) -> None:
    async with node_pair() as pair:
        ours, theirs = await pair.streams()
        await theirs.send_all(b"x")

        ours.reset(0x42)

        with pytest.raises(trio.BrokenResourceError) as received:
            await theirs.receive_some()
        assert isinstance(received.value.__cause__, StreamReset)
        assert received.value.__cause__.code == 0x42
        with pytest.raises(trio.BrokenResourceError):
            await theirs.receive_some()
        with pytest.raises(trio.BrokenResourceError) as sent:
            await theirs.send_all(b"y")
        assert isinstance(sent.value.__cause__, StreamStopped)
        with pytest.raises(trio.ClosedResourceError):
            await ours.receive_some()


async def test_a_send_that_was_cut_short_never_looks_like_the_end(
    autojump_clock: MockClock,
) -> None:
    async with node_pair(SMALL_WINDOW) as pair:
        ours, theirs = await pair.streams()
        with trio.move_on_after(1):
            await ours.send_all(bytes(CAPACITY + 1))

        with pytest.raises(trio.BrokenResourceError):
            await ours.send_all(b"more")
        with pytest.raises(trio.BrokenResourceError):
            await ours.send_eof()
        await ours.aclose()

        with pytest.raises(trio.BrokenResourceError):
            await read_all(theirs)


async def test_a_protocol_that_the_peer_does_not_speak_is_told_at_first_use(
    autojump_clock: MockClock,
) -> None:
    async with node_pair() as pair:
        stream = await pair.client.open_stream(pair.address, "/unknown/1.0.0")

        with pytest.raises(ProtocolNotSupported, match=r"/unknown/1\.0\.0"):
            await stream.receive_some()
        with pytest.raises(ProtocolNotSupported):
            await stream.send_all(b"x")
        await stream.aclose()


async def test_of_several_protocols_the_first_common_one_is_taken(
    autojump_clock: MockClock,
) -> None:
    async with node_pair() as pair:
        stream = await pair.client.open_stream(pair.address, ["/test/9.0.0", PROTOCOL])

        assert stream.protocol == PROTOCOL
        with pytest.raises(ProtocolNotSupported):
            await pair.client.open_stream(pair.address, ["/test/9.0.0", "/test/8.0.0"])


async def test_the_end_of_the_connection_breaks_its_streams(autojump_clock: MockClock) -> None:
    async with node_pair() as pair:
        ours, theirs = await pair.streams()
        await theirs.send_all(b"last words")
        await wait_all_tasks_blocked()

        await pair.server.disconnect(pair.client.peer_id, code=7, reason="enough")
        await wait_all_tasks_blocked()

        assert await ours.receive_some() == b"last words"
        with pytest.raises(trio.BrokenResourceError) as received:
            await ours.receive_some()
        assert isinstance(received.value.__cause__, ClosedByPeer)
        assert received.value.__cause__.code == 7
        with pytest.raises(trio.BrokenResourceError):
            await ours.send_all(b"x")
        assert ours.connection_info.path == "direct"


async def test_opening_waits_while_the_peer_allows_no_more_streams(
    autojump_clock: MockClock,
) -> None:
    async with node_pair(TransportConfig(max_streams=4)) as pair:
        await pair.client.identify(pair.address)
        await trio.sleep(1)  # the built-in protocols are done
        streams = [await pair.streams() for _ in range(4)]
        with trio.move_on_after(5) as impatient:
            await pair.client.open_stream(pair.address, PROTOCOL)
        assert impatient.cancelled_caught
        opened: list[StreamPair] = []

        async def open_one_more() -> None:
            opened.append(await pair.streams())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(open_one_more)
            await wait_all_tasks_blocked()
            assert not opened
            for stream in streams[0]:
                await stream.aclose()

        assert len(opened) == 1


async def test_a_cancelled_close_still_closes(autojump_clock: MockClock) -> None:
    async with node_pair() as pair:
        ours, theirs = await pair.streams()

        await trio.aclose_forcefully(ours)

        with pytest.raises(trio.ClosedResourceError):
            await ours.send_all(b"x")
        with pytest.raises(trio.BrokenResourceError):
            await theirs.receive_some()


async def test_who_waits_for_delivery_waits_for_the_last_acknowledgement(
    autojump_clock: MockClock,
) -> None:
    async with node_pair() as pair:
        opened, accepted = await pair.streams()
        await opened.send_all(bytes(100_000))
        await opened.send_eof()
        with trio.move_on_after(0.005) as waiting:
            await opened.wait_delivered()
        assert waiting.cancelled_caught
        while await accepted.receive_some():
            pass
        with trio.fail_after(5):
            await opened.wait_delivered()


async def test_all_bytes_of_an_array_are_sent_also_where_the_send_waits(
    autojump_clock: MockClock,
) -> None:
    samples = array("d", range(CAPACITY // 8 + 1000))
    async with node_pair(SMALL_WINDOW) as pair:
        ours, theirs = await pair.streams()

        async def send() -> None:
            await ours.send_all(samples)  # type: ignore[arg-type]
            await ours.send_all(memoryview(samples)[:3])
            await ours.send_eof()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            received = b"".join([data async for data in theirs])

        assert received == (samples + samples[:3]).tobytes()


@pytest.mark.parametrize("data", ["text", 3, None, memoryview(b"abcd")[::2]])
async def test_what_is_not_bytes_like_is_a_type_error_and_the_stream_goes_on(
    autojump_clock: MockClock, data: bytes
) -> None:
    async with node_pair() as pair:
        ours, theirs = await pair.streams()
        with pytest.raises(TypeError):
            await ours.send_all(data)
        await ours.send_all(b"x")
        assert await theirs.receive_some() == b"x"


async def test_who_waits_on_a_stream_is_woken_when_its_connection_is_lost(
    autojump_clock: MockClock,
) -> None:
    failures: list[BaseException | None] = []

    async def wait(act: Callable[[], Awaitable[object]]) -> None:
        with pytest.raises(trio.BrokenResourceError) as lost:
            await act()
        failures.append(lost.value.__cause__)

    async with node_pair() as pair:
        reading = (await pair.streams()).opened
        writing = (await pair.streams()).opened
        pair.network.is_cut = True
        unanswered = await pair.client.open_stream(pair.address, PROTOCOL)
        with trio.fail_after(1):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait, reading.receive_some)
                nursery.start_soon(wait, lambda: writing.send_all(bytes(5 << 20)))
                nursery.start_soon(wait, unanswered.wait_negotiated)
                await wait_all_tasks_blocked()
                assert failures == []
                await pair.client.disconnect(pair.server.peer_id)

    assert [type(failure) for failure in failures] == [ClosedLocally] * 3
