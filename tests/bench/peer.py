"""One side of a benchmark:  peer.py server | client MEASURE INFO [--mb MIB] [--listen IP]

The server prints {"pid", "addr"} and serves until it is killed; the client prints one sample.
"""

import contextlib
import json
import os
import struct
import sys
import time
from collections.abc import Awaitable, Callable

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

SINK, ECHO = "/bench/sink/1", "/bench/echo/1"


async def read_exactly(stream: Stream, size: int) -> bytes:
    got = bytearray()
    while len(got) < size:
        data = await stream.receive_some(size - len(got))
        if not data:
            raise EOFError(f"{len(got)} of {size}")
        got += data
    return bytes(got)


async def sink(stream: Stream) -> None:
    (left,) = struct.unpack(">Q", await read_exactly(stream, 8))
    while left > 0:
        left -= len(await stream.receive_some())
    await stream.send_all(b"k")
    await stream.send_eof()


async def echo(stream: Stream) -> None:
    while data := await stream.receive_some():
        await stream.send_all(data)
    await stream.send_eof()


async def serve() -> None:
    ip = option("listen", "127.0.0.1")
    async with open_node(listen=(f"/ip4/{ip}/udp/0/noise",)) as node:
        node.handle(SINK, sink)
        node.handle(ECHO, echo, max_streams=100_000)
        announce(addr=str(node.addresses[0]))
        await trio.sleep_forever()


async def one_echo(node: Node, target: str | PeerId, size: int) -> None:
    stream = await node.open_stream(target, ECHO)
    await stream.send_all(bytes(size))
    await stream.send_eof()
    await read_exactly(stream, size)
    await stream.aclose()


async def bulk(node: Node, addr: str, pid: int) -> None:
    total = int(option("mb", "256")) * 2**20
    stream = await node.open_stream(addr, SINK)
    block = bytes(CHUNK)
    with Timed(pid) as timed:
        await stream.send_all(struct.pack(">Q", total))
        for _ in range(total // CHUNK):
            await stream.send_all(block)
        await read_exactly(stream, 1)
    mb = total / 1e6
    per_gb = round(sum(timed.cpu) / mb * 1000, 2)
    secs = round(timed.wall, 2)
    sample(mb / timed.wall, "MB/s", mb=mb, secs=secs, cpu_pct=timed.percent(), cpu_s_per_GB=per_gb)


async def connects(node: Node, addr: str, pid: int) -> None:
    times: list[float] = []
    peer = await node.connect(addr)
    await node.disconnect(peer)
    with Timed(pid) as timed:
        for _ in range(CONNECTS):
            start = time.perf_counter()
            await one_echo(node, addr, 1)
            times.append(time.perf_counter() - start)
            await node.disconnect(peer)
            await trio.sleep(0.02)
    quantiles(times, "ms", 1e3, cpu_pct=timed.percent(), cpu_us=timed.micros_each(CONNECTS))


async def round_trips(node: Node, addr: str, pid: int) -> None:
    stream = await node.open_stream(addr, ECHO)
    times: list[float] = []
    with Timed(pid) as timed:
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


async def streams(node: Node, addr: str, width: int, pid: int) -> None:
    peer = await node.connect(addr)
    await rate(lambda: one_echo(node, peer, 32), width, pid)


async def handshakes(stack: contextlib.AsyncExitStack, addr: str, width: int, pid: int) -> None:
    """Dials of nodes that are running; each hangs up aside and goes back to the pool."""
    free_in, free_out = trio.open_memory_channel[Node](2 * width)
    for _ in range(2 * width):
        free_in.send_nowait(await stack.enter_async_context(open_node(listen=())))

    async def dial() -> None:
        node = await free_out.receive()
        peer = await node.connect(addr)
        await node.disconnect(peer)
        free_in.send_nowait(node)

    await rate(dial, width, pid)


async def idle_memory(stack: contextlib.AsyncExitStack, addr: str, pid: int) -> None:
    first = await stack.enter_async_context(open_node(listen=()))
    await first.connect(addr)
    await trio.sleep(2)
    nodes = [await stack.enter_async_context(open_node(listen=())) for _ in range(IDLE)]
    before, mine = rss_kib(pid), rss_kib(os.getpid())
    for node in nodes:
        await node.connect(addr)
    await trio.sleep(3)
    client_side = round((rss_kib(os.getpid()) - mine) / IDLE, 1)
    sample((rss_kib(pid) - before) / IDLE, "KiB/conn", n=IDLE, client_side=client_side)


async def client(measure: str, info: dict[str, object]) -> None:
    addr, pid = str(info["addr"]), int(str(info["pid"]))
    async with contextlib.AsyncExitStack() as stack:
        match measure:
            case "hs1" | "hs32":
                await handshakes(stack, addr, int(measure[2:]), pid)
            case "mem":
                raise_file_limit()
                await idle_memory(stack, addr, pid)
            case _:
                node = await stack.enter_async_context(open_node(listen=()))
                await measured(node, measure, addr, pid)


async def measured(node: Node, measure: str, addr: str, pid: int) -> None:
    match measure:
        case "bulk":
            await bulk(node, addr, pid)
        case "connect":
            await connects(node, addr, pid)
        case "rtt":
            await round_trips(node, addr, pid)
        case "streams":
            await streams(node, addr, 1, pid)
        case "streams32":
            await streams(node, addr, 32, pid)
        case _:
            raise SystemExit(f"no measure {measure!r}")


def main() -> None:
    role, *args = sys.argv[1:]
    if role == "server":
        trio.run(serve)
    else:
        trio.run(client, args[0], json.loads(args[1]))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
