"""A host's end of a link: what its machine writes, what it has not read yet, and how it ends.

It stands between a pipe, which only notes what arrives, and `host_links`, which tells the machine
what there is to tell.
"""

from collections.abc import Iterator
from typing import Protocol

from p2pnode.links import (
    LINK_CREDIT,
    LINK_GRANT,
    MAX_LINK_READ,
    LinkClosed,
    LinkConnected,
    LinkData,
    LinkEof,
    LinkEvent,
    LinkFailed,
    LinkId,
    LinkObstacle,
    LinkWritable,
)
from p2pnode.machine import SocketAddr
from p2pnode.netsim.pipe import Flow, Item, Mark, Pipe

MAX_PIECES = 64
"""Reads of one link that come together.  Chosen: a window of single bytes is 4,000 batches."""


class Owner(Protocol):
    """Whoever tells the machine."""

    def note(self, event: LinkEvent) -> None:
        """The machine is to be told this."""
        ...

    def note_readable(self, end: "LinkEnd") -> None:
        """There is something to read."""
        ...

    def forget(self, end: "LinkEnd") -> None:
        """The machine has heard the last of it, or has closed it."""
        ...

    def piece(self) -> int:
        """Returns how many bytes the next read brings at most."""
        ...


class LinkEnd:
    """One end, from its beginning until the machine has heard the last of it, or longer."""

    def __init__(self, owner: Owner, link: LinkId, local: SocketAddr, remote: SocketAddr) -> None:
        self.link = link
        self.local = local
        self.remote = remote
        self.is_connected = False
        self.is_paused = False
        self.is_closing = False
        """The machine has closed it, and what it wrote is on its way."""
        self.is_over = False
        self._owner = owner
        self._pipe: Pipe | None = None
        self._side = 0
        self._unread = bytearray()
        self._has_fin = False
        self._has_told_eof = False
        self._is_shut = False
        self._taken = 0
        """Bytes under way that were not granted again."""

    @property
    def pipe(self) -> Pipe | None:
        """None where nobody is at the other side."""
        return self._pipe

    @property
    def has_more(self) -> bool:
        """True where a read would bring something."""
        ended = self._has_fin and not self._has_told_eof
        return not (self.is_paused or self.is_over) and (bool(self._unread) or ended)

    def join(self, pipe: Pipe, side: int) -> None:
        self._pipe, self._side = pipe, side

    def begin(self) -> None:
        """The far end: it is connected as it begins."""
        self.is_connected = True
        self._owner.note(LinkWritable(self.link, LINK_CREDIT))

    def read(self) -> Iterator[LinkEvent]:
        """Yields what is there, in pieces, as far as one drain may take it."""
        room, pieces = MAX_LINK_READ, MAX_PIECES
        while self._unread and room and pieces:
            size = min(self._owner.piece(), room, len(self._unread))
            data = bytes(self._unread[:size])
            del self._unread[:size]
            self._incoming.on_read(size)
            room, pieces = room - size, pieces - 1
            yield LinkData(self.link, data)
        if self._has_fin and not self._unread and not self._has_told_eof:
            self._has_told_eof = True
            yield LinkEof(self.link)
            self._end_if_both_ways_have()

    def write(self, data: bytes) -> None:
        self._outgoing.write(data)

    def shut_down(self) -> None:
        self._is_shut = True
        self._outgoing.finish()
        self._end_if_both_ways_have()

    def close(self) -> None:
        """Delivers what was written, and throws away what arrives."""
        self.is_closing = True
        self._owner.forget(self)
        if self._unread:
            self._incoming.on_read(len(self._unread))
            self._unread.clear()
        if not self._is_shut:
            self._is_shut = True
            self._outgoing.finish()
        self._end_if_both_ways_have()

    def reset(self) -> None:
        """Ends it at once."""
        self._leave()
        if self._pipe is not None:
            self._pipe.reset(self._side)

    def fail(self, obstacle: LinkObstacle) -> None:
        """It will not be connected."""
        if not self.is_over:
            self._owner.note(LinkFailed(self.link, obstacle))
            self._leave()
            if self._pipe is not None:
                self._pipe.leave(self._side)

    def on_item(self, item: Item) -> None:
        match item:
            case Mark.OPEN:
                self.is_connected = True
                self._owner.note(LinkConnected(self.link, self.local))
                self._owner.note(LinkWritable(self.link, LINK_CREDIT))
                return
            case Mark.FIN:
                self._has_fin = True
            case bytes() if self.is_closing:
                self._incoming.on_read(len(item))
            case bytes():
                self._unread += item
        if self.is_closing:
            self._end_if_both_ways_have()
        else:
            self._owner.note_readable(self)

    def on_taken(self, size: int) -> None:
        self._taken += size
        if self._taken >= LINK_GRANT and not (self._is_shut or self.is_closing):
            self._owner.note(LinkWritable(self.link, self._taken))
            self._taken = 0
        self._end_if_both_ways_have()

    def on_reset(self) -> None:
        if not self.is_connected:
            self.fail(LinkObstacle.REFUSED)
            return
        if not self.is_closing and not self.is_over:
            self._owner.note(LinkClosed(self.link, was_reset=True))
        self._leave()

    def on_silence(self) -> None:
        if self.is_connected:
            self.on_reset()
        else:
            self.fail(LinkObstacle.TIMED_OUT)

    @property
    def _outgoing(self) -> Flow:
        assert self._pipe is not None  # only who is connected writes
        return self._pipe.flows[self._side]

    @property
    def _incoming(self) -> Flow:
        assert self._pipe is not None
        return self._pipe.flows[1 - self._side]

    def _end_if_both_ways_have(self) -> None:
        """The driver closes what has ended both ways; nobody waits for the last bytes' word."""
        has_eof = self._has_fin if self.is_closing else self._has_told_eof
        if self.is_over or not (self._is_shut and has_eof and self._outgoing.is_flushed):
            return
        if not self.is_closing:
            self._owner.note(LinkClosed(self.link, was_reset=False))
        self._leave()
        if self._pipe is not None:
            self._pipe.leave(self._side)

    def _leave(self) -> None:
        self.is_over = True
        self._unread.clear()
        self._owner.forget(self)
