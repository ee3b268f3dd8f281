"""One side of a benchmark.

    peer.py server [--transport NAME] [--listen IP]
    peer.py client MEASURE INFO [--mb MIB]

The server prints {"pid", "addr", "protocols"} and serves until it is killed; the client prints one
sample.  `protocols` begins the names of what is served, so that the server may be a peer on another
library (specs/interop.md).
"""

import contextlib
import json
import os
import struct
import sys
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import trio

if __package__ in (None, ""):
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from p2pnode import Node, PeerId, Stream, open_node
from tests.bench.sample import (
    CHUNK,
    CONNECTS,
    IDLE,
    PINGS,
    SECONDS,
    Timed,
    announce,
    option,
    quantiles,
    raise_file_limit,
    rss_kib,
    sample,
)

PROTOCOLS = "/p2pnode/bench/"
"""what the names of protocols begin with"""
TAKE, GIVE, ECHO = "take/1.0.0", "give/1.0.0", "echo/1.0.0"

LISTEN = {
    "noise-udp": "/ip4/{}/udp/0/noise",
    "quic-v1": "/ip4/{}/udp/0/quic-v1",
    "tcp": "/ip4/{}/tcp/0",
}

MARKS = {"noise-udp": "/noise/", "quic-v1": "/quic-v1/", "tcp": "/tcp/"}
"""what addresses of a transport have in them"""


class Server(NamedTuple):
    """What the client measures, by the first line that it printed."""

    pid: int
    addr: str
    protocols: str

    def protocol(self, name: str) -> str:
        return self.protocols + name


async def read_exactly(stream: Stream, size: int) -> bytes:
    got = bytearray()
    while len(got) < size:
        data = await stream.receive_some(size - len(got))
        if not data:
            raise EOFError(f"{len(got)} of {size}")
        got += data
    return bytes(got)


async def take(stream: Stream) -> None:
    while await stream.receive_some():
        pass
    await stream.send_all(b"k")
    await stream.send_eof()


async def give(stream: Stream) -> None:
    (left,) = struct.unpack(">Q", await read_exactly(stream, 8))
    block = bytes(CHUNK)
    while left > 0:
        await stream.send_all(block[:left])
        left -= len(block)
    await stream.send_eof()


async def echo(stream: Stream) -> None:
    while data := await stream.receive_some():
        await stream.send_all(data)
    await stream.send_eof()


async def serve() -> None:
    transport = option("transport", "noise-udp")
    address = LISTEN[transport].format(option("listen", "127.0.0.1"))
    async with open_node(listen=(address,)) as node:
        node.handle(PROTOCOLS + TAKE, take)
        node.handle(PROTOCOLS + GIVE, give)
        node.handle(PROTOCOLS + ECHO, echo, max_streams=100_000)
        # The transports over UDP share a socket, and a node speaks all of them on it.
        addrs = [text for text in map(str, node.addresses) if MARKS[transport] in text]
        announce(addr=addrs[0], protocols=PROTOCOLS)
        await trio.sleep_forever()


async def one_echo(node: Node, target: str | PeerId, protocol: str, size: int) -> None:
    stream = await node.open_stream(target, protocol)
    await stream.send_all(bytes(size))
    await stream.send_eof()
    await read_exactly(stream, size)
    await stream.aclose()


async def bulk(node: Node, server: Server) -> None:
    total = int(option("mb", "256")) * 2**20
    stream = await node.open_stream(server.addr, server.protocol(TAKE))
    block = bytes(CHUNK)
    with Timed(server.pid) as timed:
        for _ in range(total // CHUNK):
            await stream.send_all(block)
        await stream.send_eof()
        await read_exactly(stream, 1)
    transferred(total, timed)


async def receive(node: Node, server: Server) -> None:
    total = int(option("mb", "256")) * 2**20
    stream = await node.open_stream(server.addr, server.protocol(GIVE))
    await stream.send_all(struct.pack(">Q", total))
    await stream.send_eof()
    first = len(await stream.receive_some())  # others make all of it before they send some
    left = total - first
    with Timed(server.pid) as timed:
        while left > 0 and (data := await stream.receive_some()):
            left -= len(data)
    transferred(total - first - left, timed)


def transferred(size: int, timed: Timed) -> None:
    mb = size / 1e6
    per_gb = round(sum(timed.cpu) / mb * 1000, 2)
    ours = round(timed.cpu[0] / mb * 1000, 2)
    secs = round(timed.wall, 2)
    cpu = {"cpu_pct": timed.percent(), "cpu_s_per_GB": per_gb, "own_cpu_s_per_GB": ours}
    sample(mb / timed.wall, "MB/s", mb=mb, secs=secs, **cpu)


async def connects(node: Node, server: Server) -> None:
    times: list[float] = []
    peer = await node.connect(server.addr)
    await node.disconnect(peer)
    with Timed(server.pid) as timed:
        for _ in range(CONNECTS):
            start = time.perf_counter()
            await one_echo(node, server.addr, server.protocol(ECHO), 1)
            times.append(time.perf_counter() - start)
            await node.disconnect(peer)
            await trio.sleep(0.02)
    quantiles(times, "ms", 1e3, cpu_pct=timed.percent(), cpu_us=timed.micros_each(CONNECTS))


async def round_trips(node: Node, server: Server) -> None:
    stream = await node.open_stream(server.addr, server.protocol(ECHO))
    times: list[float] = []
    with Timed(server.pid) as timed:
        for _ in range(PINGS):
            start = time.perf_counter()
            await stream.send_all(bytes(32))
            await read_exactly(stream, 32)
            times.append(time.perf_counter() - start)
    quantiles(times, "us", 1e6, cpu_pct=timed.percent(), cpu_us=timed.micros_each(PINGS))


async def rate(worker: Callable[[], Awaitable[None]], width: int, pid: int) -> None:
    """Prints how many calls are finished in a second, `width` at a time."""
    done = 0
    stop = time.perf_counter() + SECONDS

    async def loop() -> None:
        nonlocal done
        while time.perf_counter() < stop:
            await worker()
            done += 1

    with Timed(pid) as timed:
        async with trio.open_nursery() as nursery:
            for _ in range(width):
                nursery.start_soon(loop)
    cpu_us = timed.micros_each(done)
    sample(done / timed.wall, "1/s", done=done, cpu_pct=timed.percent(), cpu_us=cpu_us)


async def streams(node: Node, server: Server, width: int) -> None:
    peer, protocol = await node.connect(server.addr), server.protocol(ECHO)
    await rate(lambda: one_echo(node, peer, protocol, 32), width, server.pid)


async def handshakes(stack: contextlib.AsyncExitStack, server: Server, width: int) -> None:
    """Dials of nodes that are running; each hangs up aside and goes back to the pool."""
    free_in, free_out = trio.open_memory_channel[Node](2 * width)
    for _ in range(2 * width):
        free_in.send_nowait(await stack.enter_async_context(open_node(listen=())))

    async def dial() -> None:
        node = await free_out.receive()
        peer = await node.connect(server.addr)
        await node.disconnect(peer)
        free_in.send_nowait(node)

    await rate(dial, width, server.pid)


async def idle_memory(stack: contextlib.AsyncExitStack, server: Server) -> None:
    first = await stack.enter_async_context(open_node(listen=()))
    await first.connect(server.addr)
    await trio.sleep(2)
    nodes = [await stack.enter_async_context(open_node(listen=())) for _ in range(IDLE)]
    before, mine = rss_kib(server.pid), rss_kib(os.getpid())
    for node in nodes:
        await node.connect(server.addr)
    await trio.sleep(3)
    client_side = round((rss_kib(os.getpid()) - mine) / IDLE, 1)
    sample((rss_kib(server.pid) - before) / IDLE, "KiB/conn", n=IDLE, client_side=client_side)


async def client(measure: str, server: Server) -> None:
    async with contextlib.AsyncExitStack() as stack:
        match measure:
            case "hs1" | "hs32":
                await handshakes(stack, server, int(measure[2:]))
            case "mem":
                raise_file_limit()
                await idle_memory(stack, server)
            case _:
                node = await stack.enter_async_context(open_node(listen=()))
                await measured(node, measure, server)


async def measured(node: Node, measure: str, server: Server) -> None:
    match measure:
        case "bulk":
            await bulk(node, server)
        case "receive":
            await receive(node, server)
        case "connect":
            await connects(node, server)
        case "rtt":
            await round_trips(node, server)
        case "streams":
            await streams(node, server, 1)
        case "streams32":
            await streams(node, server, 32)
        case _:
            raise SystemExit(f"no measure {measure!r}")


def main() -> None:
    role, *args = sys.argv[1:]
    if role == "server":
        trio.run(serve)
    else:
        trio.run(client, args[0], Server(**json.loads(args[1])))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
