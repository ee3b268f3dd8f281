"""What becomes of streams when their node ends."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
import trio
from trio.testing import MockClock

from p2pnode.errors import ClosedByPeer, LocalProtocolError, Undelivered
from p2pnode.io.driver import LEAVE_TIMEOUT
from p2pnode.io.node.events import PeerDisconnected
from p2pnode.io.node.node import Node
from p2pnode.io.node.open_streams import DELIVERY_TIMEOUT, FINISHED_KEPT
from p2pnode.io.node.stream import Stream
from p2pnode.machine import SocketAddr
from tests.support.node_pair import PROTOCOL, SimNetwork, sim_node

CONTENT = bytes(range(256)) * 400


class Server:
    """A node that keeps what comes on each stream, or does something else with it."""

    def __init__(self, node: Node, network: SimNetwork) -> None:
        self.node = node
        self.network = network
        self.received: list[bytes] = []
        self.has_received = trio.Event()
        self.treat: Callable[[Stream], Awaitable[None]] = self._keep
        node.handle(PROTOCOL, lambda stream: self.treat(stream))

    @property
    def address(self) -> str:
        return str(self.node.addresses[0])

    async def _keep(self, stream: Stream) -> None:
        self.received.append(b"".join([data async for data in stream]))
        self.has_received.set()


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    network = SimNetwork()
    async with sim_node(network, "server", "10.0.0.2") as node:
        yield Server(node, network)


async def send_and_close(node: Node, address: str) -> Stream:
    stream = await node.open_stream(address, PROTOCOL)
    await stream.send_all(CONTENT)
    await stream.aclose()
    return stream


async def test_what_was_sent_and_closed_arrives_though_the_node_ends(
    autojump_clock: MockClock,
) -> None:
    async with serving() as server:
        async with sim_node(server.network, "client", "10.0.0.1") as client:
            await send_and_close(client, server.address)
            half_open = await client.open_stream(server.address, PROTOCOL)
            await half_open.send_all(CONTENT)
            await half_open.send_eof()
        await trio.sleep(1)

    assert server.received == [CONTENT, CONTENT]


async def leave_unheard(
    server: Server, end: Callable[[], None] = lambda: None, *, streams: int = 2
) -> float:
    """Sends on streams of a node that nobody hears any more, and ends it; returns when."""
    async with sim_node(server.network, "client", "10.0.0.1") as client:
        await client.connect(server.address)
        server.network.is_cut = True
        for _ in range(streams):
            await send_and_close(client, server.address)
        end()
        return trio.current_time()


async def test_an_end_that_cuts_something_off_raises(autojump_clock: MockClock) -> None:
    async with serving() as server:
        with pytest.raises(Undelivered, match="2 streams") as raised:
            await leave_unheard(server)
        assert raised.value.count == 2
        assert trio.current_time() == pytest.approx(DELIVERY_TIMEOUT, abs=0.1)


async def test_a_peer_that_leaves_before_it_has_everything_is_told(
    autojump_clock: MockClock,
) -> None:
    async def leave_after_the_server(server: Server) -> None:
        async with sim_node(server.network, "client", "10.0.0.1") as client:
            await send_and_close(client, server.address)
            server.node.close()

    async with serving() as server:
        with pytest.raises(Undelivered, match="1 stream ") as raised:
            await leave_after_the_server(server)
        assert isinstance(raised.value.__cause__, ClosedByPeer)


class Boom(Exception):
    pass


async def test_a_block_that_fails_or_is_cancelled_waits_for_nothing(
    autojump_clock: MockClock,
) -> None:
    def fail() -> None:
        raise Boom

    began = trio.current_time()
    async with serving() as server:
        with pytest.raises(Boom):
            await leave_unheard(server, fail)
    async with serving() as server:
        with trio.CancelScope() as scope:
            await leave_unheard(server, scope.cancel)
        assert scope.cancelled_caught
    assert trio.current_time() < began + 0.5
    assert await leave_without_streams() == trio.current_time()


async def leave_without_streams() -> float:
    async with serving() as server:
        return await leave_unheard(server, streams=0)


async def test_what_was_given_up_by_either_side_is_not_waited_for(
    autojump_clock: MockClock,
) -> None:
    async def refuse(stream: Stream) -> None:
        await stream.receive_some(1)

    async with serving() as server:
        server.treat = refuse
        async with sim_node(server.network, "client", "10.0.0.1") as client:
            await send_and_close(client, server.address)
            ours = await client.open_stream(server.address, PROTOCOL)
            await ours.send_all(CONTENT)
            await ours.send_eof()
            ours.reset()
        async with sim_node(server.network, "cut", "10.0.0.3") as client:
            await client.connect(server.address)
            server.network.is_cut = True
            stream = await client.open_stream(server.address, PROTOCOL)
            await stream.send_all(b"x")
            stream.reset()
            began = trio.current_time()
        assert trio.current_time() == began


async def test_who_closes_acknowledges_what_came_before(autojump_clock: MockClock) -> None:
    network = SimNetwork()
    async with sim_node(network, "client", "10.0.0.1") as client:
        async with sim_node(network, "server", "10.0.0.2") as node:
            server = Server(node, network)
            stream = await client.open_stream(server.address, PROTOCOL)
            await trio.sleep(1)
            await stream.send_all(b"x")
            await stream.send_eof()
            await server.has_received.wait()
        await stream.wait_delivered()


async def test_waiting_for_delivery_fails_where_it_is_not_to_be(
    autojump_clock: MockClock,
) -> None:
    async with serving() as server:
        with suppress(Undelivered):
            async with sim_node(server.network, "client", "10.0.0.1") as client:
                stream = await client.open_stream(server.address, PROTOCOL)
                with pytest.raises(LocalProtocolError):
                    await stream.wait_delivered()
                await stream.send_all(CONTENT)
                await stream.send_eof()
                server.node.close()
                with pytest.raises(trio.BrokenResourceError) as raised:
                    await stream.wait_delivered()
                assert isinstance(raised.value.__cause__, ClosedByPeer)


async def test_streams_that_have_ended_are_not_kept(autojump_clock: MockClock) -> None:
    async with serving() as server, sim_node(server.network, "client", "10.0.0.1") as client:
        for _ in range(5 * FINISHED_KEPT):
            stream = await client.open_stream(server.address, PROTOCOL)
            await stream.aclose()
            await trio.sleep(0.1)
        assert len(client._streams._finished) <= FINISHED_KEPT + 1


async def end_with_a_full_socket(server: Server, free_again_after: float) -> float:
    """Ends a node whose socket takes nothing for so long; returns how long the end took."""
    async with trio.open_nursery() as nursery:
        async with sim_node(server.network, "client", "10.0.0.1") as client:
            await client.connect(server.address)
            sock = server.network.socket_at(SocketAddr("10.0.0.1", 4001))
            sock.room = 0
            began = trio.current_time()

            async def make_room() -> None:
                await trio.sleep(free_again_after)
                sock.make_room(1000)

            nursery.start_soon(make_room)
        took = trio.current_time() - began
        nursery.cancel_scope.cancel()
    return took


async def test_peers_are_told_of_an_end_though_the_socket_is_full(
    autojump_clock: MockClock,
) -> None:
    async with serving() as server:
        events = server.node.events()
        took = await end_with_a_full_socket(server, LEAVE_TIMEOUT / 2)
        async for event in events:
            if isinstance(event, PeerDisconnected):
                break
        assert isinstance(event.reason, ClosedByPeer)
        assert took == pytest.approx(LEAVE_TIMEOUT / 2, abs=0.01)


async def test_a_socket_that_stays_full_holds_the_end_up_for_a_bounded_time(
    autojump_clock: MockClock,
) -> None:
    async with serving() as server:
        took = await end_with_a_full_socket(server, 10 * LEAVE_TIMEOUT)
        assert took == pytest.approx(LEAVE_TIMEOUT, abs=0.01)
        with trio.CancelScope() as scope:
            async with sim_node(server.network, "cancelled", "10.0.0.3") as client:
                await client.connect(server.address)
                server.network.socket_at(SocketAddr("10.0.0.3", 4001)).room = 0
                began = trio.current_time()
                scope.cancel()
        assert trio.current_time() - began == pytest.approx(LEAVE_TIMEOUT, abs=0.01)
