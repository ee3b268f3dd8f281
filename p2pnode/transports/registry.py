"""The transports of a node, as one: who serves which connection, dial, datagram and link.

    in     datagrams, sorted by their first byte; what happens to links; commands by handle
    out    what each has to send, and its events

With one transport over datagrams nothing is sorted: it ignores what is not its own.

Transports are asked with every packet, so those that have nothing to do and wait for nothing sleep:
nobody asks them until they are given something.  The preferred one never sleeps.
"""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

from p2pnode.clock import Deadline, Instant, UnixTime, earliest
from p2pnode.errors import DialError, LocalProtocolError
from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.peer_id import PeerId
from p2pnode.links import LinkCommand, LinkEvent
from p2pnode.machine import ConnectionHandle, Received, Transmit, Unreachable
from p2pnode.resources.account import Account
from p2pnode.transports.commons import Commons
from p2pnode.transports.contract import (
    DatagramTransport,
    LinkTransport,
    Transport,
    TransportMaker,
)
from p2pnode.transports.events import TransportEvent
from p2pnode.transports.first_byte import FIRST_BYTES, is_whole, runs
from p2pnode.transports.muxed_connection import MuxedConnection
from p2pnode.transports.route import Route
from p2pnode.wire.transport_name import TransportName

_PREFERRED: Final = 0
_NOBODY: Final = FIRST_BYTES - 1


class Makers(NamedTuple):
    """What makes the transports of a node."""

    over_datagrams: tuple[TransportMaker[DatagramTransport], ...] = ()
    """The preferred one first: it is also what runs through circuits of datagrams."""
    over_links: TransportMaker[LinkTransport] | None = None


class Transports:
    """All that one identity talks by."""

    def __init__(
        self,
        commons: Commons,
        over_datagrams: Sequence[DatagramTransport],
        over_links: LinkTransport | None = None,
    ) -> None:
        self._commons = commons
        self._over_datagrams = tuple(over_datagrams)
        self._over_links = over_links
        links = () if over_links is None else (over_links,)
        self._parts: tuple[Transport, ...] = (*self._over_datagrams, *links)
        self._by_name = {part.name: part for part in self._parts}
        self._owners = bytes(map(self._owner, range(FIRST_BYTES)))
        only = over_datagrams[0] if len(over_datagrams) == 1 else None
        self.handle_received = self._sort if only is None else only.handle_received
        """Takes what sockets brought.  Untrusted; never raises."""
        self._let_wake(self._parts)
        self._rest()

    # facts

    @property
    def names(self) -> tuple[TransportName, ...]:
        """Of all, the preferred one first."""
        return tuple(self._by_name)

    @property
    def account(self) -> Account:
        """What others hold of this node."""
        return self._commons.account

    @property
    def commons(self) -> Commons:
        return self._commons

    @property
    def connections(self) -> Mapping[ConnectionHandle, MuxedConnection]:
        """Those that are not forgotten, of all transports."""
        return self._commons.connections

    @property
    def has_events(self) -> bool:
        """Whether `poll_events` is known to have something: asked after output was taken."""
        for part in self._awake:  # noqa: SIM110 - no generator: asked with every packet
            if part.has_events:
                return True
        return False

    @property
    def is_active(self) -> bool:
        """False while there is nothing to do and nothing to wait for."""
        return any(part.is_active for part in self._parts)

    # commands

    def dial(
        self,
        route: Route,
        expected: PeerId | None,
        now: Instant,
        *,
        transport: TransportName | None = None,
        token: bytes = b"",
        timeout: float | None = None,
    ) -> ConnectionHandle:
        """Begins a connection by a transport, the preferred one over datagrams where none is named.

        Returns its handle.  Raises DialError where there are too many connections.
        """
        if transport is None and not self._over_datagrams:
            raise DialError("this node has no transport over datagrams")
        part = self._over_datagrams[0] if transport is None else self._by_name.get(transport)
        if part is None:
            raise DialError(f"this node does not speak {transport}")
        self._wake(part)
        return part.dial(route, expected, now, token=token, timeout=timeout)

    def cancel_dial(self, handle: ConnectionHandle) -> None:
        """Forgets a dial; does nothing where it is over."""
        for part in self._parts:
            part.cancel_dial(handle)

    def command(self, handle: ConnectionHandle) -> MuxedConnection | None:
        """Returns a connection for the caller to command, at once; None where it is gone."""
        connection = self._commons.connections.get(handle)
        if connection is not None:
            self._by_name[connection.transport].wake(handle)
        return connection

    @contextmanager
    def commanding(
        self, handle: ConnectionHandle, now: Instant
    ) -> Generator[MuxedConnection | None, None, None]:
        """Gives out a connection as `command` does; what goes wrong inside ends that one only."""
        try:
            yield self.command(handle)
        except LocalProtocolError:
            raise  # the caller's, who knows what for
        except Exception as error:
            self.break_off(handle, error, now)

    def of(self, connection: MuxedConnection) -> Transport:
        """Returns the transport of a connection."""
        return self._by_name[connection.transport]

    def break_off(self, handle: ConnectionHandle, error: Exception, now: Instant) -> None:
        """Ends a connection for what went wrong as it was served; see `faults`."""
        connection = self._commons.connections.get(handle)
        if connection is not None:
            self.of(connection).break_off(handle, error, now)
        else:
            self._commons.faults.take(error, handle)
            self.give_up(handle, error, now)

    def give_up(self, handle: ConnectionHandle, error: Exception, now: Instant) -> None:
        """Ends a connection or a dial for a fault that was told.  Nothing where it is gone."""
        for part in self._parts:
            part.give_up(handle, error, now)

    def close_all(self, reason: str, now: Instant) -> None:
        """Closes every connection; what tells the peers leaves with the next output."""
        for part in self._parts:
            part.close_all(reason, now)

    def handle_clock_changed(self, unix_now: UnixTime, now: Instant) -> None:
        """The wall clock was set."""
        for part in self._parts:
            part.handle_clock_changed(unix_now, now)

    # the machine

    def _sort(self, batch: Sequence[Received], now: Instant) -> None:
        for received in batch:
            if not is_whole(received, self._owners, _PREFERRED):
                break
        else:  # with nearly every packet
            if batch:
                self._over_datagrams[_PREFERRED].handle_received(batch, now)
            return
        found: list[list[Received]] = [[] for _ in self._over_datagrams]
        for received in batch:
            for owner, part in runs(received, self._owners):
                if owner != _NOBODY:
                    found[owner].append(part)
        for transport, own in zip(self._over_datagrams, found, strict=True):
            if own:
                self._wake(transport)
                transport.handle_received(own, now)

    def handle_unreachable(self, reports: Sequence[Unreachable], now: Instant) -> None:
        """Takes what the system says of datagrams.  Untrusted; never raises."""
        for part in self._over_datagrams:
            part.handle_unreachable(reports, now)

    def handle_link_events(self, events: Sequence[LinkEvent], now: Instant) -> None:
        """Takes what happened to links.  Untrusted; never raises."""
        if self._over_links is not None:
            self._wake(self._over_links)
            self._over_links.handle_link_events(events, now)

    def handle_timeout(self, now: Instant) -> None:
        for part in self._awake:
            part.handle_timeout(now)
        self._rest()

    def _poll_transmits(self, now: Instant) -> list[Transmit]:
        transmits: list[Transmit] = []
        for part in self._over_datagrams:
            if part in self._awake:
                transmits += part.poll_transmits(now)
        while self._commons.leaving:  # each is told, so that this may have something to send
            self._turn_out(now)
            transmits += [t for part in self._over_datagrams for t in part.poll_transmits(now)]
        return transmits

    def poll_link_commands(self, now: Instant) -> Sequence[LinkCommand]:
        """Settles at `now`, and returns what to do to links; ask again until it is empty."""
        if self._over_links is None or not self.has_links:
            return ()
        commands = self._over_links.poll_link_commands(now)
        while self._commons.leaving:
            self._turn_out(now)
            commands = [*commands, *self._over_links.poll_link_commands(now)]
        return commands

    def _poll_events(self) -> Sequence[TransportEvent]:
        return [event for part in self._awake for event in part.poll_events()]

    def _poll_timeout(self) -> Deadline | None:
        return earliest(*(part.poll_timeout() for part in self._awake))

    def poll_key_log(self) -> list[str]:
        """Returns the secrets of new connections, where the configuration asks for them."""
        return [line for part in self._parts for line in part.poll_key_log()]

    def poll_qlog(self) -> list[tuple[str, list[str]]]:
        """Returns (trace name, JSON texts), where the configuration asks for them."""
        return [trace for part in self._parts for trace in part.poll_qlog()]

    def check(self) -> None:
        """Asserts, after a drain, that no transport has forgotten anything."""
        assert not self._commons.leaving, "a connection that had to make way is still there"
        for part in self._parts:
            assert part in self._awake or not part.is_active, f"{part.name} is active and sleeps"
            part.check()

    # details

    def _wake(self, part: Transport) -> None:
        """A transport is about to have something to do."""
        if part not in self._awake:
            self._let_wake(tuple(p for p in self._parts if p is part or p in self._awake))

    def _rest(self) -> None:
        """Those that have nothing left to do fall asleep."""
        awake = tuple(p for p in self._awake if p is self._parts[0] or p.is_active)
        if len(awake) != len(self._awake):
            self._let_wake(awake)

    def _let_wake(self, awake: tuple[Transport, ...]) -> None:
        self._awake = awake
        self.has_links = self._over_links in awake
        """Whether there is a transport over links, and it does not sleep."""
        # What is asked with every packet is asked of the only transport itself, where there is one.
        only = self._over_datagrams[0] if awake == self._over_datagrams[:1] != () else None
        self.poll_transmits = self._poll_transmits if only is None else only.poll_transmits
        """Settles at `now`, and returns what to send; ask again until it is empty."""
        self.poll_events = self._poll_events if only is None else only.poll_events
        """Hands over the facts since the last call."""
        self.poll_timeout = self._poll_timeout if only is None else only.poll_timeout

    def _owner(self, first_byte: int) -> int:
        claims = [part.claims(first_byte) for part in self._over_datagrams]
        assert sum(claims) <= 1, f"two transports claim datagrams that begin with {first_byte}"
        return claims.index(True) if any(claims) else _NOBODY

    def _turn_out(self, now: Instant) -> None:
        """Ends whom another transport needs the place of; who is no connection yet has one too."""
        leaving, self._commons.leaving = self._commons.leaving, []
        for handle, reason in leaving:
            for part in self._parts:
                part.turn_out(handle, reason, now)


def make_transports(
    makers: Makers,
    identity: PrivateKey,
    commons: Commons,
    *,
    now: Instant,
    unix_now: UnixTime,
    serves: bool = True,
) -> Transports:
    """Returns the transports of an identity.

    Without `serves` they only dial: nobody else is heard, and those who are dialled may open no
    streams, so they know that the connection is one-way.
    """
    datagrams, links = makers
    return Transports(
        commons,
        [make(identity, commons, serves=serves, now=now, unix_now=unix_now) for make in datagrams],
        None
        if links is None
        else links(identity, commons, serves=serves, now=now, unix_now=unix_now),
    )
