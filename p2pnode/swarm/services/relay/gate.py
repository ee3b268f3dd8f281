"""Who may have what of a relay: what reservations, stream and datagram circuits have in common.

Rules: the peer, its address and whether it comes through another relay are the connection's facts
at the moment of the decision; no circuit leads to a peer that is reached through a relay; every
answer is counted by its status.
"""

from collections import Counter
from collections.abc import Callable

from p2pnode.clock import Instant, UnixTime
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import ConnectionHandle, StreamMachine
from p2pnode.protocols.relay import (
    AccessList,
    Admitted,
    CircuitAdmission,
    Client,
    Granted,
    MonthlyVolume,
    Refused,
    RelayLimits,
    ReservationTable,
    Status,
    circuit_ledger,
    reservation_ledger,
)
from p2pnode.resources.account import Account
from p2pnode.swarm.peer import Peer
from p2pnode.swarm.service_facts import ServiceFacts
from p2pnode.swarm.services.service import Command, Disconnect, OpenStream, PumpMachine

_NOT_SERVING = Refused(Status.PERMISSION_DENIED, "this node does not relay now")
_GONE = Refused(Status.CONNECTION_FAILED, "the connection is gone")


class RelayGate:
    """The tables that decide, behind the facts of the swarm."""

    def __init__(
        self,
        facts: ServiceFacts,
        command: Callable[[Command], None],
        *,
        limits: RelayLimits,
        access: AccessList,
        volume: MonthlyVolume,
        now: Instant,
        unix_now: UnixTime,
        account: Account,
    ) -> None:
        """`command` takes what the swarm shall do."""
        self.facts = facts
        self._command = command
        self.limits = limits
        self.volume = volume
        reserved = reservation_ledger(limits, account.refusals)
        circuits = circuit_ledger(limits, account.refusals)
        account.add(reserved)
        account.add(circuits)
        self.reservations = ReservationTable(
            limits,
            access,
            now=now,
            unix_now=unix_now,
            ledger=reserved,
            protected=account.protected,
        )
        self._admission = CircuitAdmission(
            limits, access, self.reservations, volume, circuits, account.protected
        )
        self.is_used: Callable[[int, Instant], bool] = lambda _, now: False
        """Whether an admitted circuit has carried something lately, by its number."""
        self.is_serving = False
        """While not, all requests are refused; what is there goes on."""
        self.is_draining = False
        self.renewals = 0
        """Reservations that were granted to who had one."""
        self.circuits_closed = 0
        self.reservation_answers = Counter[Status]()
        self.circuit_answers = Counter[Status]()
        self.left: list[ConnectionHandle] = []
        self.gives_way: list[int] = []
        """Numbers of circuits that have to end for others."""

    def handle_clock_changed(self, unix_now: UnixTime, now: Instant) -> None:
        """The wall clock was set."""
        self.reservations.handle_clock_changed(unix_now, now)
        self.volume.handle_clock_changed(unix_now, now)

    def take_left(self) -> list[ConnectionHandle]:
        """Returns the connections whose peers have reserved on another one since the last call."""
        left, self.left = self.left, []
        return left

    def take_gives_way(self) -> list[int]:
        """Returns the circuits that have to end for others since the last call."""
        gives_way, self.gives_way = self.gives_way, []
        return gives_way

    def has_circuits(self, peer: PeerId) -> bool:
        """Whether a peer is an end of a circuit."""
        return self._admission.has_circuits(peer)

    @property
    def has_clients(self) -> bool:
        """Whether there is any reservation or circuit."""
        return len(self.reservations) > 0 or len(self._admission) > 0

    def serves(self, peer: PeerId) -> bool:
        """Whether a peer has a reservation, or is an end of a circuit."""
        return peer in self.reservations or self._admission.has_circuits(peer)

    def disconnect(self, connection: ConnectionHandle, reason: str) -> None:
        """Ends a connection whose peer has lost what it was for, unless it is of other use."""
        self._command(Disconnect(connection, reason, for_load=True))

    @property
    def circuits(self) -> int:
        """Circuits of both kinds, those that are being opened included."""
        return len(self._admission)

    def drain(self) -> None:
        """Nothing more is granted or admitted."""
        self.is_draining = True
        self.reservations.drain()
        self._admission.drain()

    def reserve(self, connection: ConnectionHandle, now: Instant) -> tuple[Granted, Peer] | Refused:
        """Decides on a reservation of the connection's peer."""
        peer = self.facts.peer(connection)
        before = None if peer is None else self.reservations.connection_of(peer.peer_id, now)
        answer = self._reserve(connection, now)
        if not isinstance(answer, Refused) and before is not None and before != connection:
            self.left.append(before)
        status = answer.status if isinstance(answer, Refused) else Status.OK
        self.reservation_answers[status] += 1
        self.renewals += status is Status.OK and before is not None
        return answer

    def admit(
        self, connection: ConnectionHandle, target: PeerId, now: Instant
    ) -> tuple[Admitted, Peer, Peer] | Refused:
        """Decides on a circuit; returns it with its two ends.  Every one admitted is answered."""
        answer = self._admit(connection, target, now)
        if isinstance(answer, Refused):
            self.answered(answer.status)
        return answer

    def answered(self, status: Status) -> None:
        """An admitted circuit was opened, or refused after all."""
        self.circuit_answers[status] += 1

    def release(self, admitted: Admitted, *, was_open: bool) -> None:
        """A circuit has ended, or was never opened."""
        self.circuits_closed += was_open
        self._admission.release(admitted)

    def open(self, connection: ConnectionHandle, protocol: str, machine: StreamMachine) -> None:
        self._command(OpenStream(connection, protocol, machine))

    def pump(self, connection: ConnectionHandle, machine: StreamMachine) -> None:
        self._command(PumpMachine(connection, machine))

    def _reserve(
        self, connection: ConnectionHandle, now: Instant
    ) -> tuple[Granted, Peer] | Refused:
        peer = self.facts.peer(connection)
        if peer is None:
            return _GONE
        if not (self.is_serving or self.is_draining):
            return _NOT_SERVING
        granted = self.reservations.reserve(_client(peer), now, self.has_circuits)
        return granted if isinstance(granted, Refused) else (granted, peer)

    def _admit(
        self, connection: ConnectionHandle, target: PeerId, now: Instant
    ) -> tuple[Admitted, Peer, Peer] | Refused:
        source_peer = self.facts.peer(connection)
        if source_peer is None:
            return _GONE
        if not (self.is_serving or self.is_draining):
            return _NOT_SERVING
        admitted = self._admission.admit(
            _client(source_peer), target, now, lambda number: self.is_used(number, now)
        )
        if isinstance(admitted, Refused):
            return admitted
        target_peer = self.facts.peer(admitted.target_connection)
        if target_peer is None or target_peer.route.is_relayed:
            self.release(admitted, was_open=False)
            return Refused(Status.CONNECTION_FAILED, "the target is not connected directly")
        self.gives_way += admitted.instead_of
        return admitted, source_peer, target_peer


def _client(peer: Peer) -> Client:
    route = peer.route
    return Client(peer.peer_id, peer.connection, route.remote.ip, route.is_relayed)
