"""Nodes on sockets in memory: the whole stack under a virtual clock, without a network."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from typing import NamedTuple

import trio

from p2pnode.clock import UnixTime
from p2pnode.identity.keys import PrivateKey
from p2pnode.io.listening import NodeSocket
from p2pnode.io.node.lifetime import NodeParts, run_node
from p2pnode.io.node.node import Node
from p2pnode.io.node.stream import Stream
from p2pnode.machine import SocketAddr, Transmit
from p2pnode.swarm import SwarmConfig
from p2pnode.transports.makers import all_makers
from p2pnode.transports.noise_udp.config import TransportConfig
from p2pnode.transports.noise_udp.packet import HandshakeType
from tests.support.sim_socket import SimSocket

PROTOCOL = "/test/1.0.0"
UNIX_EPOCH = UnixTime(1_700_000_000.0)


class SimNetwork:
    """Delivers at once, and everything; `cut` makes it lose everything instead."""

    def __init__(self) -> None:
        self.is_cut = False
        self.handshakes: list[Transmit] = []
        """First messages that were sent, repeated ones included."""
        self._sockets: dict[SocketAddr, LinkedSocket] = {}

    def socket_at(self, address: SocketAddr) -> "LinkedSocket":
        return self._sockets[address]

    def socket(self, address: SocketAddr) -> "LinkedSocket":
        sock = self._sockets[address] = LinkedSocket(self, address)
        return sock

    def move(self, old: SocketAddr, new: SocketAddr) -> None:
        """Others see that socket elsewhere from now on, as behind a NAT that has forgotten it."""
        sock = self._sockets[new] = self._sockets.pop(old)
        sock.address = new

    def carry(self, source: SocketAddr, transmit: Transmit) -> None:
        if transmit.buffer[0] == HandshakeType.INITIAL:
            self.handshakes.append(transmit)
        target = self._sockets.get(transmit.remote)
        if target is None or self.is_cut:
            return
        step = transmit.segment_size
        for start in range(0, len(transmit.buffer), step):
            target.deliver(bytes(transmit.buffer[start : start + step]), source)


class LinkedSocket(SimSocket):
    """One socket of the network."""

    def __init__(self, network: SimNetwork, address: SocketAddr) -> None:
        super().__init__()
        self.address = address
        self._network = network

    def send(self, transmit: Transmit) -> Transmit | None:
        if self.room == 0:
            return transmit
        self._network.carry(self.address, transmit)
        return None


@asynccontextmanager
async def sim_node(
    network: SimNetwork, name: str, ip: str, transport: TransportConfig | None = None
) -> AsyncIterator[Node]:
    """Yields a node with one socket at ip:4001; the same name gives the same identity."""
    entropy, rng = Random(f"{name}/entropy").randbytes, Random(name)
    address = SocketAddr(ip, 4001)
    parts = NodeParts(
        identity=PrivateKey.generate(entropy),
        config=SwarmConfig(),
        makers=all_makers(
            transport or TransportConfig(), secret=entropy(32), entropy=entropy, rng=rng
        )._replace(over_links=None),  # TCP would be the kernel's
        sockets=[NodeSocket(network.socket(address), address, True)],
        interfaces=(),
        watches_interfaces=False,
        entropy=entropy,
        rng=rng,
        read_wall_clock=lambda: UnixTime(UNIX_EPOCH + trio.current_time()),
    )
    async with run_node(parts) as node:
        yield node


class StreamPair(NamedTuple):
    """Both ends of a stream."""

    opened: Stream
    accepted: Stream


class NodePair:
    """Two nodes; streams of PROTOCOL that `client` opens come out at `server`."""

    def __init__(self, network: SimNetwork, client: Node, server: Node) -> None:
        self.network = network
        self.client = client
        self.server = server
        self._send, self._accepted = trio.open_memory_channel[Stream](64)
        server.handle(PROTOCOL, self._keep)

    async def _keep(self, stream: Stream) -> None:
        await self._send.send(stream)
        await trio.sleep_forever()

    @property
    def address(self) -> str:
        return str(self.server.addresses[0])

    async def streams(self) -> StreamPair:
        opened = await self.client.open_stream(self.address, PROTOCOL)
        return StreamPair(opened, await self.accept())

    async def accept(self) -> Stream:
        """Returns the server's end of the stream that was opened first."""
        return await self._accepted.receive()


@asynccontextmanager
async def node_pair(transport: TransportConfig | None = None) -> AsyncIterator[NodePair]:
    """Yields two nodes on a network of their own; needs a virtual clock."""
    network = SimNetwork()
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(sim_node(network, "client", "10.0.0.1", transport))
        server = await stack.enter_async_context(sim_node(network, "server", "10.0.0.2", transport))
        yield NodePair(network, client, server)
