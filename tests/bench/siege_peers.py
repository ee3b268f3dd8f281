"""The honest side of a siege: peers, circuits, and strangers that come by.

    siege_peers.py RELAY [--peers 20] [--circuits 10] [--strangers 1] [--net 12]

One process has the pings, another one the rest: what this one does meanwhile is no part of theirs.
It reads phases from standard input, a word a line, and labels with them what it measures.  Printed
as JSON lines: when all circuits carry data; the metrics' count of connections at each `count`; and
at `end` for each phase the pings' round trips, circuits' rates and strangers' times, in seconds.
"""

import contextlib
import json
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from typing import Any

import trio

from p2pnode import Node, P2PNodeError, PeerId, RelayMode, Stream, open_node
from tests.bench.sample import option, raise_file_limit

PING_INTERVAL = 0.5
"""seconds between two pings of a peer"""
PROTOCOL = "/bench/circuit/1"
CHUNK, CHUNK_INTERVAL = 5000, 0.1
"""bytes, seconds: 400 kbit/s of a circuit, a good voice or a poor video call"""
STRANGER_INTERVAL = 2.0
"""seconds between two strangers"""
GIVEN_UP = 15.0
"""seconds after which a stranger is told as not let in"""
METRICS_PORT = 9464
METRICS_TIMEOUT = 5.0  # seconds


class Phase:
    """What was measured in a phase."""

    def __init__(self) -> None:
        self.began_at = trio.current_time()
        self.seconds = 0.0
        self.pings: list[float] = []
        self.lost: list[str] = []
        self.carried: defaultdict[int, int] = defaultdict(int)
        """circuit -> bytes that arrived"""
        self.strangers: list[float | None] = []

    def summary(self) -> dict[str, Any]:
        return {
            "seconds": round(self.seconds, 2),
            "pings": self.pings,
            "lost": self.lost,
            "circuits": [carried / self.seconds for _, carried in sorted(self.carried.items())],
            "strangers": self.strangers,
        }


class Peers:
    """All of them, and the phases so far."""

    def __init__(self, relay: str, net: str, nursery: trio.Nursery) -> None:
        self.relay = relay
        self.net = net
        self.phases: dict[str, Phase] = {}
        self.carries = 0
        self._nursery = nursery
        self._phase = self.begin("start")

    def begin(self, name: str) -> Phase:
        """The phase before is over."""
        if self.phases:
            self._phase.seconds = trio.current_time() - self._phase.began_at
        self._phase = self.phases[name] = Phase()
        return self._phase

    @contextlib.asynccontextmanager
    async def node(self, place: str, **settings: Any) -> AsyncIterator[Node]:
        listen = (f"/ip4/{self.net}.{place}/udp/4001/noise",)
        async with open_node(listen=listen, relay_mode=RelayMode.OFF, **settings) as node:
            yield node

    async def ping(self, number: int) -> None:
        """One honest peer: it pings the relay at fixed times, and comes back where it is lost."""
        async with self.node(f"0.0.{10 + number}") as node:
            peer = await node.connect(self.relay)
            await trio.sleep(PING_INTERVAL * number / 20)
            due = trio.current_time()
            while True:
                phase = self._phase
                try:
                    await node.ping(peer)
                except P2PNodeError as exc:
                    phase.lost.append(str(exc))
                    await self._come_back(node)
                now = trio.current_time()
                # A ping that was due meanwhile would have waited for the same obstacle.
                while due <= now:
                    phase.pings.append(now - due)
                    due += PING_INTERVAL
                await trio.sleep_until(due)

    async def _come_back(self, node: Node) -> None:
        while True:
            with contextlib.suppress(P2PNodeError, trio.BrokenResourceError):
                await node.connect(self.relay)
                return
            await trio.sleep(0.5)

    async def circuit(self, number: int) -> None:
        """Two peers that reach each other through the relay, and data at a known rate."""

        async def take(stream: Stream) -> None:
            self.carries += 1
            while data := await stream.receive_some():
                self._phase.carried[number] += len(data)

        async with (
            self.node(f"0.1.{10 + number}", bootstrap=(self.relay,)) as listener,
            self.node(f"0.2.{10 + number}") as dialer,
        ):
            listener.handle(PROTOCOL, take)
            await dialer.connect(self.relay)
            await _until(lambda: any("p2p-circuit" in str(a) for a in listener.addresses))
            while True:
                with contextlib.suppress(P2PNodeError, trio.BrokenResourceError):
                    await self._feed(dialer, listener.peer_id, number)
                await trio.sleep(0.5)

    async def _feed(self, dialer: Node, listener: PeerId, number: int) -> None:
        target = f"{self.relay}/p2p-circuit/p2p/{listener}"
        stream = await dialer.open_stream(target, PROTOCOL)
        due = trio.current_time()
        while True:
            await stream.send_all(bytes(CHUNK))
            due += CHUNK_INTERVAL
            await trio.sleep_until(due)

    async def strangers(self) -> None:
        """Somebody from a network that nobody came from before, again and again."""
        for number in range(10_000):
            await trio.sleep(STRANGER_INTERVAL)
            self._nursery.start_soon(self._stranger, f"{1 + number // 250}.{number % 250}.7")

    async def _stranger(self, place: str) -> None:
        async with self.node(place) as node:
            phase, began = self._phase, trio.current_time()
            with trio.move_on_after(GIVEN_UP):
                while True:
                    with contextlib.suppress(P2PNodeError, trio.BrokenResourceError):
                        await node.connect(self.relay)
                        phase.strangers.append(trio.current_time() - began)
                        return
            phase.strangers.append(None)

    async def connections(self) -> float | None:
        """Returns how many connections the relay has by its metrics; None without an answer."""
        with trio.move_on_after(METRICS_TIMEOUT):
            return await self._connections()
        return None

    async def _connections(self) -> float:
        ip = self.relay.split("/")[2]
        async with await trio.open_tcp_stream(ip, METRICS_PORT) as stream:
            await stream.send_all(b"GET /metrics HTTP/1.0\r\n\r\n")
            text = b"".join([part async for part in stream]).decode()
        lines = (line for line in text.splitlines() if line.startswith("p2pnode_connections{"))
        return sum(float(line.split()[-1]) for line in lines)


async def _until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 - nobody tells
        await trio.sleep(0.1)


async def main() -> None:
    raise_file_limit()
    peers, circuits = int(option("peers", "20")), int(option("circuits", "10"))
    async with trio.open_nursery() as nursery:
        all_of_them = Peers(sys.argv[1], option("net", "12"), nursery)
        for number in range(peers):
            nursery.start_soon(all_of_them.ping, number)
        for number in range(circuits):
            nursery.start_soon(all_of_them.circuit, number)
        await _until(lambda: all_of_them.carries >= circuits)
        if option("strangers", "1") == "1":
            nursery.start_soon(all_of_them.strangers)
        print(json.dumps({"event": "ready"}), flush=True)
        async for line in trio.lowlevel.FdStream(sys.stdin.fileno()):
            for word in line.decode().split():
                if word == "count":
                    print(json.dumps({"connections": await all_of_them.connections()}), flush=True)
                    continue
                all_of_them.begin(word)
                if word == "end":
                    over = {n: p.summary() for n, p in all_of_them.phases.items() if p.seconds}
                    print(json.dumps(over), flush=True)
                    nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
