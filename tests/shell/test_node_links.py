"""Whole nodes whose transport runs over links, on real TCP of the loopback."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from random import Random

import pytest
import trio

from p2pnode.errors import P2PNodeError
from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.transport_addr import transport_multiaddr
from p2pnode.io.node.events import PeerConnected
from p2pnode.io.node.lifetime import NodeParts, run_node
from p2pnode.io.node.node import Node
from p2pnode.io.node.stream import Stream
from p2pnode.io.tcp.sockets import open_tcp_listener
from p2pnode.machine import SocketAddr, SocketId
from p2pnode.swarm import SwarmConfig
from p2pnode.transports.registry import Makers
from p2pnode.wire.multiaddr import Multiaddr
from p2pnode.wire.transport_name import TransportName
from tests.support.toy_transport import ToyConnection, ToyTransport

ECHO = "/echo/1"
PATIENCE = 20.0  # seconds of real time


async def echo(stream: Stream) -> None:
    while data := await stream.receive_some():
        await stream.send_all(data)
    await stream.send_eof()


@asynccontextmanager
async def toy_node(name: str) -> AsyncIterator[tuple[Node, Multiaddr]]:
    """Yields a node that speaks the toy transport, and where it listens."""
    entropy = Random(name).randbytes
    with closing(open_tcp_listener(SocketAddr("127.0.0.1", 0), SocketId(1))) as listener:
        parts = NodeParts(
            identity=PrivateKey.generate(entropy),
            config=SwarmConfig(),
            makers=Makers(over_links=ToyTransport),
            sockets=[],
            listeners=[listener],
            interfaces=(),
            watches_interfaces=False,
            entropy=entropy,
            rng=Random(name),
        )
        async with run_node(parts) as node:
            yield node, transport_multiaddr(listener.local, TransportName.TCP)


@pytest.mark.parametrize("size", [1, 3_000_000])
async def test_a_stream_goes_both_ways_over_tcp(size: int) -> None:
    data, got = Random(1).randbytes(size), bytearray()
    with trio.fail_after(PATIENCE):
        async with toy_node("a") as (a, _), toy_node("b") as (b, at_b):
            b.handle(ECHO, echo)
            peer_id = await a.connect(at_b)
            assert a.connection_info(peer_id).transport == TransportName.TCP
            stream = await a.open_stream(peer_id, ECHO)
            async with trio.open_nursery() as nursery:

                @nursery.start_soon
                async def _send() -> None:
                    await stream.send_all(data)
                    await stream.send_eof()

                while piece := await stream.receive_some():
                    got += piece
            assert await a.ping(peer_id) > 0
            assert (await a.identify(peer_id)).agent_version
    assert got == data


async def test_a_connection_with_limits_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ToyConnection, "is_limited", True)
    with trio.fail_after(PATIENCE):
        async with toy_node("a") as (a, _), toy_node("b") as (_, at_b):
            events = a.events()
            peer_id = await a.connect(at_b)
            event = await anext(events)
            assert isinstance(event, PeerConnected)
            assert event.is_limited
            assert a.connection_info(peer_id).is_limited
            assert (await a.open_stream(peer_id, ECHO)).connection_info.is_limited


async def test_what_was_finished_is_delivered_before_a_node_ends() -> None:
    received = bytearray()
    is_done = trio.Event()

    async def take(stream: Stream) -> None:
        while data := await stream.receive_some():
            received.extend(data)
        is_done.set()

    with trio.fail_after(PATIENCE):
        async with toy_node("b") as (b, at_b):
            b.handle("/take/1", take)
            async with toy_node("a") as (a, _):
                stream = await a.open_stream(at_b, "/take/1")
                await stream.send_all(bytes(1_000_000))
                await stream.send_eof()
            await is_done.wait()
    assert len(received) == 1_000_000


async def test_nobody_there_is_said_at_once() -> None:
    nowhere = open_tcp_listener(SocketAddr("127.0.0.1", 0), SocketId(1))
    nowhere.close()
    with trio.fail_after(PATIENCE):
        async with toy_node("a") as (a, _):
            with pytest.raises(P2PNodeError, match="refused"):
                await a.connect(transport_multiaddr(nowhere.local, TransportName.TCP))
