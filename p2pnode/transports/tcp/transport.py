"""All connections of a node over TCP: dials, who comes, and what happens to their links.

    dial, LinkAccepted --> Opening --Upgraded--> TcpConnection --> ConnectionClosed
                                   --failure--> DialFailed, or nothing where somebody came

One transport serves all links of its identity.  What belongs to one link is served apart: a bug met
there ends that one.
"""

from collections.abc import Sequence
from typing import Final

from p2pnode.clock import Deadline, Instant, UnixTime, earliest
from p2pnode.deadlines import Deadlines
from p2pnode.entropy import Entropy
from p2pnode.errors import (
    ClosedByFault,
    ClosedLocally,
    ConnectionLost,
    DialError,
    P2PNodeError,
    PeerIdMismatch,
    TransportError,
)
from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.peer_id import PeerId
from p2pnode.links import (
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
    LinkObstacle,
    LinkWritable,
)
from p2pnode.machine import ConnectionHandle
from p2pnode.resources.account import MEMORY_STEP
from p2pnode.transports.commons import Commons
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.events import Connected, ConnectionClosed, DialFailed, TransportEvent
from p2pnode.transports.memory import Memory
from p2pnode.transports.places import NoRoom
from p2pnode.transports.route import ANY_PORT, Route
from p2pnode.transports.stream_upgrade.upgrade import (
    UPGRADE_TIMEOUT,
    UpgradeCredentials,
    Upgraded,
)
from p2pnode.transports.stream_upgrade.yamux.frame import GoAwayCode
from p2pnode.transports.stream_upgrade.yamux.streams import MAX_STREAMS
from p2pnode.transports.tcp.connection import TcpConnection
from p2pnode.transports.tcp.obstacles import obstacle_text
from p2pnode.transports.tcp.opening import Opening
from p2pnode.transports.tcp.strangers import Strangers
from p2pnode.transports.tcp.turns import Turns
from p2pnode.transports.work import HANDSHAKE_WORK, PACKET_WORK
from p2pnode.wire.transport_name import TransportName

DIAL_TIMEOUT: Final = 10.0
"""seconds from a dial to its connection, where nothing else is said; noise-udp's"""


class TcpTransport:
    """A `LinkTransport`."""

    name: Final = TransportName.TCP

    def __init__(
        self,
        identity: PrivateKey,
        commons: Commons,
        *,
        entropy: Entropy,
        serves: bool,
        max_streams: int = MAX_STREAMS,
    ) -> None:
        """Who begins a connection is heard only where it `serves`."""
        self.commons = commons
        self._own_id = PeerId.from_public_key(identity.public_key)
        self._credentials = UpgradeCredentials.create(identity, entropy)
        self._entropy = entropy
        self._serves = serves
        self._max_streams = max_streams
        self._places = commons.places
        self._memory = Memory(commons.account, commons.places)
        self._strangers = Strangers(commons.account, self._drop_stranger)
        self._openings: dict[ConnectionHandle, Opening] = {}
        self._connections: dict[ConnectionHandle, TcpConnection] = {}
        self._by_link: dict[LinkId, Opening | TcpConnection] = {}
        self._dirty: dict[ConnectionHandle, None] = {}
        """Connections that may have something to tell, to send, or another deadline."""
        self._commands: list[LinkCommand] = []
        self._turns = Turns(self._commands, self._take_stranger, self.break_off)
        self._deadlines = Deadlines[ConnectionHandle]()
        self._events: list[TransportEvent] = []
        self._told: list[ConnectionHandle] = []
        """Whose end was handed over: who is told may still look at the connection."""

    # facts

    @property
    def has_events(self) -> bool:
        return bool(self._events)

    @property
    def is_active(self) -> bool:
        output = self._commands or self._events or self._told
        return bool(self._connections or self._openings or self._dirty or output)

    # commands

    def dial(
        self,
        route: Route,
        expected: PeerId | None,
        now: Instant,
        *,
        token: bytes = b"",
        timeout: float | None = None,
    ) -> ConnectionHandle:
        """Begins a link from the listener's port that the route names, or from any port.

        Raises DialError where there are too many connections.
        """
        del token
        handle = self.commons.take_handle()
        refusal = self._places.add_outbound(handle)
        if refusal is not None:
            raise DialError(str(refusal))
        opening = Opening(
            handle,
            self.commons.take_link(),
            route,
            is_initiator=True,
            expected=expected,
            timeout=DIAL_TIMEOUT if timeout is None else timeout,
            entropy=self._entropy,
            now=now,
        )
        self._add_opening(opening)
        self._connect(opening)
        return handle

    def cancel_dial(self, handle: ConnectionHandle) -> None:
        opening = self._openings.get(handle)
        if opening is not None and opening.is_initiator:
            self._drop(opening)

    def wake(self, handle: ConnectionHandle) -> None:
        if handle in self._connections:
            self._dirty[handle] = None
        else:
            self._memory.settle(handle)

    def break_off(self, handle: ConnectionHandle, error: Exception, now: Instant) -> None:
        connection = self._connections.get(handle)
        if connection is not None and isinstance(error, TransportError):
            connection.fail(error)
            self._dirty[handle] = None
            return
        self.commons.faults.take(error, handle)
        self.give_up(handle, error, now)

    def give_up(self, handle: ConnectionHandle, error: Exception, now: Instant) -> None:
        reason = ClosedByFault(error)
        opening, connection = self._openings.get(handle), self._connections.get(handle)
        if opening is not None:
            self._fail(opening, reason)
        elif connection is not None:
            connection.close_reason = reason
            self._forget(connection, is_reset=True)

    def turn_out(self, handle: ConnectionHandle, reason: str, now: Instant) -> None:
        opening, connection = self._openings.get(handle), self._connections.get(handle)
        if opening is not None:
            self._fail(opening, ClosedLocally(reason))
        elif connection is None:
            self._memory.forsake(handle)
        else:
            connection.end(ClosedLocally(reason), GoAwayCode.NORMAL)
            connection.write(now)
            self._collect(connection)
            connection.streams.forsake()
            self._forget(connection)

    def close_all(self, reason: str, now: Instant) -> None:
        for opening in [*self._openings.values()]:
            self._drop(opening)
        for handle, connection in self._connections.items():
            connection.close(ErrorCode.SHUTDOWN, reason, now, is_application=False)
            self._dirty[handle] = None

    def handle_clock_changed(self, unix_now: UnixTime, now: Instant) -> None:
        """Nothing here is dated."""

    # the machine

    def handle_link_events(self, events: Sequence[LinkEvent], now: Instant) -> None:
        self._turns.begin()
        by_link, connections = self._by_link, self._connections
        for event in events:
            if isinstance(event, LinkAccepted):
                self._accept(event, now)
                continue
            found = by_link.get(event.link)
            if found is None:
                continue
            try:
                if isinstance(found, TcpConnection):
                    self._on_event(found, event, now)
                else:
                    self._on_opening_event(found, event, now)
            except Exception as error:
                self.break_off(found.handle, error, now)
        is_turn_over = not self._turns.is_busy
        for handle in self._dirty:
            connection = connections.get(handle)
            if connection is not None:
                self._collect(connection)
                if is_turn_over:
                    connection.work.renew()

    def handle_timeout(self, now: Instant) -> None:
        for handle in self._deadlines.take_due(now):
            opening, connection = self._openings.get(handle), self._connections.get(handle)
            try:
                if opening is not None:
                    opening.handle_timeout(now)
                    self._settle_opening(opening, now)
                elif connection is not None:
                    connection.handle_timeout(now)
                    self._dirty[handle] = None
            except Exception as error:
                self.break_off(handle, error, now)
        for connection in self._turns.handle_timeout(now):
            self._dirty[connection.handle] = None
            self._collect(connection)

    def poll_timeout(self) -> Deadline | None:
        return earliest(self._deadlines.first(), self._turns.deadline)

    def poll_link_commands(self, now: Instant) -> Sequence[LinkCommand]:
        if self._memory.too_full:
            for handle, reason in self._memory.take_excess():
                self._make_way(handle, reason, now)
        while self._dirty:
            handle, _ = self._dirty.popitem()
            connection = self._connections.get(handle)
            if connection is None:
                continue
            try:
                connection.write(now)
                self._collect(connection)
                if connection.is_closed:
                    self._forget(connection)
                else:
                    self._deadlines.set(handle, connection.poll_timeout())
            except Exception as error:
                self.break_off(handle, error, now)
        commands = self._commands[:]
        self._commands.clear()
        return commands

    def poll_events(self) -> Sequence[TransportEvent]:
        for handle in self._told:
            self.commons.connections.pop(handle, None)
        events, self._events = self._events, []
        self._told = [e.handle for e in events if isinstance(e.event, ConnectionClosed)]
        return events

    def poll_key_log(self) -> list[str]:
        """There are none: Noise on links has no key log."""
        return []

    def poll_qlog(self) -> list[tuple[str, list[str]]]:
        """There are none: nothing is traced."""
        return []

    def check(self) -> None:
        """Asserts, after a drain, that each deadline and amount of memory is what is known."""
        assert not self._dirty, f"{list(self._dirty)} were commanded, and not drained"
        assert not self._commands, "commands to links were not taken"
        for handle, opening in self._openings.items():
            assert opening.poll_timeout() == self._deadlines.of(handle), f"opening {handle}"
        for handle, connection in self._connections.items():
            assert connection.poll_timeout() == self._deadlines.of(handle), (
                f"the deadline of connection {handle} has moved"
            )
            self._memory.check(handle, connection)

    # links

    def _accept(self, event: LinkAccepted, now: Instant) -> None:
        route = Route(event.listener, event.local.ip, event.remote)
        if not self._serves or not self._has_room(route):
            self._commands.append(CloseLink(event.link, reset=True))
            return
        opening = Opening(
            self.commons.take_handle(),
            event.link,
            route,
            is_initiator=False,
            expected=None,
            timeout=UPGRADE_TIMEOUT,
            entropy=self._entropy,
            now=now,
        )
        self._strangers.add(opening.handle, route)
        opening.on_connected(self._credentials, now)
        self._add_opening(opening)

    def _has_room(self, route: Route) -> bool:
        """Whether somebody who comes, and whom nobody knows yet, may go on."""
        verdict = self._places.verdict(route, self.commons.has_streams)
        if isinstance(verdict, NoRoom) and not verdict.but_for_protected:
            self._places.note(verdict.refusal)
            return False
        return self._strangers.make_room(route)

    def _drop_stranger(self, handle: ConnectionHandle) -> None:
        """Others need the room that somebody takes who is not proved."""
        self._drop(self._openings[handle])

    def _on_event(self, connection: TcpConnection, event: LinkEvent, now: Instant) -> None:
        self._dirty[connection.handle] = None
        if isinstance(event, LinkData):
            connection.handle_data(event.data)
            self._turns.read(connection, now)
        elif isinstance(event, LinkWritable):
            connection.grant(event.size)
        elif isinstance(event, LinkEof):
            connection.handle_eof()
            self._turns.read(connection, now)
        elif isinstance(event, LinkClosed):
            connection.lose()
            self._by_link.pop(connection.link, None)

    def _on_opening_event(self, opening: Opening, event: LinkEvent, now: Instant) -> None:
        match event:
            case LinkData(_, data):
                if not self._turns.read_stranger(opening, data, now):
                    self._drop(opening)
                return
            case LinkWritable(_, size):
                opening.credit += size
            case LinkConnected(_, local):
                opening.route = opening.route._replace(local_ip=local.ip)
                opening.on_connected(self._credentials, now)
            case LinkEof():
                opening.handle_eof()
            case LinkClosed():
                self._by_link.pop(opening.link, None)
                opening.handle_eof()
            case LinkFailed(_, obstacle):
                self._by_link.pop(opening.link, None)
                if obstacle is LinkObstacle.ADDRESS_IN_USE and opening.route.socket != ANY_PORT:
                    self._connect_from_any_port(opening)
                else:
                    opening.failure = DialError(obstacle_text(obstacle, opening.route.remote))
            case LinkAccepted():
                pass
        self._settle_opening(opening, now)

    # openings

    def _take_stranger(self, opening: Opening, now: Instant) -> int:
        """Takes what has come of a link that is no connection yet; returns what work it was."""
        data, opening.waiting = opening.waiting, b""
        commands = len(self._commands)
        opening.handle_data(data)
        self._settle_opening(opening, now)
        is_message = len(self._commands) != commands or opening.upgraded is not None
        return HANDSHAKE_WORK if is_message else PACKET_WORK

    def _connect(self, opening: Opening) -> None:
        route = opening.route
        listener = None if route.socket == ANY_PORT else route.socket
        command = ConnectLink(
            link=opening.link, remote=route.remote, listener=listener, local_ip=route.local_ip
        )
        self._commands.append(command)

    def _connect_from_any_port(self, opening: Opening) -> None:
        """From the listener's port there is a link to that address, perhaps one that has ended: a
        system keeps both ports of it for a minute or more."""
        opening.route = opening.route._replace(socket=ANY_PORT)
        opening.link = self.commons.take_link()
        self._by_link[opening.link] = opening
        self._connect(opening)

    def _add_opening(self, opening: Opening) -> None:
        self._openings[opening.handle] = opening
        self._by_link[opening.link] = opening
        self._deadlines.set(opening.handle, opening.poll_timeout())

    def _settle_opening(self, opening: Opening, now: Instant) -> None:
        opening.poll_commands(self._commands)
        if opening.failure is not None:
            self._fail(opening, opening.failure)
        elif opening.upgraded is not None:
            self._finish(opening, opening.upgraded, now)
        else:
            self._deadlines.set(opening.handle, opening.poll_timeout())

    def _finish(self, opening: Opening, upgraded: Upgraded, now: Instant) -> None:
        """Who is at the other end is proved."""
        if upgraded.peer_id == self._own_id:
            self._fail(opening, PeerIdMismatch("another peer", "this node itself"))
            return
        handle, route = opening.handle, opening.route
        connection = TcpConnection(
            handle,
            opening.link,
            route,
            upgraded,
            is_initiator=opening.is_initiator,
            credit=opening.credit,
            max_streams=self._max_streams if self._serves else 0,
            commands=self._commands,
            now=now,
        )
        if not opening.is_initiator and not self._take_place(connection, now):
            return
        del self._openings[handle]
        self._strangers.remove(handle)
        self._by_link[opening.link] = connection
        self._connections[handle] = self.commons.connections[handle] = connection
        self._memory.open(handle, connection)
        self._dirty[handle] = None
        connected = Connected(
            upgraded.peer_id, opening.is_initiator, route, True, now - opening.began_at
        )
        self._events.append(TransportEvent(handle, connected))
        self._turns.read(connection, now)

    def _take_place(self, connection: TcpConnection, now: Instant) -> bool:
        """Somebody has proved who it is; without a place it is told, and goes."""
        verdict = self._places.verdict(
            connection.route, self.commons.has_streams, connection.peer_id
        )
        if isinstance(verdict, NoRoom):
            self._places.note(verdict.refusal)
            connection.close(ErrorCode.EXCESSIVE_LOAD, "", now, is_application=False)
            connection.write(now)
            self._drop(self._openings[connection.handle], is_reset=False)
            return False
        if verdict.instead_of is not None:
            self._make_way(verdict.instead_of, "this node needs the place for others", now)
        self._places.add_inbound(connection.handle, verdict)
        return True

    def _fail(self, opening: Opening, reason: P2PNodeError) -> None:
        self._drop(opening, is_reset=not opening.has_refused)
        if opening.is_initiator:
            self._events.append(TransportEvent(opening.handle, DialFailed(opening.route, reason)))

    def _drop(self, opening: Opening, *, is_reset: bool = True) -> None:
        """Forgets a dial, or who has come."""
        del self._openings[opening.handle]
        self._strangers.remove(opening.handle)
        self._deadlines.set(opening.handle, None)
        self._places.remove(opening.handle)
        self._turns.forget(opening.handle)
        self._close_link(opening.link, is_reset=is_reset)

    # connections

    def _collect(self, connection: TcpConnection) -> None:
        """Takes over what a connection has to tell."""
        held = connection.streams.held
        window = held.window  # `held.total`, without a call
        change = window.received - window.consumed + held.to_send + held.beside - held.drawn
        if change > MEMORY_STEP or change < -MEMORY_STEP:
            self._memory.draw(connection.handle, connection)
        for event in connection.poll_events():
            self._events.append(TransportEvent(connection.handle, event))

    def _forget(self, connection: TcpConnection, *, is_reset: bool = False) -> None:
        """It is over, and what it had to tell was collected."""
        handle, reason = connection.handle, connection.close_reason
        del self._connections[handle]
        self._dirty.pop(handle, None)
        self._turns.forget(handle)
        self._deadlines.set(handle, None)
        self._places.remove(handle)
        self._memory.close(handle, connection)
        self._close_link(connection.link, is_reset=is_reset)
        closed = ConnectionClosed(reason or ConnectionLost("the connection is over"))
        self._events.append(TransportEvent(handle, closed))

    def _close_link(self, link: LinkId, *, is_reset: bool) -> None:
        """Closes a link, unless it has ended by itself."""
        if self._by_link.pop(link, None) is not None:
            self._commands.append(CloseLink(link, is_reset))

    def _make_way(self, handle: ConnectionHandle, reason: str, now: Instant) -> None:
        """Has a connection end for others' sake, whichever transport's it is."""
        if handle in self._connections:
            self.turn_out(handle, reason, now)
        else:
            self.commons.leaving.append((handle, reason))
