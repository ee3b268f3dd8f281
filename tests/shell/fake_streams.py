"""Streams between two tasks of a test, with all that the shell's own streams have."""

from dataclasses import dataclass

import trio
from trio.testing import memory_stream_pair

from p2pnode.errors import StreamReset
from p2pnode.identity.peer_id import PeerId


@dataclass(frozen=True)
class FakeRoute:
    path: str = "direct"
    via: str = "/ip4/192.0.2.7/udp/4001/noise"
    transport: str = "noise-udp"
    is_limited: bool = False


class FakeStream:
    """One end; `reset` reaches the other end as a failure."""

    def __init__(self, stream: trio.StapledStream, peer_id: PeerId) -> None:
        self._stream = stream
        self.peer_id = peer_id
        self.connection_info = FakeRoute()
        self.other: FakeStream | None = None
        self.reset_code: int | None = None
        self.failure: Exception | None = None

    async def send_all(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self._check()
        await self._stream.send_all(data)

    async def send_eof(self) -> None:
        self._check()
        await self._stream.send_eof()

    async def wait_delivered(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        self._check()
        data = await self._stream.receive_some(max_bytes)
        if not data:
            self._check()
        return data

    async def aclose(self) -> None:
        await self._stream.aclose()

    def reset(self, code: int) -> None:
        self.reset_code = code
        assert self.other is not None
        self.other.fail(StreamReset(code))

    def fail(self, cause: Exception) -> None:
        """Lets this end fail from now on, for that reason."""
        self.failure = cause
        receive = self._stream.receive_stream
        receive.put_eof()

    def _check(self) -> None:
        if self.failure is not None:
            raise trio.BrokenResourceError from self.failure


def fake_stream_pair(a: PeerId, b: PeerId) -> tuple[FakeStream, FakeStream]:
    """Returns a's end of a stream to b, and b's."""
    left, right = memory_stream_pair()
    ours, theirs = FakeStream(left, b), FakeStream(right, a)
    ours.other, theirs.other = theirs, ours
    return ours, theirs


def fake_peer_id(number: int) -> PeerId:
    """Returns a well-formed peer id: a SHA-256 multihash."""
    return PeerId(b"\x12\x20" + bytes([number]) * 32)
