"""What an application sees of a stream to a peer, and how its failures read."""

from typing import Protocol

import trio

from p2pnode.errors import P2PNodeError
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import Buffer


class PeerStream(Protocol):
    """A `trio.abc.HalfCloseableStream` that can also be given up."""

    async def send_all(self, data: Buffer) -> None: ...

    async def send_eof(self) -> None: ...

    async def receive_some(self, max_bytes: int | None = None) -> Buffer: ...

    async def aclose(self) -> None: ...

    def reset(self, code: int) -> None:
        """Gives up both directions; the peer sees a failure, not the end of the data."""
        ...


class RouteFacts(Protocol):
    """The part of a node's `ConnectionInfo` that says which way packets go."""

    @property
    def path(self) -> str: ...

    @property
    def via(self) -> object: ...


class NodeStream(PeerStream, Protocol):
    """A node's own stream."""

    @property
    def peer_id(self) -> PeerId: ...

    @property
    def connection_info(self) -> RouteFacts: ...


STREAM_ERRORS = (trio.BrokenResourceError, trio.ClosedResourceError, P2PNodeError)
"""How a stream fails when nobody on our side made a mistake."""


def failure_text(exc: BaseException) -> str:
    """Returns what went wrong with a stream, as a clause for a person."""
    if isinstance(exc, P2PNodeError):
        return str(exc)
    if isinstance(exc.__cause__, P2PNodeError):
        return str(exc.__cause__)
    if isinstance(exc, trio.ClosedResourceError):
        return "the stream was closed on this side"
    return str(exc) or "the connection was lost"
