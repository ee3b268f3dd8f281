"""All negotiated or negotiating streams of a swarm, and who each one belongs to.

A stream belongs to a built-in protocol's machine (a pump moves its bytes) or to the application (it
is told when a stream may be read or written).
"""

from collections import Counter
from collections.abc import Sequence

from p2pnode.clock import Deadline, Instant, earliest
from p2pnode.deadlines import Deadlines
from p2pnode.errors import ClosedLocally, LocalProtocolError, P2PNodeError
from p2pnode.machine import ConnectionHandle, StreamMachine
from p2pnode.swarm import events
from p2pnode.swarm.events import SwarmEvent
from p2pnode.swarm.inbound_streams import InboundLimit, InboundStreams, StreamKey
from p2pnode.swarm.peer import Peer
from p2pnode.swarm.services.calls import ServiceCalls
from p2pnode.swarm.services.service import OpenStream, Service
from p2pnode.swarm.stream_pump import StreamPump
from p2pnode.swarm.swarm_stream import SwarmStream, propose
from p2pnode.transports.faults import Faults
from p2pnode.transports.registry import Transports
from p2pnode.transports.work import REQUEST_WORK
from p2pnode.wire.multistream import Responder
from p2pnode.wire.reset_code import StreamResetCode


class StreamTable:
    """Streams by connection and id."""

    def __init__(
        self,
        transports: Transports,
        calls: ServiceCalls,
        services: tuple[Service, ...],
        faults: Faults | None = None,
    ) -> None:
        """`services` are those that take inbound streams; they are told by `calls`.

        `faults` takes what goes wrong with a stream, and ends it; without it, that is raised.
        """
        self._faults = faults or Faults()
        self._transports = transports
        self._calls = calls
        self._registered = {
            protocol: (service, limit)
            for service in services
            for protocol, limit in service.inbound.items()
        }
        self.handled: dict[str, InboundLimit] = {}
        """Application protocols, and how many streams of each peers may have."""
        self._streams: dict[StreamKey, SwarmStream] = {}
        self._of_connection: dict[ConnectionHandle, dict[StreamKey, None]] = {}
        self._pumps: dict[StreamKey, tuple[StreamPump, Service]] = {}
        self._key_of: dict[StreamMachine, StreamKey] = {}
        """a service's machine -> its stream"""
        self._deadlines = Deadlines[StreamKey]()
        self._negotiating: dict[StreamKey, None] = {}
        self._ledger = transports.account.streams
        self._inbound = InboundStreams(self._ledger)
        self._events: list[SwarmEvent] = []

    def has_streams(self, connection: ConnectionHandle) -> bool:
        """True also while what was written to a released stream is on its way."""
        found = self._transports.connections.get(connection)
        return found is not None and len(found.streams) > 0

    def has_application_streams(self, connection: ConnectionHandle) -> bool:
        """True while an application holds a stream of the connection."""
        return any(
            key not in self._pumps and key not in self._negotiating
            for key in self._of_connection.get(connection, ())
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
        """Opens a stream and proposes protocols.

        Raises ConnectionLost, and LocalProtocolError where this node has too many.
        Returns None where the peer allows no more streams now; StreamsAvailable tells when it does.
        """
        found = self._transports.command(connection)
        if found is None:
            raise ClosedLocally("the connection is gone")
        if found.close_reason is not None:
            raise found.close_reason.again()
        proposal = propose(protocols)  # first, because it raises what the caller did wrong
        everybodys = self._ledger.process
        if everybodys.used >= everybodys.limit:
            refusal = self._ledger.refusal_of(everybodys)
            self._ledger.refusals.note(refusal)
            raise LocalProtocolError(str(refusal))
        stream_id = found.streams.open()
        if stream_id is None:
            return None
        wake = self._transports.of(found).wake
        stream = SwarmStream(connection, found, stream_id, proposal, wake, now)
        self._add((connection, stream_id), stream)
        everybodys.used += 1  # of all that a ledger counts, own streams count for this alone
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
        self._start_pump(key, StreamPump(stream, command.machine), service, now)

    def _fail(self, service: Service, command: OpenStream, reason: str, now: Instant) -> None:
        """There is no stream for a machine."""
        self._calls.stream_failed(service, command.connection, command.machine, reason, now)
        self._calls.stream_over(service, command.connection, command.machine, now)

    def pump_machine(
        self, connection: ConnectionHandle, machine: StreamMachine, now: Instant
    ) -> None:
        """A machine of a service was given a command: moves what it has to say."""
        key = self._key_of.get(machine)
        if key is not None and key[0] == connection:
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

    # from the transports

    def on_opened(self, peer: Peer, stream_id: int, now: Instant) -> None:
        """The peer opened a stream; what it is for comes next."""
        found = self._transports.connections.get(peer.connection)
        if found is None:
            return
        key = (peer.connection, stream_id)
        responder, wake = Responder(self._speaks), self._transports.of(found).wake
        stream = SwarmStream(peer.connection, found, stream_id, responder, wake, now)
        refusal = self._inbound.enter_negotiation(key, peer)
        if refusal is not None:
            stream.fail(LocalProtocolError(str(refusal)), StreamResetCode.RESOURCE_LIMIT)
            return
        self._add(key, stream)

    def on_readable(self, connection: ConnectionHandle, stream_id: int, now: Instant) -> None:
        key = (connection, stream_id)
        stream = self._streams.get(key)
        if stream is None:
            return
        if key in self._negotiating:
            try:
                if stream.negotiate():
                    self._end_negotiation(key, stream, now)
            except Exception as error:
                self._give_up(key, error, now)
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
        """Machines end with their streams; the application finds out at its next read or write.

        It is told of the connection, and so of no stream.
        """
        for key in list(self._of_connection.get(connection, ())):
            if key in self._pumps:
                self._pump(key, now)
            if key in self._pumps:  # it waits for neither bytes nor room
                try:
                    self._pumps[key][0].break_off(now)
                    self._after_pump(key, now)
                except Exception as error:
                    self._give_up(key, error, now)
            self._forget(key)
        self._inbound.on_connection_closed(connection)

    # time

    def handle_timeout(self, now: Instant) -> None:
        for key in self._deadlines.take_due(now):
            try:
                if key in self._negotiating and self._streams[key].handle_timeout(now):
                    self._end_negotiation(key, self._streams[key], now)
                if key in self._pumps:
                    self._pumps[key][0].handle_timeout(now)
                    self._after_pump(key, now)
                self._renew_deadline(key)
            except Exception as error:
                self._give_up(key, error, now)

    def poll_timeout(self) -> Deadline | None:
        return self._deadlines.first()

    def check(self) -> None:
        """Asserts that no machine's deadline has moved without its stream being pumped."""
        for key in self._streams | self._pumps:
            at = self._deadlines.of(key)
            assert self._deadline(key) == at, f"the deadline of stream {key} has moved from {at}"

    def poll_events(self) -> list[SwarmEvent]:
        found, self._events = self._events, []
        return found

    # details

    def _speaks(self, protocol: str) -> bool:
        return protocol in self._registered or protocol in self.handled

    def _end_negotiation(self, key: StreamKey, stream: SwarmStream, now: Instant) -> None:
        del self._negotiating[key]
        if key in self._pumps:
            self._renew_deadline(key)
        else:
            self._deadlines.set(key, None)
        self._on_negotiated(key, stream, now)

    def _deadline(self, key: StreamKey) -> Deadline | None:
        return earliest(
            self._streams[key].poll_timeout() if key in self._negotiating else None,
            self._pumps[key][0].poll_timeout() if key in self._pumps else None,
        )

    def _renew_deadline(self, key: StreamKey) -> None:
        self._deadlines.set(key, self._deadline(key))

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
        """The holder of the stream finds out at the next read or write."""
        self._events.append(events.StreamReadable(stream))
        self._events.append(events.StreamWritable(stream))

    def _begin_inbound(self, key: StreamKey, stream: SwarmStream, now: Instant) -> None:
        protocol = stream.protocol
        assert protocol is not None
        service, limit = self._registered.get(protocol, (None, self.handled.get(protocol)))
        assert limit is not None
        if self._inbound.enter(key, stream.peer_id, protocol, limit) is not None:
            self._refuse(key, stream, StreamResetCode.RESOURCE_LIMIT)
            return
        if service is None:
            self._events.append(events.StreamOpened(stream))
            return
        found = self._transports.connections.get(key[0])
        assert found is not None
        found.work.add_overhead(REQUEST_WORK)
        peer = Peer(key[0], stream.peer_id, found.route, found.is_initiator, found.transport)
        machine = self._calls.accept(service, peer, protocol, now)
        if machine is None:
            self._refuse(key, stream, StreamResetCode.GATED)
            return
        self._start_pump(key, StreamPump(stream, machine), service, now)

    def _start_pump(self, key: StreamKey, pump: StreamPump, service: Service, now: Instant) -> None:
        self._pumps[key] = pump, service
        self._key_of[pump.machine] = key
        self._pump(key, now)

    def _refuse(self, key: StreamKey, stream: SwarmStream, code: StreamResetCode) -> None:
        """Gives up a stream whose peer has not been told yet that its protocol is agreed on."""
        stream.reset(code)
        self._forget(key)

    def _pump(self, key: StreamKey, now: Instant) -> None:
        try:
            self._pumps[key][0].pump(now)
            self._after_pump(key, now)
        except Exception as error:
            self._give_up(key, error, now)

    def _after_pump(self, key: StreamKey, now: Instant) -> None:
        pump, service = self._pumps[key]
        failure = pump.stream.failure
        if failure is not None:
            self._calls.stream_failed(service, key[0], pump.machine, str(failure), now)
        else:
            self._calls.progressed(service, key[0], pump.machine, now)
            pump.flush(now)
        if failure is not None or pump.is_over:
            del self._pumps[key]
            self._key_of.pop(pump.machine, None)
            if pump.stream.is_over:
                self._forget(key)
            self._calls.stream_over(service, key[0], pump.machine, now)
        self._renew_deadline(key)

    def _give_up(self, key: StreamKey, error: Exception, now: Instant) -> None:
        """Ends a stream for a fault, and its connection only where that cannot be done either."""
        self._faults.take(error)
        pump, service = self._pumps.pop(key, (None, None))
        stream = self._streams.get(key)
        self._forget(key)
        self._deadlines.set(key, None)
        reason = f"this program failed ({type(error).__name__}): a bug, please report it"
        try:
            if stream is not None:
                stream.fail(LocalProtocolError(reason), StreamResetCode.NONE)
                if pump is None:
                    self._wake(stream)
            if pump is not None and service is not None:
                self._key_of.pop(pump.machine, None)
                self._calls.stream_failed(service, key[0], pump.machine, reason, now)
                self._calls.stream_over(service, key[0], pump.machine, now)
        except Exception as second:
            self._faults.take(second, key[0])

    def _add(self, key: StreamKey, stream: SwarmStream) -> None:
        self._streams[key] = stream
        self._of_connection.setdefault(key[0], {})[key] = None
        self._negotiating[key] = None
        self._deadlines.set(key, stream.poll_timeout())

    def _forget(self, key: StreamKey) -> None:
        if key in self._negotiating:
            del self._negotiating[key]
            if key not in self._pumps:
                self._deadlines.set(key, None)
        stream = self._streams.pop(key, None)
        if stream is not None:
            if not stream.is_inbound:
                self._ledger.process.used -= 1
            of_connection = self._of_connection[key[0]]
            del of_connection[key]
            if not of_connection:
                del self._of_connection[key[0]]
        self._inbound.leave(key)
