"""The peer on py-libp2p: specs/interop.md has its command line, its commands and its protocols."""

import argparse
import hashlib
import json
import logging
import struct
import sys

import trio
from libp2p import new_host
from libp2p.abc import IHost, INetStream
from libp2p.custom_types import TProtocol
from libp2p.host.autonat.autonat import AutoNATService
from libp2p.host.ping import PingService
from libp2p.identity.identify.identify import ID as IDENTIFY
from libp2p.identity.identify.identify import parse_identify_response
from libp2p.network.stream.exceptions import StreamEOF, StreamReset
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.relay.circuit_v2.protocol import CircuitV2Protocol
from libp2p.stream_muxer.exceptions import MuxedStreamEOF
from libp2p.tools.anyio_service import background_trio_service
from libp2p.transport.quic.exceptions import QUICStreamClosedError, QUICStreamResetError
from libp2p.utils.varint import read_length_prefixed_protobuf
from multiaddr import Multiaddr

ECHO = TProtocol("/p2pnode/judge/echo/1.0.0")
LATE = TProtocol("/p2pnode/judge/late/1.0.0")
TAKE = TProtocol("/p2pnode/judge/take/1.0.0")
GIVE = TProtocol("/p2pnode/judge/give/1.0.0")
HUSH = TProtocol("/p2pnode/judge/hush/1.0.0")
RESET = TProtocol("/p2pnode/judge/reset/1.0.0")

COMMAND_TIMEOUT = 30.0
BEFORE_READING = 1.0
BLOCK = 64 * 1024
PERIOD = 251  # of the pattern: a prime, so that no piece of it can be mistaken for another

Answer = dict[str, object]


class Served:
    """How the streams ended that others opened."""

    def __init__(self) -> None:
        self.counts = {"ended": 0, "reset": 0, "hushed": 0}

    def handle(self, host: IHost) -> None:
        handlers = (
            *((ECHO, self.echo), (TAKE, self.take), (LATE, self.late)),
            *((GIVE, self.give), (HUSH, self.hush)),
        )
        for protocol, handler in handlers:
            host.set_stream_handler(protocol, self.counted(handler))
        host.set_stream_handler(RESET, self.reset)

    def counted(self, handler):
        async def counting(stream: INetStream) -> None:
            try:
                await handler(stream)
            except Exception as error:  # noqa: BLE001 - whatever the library raises
                logging.warning("an inbound stream failed: %r", error)
                self.counts["reset"] += 1
                await stream.reset()
            else:
                self.counts["ended"] += 1
                await stream.close()

        return counting

    async def echo(self, stream: INetStream) -> None:
        while data := await some(stream):
            await stream.write(data)

    async def take(self, stream: INetStream) -> None:
        size, digest = await digest_of(stream)
        await stream.write(struct.pack(">Q", size) + digest)

    async def late(self, stream: INetStream) -> None:
        await trio.sleep(BEFORE_READING)
        await self.take(stream)

    async def give(self, stream: INetStream) -> None:
        (size,) = struct.unpack(">Q", await exactly(stream, 8))
        await stream.write(pattern(size))

    async def hush(self, stream: INetStream) -> None:
        await stream.close_write()
        size, _ = await digest_of(stream)
        self.counts["hushed"] += size

    async def reset(self, stream: INetStream) -> None:
        await some(stream)
        await stream.reset()


class Asking:
    """The commands that need a connection to a peer."""

    def __init__(self, host: IHost, to: ID) -> None:
        self.host = host
        self.to = to

    async def identify(self) -> Answer:
        stream = await self.host.new_stream(self.to, [IDENTIFY])
        said = parse_identify_response(
            await read_length_prefixed_protobuf(stream, use_varint_format=True)
        )
        await stream.close()
        return {
            "agent": said.agent_version,
            "protocols": list(said.protocols),
            "addrs": [str(Multiaddr(addr)) for addr in said.listen_addrs],
            "observed": str(Multiaddr(said.observed_addr)),
        }

    async def ping(self) -> Answer:
        (milliseconds,) = await PingService(self.host).ping(self.to)
        return {"rtt": milliseconds / 1e3}

    async def close(self) -> Answer:
        await self.host.disconnect(self.to)
        return {}

    async def connections(self) -> Answer:
        return {"connections": len(self.host.get_network().get_connections(self.to))}

    async def echo(self, size: int) -> Answer:
        stream = await self.host.new_stream(self.to, [ECHO])

        async def write() -> None:
            await stream.write(pattern(size))
            await stream.close_write()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            came, digest = await digest_of(stream)
        await stream.close()
        return digested(came, digest)

    async def send(self, size: int, protocol: TProtocol = TAKE) -> Answer:
        stream = await self.host.new_stream(self.to, [protocol])
        await stream.write(pattern(size))
        await stream.close_write()
        said = await exactly(stream, 8 + hashlib.sha256().digest_size)
        await stream.close()
        return digested(struct.unpack(">Q", said[:8])[0], said[8:])

    async def send_late(self, size: int) -> Answer:
        return await self.send(size, LATE)

    async def receive(self, size: int) -> Answer:
        stream = await self.host.new_stream(self.to, [GIVE])
        await stream.write(struct.pack(">Q", size))
        await stream.close_write()
        came, digest = await digest_of(stream)
        await stream.close()
        return digested(came, digest)

    async def many(self, streams: int, size: int) -> Answer:
        """All streams are open and echoing before the first of them is closed."""
        left, echoed = streams, trio.Event()

        async def one() -> None:
            nonlocal left
            stream = await self.host.new_stream(self.to, [ECHO])
            await exchange(stream, pattern(size))
            left -= 1
            if left == 0:
                echoed.set()
            await echoed.wait()
            await stream.close_write()
            if await some(stream):
                raise ValueError("more came than was sent")
            await stream.close()

        async with trio.open_nursery() as nursery:
            for _ in range(streams):
                nursery.start_soon(one)
        return {"streams": streams}

    async def half_close(self, size: int) -> Answer:
        """Goes on sending after the other end has closed its direction."""
        stream = await self.host.new_stream(self.to, [HUSH])
        if await some(stream):
            raise ValueError("a hushed stream says something")
        await stream.write(pattern(size))
        await stream.close()
        return {}

    async def reset(self) -> Answer:
        stream = await self.host.new_stream(self.to, [ECHO])
        await exchange(stream, pattern(1))
        await stream.reset()
        return {}

    async def be_reset(self) -> Answer:
        stream = await self.host.new_stream(self.to, [RESET])
        await stream.write(pattern(1))
        try:
            await some(stream)
        except (StreamReset, QUICStreamResetError):
            return {"reset": True}
        return {"reset": False}


async def some(stream: INetStream) -> bytes:
    """Returns what has come; nothing at the end. Raises StreamReset."""
    muxed = stream.muxed_stream
    try:
        return await stream.read(BLOCK)
    except StreamEOF:
        # py-libp2p's yamux forgets a stream that was reset, and a read then finds an end.
        if getattr(muxed, "reset_received", False):
            raise StreamReset from None
    except StreamReset:
        # Its QUIC says the same of a stream that both ends have closed.
        is_reset = getattr(muxed, "is_reset", None)
        if is_reset is None or is_reset():
            raise
    try:
        # And where the last bytes come while it looks for them, it says that there are none.
        return await muxed.read(BLOCK)
    except (StreamEOF, MuxedStreamEOF, QUICStreamClosedError):
        return b""


async def exactly(stream: INetStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = await stream.read(size - len(data))
        if not more:
            raise EOFError(f"{len(data)} bytes of {size}")
        data += more
    return data


async def exchange(stream: INetStream, data: bytes) -> None:
    await stream.write(data)
    if await exactly(stream, len(data)) != data:
        raise ValueError("another echo than was sent")


async def digest_of(stream: INetStream) -> tuple[int, bytes]:
    """Reads to the end."""
    digest, size = hashlib.sha256(), 0
    while data := await some(stream):
        digest.update(data)
        size += len(data)
    return size, digest.digest()


def digested(size: int, digest: bytes) -> Answer:
    return {"bytes": size, "sha256": digest.hex()}


def pattern(size: int) -> bytes:
    return (bytes(range(PERIOD)) * (size // PERIOD + 1))[:size]


async def obey(host: IHost, served: Served, command: Answer) -> Answer:
    what, arguments = str(command.pop("do")), command
    if what == "dial":
        to = info_from_p2p_addr(Multiaddr(arguments["addr"]))
        await host.connect(to)
        return {"id": str(to.peer_id)}
    if what == "served":
        return dict(served.counts)
    asking = Asking(host, ID.from_string(arguments["id"]))
    names = (("streams", "streams"), ("size", "bytes"))
    sizes = {name: arguments[key] for name, key in names if key in arguments}
    return await getattr(asking, what.replace("-", "_"))(**sizes)


async def answer(host: IHost, served: Served, line: str) -> Answer:
    try:
        with trio.fail_after(COMMAND_TIMEOUT):
            return await obey(host, served, json.loads(line))
    except Exception as error:
        logging.exception("%s", line)
        return {"error": repr(error)}


def say(answer: Answer) -> None:
    print(json.dumps(answer), flush=True)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--transport", choices=("tcp", "quic-v1"), default="tcp")
    parser.add_argument("--ip", default="127.0.0.1")
    for flag in ("--relay", "--autonat", "--warm"):
        parser.add_argument(flag, action="store_true")
    options = parser.parse_args()

    quic = options.transport == "quic-v1"
    host = new_host(enable_quic=quic)
    listen = f"/ip4/{options.ip}/udp/0/quic-v1" if quic else f"/ip4/{options.ip}/tcp/0"
    served = Served()
    served.handle(host)
    async with host.run(listen_addrs=[Multiaddr(listen)]):
        if options.autonat:
            AutoNATService(host)
        if options.relay:
            relay = CircuitV2Protocol(host, allow_hop=True)
            async with background_trio_service(relay):
                await relay.event_started.wait()
                await serve(host, served)
        else:
            await serve(host, served)


async def serve(host: IHost, served: Served) -> None:
    say({"id": str(host.get_id()), "addrs": [str(addr) for addr in host.get_addrs()]})
    while line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
        say(await answer(host, served, line))


if __name__ == "__main__":
    trio.run(main)
