"""A toy transport over byte links: plain frames, and whoever says who he is is believed.

It shows what the contract of transports needs, and that a swarm needs nothing else.
"""

from collections.abc import Sequence
from typing import Final

from p2pnode.clock import Deadline, Instant, UnixTime
from p2pnode.errors import (
    ClosedByFault,
    ClosedByPeer,
    ClosedForViolation,
    ClosedLocally,
    ConnectionLost,
    DecodeError,
    DialError,
    ResetByPeer,
    TransportError,
)
from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.peer_id import PeerId
from p2pnode.links import (
    FIRST_OWN_LINK,
    LINK_CREDIT,
    LINK_ID_STEP,
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
    WriteLink,
)
from p2pnode.machine import Buffer, ConnectionHandle
from p2pnode.transports.commons import Commons
from p2pnode.transports.events import (
    Connected,
    ConnectionClosed,
    ConnectionEvent,
    DialFailed,
    TransportEvent,
)
from p2pnode.transports.places import NoRoom
from p2pnode.transports.route import ANY_PORT, Route
from p2pnode.transports.stream_events import StreamEvent
from p2pnode.transports.work import Work
from p2pnode.wire.transport_name import TransportName
from tests.support.toy_streams import HEADER, MAX_PAYLOAD, Kind, ToyStreams, frame, violation

TIMEOUT: Final = 10.0
"""Seconds until a dial has failed."""


class ToyConnection:
    """One connection, or what may become one."""

    paths = None
    rtt = None
    is_limited = False
    transport: Final = TransportName.TCP

    def __init__(
        self,
        toy: "ToyTransport",
        handle: ConnectionHandle,
        link: LinkId,
        route: Route,
        now: Instant,
    ) -> None:
        self.handle = handle
        self.link = link
        self.route = route
        self.began_at = now
        self.last_received = now
        self.is_initiator = link % LINK_ID_STEP == FIRST_OWN_LINK
        self.expected: PeerId | None = None
        self.deadline = Deadline(now + TIMEOUT, "the peer has to say who it is")
        self.said_hello = False
        self.close_reason: ConnectionLost | None = None
        self.work = Work()
        self.streams = ToyStreams(self._tell, is_initiator=self.is_initiator)
        self.credit = 0
        self.inbox = bytearray()
        self.unsent = bytearray()
        self._peer_id: PeerId | None = None
        self._toy = toy

    @property
    def peer_id(self) -> PeerId:
        assert self._peer_id is not None
        return self._peer_id

    @property
    def is_established(self) -> bool:
        return self._peer_id is not None

    @property
    def is_closed(self) -> bool:
        return self.close_reason is not None

    def close(self, code: int, reason: str, now: Instant, *, is_application: bool = True) -> None:
        del now, is_application
        if not self.is_closed:
            farewell = frame(Kind.CLOSE, 0, code, reason.encode()[:200])
            self._toy.end(self, ClosedLocally(), farewell, reset=False)

    def ping(self) -> None:
        self.unsent += frame(Kind.PING)

    def send_datagram(self, data: Buffer) -> bool:
        del data
        return False

    def take(self, data: bytes, now: Instant) -> None:
        """Raises TransportError."""
        self.last_received = now
        self.inbox += data
        while len(self.inbox) >= HEADER.size and not self.is_closed:
            kind, stream_id, number, size = HEADER.unpack_from(self.inbox)
            if kind not in list(Kind) or size > MAX_PAYLOAD:
                raise violation("no such frame")
            end = HEADER.size + size
            if len(self.inbox) < end:
                return
            payload = bytes(self.inbox[HEADER.size : end])
            del self.inbox[:end]
            self._on_frame(Kind(kind), stream_id, number, payload, now)

    def _on_frame(
        self, kind: Kind, stream_id: int, number: int, payload: bytes, now: Instant
    ) -> None:
        if kind is Kind.CLOSE:
            reason = payload.decode(errors="replace")
            self._toy.end(self, ClosedByPeer(number, reason), reset=False)
        elif kind is Kind.HELLO:
            if self.is_established:
                raise violation("hello twice")
            self._peer_id = PeerId(payload)
            self._toy.on_hello(self, allows_streams=bool(number), now=now)
        elif not self.is_established:
            raise violation("no hello")
        elif kind is not Kind.PING:
            self.streams.on_frame(kind, stream_id, number, payload)

    def _tell(self, event: StreamEvent) -> None:
        self._toy.tell(self.handle, event)


class ToyTransport:
    """All connections of a node by the toy."""

    name: Final = TransportName.TCP

    def __init__(
        self,
        identity: PrivateKey,
        commons: Commons,
        *,
        serves: bool,
        now: Instant,
        unix_now: UnixTime,
    ) -> None:
        del now, unix_now
        self.commons = commons
        self._serves = serves
        self._hello = frame(
            Kind.HELLO, 0, int(serves), PeerId.from_public_key(identity.public_key).multihash
        )
        self._found: dict[ConnectionHandle, ToyConnection] = {}
        self._by_link: dict[LinkId, ToyConnection] = {}
        self._commands: list[LinkCommand] = []
        self._events: list[TransportEvent] = []
        self._told: list[ConnectionHandle] = []
        """Of whose end somebody has been told."""

    # commands

    @property
    def has_events(self) -> bool:
        return bool(self._events)

    @property
    def is_active(self) -> bool:
        return bool(self._found or self._events or self._commands)

    def dial(
        self,
        route: Route,
        expected: PeerId | None,
        now: Instant,
        *,
        token: bytes = b"",
        timeout: float | None = None,
    ) -> ConnectionHandle:
        del token
        handle = self.commons.take_handle()
        refusal = self.commons.places.add_outbound(handle)
        if refusal is not None:
            raise DialError(str(refusal))
        link = self.commons.take_link()
        connection = ToyConnection(self, handle, link, route, now)
        connection.expected = expected
        if timeout is not None:
            connection.deadline = Deadline(now + timeout, connection.deadline.why)
        self._add(connection)
        listener = None if route.socket == ANY_PORT else route.socket
        self._commands.append(
            ConnectLink(link=link, remote=route.remote, listener=listener, local_ip=route.local_ip)
        )
        return handle

    def cancel_dial(self, handle: ConnectionHandle) -> None:
        connection = self._found.get(handle)
        if connection is not None and not connection.is_established:
            self._commands.append(CloseLink(connection.link, reset=True))
            self._forget(connection)

    def wake(self, handle: ConnectionHandle) -> None:
        """All are looked at in every drain."""

    def break_off(self, handle: ConnectionHandle, error: Exception, now: Instant) -> None:
        connection = self._found.get(handle)
        if connection is not None and isinstance(error, TransportError):
            self.end(connection, ClosedForViolation(error))
            return
        self.commons.faults.take(error, handle)
        self.give_up(handle, error, now)

    def turn_out(self, handle: ConnectionHandle, reason: str, now: Instant) -> None:
        connection = self._found.get(handle)
        if connection is not None:
            self.end(connection, ClosedLocally(reason))

    def give_up(self, handle: ConnectionHandle, error: Exception, now: Instant) -> None:
        connection = self._found.get(handle)
        if connection is not None:
            self.end(connection, ClosedByFault(error))

    def close_all(self, reason: str, now: Instant) -> None:
        for connection in [*self._found.values()]:
            connection.close(0, reason, now)

    def handle_clock_changed(self, unix_now: UnixTime, now: Instant) -> None:
        del unix_now, now

    # the machine

    def handle_link_events(self, events: Sequence[LinkEvent], now: Instant) -> None:
        for event in events:
            if isinstance(event, LinkAccepted):
                self._accept(event, now)
                continue
            connection = self._by_link.get(event.link)
            if connection is None:
                continue
            try:
                self._take(connection, event, now)
            except TransportError as error:
                self.break_off(connection.handle, error, now)
            except DecodeError as error:
                self.break_off(connection.handle, violation(str(error)), now)

    def handle_timeout(self, now: Instant) -> None:
        for connection in [*self._found.values()]:
            if not connection.is_established and now >= connection.deadline.at:
                self.end(connection, ConnectionLost("nobody has answered"))

    def poll_timeout(self) -> Deadline | None:
        waiting = [c.deadline for c in self._found.values() if not c.is_established]
        return min(waiting, default=None)

    def poll_link_commands(self, now: Instant) -> Sequence[LinkCommand]:
        del now
        for connection in [*self._found.values()]:
            self._flush(connection)
        commands, self._commands = self._commands, []
        return commands

    def poll_events(self) -> Sequence[TransportEvent]:
        for handle in self._told:  # who is told of a connection's end may still look at it
            self.commons.connections.pop(handle, None)
        events, self._events = self._events, []
        self._told = [e.handle for e in events if isinstance(e.event, ConnectionClosed)]
        return events

    def poll_key_log(self) -> list[str]:
        return []

    def poll_qlog(self) -> list[tuple[str, list[str]]]:
        return []

    def check(self) -> None:
        assert not self._commands, "commands to links were not taken"
        for connection in self._found.values():
            assert not connection.credit or not connection.unsent, "something was not written"

    # for connections

    def tell(
        self, handle: ConnectionHandle, event: Connected | DialFailed | ConnectionEvent
    ) -> None:
        self._events.append(TransportEvent(handle, event))

    def on_hello(self, connection: ToyConnection, *, allows_streams: bool, now: Instant) -> None:
        peer_id = connection.peer_id
        if connection.expected not in (None, peer_id):
            raise violation("another peer has answered")
        self.commons.connections[connection.handle] = connection
        self.tell(
            connection.handle,
            Connected(
                peer_id,
                connection.is_initiator,
                connection.route,
                allows_streams,
                now - connection.began_at,
            ),
        )

    def end(
        self,
        connection: ToyConnection,
        reason: ConnectionLost,
        farewell: bytes = b"",
        *,
        reset: bool | None = True,
    ) -> None:
        """Ends a connection or a dial; with `reset` of None its link has ended already."""
        was_told = connection.handle in self.commons.connections
        connection.close_reason = reason
        connection.unsent += farewell
        if reset is not None:
            self._flush(connection)
            self._commands.append(CloseLink(connection.link, reset))
        connection.streams.leave()
        self._forget(connection)
        if was_told:
            self.tell(connection.handle, ConnectionClosed(reason))
        elif connection.is_initiator:
            self.tell(connection.handle, DialFailed(connection.route, reason))

    # details

    def _accept(self, event: LinkAccepted, now: Instant) -> None:
        route = Route(event.listener, event.local.ip, event.remote)
        verdict = self.commons.places.verdict(route, self.commons.has_streams)
        if isinstance(verdict, NoRoom) or not self._serves:
            self._commands.append(CloseLink(event.link, reset=True))
            return
        if verdict.instead_of is not None:
            self.commons.leaving.append((verdict.instead_of, "the place is needed for others"))
        handle = self.commons.take_handle()
        self.commons.places.add_inbound(handle, verdict)
        self._add(ToyConnection(self, handle, event.link, route, now))

    def _take(self, connection: ToyConnection, event: LinkEvent, now: Instant) -> None:
        match event:
            case LinkWritable(_, size):
                if not connection.said_hello:
                    connection.said_hello = True
                    connection.unsent += self._hello
                connection.credit += size
            case LinkData(_, data):
                connection.take(data, now)
            case LinkFailed(_, obstacle):
                self.end(connection, ConnectionLost(obstacle.name.lower()), reset=None)
            case LinkEof():
                self.end(connection, ResetByPeer())
            case LinkClosed():
                self.end(connection, ResetByPeer(), reset=None)
            case LinkConnected() | LinkAccepted():
                pass

    def _flush(self, connection: ToyConnection) -> None:
        streams = connection.streams
        while connection.credit:
            if connection.is_established and not streams.is_left:
                streams.fill(LINK_CREDIT)
            connection.unsent += streams.out
            streams.out.clear()
            data = bytes(connection.unsent[: connection.credit])
            if not data:
                return
            del connection.unsent[: len(data)]
            connection.credit -= len(data)
            self._commands.append(WriteLink(connection.link, data))

    def _add(self, connection: ToyConnection) -> None:
        self._found[connection.handle] = connection
        self._by_link[connection.link] = connection

    def _forget(self, connection: ToyConnection) -> None:
        self._found.pop(connection.handle, None)
        self._by_link.pop(connection.link, None)
        self.commons.places.remove(connection.handle)
