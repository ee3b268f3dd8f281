"""The links' side of a swarm: on to the transport that they drive, and counted on the way."""

from collections.abc import Sequence

from p2pnode.clock import Instant
from p2pnode.links import (
    ConnectLink,
    LinkAccepted,
    LinkCommand,
    LinkData,
    LinkEvent,
    WriteLink,
)
from p2pnode.swarm.state import SwarmState
from p2pnode.transports.registry import Transports


class LinkSide:
    """Has no state of its own."""

    def __init__(self, transports: Transports, state: SwarmState) -> None:
        self._transports = transports
        self._contacts, self._byte_counts = state.contacts, state.byte_counts

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
        self._transports.handle_link_events(events, now)

    def poll(self, now: Instant) -> Sequence[LinkCommand]:
        """Returns what to do to links."""
        commands = self._transports.poll_link_commands(now)
        for command in commands:
            match command:
                case WriteLink(_, data):
                    self._byte_counts.sent_directly += len(data)
                case ConnectLink(remote=remote):
                    self._contacts.note(remote.ip, now)
                case _:
                    pass
        return commands
