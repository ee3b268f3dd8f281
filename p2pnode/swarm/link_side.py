"""The links' side of a swarm: on to the transport that they drive, and counted on the way.

A node's own transport and that of its dial-backs share one driver, so each event is told to whose
link it is of.
"""

from collections.abc import Iterable, Sequence

from p2pnode.clock import Instant
from p2pnode.links import (
    CloseLink,
    ConnectLink,
    LinkAccepted,
    LinkClosed,
    LinkCommand,
    LinkData,
    LinkEvent,
    LinkFailed,
    LinkId,
    WriteLink,
)
from p2pnode.swarm.dial_back_side import DialBackSide
from p2pnode.swarm.state import SwarmState
from p2pnode.transports.registry import Transports


class LinkSide:
    """Knows the links of dial-backs; all others are the node's own."""

    def __init__(self, transports: Transports, dial_backs: DialBackSide, state: SwarmState) -> None:
        self._transports = transports
        self._dial_backs = dial_backs
        self._contacts, self._byte_counts = state.contacts, state.byte_counts
        self._of_dial_backs: dict[LinkId, None] = {}
        """Links that have not ended."""

    def handle(self, events: Sequence[LinkEvent], now: Instant) -> None:
        """Takes what happened to links; who has connected is a stranger no more."""
        for event in events:
            match event:
                case LinkData(_, data):
                    self._byte_counts.received_directly += len(data)
                case LinkAccepted(remote=remote):
                    self._contacts.heard(remote.ip, now)
                case _:
                    pass
        if self._of_dial_backs:
            theirs = [event for event in events if event.link in self._of_dial_backs]
            events = [event for event in events if event.link not in self._of_dial_backs]
            for event in theirs:
                if isinstance(event, LinkFailed | LinkClosed):
                    del self._of_dial_backs[event.link]
            if theirs:
                self._dial_backs.handle_link_events(theirs, now)
        self._transports.handle_link_events(events, now)

    def poll(self, now: Instant) -> Sequence[LinkCommand]:
        """Returns what to do to links."""
        commands = self._transports.poll_link_commands(now)
        if self._dial_backs.is_active:
            theirs = self._dial_backs.poll_link_commands(now)
            if theirs:
                self._note(theirs)
                # Ids count up: who has begun a link last had it named last, whosever it is.
                both = [*commands, *theirs]
                connects = [each for each in both if isinstance(each, ConnectLink)]
                others = [each for each in both if not isinstance(each, ConnectLink)]
                commands = [*sorted(connects, key=lambda each: each.link), *others]
        for command in commands:
            match command:
                case WriteLink(_, data):
                    self._byte_counts.sent_directly += len(data)
                case ConnectLink(remote=remote):
                    self._contacts.note(remote.ip, now)
                case _:
                    pass
        return commands

    def _note(self, theirs: Iterable[LinkCommand]) -> None:
        for command in theirs:
            if isinstance(command, ConnectLink):
                self._of_dial_backs[command.link] = None
            elif isinstance(command, CloseLink):
                self._of_dial_backs.pop(command.link, None)
