"""What turns and tables know of a connection over datagrams."""

from collections.abc import Iterable
from typing import Protocol

from p2pnode.clock import Instant
from p2pnode.errors import TransportError
from p2pnode.machine import Received
from p2pnode.transports.work import Work


class Served(Protocol):
    """A connection whose packets are read by turns."""

    @property
    def work(self) -> Work: ...

    @property
    def bytes_carried(self) -> int:
        """Data so far, in both directions."""
        ...

    def handle_received(self, received: Received, start: int, now: Instant) -> int:
        """Takes datagrams from `start` on; returns the position behind those that were its own."""
        ...

    def fail(self, error: TransportError, now: Instant) -> None:
        """Ends the connection for what the peer has done, and tells it."""
        ...


class IssuedIds(Protocol):
    """Ids under which the peer reaches a connection."""

    added: list[int]
    """Ids that the endpoint has yet to route to it."""
    removed: list[int]
    """Ids that the endpoint may forget."""

    @property
    def active(self) -> Iterable[int]: ...


class PeersIds(Protocol):
    """Ids that the peer issued, with the tokens of its stateless resets."""

    tokens_changed: bool

    def reset_tokens(self) -> list[bytes]: ...


class Addressed(Protocol):
    """A connection that packets find by their ids."""

    @property
    def local_ids(self) -> IssuedIds: ...

    @property
    def remote_ids(self) -> PeersIds: ...
