"""All negotiated or negotiating streams of a swarm, and who each one belongs to.

A stream belongs to a built-in protocol's machine (a pump moves its bytes) or to the application (it
is told when a stream may be read or written).
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Final, TypeAlias, TypeVar

from p2pnode.clock import Deadline, Instant, earliest
from p2pnode.errors import ClosedLocally, LocalProtocolError, P2PNodeError
from p2pnode.machine import ConnectionHandle, StreamMachine
from p2pnode.protocols.multistream import Responder
from p2pnode.swarm import events
from p2pnode.swarm.events import SwarmEvent
from p2pnode.swarm.services.calls import ServiceCalls
from p2pnode.swarm.services.service import OpenStream, Peer, Service
from p2pnode.swarm.stream_pump import StreamPump
from p2pnode.swarm.swarm_stream import SwarmStream, propose
from p2pnode.transport.endpoint import Endpoint
from p2pnode.wire.reset_code import StreamResetCode

MAX_NEGOTIATING: Final = 64
"""Inbound streams of one connection whose protocol is not known yet; chosen: a burst of requests"""

T = TypeVar("T", bound=Hashable)
StreamKey: TypeAlias = tuple[ConnectionHandle, int]
"""(connection handle, stream id)"""


class StreamTable:
    """Streams by connection and id."""

    def __init__(
        self, endpoint: Endpoint, calls: ServiceCalls, services: tuple[Service, ...]
    ) -> None:
        """`services` are those that take inbound streams; they are told by `calls`."""
        self._endpoint = endpoint
        self._calls = calls
        self._service_of = {p: service for service in services for p in service.protocol_ids}
        self.handled: dict[str, int] = {}
        """Application protocols, and how many streams of each one connection may have."""
        self._streams: dict[StreamKey, SwarmStream] = {}
        self._pumps: dict[StreamKey, tuple[StreamPump, Service]] = {}
        self._negotiating: dict[StreamKey, None] = {}
        self._negotiating_of: Counter[int] = Counter()
        """connection -> streams whose protocol is not known yet"""
        self._inbound: Counter[tuple[int, str]] = Counter()
        """(connection, protocol) -> streams that the peer has opened"""
        self._events: list[SwarmEvent] = []

    def has_streams(self, connection: ConnectionHandle) -> bool:
        """True also while what was written to a released stream is on its way."""
        found = self._endpoint.connections.get(connection)
        return found is not None and len(found.streams) > 0

    def has_application_streams(self, connection: ConnectionHandle) -> bool:
        """True while an application holds a stream of the connection."""
        return any(
            key[0] == connection and key not in self._pumps and key not in self._negotiating
            for key in self._streams
        )

    def open_streams(self) -> Counter[tuple[str, bool]]:
        """Returns how many there are now by (protocol, whether the peer opened them)."""
        return Counter(
            (stream.protocol, stream.is_inbound)
            for stream in self._streams.values()
            if stream.protocol is not None
        )

    def open(
        self, connection: ConnectionHandle, protocols: Sequence[str], now: Instant
    ) -> SwarmStream | None:
        """Opens a stream and proposes protocols.  Raises ConnectionLost.

        Returns None where the peer allows no more streams now; StreamsAvailable tells when it does.
        """
        found = self._endpoint.command(connection)
        if found is None:
            raise ClosedLocally("the connection is gone")
        if found.close_reason is not None:
            raise found.close_reason
        stream_id = found.streams.open()
        if stream_id is None:
            return None
        wake = self._endpoint.wake
        stream = SwarmStream(connection, found, stream_id, propose(protocols), wake, now)
        self._add((connection, stream_id), stream)
        return stream

    def run(self, service: Service, command: OpenStream, now: Instant) -> None:
        """Opens a stream for a service's machine."""
        try:
            stream = self.open(command.connection, [command.protocol], now)
        except P2PNodeError as error:
            self._fail(service, command, str(error), now)
            return
        if stream is None:
            self._fail(service, command, "the peer allows no more streams now", now)
            return
        key = (command.connection, stream.stream_id)
        self._pumps[key] = StreamPump(stream, command.machine), service
        self._pump(key, now)

    def _fail(self, service: Service, command: OpenStream, reason: str, now: Instant) -> None:
        self._calls.stream_failed(service, command.connection, command.machine, reason, now)

    def pump_machine(
        self, connection: ConnectionHandle, machine: StreamMachine, now: Instant
    ) -> None:
        """A machine of a service was given a command: moves what it has to say."""
        for key, (pump, _) in list(self._pumps.items()):
            if key[0] == connection and pump.machine is machine:
                self._pump(key, now)

    def release(self, stream: SwarmStream) -> None:
        """The application is done with a stream: what it has written is still delivered."""
        stream.release()
        self._forget_if_over(stream)

    def reset(self, stream: SwarmStream, code: int) -> None:
        """The application gives a stream up in both directions."""
        stream.fail(LocalProtocolError("the stream was reset on this side"), code)
        self._forget_if_over(stream)

    def _forget_if_over(self, stream: SwarmStream) -> None:
        if stream.is_over:
            self._forget((stream.connection, stream.stream_id))

    # from the endpoint

    def on_opened(self, peer: Peer, stream_id: int, now: Instant) -> None:
        """The peer opened a stream; what it is for comes next."""
        found = self._endpoint.connections.get(peer.connection)
        if found is None:
            return
        key = (peer.connection, stream_id)
        responder = Responder(lambda protocol: self._accepts(peer, protocol))
        wake = self._endpoint.wake
        stream = SwarmStream(peer.connection, found, stream_id, responder, wake, now)
        if self._negotiating_of[peer.connection] >= MAX_NEGOTIATING:
            stream.fail(LocalProtocolError("too many streams"), StreamResetCode.RESOURCE_LIMIT)
            return
        self._add(key, stream)

    def on_readable(self, connection: ConnectionHandle, stream_id: int, now: Instant) -> None:
        key = (connection, stream_id)
        stream = self._streams.get(key)
        if stream is None:
            return
        if key in self._negotiating:
            if not stream.negotiate():
                return
            self._end_negotiation(key)
            self._on_negotiated(key, stream, now)
        elif key in self._pumps:
            self._pump(key, now)
        else:
            self._events.append(events.StreamReadable(stream))

    def on_writable(self, connection: ConnectionHandle, stream_id: int, now: Instant) -> None:
        key = (connection, stream_id)
        if key in self._pumps:
            self._pump(key, now)
        elif key in self._streams:
            self._events.append(events.StreamWritable(self._streams[key]))

    def on_connection_closed(self, connection: ConnectionHandle, now: Instant) -> None:
        """Everybody with a stream on it finds out why at the next read or write."""
        for key in [k for k in self._streams if k[0] == connection]:
            stream = self._streams[key]
            if key in self._pumps:
                self._pump(key, now)
            else:
                self._wake(stream)
            self._pumps.pop(key, None)
            self._forget(key)

    # time

    def handle_timeout(self, now: Instant) -> None:
        for key in list(self._negotiating):
            stream = self._streams[key]
            if stream.handle_timeout(now):
                self._end_negotiation(key)
                self._on_negotiated(key, stream, now)
        for key, (pump, service) in list(self._pumps.items()):
            deadline = pump.poll_timeout()
            if deadline is not None and now >= deadline.at:
                pump.handle_timeout(now)
                self._after_pump(key, pump, service, now)

    def poll_timeout(self) -> Deadline | None:
        # all have the same time to agree, so the one that began first is the first to be late
        oldest = next(iter(self._negotiating), None)
        return earliest(
            None if oldest is None else self._streams[oldest].poll_timeout(),
            *(pump.poll_timeout() for pump, _ in self._pumps.values()),
        )

    def poll_events(self) -> list[SwarmEvent]:
        found, self._events = self._events, []
        return found

    # details

    def _accepts(self, peer: Peer, protocol: str) -> bool:
        if protocol in self._service_of:
            return True
        limit = self.handled.get(protocol)
        return limit is not None and self._inbound[peer.connection, protocol] < limit

    def _on_negotiated(self, key: StreamKey, stream: SwarmStream, now: Instant) -> None:
        if key in self._pumps:
            self._pump(key, now)
            return
        is_over = stream.is_over
        if is_over:
            self._forget(key)
        if not stream.is_inbound:
            self._wake(stream)
        elif not is_over:
            self._begin_inbound(key, stream, now)

    def _wake(self, stream: SwarmStream) -> None:
        """Who holds the stream finds out at the next read or write."""
        self._events.append(events.StreamReadable(stream))
        self._events.append(events.StreamWritable(stream))

    def _begin_inbound(self, key: StreamKey, stream: SwarmStream, now: Instant) -> None:
        assert stream.protocol is not None
        self._inbound[key[0], stream.protocol] += 1
        service = self._service_of.get(stream.protocol)
        if service is None:
            self._events.append(events.StreamOpened(stream))
            return
        found = self._endpoint.connections.get(key[0])
        assert found is not None
        peer = Peer(key[0], stream.peer_id, found.route, found.is_initiator)
        machine = self._calls.accept(service, peer, stream.protocol, now)
        if machine is None:
            stream.reset(StreamResetCode.RESOURCE_LIMIT)
            self._forget(key)
            return
        self._pumps[key] = StreamPump(stream, machine), service
        self._pump(key, now)

    def _pump(self, key: StreamKey, now: Instant) -> None:
        pump, service = self._pumps[key]
        pump.pump(now)
        self._after_pump(key, pump, service, now)

    def _after_pump(self, key: StreamKey, pump: StreamPump, service: Service, now: Instant) -> None:
        failure = pump.stream.failure
        if failure is not None:
            self._drop(key)
            self._calls.stream_failed(service, key[0], pump.machine, str(failure), now)
            return
        self._calls.progressed(service, key[0], pump.machine, now)
        pump.flush(now)
        if pump.is_over:
            self._drop(key)

    def _drop(self, key: StreamKey) -> None:
        self._pumps.pop(key, None)
        stream = self._streams.get(key)
        if stream is not None and stream.is_over:
            self._forget(key)

    def _add(self, key: StreamKey, stream: SwarmStream) -> None:
        self._streams[key] = stream
        self._negotiating[key] = None
        self._negotiating_of[key[0]] += 1

    def _end_negotiation(self, key: StreamKey) -> None:
        if key in self._negotiating:
            del self._negotiating[key]
            _count_down(self._negotiating_of, key[0])

    def _forget(self, key: StreamKey) -> None:
        self._end_negotiation(key)
        stream = self._streams.pop(key, None)
        if stream is not None and stream.is_inbound and stream.protocol is not None:
            _count_down(self._inbound, (key[0], stream.protocol))


def _count_down(counter: Counter[T], key: T) -> None:
    """Takes one off; a key whose count is zero is not kept."""
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
