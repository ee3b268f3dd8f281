"""What a swarm sees of a transport: connections that carry streams, and how they come and go.

    MuxedConnection    one peer (`muxed_connection`)
    Transport          dials, takes who comes, and reports (`events`)
    TransportMaker     makes one for an identity

A transport is of one of two kinds, by what it is driven with: datagrams (`DatagramTransport`), or
ordered byte links (`LinkTransport`).

Rules beside those of `p2pnode.machine` (specs/transports.md):

- A handle names a dial, and then the connection that came of it, or a connection that a peer began.
  It is never used twice, and ends once: by DialFailed or ConnectionClosed, or without a word where
  the dial was cancelled, or who came was never connected.
- `Connected` comes once, before any other event of its connection, and ConnectionClosed last.
- A connection is in `Commons.connections` from before its Connected until its end, or longer.
- Stream events are edge-triggered: a fact is told when it becomes true.  They go to whoever holds
  the stream, and concern nobody else.
- What a peer can do ends its own connection at most; nothing else raises.
"""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from p2pnode.clock import Deadline, Instant, UnixTime
from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.peer_id import PeerId
from p2pnode.links import LinkCommand, LinkEvent
from p2pnode.machine import ConnectionHandle, Received, Transmit, Unreachable
from p2pnode.transports.commons import Commons
from p2pnode.transports.events import TransportEvent
from p2pnode.transports.route import Route
from p2pnode.wire.transport_name import TransportName


class Transport(Protocol):
    """One way to talk to peers."""

    @property
    def name(self) -> TransportName: ...

    @property
    def has_events(self) -> bool:
        """Whether `poll_events` is known to have something: asked after output was taken."""
        ...

    @property
    def is_active(self) -> bool:
        """False while it has nothing to do and nothing to wait for."""
        ...

    def dial(
        self,
        route: Route,
        expected: PeerId | None,
        now: Instant,
        *,
        token: bytes = b"",
        timeout: float | None = None,
    ) -> ConnectionHandle:
        """Begins a connection; Connected or DialFailed follows.

        `token` is what the peer gave for that address earlier (TokenReceived).
        Raises DialError where there are too many connections.
        """
        ...

    def cancel_dial(self, handle: ConnectionHandle) -> None:
        """Forgets a dial; does nothing where it is over."""
        ...

    def wake(self, handle: ConnectionHandle) -> None:
        """A connection was commanded: it may have something to send.  Nothing where it is gone."""
        ...

    def break_off(self, handle: ConnectionHandle, error: Exception, now: Instant) -> None:
        """Ends a connection or a dial for what went wrong as it was served (`faults`)."""
        ...

    def turn_out(self, handle: ConnectionHandle, reason: str, now: Instant) -> None:
        """Ends a connection for others' sake: it is told once, forgotten and freed at once.

        So for what may become one and has a place.  Nothing where it is gone, or another's.
        """
        ...

    def give_up(self, handle: ConnectionHandle, error: Exception, now: Instant) -> None:
        """The same for a fault that was told already.  Nothing where it is gone."""
        ...

    def close_all(self, reason: str, now: Instant) -> None:
        """Closes every connection; what tells the peers leaves with the next output."""
        ...

    def handle_clock_changed(self, unix_now: UnixTime, now: Instant) -> None:
        """The wall clock was set."""
        ...

    def handle_timeout(self, now: Instant) -> None: ...

    def poll_timeout(self) -> Deadline | None: ...

    def poll_events(self) -> Sequence[TransportEvent]:
        """Hands over the facts since the last call, oldest first."""
        ...

    def poll_key_log(self) -> list[str]:
        """Returns the secrets of new connections, in the NSS key log format, where it keeps any."""
        ...

    def poll_qlog(self) -> list[tuple[str, list[str]]]:
        """Returns (trace name, JSON texts) since the last call, where it is to trace."""
        ...

    def check(self) -> None:
        """Asserts, after a drain, that what it remembers of its parts is so."""
        ...


class DatagramTransport(Transport, Protocol):
    """A transport over UDP.  It shares its sockets with others: the first byte says whose."""

    def claims(self, first_byte: int) -> bool:
        """Whether datagrams that begin so are this transport's."""
        ...

    def handle_received(self, batch: Sequence[Received], now: Instant) -> None:
        """Takes what sockets brought.  Untrusted; never raises."""
        ...

    def handle_unreachable(self, reports: Sequence[Unreachable], now: Instant) -> None:
        """Takes what the system says of datagrams.  Untrusted; never raises."""
        ...

    def poll_transmits(self, now: Instant) -> list[Transmit]:
        """Settles at `now`, and returns what to send, in order."""
        ...


class LinkTransport(Transport, Protocol):
    """A transport over ordered byte links.  A route's socket is the listener to connect from."""

    def handle_link_events(self, events: Sequence[LinkEvent], now: Instant) -> None:
        """Takes what happened to its links.  Untrusted; never raises."""
        ...

    def poll_link_commands(self, now: Instant) -> Sequence[LinkCommand]:
        """Settles at `now`, and returns what to do, in order."""
        ...


TransportT_co = TypeVar("TransportT_co", bound=Transport, covariant=True)


class TransportMaker(Protocol[TransportT_co]):
    """Makes a transport for an identity: a node has its own, and one that is thrown away."""

    def __call__(
        self,
        identity: PrivateKey,
        commons: Commons,
        *,
        serves: bool,
        now: Instant,
        unix_now: UnixTime,
    ) -> TransportT_co:
        """Without `serves` it only dials: who begins a connection is not heard, and those who are
        dialled may open no streams."""
        ...
