"""Small machines with links, for tests of their drivers."""

from collections.abc import Sequence

from p2pnode.clock import Deadline, Instant
from p2pnode.links import LinkCommand, LinkEvent
from p2pnode.machine import Received, Transmit


class LinksOnly:
    """A machine without datagrams: tells all that it is told, and does what the test puts in."""

    def __init__(self) -> None:
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
        return []

    def poll_link_commands(self, now: Instant) -> list[LinkCommand]:
        commands, self.commands = self.commands, []
        return commands

    def poll_events(self) -> list[LinkEvent]:
        events, self._events = self._events, []
        return events

    def poll_timeout(self) -> Deadline | None:
        return None
