"""Ordered byte links between two hosts (TCP): a side that a machine may have besides datagrams.

    in     handle_link_events    Connected | Failed, Accepted, Writable, Data, Eof, Closed
    out    poll_link_commands    Connect, Write, Shutdown, Pause, Resume, Close

    Connect --> Connected or Failed          both ways, each by itself:
       or  Accepted                             Write ... Shutdown       Data ... Eof
              then Writable, the first credit   as far as credit goes    unless paused

    the end    Failed, or Closed once both ways have ended, or it was reset; or the machine's Close

What is added to the rules of `p2pnode.machine` (specs/links.md):

- Whoever begins a link names it: the driver's ids (accepted) are odd, the machine's are even, and
  each counts up, so that no id is ever used twice.
- A link ends once: by LinkFailed or LinkClosed, or by the machine's CloseLink.  After that nothing
  is said of it in either direction.
- Back-pressure towards the machine is credit: it writes no more bytes than LinkWritable has
  granted and writes have not used up.  Credit comes back once half of it has been used up and the
  system has taken that, so not every write has its event.
- Back-pressure towards the peer is PauseLink: no LinkData and no LinkEof until ResumeLink.  Of one
  link, at most MAX_LINK_READ bytes come before commands are taken again, so a machine that pauses
  in time holds that much more than it wanted.
- Reset may overtake data.  While a link is paused, a driver need not notice one.
- A driver takes what comes at any time, and several events of one link come in order.  Commands on
  a link whose end the driver knows and has not told yet are lost with it.

It is a side of a machine, and not another kind of machine with a driver of its own, because a node
has one machine, one clock and one order in which it is driven: a machine with links alone is one
that never has a datagram.
"""

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, NewType, Protocol, TypeAlias, runtime_checkable

from p2pnode.clock import Instant
from p2pnode.machine import Buffer, SocketAddr, SocketId

LinkId = NewType("LinkId", int)
"""Names one link.  Even where the machine connected it, odd where the driver accepted it."""

FIRST_OWN_LINK: Final = LinkId(0)
FIRST_ACCEPTED_LINK: Final = LinkId(1)
LINK_ID_STEP: Final = 2

LINK_CREDIT: Final = 72 * 1024
"""bytes that a link's driver holds at most, the system's own buffers aside; chosen: one full read,
so that what one link brought fits into another, with frames around it; the first credit"""

LINK_GRANT: Final = LINK_CREDIT // 2
"""bytes of credit that come back together; chosen: not every write has its event"""

MAX_LINK_READ: Final = 64 * 1024
"""bytes of one link before commands are taken again; chosen: 1 GB/s is 16,000 drains a second"""

MAX_CLOSE_TIME: Final = 5.0
"""seconds that a closed link still has to deliver what was written; chosen: Linux's first two
retransmissions on a slow path"""


class LinkObstacle(enum.Enum):
    """Why a link could not be made."""

    REFUSED = enum.auto()
    """Nobody listens there."""
    NO_ROUTE = enum.auto()
    FORBIDDEN = enum.auto()
    """By this machine's own rules."""
    ADDRESS_IN_USE = enum.auto()
    """The listener's port cannot be shared, or carries a link to that address already."""
    ADDRESS_NOT_AVAILABLE = enum.auto()
    """This machine does not have the local address, or no free port."""
    TIMED_OUT = enum.auto()
    TOO_MANY = enum.auto()
    """The driver, or the system, has no place for a further link."""


@dataclass(frozen=True, slots=True)
class LinkAccepted:
    """Somebody has connected to one of the driver's listeners."""

    link: LinkId
    listener: SocketId
    local: SocketAddr
    remote: SocketAddr


@dataclass(frozen=True, slots=True)
class LinkConnected:
    """What the machine wanted to connect is connected."""

    link: LinkId
    local: SocketAddr


@dataclass(frozen=True, slots=True)
class LinkFailed:
    """What the machine wanted to connect is not, and has ended."""

    link: LinkId
    obstacle: LinkObstacle


@dataclass(frozen=True, slots=True)
class LinkWritable:
    """Credit: so many bytes more may be written.  The first one comes behind the beginning."""

    link: LinkId
    size: int


@dataclass(frozen=True, slots=True)
class LinkData:
    """Bytes in order, cut anywhere; never empty.  Untrusted."""

    link: LinkId
    data: bytes


@dataclass(frozen=True, slots=True)
class LinkEof:
    """The peer writes nothing more; we may."""

    link: LinkId


@dataclass(frozen=True, slots=True)
class LinkClosed:
    """The link has ended."""

    link: LinkId
    was_reset: bool
    """By the peer, or by the system for want of an answer: what was not delivered is lost.  False
    where both ways had ended."""


LinkEvent: TypeAlias = (
    LinkAccepted | LinkConnected | LinkFailed | LinkWritable | LinkData | LinkEof | LinkClosed
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectLink:
    """Begin a link.  How long it may take is the machine's to say, by CloseLink."""

    link: LinkId
    remote: SocketAddr
    listener: SocketId | None = None
    """Whose port to connect from, so that one NAT mapping serves both; None for any port."""
    local_ip: str | None = None
    """The source address, or None for the system's choice."""


@dataclass(frozen=True, slots=True)
class WriteLink:
    """Send these bytes, within the credit.  Each is a write to the system: join small pieces."""

    link: LinkId
    data: Buffer


@dataclass(frozen=True, slots=True)
class ShutdownLink:
    """Half-close: behind what was written, nothing more will be."""

    link: LinkId


@dataclass(frozen=True, slots=True)
class PauseLink:
    """Stop reading, so that the peer is held up."""

    link: LinkId


@dataclass(frozen=True, slots=True)
class ResumeLink:
    """Read again."""

    link: LinkId


@dataclass(frozen=True, slots=True)
class CloseLink:
    """End the link in both directions, or give up connecting it.

    With `reset` at once (RST), and what was not delivered is lost.  Else what was written is
    delivered, what arrives is thrown away, and after MAX_CLOSE_TIME the rest is reset.
    """

    link: LinkId
    reset: bool = False


LinkCommand: TypeAlias = ConnectLink | WriteLink | ShutdownLink | PauseLink | ResumeLink | CloseLink


@runtime_checkable
class LinkMachine(Protocol):
    """The links' side of a machine."""

    def handle_link_events(self, events: Sequence[LinkEvent], now: Instant) -> None:
        """Takes what happened to any of its links, oldest first.  Untrusted; never raises."""
        ...

    def poll_link_commands(self, now: Instant) -> Sequence[LinkCommand]:
        """Settles at `now`, and returns what to do, in order; empty when there is no more."""
        ...


class LinkOutlet(NamedTuple):
    """A machine's links, and who carries out what it commands."""

    machine: LinkMachine
    carry_out: Callable[[LinkCommand], object]
