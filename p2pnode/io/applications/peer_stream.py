"""What an application sees of a stream to a peer, and how its failures read."""

from typing import Protocol

import trio

from p2pnode.errors import (
    ClosedLocally,
    ConnectionLost,
    P2PNodeError,
    ProtocolNotSupported,
    StreamReset,
    StreamStopped,
)
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import Buffer
from p2pnode.wire.reset_code import StreamResetCode


class PeerStream(Protocol):
    """A `trio.abc.HalfCloseableStream` that can also be given up."""

    async def send_all(self, data: Buffer) -> None: ...

    async def send_eof(self) -> None: ...

    async def wait_delivered(self) -> None:
        """Returns once the peer has what was sent, as far as its acknowledgements are seen here.

        To be called after `send_eof`; raises as `send_all` does where the peer will never have it.
        """
        ...

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

    @property
    def transport(self) -> str: ...

    @property
    def is_limited(self) -> bool: ...


class NodeStream(PeerStream, Protocol):
    """A node's own stream."""

    @property
    def peer_id(self) -> PeerId: ...

    @property
    def connection_info(self) -> RouteFacts: ...


STREAM_ERRORS = (trio.BrokenResourceError, trio.ClosedResourceError, P2PNodeError)
"""How a stream fails when nobody on our side made a mistake."""


def stream_failure(exc: BaseException) -> P2PNodeError:
    """Returns why a stream failed: what the exception stands for, as one of our own."""
    cause = exc if isinstance(exc, P2PNodeError) else exc.__cause__
    if isinstance(cause, (StreamReset, StreamStopped)):
        # The peer's answer that it speaks no such protocol may be overtaken by its reset.
        if cause.code == StreamResetCode.NEGOTIATION_FAILED:
            return ProtocolNotSupported(("this protocol",))
        return cause
    if isinstance(cause, P2PNodeError):
        return cause
    if isinstance(exc, trio.ClosedResourceError):
        return ClosedLocally("the stream was closed on this side")
    return ConnectionLost(str(exc) or "the connection was lost")
