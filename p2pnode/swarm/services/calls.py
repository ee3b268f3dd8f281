"""Calls the services' hooks, and so knows who is to be asked: nobody else decides it.

    output      whoever commands or announces something (`Service._command`, `_announce`)
                stands in line
    deadline    whoever was called may have another one than before

Rule: what is rare may concern every service's deadline; what comes with each packet, the bytes of
streams and of relayed circuits, concerns the one service that is called.  What one service makes of
a peer keeps none of the others from being told.
"""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from p2pnode.clock import Deadline, Instant, earliest
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import ConnectionHandle, StreamMachine
from p2pnode.protocols.identify import IdentifyInfo
from p2pnode.swarm.peer import Peer
from p2pnode.swarm.services.service import Service
from p2pnode.transports.faults import Faults
from p2pnode.transports.route import Route

ServiceT = TypeVar("ServiceT", bound=Service)


class ServiceCalls:
    """All services of a swarm, in the order in which they are told what happens."""

    def __init__(self, faults: Faults | None = None) -> None:
        """`faults` takes what goes wrong as services are told of a peer; else that is raised."""
        self._faults = faults or Faults()
        self._services: dict[Service, None] = {}
        self.speaking: dict[Service, None] = {}
        """Those with output, in the order in which they spoke."""
        self._stale: dict[Service, None] = {}
        """Those whose deadline is to be asked anew."""
        self._deadlines: dict[Service, Deadline | None] = {}
        self._first: Deadline | None = None

    def register(self, services: Sequence[Service]) -> None:
        """Makes these the swarm's services; to be called once."""
        self._services = dict.fromkeys(services)
        for service in services:
            service.speak_to(self.speaking)
        self.stir()

    def __iter__(self) -> Iterator[Service]:
        return iter(self._services)

    # who is to be asked

    def stir(self) -> None:
        """Something has happened that the deadline of any of them may depend on."""
        self._stale.update(self._services)

    def command(self, service: ServiceT) -> ServiceT:
        """Returns a service to be given a command that concerns it alone."""
        self._stale[service] = None
        return service

    def next_speaker(self) -> Service | None:
        """Returns who has stood in line longest, for its output to be taken, or None."""
        if not self.speaking:
            return None
        service = next(iter(self.speaking))
        del self.speaking[service]
        self.stir()  # of what it asks for others may be told
        return service

    # time

    def handle_timeout(self, now: Instant) -> None:
        """Lets those act whose time has come."""
        first = self.poll_timeout()
        if first is None or now < first.at:
            return
        for service, deadline in self._deadlines.items():
            if deadline is not None and now >= deadline.at:
                self.command(service).handle_timeout(now)

    def poll_timeout(self) -> Deadline | None:
        """Asks only those that were called since: this is asked after every packet."""
        if self._stale:
            for service in self._stale:
                self._deadlines[service] = service.poll_timeout()
            self._stale.clear()
            self._first = earliest(*self._deadlines.values())
        return self._first

    def check(self) -> None:
        """Asserts that nobody has output or another deadline than is known here."""
        assert not self.speaking, f"{next(iter(self.speaking))} was not asked for its output"
        self.poll_timeout()
        for service, known in self._deadlines.items():
            assert service.poll_timeout() == known, f"the deadline {known} of {service} has moved"

    # what all are told

    def connected(self, peer: Peer, now: Instant) -> None:
        self.stir()
        for service in self._services:
            try:
                service.on_connected(peer, now)
            except Exception as error:
                self._faults.take(error, peer.connection)

    def disconnected(self, peer: Peer, now: Instant) -> None:
        self.stir()
        for service in self._services:
            try:
                service.on_disconnected(peer, now)
            except Exception as error:
                self._faults.take(error, peer.connection)

    def path_changed(self, peer: Peer, now: Instant) -> None:
        self.stir()
        for service in self._services:
            try:
                service.on_path_changed(peer, now)
            except Exception as error:
                self._faults.take(error, peer.connection)

    def path_validated(self, connection: ConnectionHandle, route: Route, now: Instant) -> None:
        self.stir()
        for service in self._services:
            try:
                service.on_path_validated(connection, route, now)
            except Exception as error:
                self._faults.take(error, connection)

    def identified(self, peer: Peer, info: IdentifyInfo, now: Instant) -> None:
        self.stir()
        for service in self._services:
            try:
                service.on_identified(peer, info, now)
            except Exception as error:
                self._faults.take(error, peer.connection)

    def addresses_learned(self, peer_id: PeerId, now: Instant) -> None:
        self.stir()
        for service in self._services:
            service.on_addresses_learned(peer_id, now)

    def observed(self, peer: Peer, now: Instant) -> None:
        self.stir()
        for service in self._services:
            try:
                service.on_observed(peer, now)
            except Exception as error:
                self._faults.take(error, peer.connection)

    def addresses_changed(self, now: Instant) -> None:
        self.stir()
        for service in self._services:
            service.on_addresses_changed(now)

    # what one is told

    def accept(
        self, service: Service, peer: Peer, protocol: str, now: Instant
    ) -> StreamMachine | None:
        return self.command(service).accept(peer, protocol, now)

    def progressed(
        self, service: Service, connection: ConnectionHandle, machine: StreamMachine, now: Instant
    ) -> None:
        self.command(service).on_progress(connection, machine, now)

    def stream_failed(
        self,
        service: Service,
        connection: ConnectionHandle,
        machine: StreamMachine,
        reason: str,
        now: Instant,
    ) -> None:
        self.command(service).on_stream_failed(connection, machine, reason, now)

    def stream_over(
        self, service: Service, connection: ConnectionHandle, machine: StreamMachine, now: Instant
    ) -> None:
        self.command(service).on_stream_over(connection, machine, now)

    def connect_failed(self, service: Service, peer_id: PeerId, reason: str, now: Instant) -> None:
        self.command(service).on_connect_failed(peer_id, reason, now)

    def dialled_back(
        self,
        service: Service,
        ticket: int,
        connection: ConnectionHandle | None,
        reason: str,
        now: Instant,
    ) -> None:
        self.command(service).on_dial_back(ticket, connection, reason, now)
