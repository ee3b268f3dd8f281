"""Carries out what services ask for, by the parts of the swarm that can (`service.Command`).

The other way round it passes on what those parts ask of services (`requests.ServiceRequest`).

Commands whose answers come later are remembered with the service that gave them.
"""

from collections.abc import Callable, Sequence

from p2pnode.clock import Instant
from p2pnode.errors import P2PNodeError
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import ConnectionHandle
from p2pnode.swarm import events
from p2pnode.swarm.address_book import AddressBook, AddressSource
from p2pnode.swarm.dial_back_side import FIRST_HANDLE, DialBackSide
from p2pnode.swarm.dials import Dials
from p2pnode.swarm.facts import SwarmFacts
from p2pnode.swarm.relayed_paths import RelayedPaths
from p2pnode.swarm.requests import (
    FindPeer,
    ReleaseCircuit,
    RequestCircuit,
    ServiceRequest,
)
from p2pnode.swarm.services.calls import ServiceCalls
from p2pnode.swarm.services.registry import Services
from p2pnode.swarm.services.service import (
    CircuitFailed,
    Command,
    DialBack,
    DialPeer,
    Disconnect,
    DropCircuit,
    FindPeers,
    LearnAddresses,
    OpenStream,
    ProbePath,
    PumpMachine,
    PunchRoutes,
    Readvertise,
    ReplaceCircuit,
    SendDatagram,
    Service,
    UseCircuit,
)
from p2pnode.swarm.stream_table import StreamTable
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.registry import Transports
from p2pnode.wire.multiaddr import Multiaddr


class CommandRunner:
    """Knows who asked for what."""

    def __init__(
        self,
        transports: Transports,
        dial_backs: DialBackSide,
        streams: StreamTable,
        dials: Dials,
        relayed_paths: RelayedPaths,
        book: AddressBook,
        facts: SwarmFacts,
        services: Services,
        calls: ServiceCalls,
        readvertise: Callable[[Instant], None],
    ) -> None:
        self._transports = transports
        self._dial_backs = dial_backs
        self._streams = streams
        self._dials = dials
        self._relayed_paths = relayed_paths
        self._book = book
        self._facts = facts
        self._services = services
        self._calls = calls
        self._readvertise = readvertise
        self._service_of_dial_back: dict[int, Service] = {}
        self._service_of_dial: dict[int, tuple[Service, PeerId]] = {}

    def run(self, service: Service, command: Command, now: Instant) -> None:
        """Does what a service asks for.  A bug that this meets costs the connection it names."""
        try:
            self._run(service, command, now)
        except Exception as error:
            connection: ConnectionHandle | None = getattr(command, "connection", None)
            if connection is None:
                raise
            self._transports.break_off(connection, error, now)

    def _run(self, service: Service, command: Command, now: Instant) -> None:
        match command:
            case OpenStream(connection) if connection >= FIRST_HANDLE:
                self._dial_backs.run(service, command, now)
            case OpenStream():
                self._streams.run(service, command, now)
            case PumpMachine(connection, machine):
                self._streams.pump_machine(connection, machine, now)
            case DialPeer(peer_id, addresses):
                self._connect(service, peer_id, addresses, now)
            case Disconnect(connection, reason, for_load):
                self._disconnect(connection, reason, now, for_load=for_load)
            case DialBack(ticket):
                self._service_of_dial_back[ticket] = service
                self._dial_backs.dial_back(command, now)
            case SendDatagram():
                self._dial_backs.send(command)
            case PunchRoutes(connection, remotes, punch):
                self._relayed_paths.punch(connection, remotes, punch, now)
            case UseCircuit(route, peer_id, is_asker):
                self._relayed_paths.use_circuit(route, peer_id, is_asker=is_asker, now=now)
            case CircuitFailed(peer_id, relay, reason):
                self._dials.on_circuit_failed(peer_id, relay, reason, now)
            case DropCircuit(route, peer_id, reason):
                self._relayed_paths.drop_circuit(route, peer_id, reason, now)
            case ReplaceCircuit(route, peer_id, relay):
                self._relayed_paths.replace_circuit(route, peer_id, relay, now)
            case ProbePath(connection):
                with self._transports.commanding(connection, now) as found:
                    if found is not None:
                        found.ping()
            case FindPeers():
                self._services.routing.sample(now)
                self._services.peer_discovery.want_more(now)
            case LearnAddresses(peer_id, addresses):
                self._book.add(peer_id, addresses, AddressSource.HEARSAY, now)
                self._calls.addresses_learned(peer_id, now)
            case Readvertise():
                self._readvertise(now)

    def pass_on(self, request: ServiceRequest, now: Instant) -> None:
        """Gives a service what a part of the swarm asks of it."""
        match request:
            case FindPeer(peer_id):
                self._calls.command(self._services.routing).find(peer_id, now)
            case RequestCircuit(peer_id, relay, addresses):
                client = self._calls.command(self._services.relay_client)
                client.request(peer_id, relay, addresses, now)
            case ReleaseCircuit(route):
                self._calls.command(self._services.relay_client).release(route, now)

    def take_dial_backs(self, now: Instant) -> None:
        """Tells services what became of the dial-backs that they asked for."""
        for result in self._dial_backs.poll_results(now):
            service = self._service_of_dial_back.pop(result.ticket, None)
            if service is not None:
                self._calls.dialled_back(service, *result, now)

    def is_for_service(self, event: events.DialSucceeded | events.DialFailed, now: Instant) -> bool:
        """Whether a dial that has ended was a service's, which is told of a failure."""
        service, peer_id = self._service_of_dial.pop(event.dial_id, (None, None))
        if service is None or peer_id is None:
            return False
        if isinstance(event, events.DialFailed):
            reasons = "; ".join(str(error) for _, error in event.attempts)
            reason = reasons or "no address is known"
            self._calls.connect_failed(service, peer_id, reason, now)
        return True

    def _connect(
        self, service: Service, peer_id: PeerId, addresses: Sequence[Multiaddr], now: Instant
    ) -> None:
        if self._facts.direct(peer_id) is not None:
            return
        try:
            dial_id = self._dials.begin(peer_id, addresses, None, now, is_direct_only=True)
        except P2PNodeError as error:
            self._calls.connect_failed(service, peer_id, str(error), now)
            return
        self._service_of_dial[dial_id] = service, peer_id

    def _disconnect(
        self, connection: ConnectionHandle, reason: str, now: Instant, *, for_load: bool
    ) -> None:
        if connection >= FIRST_HANDLE:
            self._dial_backs.disconnect(connection, reason, now)
            return
        code = ErrorCode.EXCESSIVE_LOAD if for_load else ErrorCode.NO_ERROR
        with self._transports.commanding(connection, now) as found:
            if found is None:
                return
            if for_load and (
                found.streams or self._transports.commons.places.is_protected(connection)
            ):
                return  # it is of other use
            found.close(code, reason, now, is_application=not for_load)
