"""A transport over datagrams that does what a test says, for tests of those who have several."""

from collections.abc import Iterable, Sequence

from p2pnode.clock import Deadline, Instant, UnixTime
from p2pnode.errors import ClosedByFault, ClosedLocally, ConnectionLost, DialError
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import (
    Buffer,
    ConnectionHandle,
    Received,
    SocketAddr,
    SocketId,
    Transmit,
    Unreachable,
)
from p2pnode.transports.commons import Commons
from p2pnode.transports.events import Connected, ConnectionClosed, DialFailed, TransportEvent
from p2pnode.transports.places import Room
from p2pnode.transports.route import Route, transmit_of
from p2pnode.transports.work import Work
from p2pnode.wire.transport_name import TransportName
from tests.support.identities import peer_id
from tests.support.toy_streams import ToyStreams

ROUTE = Route(SocketId(0), None, SocketAddr("198.51.100.9", 4001))


class ScriptedConnection:
    """Whoever looks at it finds a peer and no streams."""

    paths = None
    rtt = None
    is_limited = False

    def __init__(self, transport: TransportName, route: Route, *, is_initiator: bool) -> None:
        self.transport = transport
        self.route = route
        self.is_initiator = is_initiator
        self.peer_id = peer_id("somebody")
        self.last_received: Instant = 0.0
        self.work = Work()
        self.streams = ToyStreams(lambda _: None, is_initiator=is_initiator)
        self.close_reason: ConnectionLost | None = None

    @property
    def is_closed(self) -> bool:
        return self.close_reason is not None

    def close(self, code: int, reason: str, now: Instant, *, is_application: bool = True) -> None:
        del code, now, is_application
        self.close_reason = ClosedLocally(reason)

    def ping(self) -> None:
        raise RuntimeError("a bug in this connection")

    def send_datagram(self, data: Buffer) -> bool:
        del data
        return False


class ScriptedTransport:
    """Takes what comes, and says what was taken."""

    def __init__(self, name: TransportName, commons: Commons, first_bytes: Iterable[int]) -> None:
        self.name = name
        self.commons = commons
        self.first_bytes = frozenset(first_bytes)
        self.received: list[bytes] = []
        self.unreachable: list[Unreachable] = []
        self.woken: list[ConnectionHandle] = []
        self.broken_off: list[ConnectionHandle] = []
        self.turned_out: list[tuple[ConnectionHandle, str]] = []
        self.clock: UnixTime | None = None
        self.timeouts: list[Instant] = []
        self.deadline: Deadline | None = None
        self.out: list[Transmit] = []
        self.told: list[TransportEvent] = []
        self.to_turn_out: list[ConnectionHandle] = []
        """Who is found to have to make way when it is asked what to send."""
        self._dials: dict[ConnectionHandle, Route] = {}

    # for tests

    def accept(self, route: Route, *, is_established: bool = True) -> ConnectionHandle:
        """Somebody comes, whom there is room for."""
        verdict = self.commons.places.verdict(route, self.commons.has_streams)
        assert isinstance(verdict, Room)
        if verdict.instead_of is not None:
            self.commons.leaving.append((verdict.instead_of, "the place is needed for others"))
        handle = self.commons.take_handle()
        self.commons.places.add_inbound(handle, verdict)
        if is_established:
            self._establish(handle, route, is_initiator=False)
        return handle

    def succeed(self, handle: ConnectionHandle) -> None:
        """A dial succeeds."""
        self._establish(handle, self._dials.pop(handle), is_initiator=True)

    def _establish(self, handle: ConnectionHandle, route: Route, *, is_initiator: bool) -> None:
        connection = ScriptedConnection(self.name, route, is_initiator=is_initiator)
        self.commons.connections[handle] = connection
        connected = Connected(connection.peer_id, is_initiator, route, True, 0.0)
        self.told.append(TransportEvent(handle, connected))

    def _end(self, handle: ConnectionHandle, reason: ConnectionLost) -> None:
        found = self.commons.connections.get(handle)
        if isinstance(found, ScriptedConnection) and found.transport == self.name:
            del self.commons.connections[handle]
            self.commons.places.remove(handle)
            self.told.append(TransportEvent(handle, ConnectionClosed(reason)))
        elif (route := self._dials.pop(handle, None)) is not None:
            self.commons.places.remove(handle)
            self.told.append(TransportEvent(handle, DialFailed(route, reason)))

    # the contract

    @property
    def has_events(self) -> bool:
        return bool(self.told)

    @property
    def is_active(self) -> bool:
        own = [c for c in self.commons.connections.values() if c.transport == self.name]
        return bool(own or self._dials or self.out or self.told or self.deadline)

    def claims(self, first_byte: int) -> bool:
        return first_byte in self.first_bytes

    def dial(
        self,
        route: Route,
        expected: PeerId | None,
        now: Instant,
        *,
        token: bytes = b"",
        timeout: float | None = None,
    ) -> ConnectionHandle:
        del expected, now, token, timeout
        handle = self.commons.take_handle()
        refusal = self.commons.places.add_outbound(handle)
        if refusal is not None:
            raise DialError(str(refusal))
        self._dials[handle] = route
        return handle

    def cancel_dial(self, handle: ConnectionHandle) -> None:
        if self._dials.pop(handle, None) is not None:
            self.commons.places.remove(handle)

    def wake(self, handle: ConnectionHandle) -> None:
        self.woken.append(handle)

    def break_off(self, handle: ConnectionHandle, error: Exception, now: Instant) -> None:
        self.broken_off.append(handle)
        self.commons.faults.take(error, handle)
        self.give_up(handle, error, now)

    def turn_out(self, handle: ConnectionHandle, reason: str, now: Instant) -> None:
        self.turned_out.append((handle, reason))
        if handle in self.commons.connections:
            self.out.append(transmit_of(ROUTE, b"farewell"))
        self._end(handle, ClosedLocally(reason))

    def give_up(self, handle: ConnectionHandle, error: Exception, now: Instant) -> None:
        self._end(handle, ClosedByFault(error))

    def close_all(self, reason: str, now: Instant) -> None:
        for handle in list(self._dials):
            self.cancel_dial(handle)
        for connection in self.commons.connections.values():
            if connection.transport == self.name:
                connection.close(0, reason, now)

    def handle_clock_changed(self, unix_now: UnixTime, now: Instant) -> None:
        self.clock = unix_now

    def handle_received(self, batch: Sequence[Received], now: Instant) -> None:
        self.received += [bytes(received.buffer) for received in batch]

    def handle_unreachable(self, reports: Sequence[Unreachable], now: Instant) -> None:
        self.unreachable += reports

    def handle_timeout(self, now: Instant) -> None:
        self.timeouts.append(now)

    def poll_timeout(self) -> Deadline | None:
        return self.deadline

    def poll_transmits(self, now: Instant) -> list[Transmit]:
        self.commons.leaving += [(handle, "memory is full") for handle in self.to_turn_out]
        out, self.out, self.to_turn_out = self.out, [], []
        return out

    def poll_events(self) -> list[TransportEvent]:
        told, self.told = self.told, []
        return told

    def poll_key_log(self) -> list[str]:
        return [f"secret of {self.name}"]

    def poll_qlog(self) -> list[tuple[str, list[str]]]:
        return [(f"trace of {self.name}", ["{}"])]

    def check(self) -> None:
        assert not self.out, "datagrams were not taken"
