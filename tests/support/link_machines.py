"""Small machines with links, for tests of their drivers."""

from collections.abc import Sequence

from p2pnode.clock import Deadline, Instant
from p2pnode.links import (
    FIRST_OWN_LINK,
    LINK_ID_STEP,
    MAX_LINK_READ,
    CloseLink,
    ConnectLink,
    LinkAccepted,
    LinkClosed,
    LinkCommand,
    LinkConnected,
    LinkData,
    LinkEof,
    LinkEvent,
    LinkFailed,
    LinkId,
    LinkWritable,
    PauseLink,
    ResumeLink,
    ShutdownLink,
    WriteLink,
)
from p2pnode.machine import Received, SocketAddr, SocketId, Transmit


class LinksOnly:
    """Hears of links alone: tells all that it is told, and does what the test puts in."""

    def __init__(self) -> None:
        self.datagrams: list[Transmit] = []
        self.commands: list[LinkCommand] = []
        self.told: list[LinkEvent] = []
        """All that came, oldest first."""
        self.batches: list[int] = []
        """How many events each call brought."""
        self._events: list[LinkEvent] = []

    def handle_received(self, batch: Sequence[Received], now: Instant) -> None:
        pass

    def handle_link_events(self, events: Sequence[LinkEvent], now: Instant) -> None:
        self.batches.append(len(events))
        self.told += events
        self._events += events

    def handle_timeout(self, now: Instant) -> None:
        pass

    def poll_transmits(self, now: Instant) -> list[Transmit]:
        datagrams, self.datagrams = self.datagrams, []
        return datagrams

    def poll_link_commands(self, now: Instant) -> list[LinkCommand]:
        commands, self.commands = self.commands, []
        return commands

    def poll_events(self) -> list[LinkEvent]:
        events, self._events = self._events, []
        return events

    def poll_timeout(self) -> Deadline | None:
        return None


class Talk:
    """What a `Talker` knows of one link."""

    def __init__(self) -> None:
        self.unsent = bytearray()
        self.credit = 0
        self.written = 0
        self.received = bytearray()
        self.local: SocketAddr | None = None
        self.remote: SocketAddr | None = None
        """None where we connected it."""
        self.is_connected = False
        self.is_paused = False
        self.wants_end = False
        self.is_shut = False
        self.has_eof = False
        self.end: LinkFailed | LinkClosed | None = None
        """How it ended; None while it has not, or where this machine closed it."""
        self.is_closed = False
        """By this machine."""


class Talker(LinksOnly):
    """Writes what it is told, as far as credit goes; keeps what it gets."""

    keeps = True
    """Whether received bytes are kept, or only counted."""

    def __init__(self) -> None:
        super().__init__()
        self.links: dict[LinkId, Talk] = {}
        """All there ever were."""
        self.received_bytes = 0
        self._next = FIRST_OWN_LINK
        self._wanted: list[LinkCommand] = []
        self._busy: dict[LinkId, None] = {}

    def connect(
        self,
        remote: SocketAddr,
        *,
        listener: SocketId | None = None,
        local_ip: str | None = None,
    ) -> LinkId:
        link, self._next = self._next, LinkId(self._next + LINK_ID_STEP)
        self.links[link] = Talk()
        self._wanted.append(
            ConnectLink(link=link, remote=remote, listener=listener, local_ip=local_ip)
        )
        return link

    def write(self, link: LinkId, data: bytes) -> None:
        self.links[link].unsent += data
        self._busy[link] = None

    def finish(self, link: LinkId) -> None:
        """Half-close, behind what was written."""
        self.links[link].wants_end = True
        self._busy[link] = None

    def close(self, link: LinkId, *, reset: bool = False) -> None:
        """Ends it, with what credit allows; nothing where it has ended."""
        talk = self.links[link]
        if talk.end is None and not talk.is_closed:
            self._flush(link)
            talk.is_closed = True
            self._wanted.append(CloseLink(link, reset))

    def pause(self, link: LinkId) -> None:
        self.links[link].is_paused = True
        self._wanted.append(PauseLink(link))

    def resume(self, link: LinkId) -> None:
        self.links[link].is_paused = False
        self._wanted.append(ResumeLink(link))

    def handle_link_events(self, events: Sequence[LinkEvent], now: Instant) -> None:
        super().handle_link_events(events, now)
        for event in events:
            if isinstance(event, LinkAccepted):
                self.links[event.link] = Talk()
            self._take(event, self.links[event.link])

    def poll_link_commands(self, now: Instant) -> list[LinkCommand]:
        busy, self._busy = self._busy, {}
        for link in busy:
            self._flush(link)
        commands, self._wanted = [*super().poll_link_commands(now), *self._wanted], []
        return commands

    def on_begun(self, link: LinkId) -> None:
        """A link is connected."""

    def on_data(self, link: LinkId, data: bytes) -> None:
        """Bytes have come, and are among those received already."""

    def on_eof(self, link: LinkId) -> None:
        """The peer has half-closed."""

    def on_writable(self, link: LinkId) -> None:
        """There is credit."""

    def _take(self, event: LinkEvent, talk: Talk) -> None:
        match event:
            case LinkAccepted(link, _, local, remote):
                talk.is_connected, talk.local, talk.remote = True, local, remote
                self.on_begun(link)
            case LinkConnected(link, local):
                talk.is_connected, talk.local = True, local
                self.on_begun(link)
            case LinkWritable(link, size):
                talk.credit += size
                self._busy[link] = None
                self.on_writable(link)
            case LinkData(link, data):
                self.received_bytes += len(data)
                if self.keeps:
                    talk.received += data
                self.on_data(link, data)
            case LinkEof(link):
                talk.has_eof = True
                self.on_eof(link)
            case LinkFailed() | LinkClosed():
                talk.end = event

    def _flush(self, link: LinkId) -> None:
        talk = self.links[link]
        if not talk.is_connected or talk.is_closed or talk.end is not None or talk.is_shut:
            return
        size = min(talk.credit, len(talk.unsent))
        if size:
            self._wanted.append(WriteLink(link, bytes(talk.unsent[:size])))
            del talk.unsent[:size]
            talk.credit -= size
            talk.written += size
        if talk.wants_end and not talk.unsent:
            talk.is_shut = True
            self._wanted.append(ShutdownLink(link))


class EchoTalker(Talker):
    """Sends back what comes, ends when the peer does, and reads no faster than it can send."""

    keeps = False
    max_unsent = MAX_LINK_READ

    def on_data(self, link: LinkId, data: bytes) -> None:
        self.write(link, data)
        talk = self.links[link]
        if len(talk.unsent) > self.max_unsent and not talk.is_paused:
            self.pause(link)

    def on_eof(self, link: LinkId) -> None:
        self.finish(link)

    def _flush(self, link: LinkId) -> None:
        super()._flush(link)
        talk = self.links[link]
        if talk.is_paused and talk.end is None and len(talk.unsent) <= self.max_unsent:
            self.resume(link)


class Flood(Talker):
    """Writes for ever, as much as it may."""

    def on_writable(self, link: LinkId) -> None:
        self.write(link, bytes(self.links[link].credit))


class Deaf(Talker):
    """Reads nothing of any link."""

    def on_begun(self, link: LinkId) -> None:
        self.pause(link)
