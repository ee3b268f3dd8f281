"""Watches the links of one machine: the rules of `p2pnode.links`, of both who keep them.

Each link that has not ended is remembered, with its credit; ids that count up need no memory.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from p2pnode.links import (
    FIRST_ACCEPTED_LINK,
    FIRST_OWN_LINK,
    LINK_CREDIT,
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


@dataclass(slots=True)
class _Watched:
    """A link that has begun and not ended."""

    is_connected: bool
    credit: int = 0
    read: int = 0
    """Bytes since commands were taken."""
    is_paused: bool = False
    is_shut: bool = False
    has_eof: bool = False


class LinkRules:
    """What has been said of links, and whether it may be.  `error` makes what is raised."""

    def __init__(self, error: Callable[[str], Exception]) -> None:
        self._error = error
        self._links: dict[LinkId, _Watched] = {}
        self._read: dict[LinkId, _Watched] = {}
        self._last_own = FIRST_OWN_LINK - 2
        self._last_accepted = FIRST_ACCEPTED_LINK - 2

    def on_events(self, events: Iterable[LinkEvent]) -> None:
        """The driver is about to tell this."""
        for event in events:
            reason = self._why_not_told(event)
            if reason is not None:
                raise self._error(f"the driver tells {_short(event)}: {reason}")

    def on_commands(self, commands: Iterable[LinkCommand]) -> None:
        """The machine was asked, and has commanded this."""
        for link in self._read.values():
            link.read = 0
        self._read.clear()
        for command in commands:
            reason = self._why_not_commanded(command)
            if reason is not None:
                raise self._error(f"the machine commands {_short(command)}: {reason}")

    def _why_not_told(self, event: LinkEvent) -> str | None:
        number = event.link
        if isinstance(event, LinkAccepted):
            if number % 2 != FIRST_ACCEPTED_LINK % 2 or number <= self._last_accepted:
                return "accepted links count up by odd ids"
            self._last_accepted = number
            self._links[number] = _Watched(is_connected=True)
            return None
        link = self._links.get(number)
        if link is None:
            return "there is no such link"
        if isinstance(event, LinkConnected | LinkFailed):
            if link.is_connected:
                return "the link is connected"
            link.is_connected = True
            if isinstance(event, LinkFailed):
                del self._links[number]
            return None
        if not link.is_connected:
            return "the link is not connected"
        return self._why_not_of(link, event)

    def _why_not_of(
        self, link: _Watched, event: LinkWritable | LinkData | LinkEof | LinkClosed
    ) -> str | None:
        match event:
            case LinkWritable(_, size):
                link.credit += size
                if size <= 0 or link.credit > LINK_CREDIT:
                    return f"credit is {link.credit}"
            case LinkData(number, data):
                link.read += len(data)
                self._read[number] = link
                if not data or link.is_paused or link.has_eof or link.read > MAX_LINK_READ:
                    return f"nothing of {len(data)} bytes may come, {link.read} did in all"
            case LinkEof():
                if link.is_paused or link.has_eof:
                    return "no end may come"
                link.has_eof = True
            case LinkClosed(number, was_reset):
                if not was_reset and not (link.has_eof and link.is_shut):
                    return "one way has not ended"
                del self._links[number]
                self._read.pop(number, None)
        return None

    def _why_not_commanded(self, command: LinkCommand) -> str | None:
        number = command.link
        if isinstance(command, ConnectLink):
            if number % 2 != FIRST_OWN_LINK % 2 or number <= self._last_own:
                return "the machine's links count up by even ids"
            self._last_own = number
            self._links[number] = _Watched(is_connected=False)
            return None
        link = self._links.get(number)
        if link is None:
            return "there is no such link"
        if isinstance(command, CloseLink):
            del self._links[number]
            self._read.pop(number, None)
            return None
        if not link.is_connected:
            return "the link is not connected"
        match command:
            case WriteLink(_, data):
                if not len(data) or link.is_shut or len(data) > link.credit:
                    return f"credit is {link.credit}{', and it is shut' if link.is_shut else ''}"
                link.credit -= len(data)
            case ShutdownLink():
                if link.is_shut:
                    return "it is shut"
                link.is_shut = True
            case PauseLink():
                link.is_paused = True
            case ResumeLink():
                link.is_paused = False
        return None


def _short(said: LinkEvent | LinkCommand) -> str:
    """Returns it as text, without the bytes."""
    if isinstance(said, WriteLink | LinkData):
        return f"{type(said).__name__} of {len(said.data)} bytes of link {said.link}"
    return str(said)
