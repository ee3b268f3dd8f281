"""Watches what a transport tells: the rules of handles (specs/transports.md)."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol

from p2pnode.clock import Instant, UnixTime
from p2pnode.identity.keys import PrivateKey
from p2pnode.machine import ConnectionHandle
from p2pnode.transports.commons import Commons
from p2pnode.transports.contract import Transport, TransportMaker
from p2pnode.transports.events import Connected, ConnectionClosed, DialFailed, TransportEvent


class TransportRules:
    """Of one transport.  Raises AssertionError where one is broken."""

    def __init__(self, transport: Transport, commons: Commons) -> None:
        self.told: Counter[type] = Counter()
        """How many events of each type it has seen."""
        self._transport = transport
        self._commons = commons
        self._open: dict[ConnectionHandle, None] = {}
        self._ended: dict[ConnectionHandle, None] = {}

    def on_events(self, events: Sequence[TransportEvent]) -> None:
        ends = {e.handle for e in events if isinstance(e.event, ConnectionClosed)}
        for handle, event in events:
            self.told[type(event)] += 1
            assert handle not in self._ended, f"{event} of {handle}, which has ended"
            if isinstance(event, Connected):
                assert handle not in self._open, f"{handle} was connected twice"
                assert handle in self._commons.connections or handle in ends, f"no such {handle}"
                self._open[handle] = None
            elif isinstance(event, DialFailed):
                assert handle not in self._open, f"the dial of {handle} had succeeded"
                assert handle not in self._commons.connections, f"{handle} is a connection"
                self._ended[handle] = None
            else:
                assert handle in self._open, f"{event} of {handle}, which was not connected"
            if isinstance(event, ConnectionClosed):
                del self._open[handle]
                self._ended[handle] = None
        self._look_at(self._open)

    def _look_at(self, handles: Iterable[ConnectionHandle]) -> None:
        for handle in handles:
            connection = self._commons.connections[handle]
            assert connection.transport == self._transport.name


class _Overridden(Protocol):
    poll_events: object


class Watched:
    """A maker whose transports are watched."""

    def __init__(self, maker: TransportMaker[Transport]) -> None:
        self.rules: list[TransportRules] = []
        """Of each transport that was made."""
        self._maker = maker

    def __call__(
        self,
        identity: PrivateKey,
        commons: Commons,
        *,
        serves: bool,
        now: Instant,
        unix_now: UnixTime,
    ) -> Transport:
        transport = self._maker(identity, commons, serves=serves, now=now, unix_now=unix_now)
        rules, ask = TransportRules(transport, commons), transport.poll_events

        def poll_events() -> Sequence[TransportEvent]:
            events = ask()
            rules.on_events(events)
            return events

        overridden: _Overridden = transport
        overridden.poll_events = poll_events
        self.rules.append(rules)
        return transport
