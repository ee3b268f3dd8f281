"""A peer on this library, which takes the same commands as the others: specs/interop.md has them.

It uses what `p2pnode` makes public and nothing else, as a program of somebody else would.
"""

import argparse
import hashlib
import json
import logging
import struct
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from p2pnode import Node, P2PNodeError, PeerId, RelayMode, Stream, StreamReset, open_node

JUDGE = "/p2pnode/judge/{}/1.0.0"
ECHO, TAKE, LATE, GIVE, HUSH, RESET = map(
    JUDGE.format, ("echo", "take", "late", "give", "hush", "reset")
)

LISTEN = {
    "noise-udp": "/ip4/{}/udp/0/noise",
    "quic-v1": "/ip4/{}/udp/0/quic-v1",
    "tcp": "/ip4/{}/tcp/0",
}
MARKS = {"noise-udp": "/noise/", "quic-v1": "/quic-v1/", "tcp": "/tcp/"}
"""what addresses of a transport have in them"""
COMMAND_TIMEOUT = 30.0
"""seconds"""
BEFORE_READING = 1.0
"""seconds that a late reader waits: long enough for a sender to fill all windows"""
PERIOD = 251
"""of the pattern: a prime, so that no piece of it can be mistaken for another"""

Answer = dict[str, Any]


class Served:
    """How the streams ended that others opened."""

    def __init__(self) -> None:
        self.counts = {"ended": 0, "reset": 0, "hushed": 0, "unread": 0}

    def handle(self, node: Node) -> None:
        async def late(stream: Stream) -> None:
            await trio.sleep(BEFORE_READING)
            self.counts["unread"] = held(node)
            await self.take(stream)

        handlers = (
            *((ECHO, self.echo), (TAKE, self.take), (LATE, late)),
            *((GIVE, self.give), (HUSH, self.hush)),
        )
        for protocol, handler in handlers:
            node.handle(protocol, self.counted(handler))
        node.handle(RESET, self.reset)

    def counted(
        self, handler: Callable[[Stream], Awaitable[None]]
    ) -> Callable[[Stream], Awaitable[None]]:
        async def counting(stream: Stream) -> None:
            try:
                await handler(stream)
            except (trio.BrokenResourceError, EOFError) as error:
                logging.warning("an inbound stream failed: %r", error)
                self.counts["reset"] += 1
                stream.reset()
            else:
                self.counts["ended"] += 1

        return counting

    async def echo(self, stream: Stream) -> None:
        async for data in stream:
            await stream.send_all(data)

    async def take(self, stream: Stream) -> None:
        size, digest = await digest_of(stream)
        await stream.send_all(struct.pack(">Q", size) + digest)

    async def give(self, stream: Stream) -> None:
        (size,) = struct.unpack(">Q", await exactly(stream, 8))
        await stream.send_all(pattern(size))

    async def hush(self, stream: Stream) -> None:
        await stream.send_eof()
        size, _ = await digest_of(stream)
        self.counts["hushed"] += size

    async def reset(self, stream: Stream) -> None:
        await exactly(stream, 1)
        stream.reset()


def held(node: Node) -> int:
    """Returns the bytes that the node keeps for others, as its own account has them."""
    return sum(one.used for one in node.status().resources if one.resource.name == "MEMORY")


class Asking:
    """The commands that need a connection to a peer."""

    def __init__(self, node: Node, to: PeerId) -> None:
        self.node = node
        self.to = to

    async def identify(self) -> Answer:
        said = await self.node.identify(self.to)
        return {
            "agent": said.agent_version,
            "protocols": list(said.protocols),
            "addrs": [str(addr) for addr in said.listen_addrs],
            "observed": str(said.observed_addr),
        }

    async def ping(self) -> Answer:
        return {"rtt": await self.node.ping(self.to)}

    async def close(self) -> Answer:
        await self.node.disconnect(self.to)
        return {}

    async def connections(self) -> Answer:
        connections = self.node.status().connections
        return {"connections": sum(one.peer_id == self.to for one in connections)}

    async def echo(self, size: int) -> Answer:
        async with (
            await self.node.open_stream(self.to, ECHO) as stream,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(send_whole, stream, pattern(size))
            return digested(*await digest_of(stream))

    async def send_late(self, size: int) -> Answer:
        return await self.send(size, LATE)

    async def send(self, size: int, protocol: str = TAKE) -> Answer:
        async with await self.node.open_stream(self.to, protocol) as stream:
            await send_whole(stream, pattern(size))
            said = await exactly(stream, 8 + hashlib.sha256().digest_size)
        return digested(struct.unpack(">Q", said[:8])[0], said[8:])

    async def receive(self, size: int) -> Answer:
        async with await self.node.open_stream(self.to, GIVE) as stream:
            await send_whole(stream, struct.pack(">Q", size))
            return digested(*await digest_of(stream))

    async def many(self, streams: int, size: int) -> Answer:
        """All streams are open and echoing before the first of them is closed."""
        left, echoed = streams, trio.Event()

        async def one() -> None:
            nonlocal left
            async with await self.node.open_stream(self.to, ECHO) as stream:
                await exchange(stream, pattern(size))
                left -= 1
                if left == 0:
                    echoed.set()
                await echoed.wait()
                await stream.send_eof()
                if await stream.receive_some():
                    raise ValueError("more came than was sent")

        async with trio.open_nursery() as nursery:
            for _ in range(streams):
                nursery.start_soon(one)
        return {"streams": streams}

    async def half_close(self, size: int) -> Answer:
        """Goes on sending after the other end has closed its direction."""
        async with await self.node.open_stream(self.to, HUSH) as stream:
            if await stream.receive_some():
                raise ValueError("a hushed stream says something")
            await stream.send_all(pattern(size))
        return {}

    async def reset(self) -> Answer:
        stream = await self.node.open_stream(self.to, ECHO)
        await exchange(stream, pattern(1))
        stream.reset()
        return {}

    async def be_reset(self) -> Answer:
        async with await self.node.open_stream(self.to, RESET) as stream:
            await stream.send_all(pattern(1))
            try:
                await stream.receive_some()
            except trio.BrokenResourceError as error:
                return {"reset": isinstance(error.__cause__, StreamReset)}
        return {"reset": False}


async def send_whole(stream: Stream, data: bytes) -> None:
    await stream.send_all(data)
    await stream.send_eof()


async def exactly(stream: Stream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = await stream.receive_some(size - len(data))
        if not more:
            raise EOFError(f"{len(data)} bytes of {size}")
        data += more
    return data


async def exchange(stream: Stream, data: bytes) -> None:
    await stream.send_all(data)
    if await exactly(stream, len(data)) != data:
        raise ValueError("another echo than was sent")


async def digest_of(stream: Stream) -> tuple[int, bytes]:
    """Reads to the end."""
    digest, size = hashlib.sha256(), 0
    async for data in stream:
        digest.update(data)
        size += len(data)
    return size, digest.digest()


def digested(size: int, digest: bytes) -> Answer:
    return {"bytes": size, "sha256": digest.hex()}


def pattern(size: int) -> bytes:
    return (bytes(range(PERIOD)) * (size // PERIOD + 1))[:size]


async def obey(node: Node, served: Served, command: Answer) -> Answer:
    what, arguments = str(command.pop("do")), command
    if what == "dial":
        return {"id": str(await node.connect(arguments["addr"]))}
    if what == "served":
        return dict(served.counts)
    asking = Asking(node, PeerId.parse(arguments["id"]))
    names = (("streams", "streams"), ("size", "bytes"))
    sizes = {name: arguments[key] for name, key in names if key in arguments}
    answer: Answer = await getattr(asking, what.replace("-", "_"))(**sizes)
    return answer


FAILURES = (P2PNodeError, trio.BrokenResourceError, trio.TooSlowError, EOFError, ValueError)


async def answered(node: Node, served: Served, line: str) -> Answer:
    answer: Answer = {}
    try:
        with trio.fail_after(COMMAND_TIMEOUT):
            answer = await obey(node, served, json.loads(line))
    except* FAILURES as group:
        logging.exception("%s", line)
        answer = {"error": "; ".join(map(repr, group.exceptions))}
    return answer


def say(answer: Answer) -> None:
    print(json.dumps(answer), flush=True)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--transport", choices=LISTEN, default="tcp")
    parser.add_argument("--ip", default="127.0.0.1")
    for flag in ("--relay", "--autonat", "--warm"):
        parser.add_argument(flag, action="store_true")
    options = parser.parse_args()

    served = Served()
    async with open_node(
        listen=[LISTEN[options.transport].format(options.ip)],
        relay_mode=RelayMode.ALWAYS if options.relay else RelayMode.OFF,
    ) as node:
        served.handle(node)
        # The transports over UDP share a socket, and a node speaks all of them on it.
        mark = MARKS[options.transport]
        addrs = [text for text in map(str, node.addresses) if mark in text]
        say({"id": str(node.peer_id), "addrs": addrs})
        while line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            say(await answered(node, served, line))


if __name__ == "__main__":
    trio.run(main)
