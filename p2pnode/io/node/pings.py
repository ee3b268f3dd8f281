"""One ping after the other, for as long as somebody looks."""

from collections.abc import AsyncIterator
from typing import NamedTuple, Protocol, TypeAlias

import trio

from p2pnode.errors import P2PNodeError
from p2pnode.identity.peer_id import PeerId
from p2pnode.io.dial_target import Target
from p2pnode.io.node.connection_info import ConnectionInfo, PathKind
from p2pnode.wire.multiaddr import Multiaddr


class Pong(NamedTuple):
    """A ping came back."""

    seq: int
    """Counts from 1, lost ones included."""
    rtt: float
    """seconds"""
    path: PathKind
    via: Multiaddr


class PingLost(NamedTuple):
    """A ping did not come back."""

    seq: int
    reason: str


PingOutcome: TypeAlias = Pong | PingLost


class Pinger(Protocol):
    """The part of a Node that pings need."""

    async def connect(self, target: Target) -> PeerId: ...

    async def ping(self, target: Target) -> float: ...

    def connection_info(self, peer: PeerId) -> ConnectionInfo: ...


class Pings(AsyncIterator[PingOutcome]):
    """An async iterator over pings; the first step raises where the peer cannot be reached.

    Later ones connect again where the connection was lost.
    """

    def __init__(self, node: Pinger, target: Target, count: int | None, interval: float) -> None:
        self._node = node
        self._target = target
        self._peer_id: PeerId | None = None
        self._count = count
        self._interval = interval
        self._seq = 0
        self._next_at = 0.0

    async def __anext__(self) -> PingOutcome:
        """Returns what became of the next ping.  Cancel-safe."""
        if self._count is not None and self._seq >= self._count:
            await trio.lowlevel.checkpoint()
            raise StopAsyncIteration
        if self._peer_id is None:
            self._peer_id = await self._node.connect(self._target)
        else:
            await trio.sleep_until(self._next_at)
        self._seq += 1
        self._next_at = trio.current_time() + self._interval
        try:
            rtt = await self._node.ping(self._peer_id)
            info = self._node.connection_info(self._peer_id)
        except P2PNodeError as exc:
            return PingLost(self._seq, str(exc))
        return Pong(self._seq, rtt, info.path, info.via)
