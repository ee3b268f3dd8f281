"""The contract between synchronous protocol machines and whatever drives them.

A machine does no I/O, reads no clock and rolls no dice of its own.  Its driver is the trio shell
(`p2pnode.io`), the simulator (`p2pnode.netsim`) or a test that steps it by hand.

    put in     handle_received / handle_data ..., handle_timeout, and commands;
               handle_unreachable, handle_link_events where the machine has them
    take out   poll_transmits / poll_output, poll_link_commands, poll_events, poll_timeout

Rules of the contract:

- `now` never decreases, from one call to the next, whichever it is.
- What a call causes is told to whom it concerns at the time of that call: `handle_*` and commands
  settle at their `now`.  A command without `now` only queues; what it causes is settled by the
  next `poll_transmits` or `poll_link_commands`, at its `now`.  `poll_events` settles nothing: it
  hands over.
- `handle_timeout` before the deadline does nothing; at or after it, everything that is due is
  done, so that the deadline is another one afterwards.
- Any number of `handle_*` calls may come before a drain (batched receive needs that).  A drain is
  rounds of `p2pnode.drain.drain_once`, transmits, then links, then events, until one has brought
  nothing; it is synchronous and complete; only then may a shell `await`.  Who is told an event may
  command the machine on the spot: the next round has what that caused.
- After a drain there is no output without a cause: `handle_*` or a command.
- `poll_timeout` changes only through `handle_*`, a command or a drain.
- A machine never calls back, never logs secrets and never holds a machine that is not its part.
  A parent drains its parts inside its own `handle_*`.
- Nothing from the network raises.
- Everything is bounded; each bound is a named constant.

Byte links (TCP) have rules of their own besides: `p2pnode.links`.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, NewType, Protocol, TypeAlias, TypeVar, runtime_checkable

from p2pnode.clock import Deadline, Instant

SocketId = NewType("SocketId", int)
"""Names one of the driver's sockets, or of its listeners for links: they are counted together."""

ConnectionHandle = NewType("ConnectionHandle", int)
"""Names one of a node's connections, for those who may only know of it.  Never used twice."""

Buffer: TypeAlias = bytes | bytearray | memoryview


class SocketAddr(NamedTuple):
    """An IP address and a port, of UDP or TCP.

    `ip` is in canonical text form, IPv6 without brackets.
    """

    ip: str
    port: int
    scope_id: int = 0
    """Interface index of a link-local IPv6 address; never leaves the link."""

    @property
    def is_ipv6(self) -> bool:
        return ":" in self.ip

    def __str__(self) -> str:
        if not self.is_ipv6:
            return f"{self.ip}:{self.port}"
        zone = f"%{self.scope_id}" if self.scope_id else ""
        return f"[{self.ip}{zone}]:{self.port}"


class Ecn:
    """ECN codepoints of RFC 3168, the two low bits of the traffic class."""

    NOT_ECT: Final = 0
    ECT_1: Final = 1
    ECT_0: Final = 2
    CE: Final = 3


class Received(NamedTuple):
    """One read from a socket: one datagram, or several of equal size joined by the kernel (GRO)."""

    socket: SocketId
    local_ip: str | None
    """The address that the datagrams were sent to, where the driver knows it (PKTINFO)."""
    remote: SocketAddr
    ecn: int
    segment_size: int
    """Datagrams start at multiples of this; the last one may be shorter."""
    buffer: Buffer


class Transmit(NamedTuple):
    """One write to a socket: one datagram, or several of equal size for the kernel to cut (GSO)."""

    socket: SocketId
    local_ip: str | None
    """The source address to send from, or None for the kernel's choice."""
    remote: SocketAddr
    ecn: int
    ttl: int | None
    """Time to live, or None for the default.  Low values open NATs without arriving."""
    segment_size: int
    """Datagrams start at multiples of this; the last one may be shorter."""
    buffer: Buffer


class Obstacle(enum.Enum):
    """Why a datagram did not get where it was sent, by the system's word."""

    NO_ROUTE = enum.auto()
    TOO_BIG = enum.auto()
    FORBIDDEN = enum.auto()
    PORT_CLOSED = enum.auto()


class Unreachable(NamedTuple):
    """A datagram that did not arrive, as the system says (ICMP calls it so whatever the reason)."""

    socket: SocketId
    remote: SocketAddr
    obstacle: Obstacle
    is_local: bool
    """True where this machine did not send it; else somebody else says so (ICMP), who may lie."""
    beginning: bytes
    """What it began with, at most MAX_BEGINNING bytes; less where ICMP quotes less of it."""


MAX_BEGINNING: Final = 64
"""bytes; chosen: the random ids of a message 1 are within the first 20"""

EventT_co = TypeVar("EventT_co", covariant=True)


class DatagramMachine(Protocol[EventT_co]):
    """A machine whose outside is datagrams.  Everything in `p2pnode.netsim` drives these."""

    def handle_received(self, batch: Sequence[Received], now: Instant) -> None:
        """Takes what one or more socket reads brought.  Untrusted; never raises."""
        ...

    def handle_timeout(self, now: Instant) -> None:
        """Does everything that is due at `now`."""
        ...

    def poll_transmits(self, now: Instant) -> list[Transmit]:
        """Settles at `now`, and returns what to send, in order; empty when there is no more."""
        ...

    def poll_events(self) -> Sequence[EventT_co]:
        """Hands over the facts since the last call, oldest first."""
        ...

    def poll_timeout(self) -> Deadline | None:
        """Returns when to call `handle_timeout` next, or None while only input changes anything."""
        ...


@runtime_checkable
class HearsUnreachable(Protocol):
    """A machine that can do better than to wait for an answer to what did not arrive."""

    def handle_unreachable(self, reports: Sequence[Unreachable], now: Instant) -> None:
        """Takes what the system says of datagrams since a drain.  Untrusted; never raises."""
        ...


@runtime_checkable
class SelfChecking(Protocol):
    """A machine that can say whether what it remembers of its parts is so."""

    def check(self) -> None:
        """Asserts it, after a complete drain.  Costs time: for `p2pnode.netsim.contract`."""
        ...


@dataclass(frozen=True, slots=True)
class SendData:
    """Bytes for the stream."""

    data: bytes


@dataclass(frozen=True, slots=True)
class SendEof:
    """Nothing more will be sent: finish our direction."""


@dataclass(frozen=True, slots=True)
class ResetStream:
    """Give the stream up in both directions (RESET_STREAM and STOP_SENDING)."""

    code: int


StreamOutput: TypeAlias = SendData | SendEof | ResetStream


class StreamMachine(Protocol):
    """One dialogue on one stream.  It sees a stream, never a connection or a transport."""

    def handle_data(self, data: bytes, now: Instant) -> None:
        """Takes bytes in order, cut anywhere.  Untrusted; never raises."""
        ...

    def handle_eof(self, now: Instant) -> None:
        """The peer finished its direction."""
        ...

    def handle_reset(self, code: int, now: Instant) -> None:
        """The stream is gone: the peer reset it, or the connection was lost."""
        ...

    def handle_timeout(self, now: Instant) -> None: ...

    def poll_output(self) -> list[StreamOutput]:
        """Returns what to do to the stream, in order."""
        ...

    def poll_timeout(self) -> Deadline | None: ...

    @property
    def is_done(self) -> bool:
        """True once the dialogue has its outcome and wants no further input."""
        ...


@runtime_checkable
class PacedMachine(StreamMachine, Protocol):
    """A machine that passes on what it takes, and so says when it can take more."""

    @property
    def is_paused(self) -> bool:
        """True while its stream is not to be read; its owner has it pumped when that is over."""
        ...

    def handle_unsent(self, size: int) -> None:
        """Tells how many bytes of its output the stream has not taken yet."""
        ...
