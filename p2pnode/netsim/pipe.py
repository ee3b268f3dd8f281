"""An ordered pipe between two hosts: what TCP gives its users, with nothing of TCP below it.

    unsent --(window)--> under way --(rate, delay)--> the other end, which reads when it likes
                  ^------------(delay)------------- room, as it has read

Nothing is lost and nothing overtakes.  While the pipe is cut, or something on its way is down,
nothing arrives: what was under way comes later, as TCP's retransmissions would, or the end that
waits for an answer is told that there is none.  A reset that meets a cut is lost for good.
"""

import enum
from collections import deque
from typing import Final, NamedTuple, Protocol, TypeAlias

from p2pnode.clock import Instant
from p2pnode.machine import SocketAddr
from p2pnode.netsim.trace import LinkKind
from p2pnode.netsim.way import Way
from p2pnode.netsim.world import World

RETRY: Final = 0.5
"""Seconds between attempts to get something through a cut.  Chosen: some round trips."""

SILENCE_TIMEOUT: Final = 120.0
"""Seconds that an end waits for an answer.  Chosen: Linux gives up after 15 minutes at most
(tcp_retries2), a study has rarely so much time."""

CONNECT_TIMEOUT: Final = 127.0
"""Seconds.  Source: Linux, tcp_syn_retries of 6."""


class Mark(enum.Enum):
    """What goes through a pipe besides bytes."""

    OPEN = enum.auto()
    FIN = enum.auto()


Item: TypeAlias = bytes | Mark

_KINDS: Final = {Mark.OPEN: LinkKind.OPEN, Mark.FIN: LinkKind.FIN}


class End(Protocol):
    """What a pipe leads to.  None of this answers at once: it only notes."""

    def on_item(self, item: Item) -> None:
        """Something has arrived."""
        ...

    def on_taken(self, size: int) -> None:
        """So many bytes that waited here are under way."""
        ...

    def on_reset(self) -> None:
        """The other end has ended the pipe."""
        ...

    def on_silence(self) -> None:
        """Nobody has answered for SILENCE_TIMEOUT, and the pipe has ended."""
        ...


class Place(Protocol):
    """A host, as a pipe knows it."""

    @property
    def name(self) -> str: ...

    @property
    def is_awake(self) -> bool: ...

    @property
    def window(self) -> int:
        """Bytes under way to it and unread there, at most, of each pipe."""
        ...

    def on_open(self, pipe: "Pipe") -> None:
        """Somebody wants to connect by the pipe, at its far side."""
        ...


class Side(NamedTuple):
    """One side of a pipe, with its address as the other one sees it."""

    place: Place
    address: SocketAddr


class Pipe:
    """Two flows between two sides; 0 began it, 1 was called."""

    def __init__(self, world: World, way: Way, sides: tuple[Side, Side], near: End) -> None:
        self.world = world
        self.way = way
        self.sides = sides
        self.ends: list[End | None] = [near, None]
        """None for who has not accepted, or has left."""
        self.is_cut = False
        """Set it, and nothing gets through."""
        self._has_called = False
        self.flows = (Flow(self, 0), Flow(self, 1))

    @property
    def is_up(self) -> bool:
        awake = all(side.place.is_awake for side in self.sides)
        return awake and not self.is_cut and self.way.is_up

    def delay(self, sender: int) -> float:
        """Returns the seconds that it takes from that side to the other one."""
        return sum(params.delay for params in self.way.params(there=sender == 0))

    def rate(self, sender: int) -> float | None:
        """Returns the bits a second of the narrowest link, or None where none has a bound."""
        rates = [p.rate for p in self.way.params(there=sender == 0) if p.rate is not None]
        return min(rates, default=None)

    def accept(self, end: End) -> None:
        """Joins the far end, which is connected from here on."""
        self.ends[1] = end
        self.flows[1].send_mark(Mark.OPEN)

    def refuse(self) -> None:
        """Nobody listens at the far side; the near one will be told."""
        self.world.schedule(self.world.now + self.delay(1), self._refusal_arrives)

    def reset(self, by: int) -> None:
        """Ends the pipe for `by` at once, and for the other side when the reset arrives."""
        self.leave(by)
        self.flows[by].abandon()
        self.world.schedule(self.world.now + self.delay(by), self._reset_arrives, by)

    def leave(self, side: int) -> None:
        """Forgets an end; what it has sent goes on its way."""
        self.ends[side] = None

    def time_out(self, side: int) -> None:
        """Nobody has answered that side."""
        end = self.ends[side]
        self.leave(side)
        self.flows[side].abandon()
        if end is not None:
            end.on_silence()

    def deliver(self, sender: int, item: Item) -> None:
        """Hands over what has arrived; who has left answers with a reset."""
        receiver = 1 - sender
        self._trace(sender, _KINDS[item] if isinstance(item, Mark) else LinkKind.DATA, item)
        if item is Mark.OPEN and receiver == 1 and not self._has_called:
            self._has_called = True
            self.sides[1].place.on_open(self)
            return
        end = self.ends[receiver]
        if end is None:
            self.reset(receiver)
        else:
            end.on_item(item)

    def _refusal_arrives(self) -> None:
        self._end_arrives(1, LinkKind.REFUSED)

    def _reset_arrives(self, by: int) -> None:
        self._end_arrives(by, LinkKind.RESET)

    def _end_arrives(self, by: int, kind: LinkKind) -> None:
        if not self.is_up:
            return
        other = 1 - by
        self._trace(by, kind, b"")
        end = self.ends[other]
        self.leave(other)
        self.flows[other].abandon()
        if end is not None:
            end.on_reset()

    def _trace(self, sender: int, kind: LinkKind, item: Item) -> None:
        source, to = self.sides[sender], self.sides[1 - sender]
        payload = item if isinstance(item, bytes) else b""
        names = (source.place.name, to.place.name)
        self.world.trace.linked(self.world.now, kind, names, (source.address, to.address), payload)


class Flow:
    """One direction of a pipe."""

    def __init__(self, pipe: Pipe, sender: int) -> None:
        self.unsent = bytearray()
        """What the window has no room for yet."""
        self._pipe = pipe
        self._world = pipe.world
        self._sender = sender
        self._window = pipe.sides[1 - sender].place.window
        self._is_finished = False
        self._outstanding = 0
        self._under_way: deque[tuple[Instant, Item]] = deque()
        """With the time at which it arrives, unless what is before it comes later."""
        self._sent_until: Instant = 0.0  # when the bottleneck will have sent what it holds
        self._is_waiting = False
        self._silent_since: Instant | None = None
        self._is_abandoned = False

    @property
    def is_flushed(self) -> bool:
        """True when nothing waits at the sender any more."""
        return not self.unsent

    def write(self, data: bytes) -> None:
        self.unsent += data
        self._pump()

    def finish(self) -> None:
        """Nothing more will be written."""
        self._is_finished = True
        self._pump()

    def send_mark(self, mark: Mark) -> None:
        """Sends a mark at once, before anything was written."""
        self._send(mark, 0)

    def abandon(self) -> None:
        """Drops what has not arrived."""
        self._is_abandoned = True
        self.unsent.clear()
        self._under_way.clear()

    def on_read(self, size: int) -> None:
        """The receiver has read: its word of that is on its way back."""
        back = self._pipe.delay(1 - self._sender)
        self._world.schedule(self._world.now + back, self._acknowledged, size)

    def _pump(self) -> None:
        size = min(self._window - self._outstanding, len(self.unsent))
        if size > 0:
            piece = bytes(self.unsent[:size])
            del self.unsent[:size]
            self._outstanding += size
            self._send(piece, size)
            end = self._pipe.ends[self._sender]
            if end is not None:
                end.on_taken(size)
        if self._is_finished and not self.unsent:
            self._is_finished = False
            self._send(Mark.FIN, 0)

    def _send(self, item: Item, size: int) -> None:
        if self._is_abandoned:
            return
        rate = self._pipe.rate(self._sender)
        leaves = max(self._world.now, self._sent_until)
        if rate is not None:
            leaves += size * 8 / rate
        self._sent_until = leaves
        self._under_way.append((leaves + self._pipe.delay(self._sender), item))
        self._wait(self._under_way[0][0])

    def _wait(self, at: Instant) -> None:
        if not self._is_waiting:
            self._is_waiting = True
            self._world.schedule(at, self._arrive)

    def _arrive(self) -> None:
        self._is_waiting = False
        if not self._gets_through():
            if not self._is_abandoned:
                self._wait(self._world.now + RETRY)
            return
        under_way = self._under_way
        while under_way and under_way[0][0] <= self._world.now:
            self._pipe.deliver(self._sender, under_way.popleft()[1])
        if under_way:
            self._wait(under_way[0][0])

    def _acknowledged(self, size: int) -> None:
        if self._is_abandoned:
            return
        if not self._gets_through():
            self._world.schedule(self._world.now + RETRY, self._acknowledged, size)
            return
        self._outstanding -= size
        self._pump()

    def _gets_through(self) -> bool:
        """Whether the pipe is up; ends the flow once it has been down for too long."""
        if self._pipe.is_up:
            self._silent_since = None
            return True
        if self._silent_since is None:
            self._silent_since = self._world.now
        if self._world.now - self._silent_since >= SILENCE_TIMEOUT and not self._is_abandoned:
            self._pipe.time_out(self._sender)
        return False
