"""A connection as a swarm sees it: facts, streams, and where there are any, datagrams and paths."""

from collections.abc import Iterator
from typing import Protocol

from p2pnode.clock import Instant
from p2pnode.errors import ConnectionLost
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import Buffer
from p2pnode.transports.punch import Punch
from p2pnode.transports.route import Route
from p2pnode.transports.work import Work
from p2pnode.wire.transport_name import TransportName


class StreamEnding(Protocol):
    """Our direction of a stream, once it has an end."""

    @property
    def is_delivered(self) -> bool:
        """Whether the peer has acknowledged all that was written, the end included."""
        ...

    @property
    def reset_code(self) -> int | None:
        """Why we gave the direction up, or None."""
        ...

    @property
    def stop_code(self) -> int | None:
        """Why the peer wanted no more of it, or None."""
        ...


class HeldFor(Protocol):
    """The account of what is kept in memory for a peer."""

    def keep_above(self, count: int) -> None:
        """Who uses the connection keeps so many bytes more for its peer, or less."""
        ...


class MuxedStreams(Protocol):
    """The streams of a connection, by id.  An id means nothing here but a name."""

    @property
    def held(self) -> HeldFor: ...

    @property
    def has_pending(self) -> bool:
        """Whether something waits to be sent, such as credit after a read."""
        ...

    @property
    def is_left(self) -> bool:
        """Whether the connection is over, and only what has come may still be read.

        Who reads then wakes the transport all the same, for what was held to be given back.
        """
        ...

    def __len__(self) -> int:
        """How many are open; one whose bytes are on their way still is."""
        ...

    def open(self) -> int | None:
        """Returns the id of a new one; None where the peer allows no more now."""
        ...

    def read(self, stream_id: int, max_bytes: int) -> bytes:
        """Returns bytes, or b"" where there are none.  Raises StreamReset behind the last one."""
        ...

    def write(self, stream_id: int, data: Buffer) -> int:
        """Returns how many bytes were taken.  Raises StreamStopped."""
        ...

    def finish(self, stream_id: int) -> None:
        """Ends our direction behind what was written.  Raises StreamStopped."""
        ...

    def reset(self, stream_id: int, code: int) -> None:
        """Gives our direction up."""
        ...

    def stop(self, stream_id: int, code: int) -> None:
        """Tells the peer that nobody reads any more."""
        ...

    def at_eof(self, stream_id: int) -> bool:
        """Whether the peer's last byte was read."""
        ...

    def is_known(self, stream_id: int) -> bool:
        """Whether either direction is open, or has not been told of yet."""
        ...

    def sending(self, stream_id: int) -> StreamEnding | None:
        """Returns our direction, which tells its end even when the stream is forgotten."""
        ...


class Paths(Protocol):
    """The ways of a connection that can have several and move between them."""

    @property
    def is_suspect(self) -> bool:
        """Whether the path in use has stopped answering."""
        ...

    def routes(self) -> Iterator[Route]:
        """Returns those that are validated, the one in use among them."""
        ...

    def runs_over(self, route: Route) -> bool:
        """Whether a path uses a route, or tries it."""
        ...

    def open(self, routes: list[Route], now: Instant) -> int:
        """Starts to validate another path.  Raises LocalProtocolError where none can be had."""
        ...

    def punch(self, routes: list[Route], punch: Punch, now: Instant) -> int:
        """Probes routes by a schedule, as both ends do.  Raises as `open` does."""
        ...

    def lose(self, route: Route, reason: str, now: Instant) -> None:
        """A route is gone for good."""
        ...

    def retire(self, route: Route, now: Instant) -> None:
        """A route will be gone soon."""
        ...

    def validate_all(self, now: Instant) -> None:
        """Asks every path at once whether it still answers."""
        ...

    def forget_local_ips(self, present: tuple[str, ...]) -> None:
        """The machine has these addresses now: others are used no more."""
        ...


class MuxedConnection(Protocol):
    """One connection with one peer, whose identity is proved."""

    @property
    def transport(self) -> TransportName: ...

    @property
    def peer_id(self) -> PeerId: ...

    @property
    def is_initiator(self) -> bool:
        """Whether this node began it."""
        ...

    @property
    def route(self) -> Route:
        """Where its data goes now; through a relay where `route.is_relayed`."""
        ...

    @property
    def is_limited(self) -> bool:
        """Whether a relay will end it after some bytes or some time: not for everything."""
        ...

    @property
    def rtt(self) -> float | None:
        """Smoothed round-trip time in seconds; None before the first sample."""
        ...

    @property
    def last_received(self) -> Instant:
        """When something authentic came last."""
        ...

    @property
    def work(self) -> Work:
        """What serving it costs, and its budget for that."""
        ...

    @property
    def streams(self) -> MuxedStreams: ...

    @property
    def paths(self) -> Paths | None:
        """None where the connection cannot move."""
        ...

    @property
    def is_closed(self) -> bool: ...

    @property
    def close_reason(self) -> ConnectionLost | None: ...

    def close(self, code: int, reason: str, now: Instant, *, is_application: bool = True) -> None:
        """Ends it, and tells the peer why.  Codes of transports are in `error_code`."""
        ...

    def ping(self) -> None:
        """Asks the peer for a sign of life."""
        ...

    def send_datagram(self, data: Buffer) -> bool:
        """Queues unreliable data; False where it cannot be sent now, or not by this transport.

        Raises LocalProtocolError where it is longer than a datagram can be.
        """
        ...
