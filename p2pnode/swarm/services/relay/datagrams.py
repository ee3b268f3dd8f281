"""Datagram circuits in the swarm: a hop stream, a row of the circuit table, a stop stream.

    CircuitOffered -> admitted -> offered to the target -> CircuitReady -> active
    either stream's end, the table's word, a lost connection -> closed, both streams end

Rule: the table says what is and what is not; the streams follow its events.
"""

from dataclasses import dataclass
from typing import TypeAlias

from p2pnode.clock import Instant
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import ConnectionHandle
from p2pnode.protocols.relay import (
    CIRCUIT_STOP_PROTOCOL_ID,
    Admitted,
    CircuitClosed,
    CircuitEnded,
    CircuitEnding,
    CircuitEndsSoon,
    CircuitKey,
    CircuitOffer,
    CircuitOffered,
    CircuitReady,
    CircuitRequester,
    CircuitResponder,
    CircuitTable,
    Leg,
    Refused,
    Status,
    VolumeNearlySpent,
)
from p2pnode.protocols.relay.circuit_dialogue import DialogueState
from p2pnode.swarm.peer import Peer
from p2pnode.swarm.services.relay.gate import RelayGate

CircuitDialogue: TypeAlias = CircuitRequester | CircuitResponder


@dataclass(slots=True)
class _DatagramCircuit:
    offer: CircuitOffer
    admitted: Admitted
    source: ConnectionHandle
    """The connection of the one who asked."""
    responder: CircuitResponder
    target: ConnectionHandle
    requester: CircuitRequester
    is_answered: bool = False

    def streams(
        self,
    ) -> tuple[tuple[ConnectionHandle, CircuitDialogue], tuple[ConnectionHandle, CircuitDialogue]]:
        return (self.source, self.responder), (self.target, self.requester)


class DatagramCircuits:
    """Circuits that wait for their target or are open."""

    def __init__(self, gate: RelayGate, table: CircuitTable) -> None:
        self._gate = gate
        self._table = table
        self._by_key: dict[CircuitKey, _DatagramCircuit] = {}
        self._by_number: dict[int, _DatagramCircuit] = {}
        """By what they are admitted as."""
        self._by_machine: dict[CircuitDialogue, _DatagramCircuit] = {}
        self.is_volume_nearly_spent = False
        """Since the table has said so; whoever acts on it sets it back."""

    def peers(self) -> list[PeerId]:
        """Returns the ends of all circuits, each as often as it is one."""
        found = [circuit.admitted for circuit in self._by_key.values() if circuit.is_answered]
        return [peer for admitted in found for peer in (admitted.source, admitted.target)]

    def on_progress(
        self, connection: ConnectionHandle, machine: CircuitDialogue, now: Instant
    ) -> None:
        for event in machine.poll_events():
            match event:
                case CircuitOffered(target, _):
                    assert isinstance(machine, CircuitResponder)
                    self._ask(connection, machine, target, now)
                case CircuitReady(send_id):
                    if isinstance(machine, CircuitRequester):
                        self._activate(machine, send_id, now)
                case CircuitEnding():
                    pass  # an end that wants to leave says so by ending its stream
                case CircuitEnded(_, reason):
                    self.end(machine, reason)

    def end(self, machine: CircuitDialogue, reason: str) -> None:
        """One stream of a circuit is over, and so is the circuit; nothing where it has ended."""
        circuit = self._by_machine.get(machine)
        if circuit is not None:
            self._table.close(circuit.offer.key, reason)
            self.carry_out()

    def is_used(self, number: int, now: Instant) -> bool:
        """Whether an admitted circuit has carried something lately."""
        circuit = self._by_number.get(number)
        return circuit is not None and self._table.is_used(circuit.offer.key, now)

    def give_way(self, number: int) -> None:
        """A circuit ends for another one's sake; nothing where it is none of these."""
        circuit = self._by_number.get(number)
        if circuit is not None:
            self._table.close(circuit.offer.key, "its place is needed for others")
            self.carry_out()

    def on_moved(self, peer: Peer) -> None:
        """The data of a connection goes another way: its circuits follow, but not to a relay."""
        key = peer.connection
        if peer.route.is_relayed:
            self._table.handle_disconnected(key)
        else:
            self._table.handle_moved(key, *peer.route)
        self.carry_out()

    def on_disconnected(self, connection: ConnectionHandle) -> None:
        self._table.handle_disconnected(connection)
        self.carry_out()

    def handle_timeout(self, now: Instant) -> None:
        self._table.handle_timeout(now)
        self.carry_out()

    def drain(self, grace: float, now: Instant) -> None:
        """Announces the end of all circuits to both of their ends."""
        self._table.drain(grace, now)
        self.carry_out()

    def carry_out(self) -> None:
        """Does what the table's events ask for."""
        for event in self._table.poll_events():
            match event:
                case CircuitEndsSoon(key, status, grace):
                    self._announce(self._by_key[key], status, grace)
                case CircuitClosed(key, _):
                    self._close(self._by_key.pop(key))
                case VolumeNearlySpent():
                    self.is_volume_nearly_spent = True

    # details

    def _ask(
        self,
        connection: ConnectionHandle,
        responder: CircuitResponder,
        target: PeerId,
        now: Instant,
    ) -> None:
        """Admits a circuit and asks its target, or refuses it."""
        self._gate.pump(connection, responder)
        answer = self._gate.admit(connection, target, now)
        if isinstance(answer, Refused):
            responder.refuse(answer.status)
            return
        admitted, source_peer, target_peer = answer
        far = self._by_datagrams(target_peer)
        if far is None or not source_peer.is_over_udp:
            self._gate.release(admitted, was_open=False)
            self._gate.answered(Status.CONNECTION_FAILED)
            responder.refuse(Status.CONNECTION_FAILED)
            return
        offer = self._table.offer(_leg(source_peer), _leg(far), responder.send_id, now)
        requester = CircuitRequester(source_peer.peer_id, offer.target_id, now, limit=offer.limit)
        circuit = _DatagramCircuit(
            offer, admitted, connection, responder, far.connection, requester
        )
        self._by_key[offer.key] = circuit
        self._by_number[admitted.number] = circuit
        self._by_machine[responder] = self._by_machine[requester] = circuit
        self._gate.open(far.connection, CIRCUIT_STOP_PROTOCOL_ID, requester)

    def _by_datagrams(self, peer: Peer) -> Peer | None:
        """Returns the connection of a peer that carries datagrams, whichever it has reserved on."""
        if peer.is_over_udp:
            return peer
        direct = self._gate.facts.direct(peer.peer_id)
        found = None if direct is None else self._gate.facts.peer(direct)
        return found if found is not None and found.is_over_udp else None

    def _activate(self, requester: CircuitRequester, target_receives: bytes, now: Instant) -> None:
        circuit = self._by_machine.get(requester)
        if circuit is None or circuit.responder.state is not DialogueState.DECIDING:
            return  # its end is on its way
        if not self._table.activate(circuit.offer.key, target_receives, now):
            return
        circuit.is_answered = True
        self._gate.answered(Status.OK)
        circuit.responder.accept(circuit.offer.source_id, circuit.offer.limit, now=now)
        self._gate.pump(circuit.source, circuit.responder)

    def _announce(self, circuit: _DatagramCircuit, status: Status, grace: float) -> None:
        for connection, machine in circuit.streams():
            if machine.state in (DialogueState.OPEN, DialogueState.CLOSING):
                machine.announce_end(status, grace)
                self._gate.pump(connection, machine)

    def _close(self, circuit: _DatagramCircuit) -> None:
        """The table has forgotten a circuit: so do its streams and its admission."""
        del self._by_number[circuit.admitted.number]
        self._gate.release(circuit.admitted, was_open=circuit.is_answered)
        if not circuit.is_answered:
            self._gate.answered(Status.CONNECTION_FAILED)
        for connection, machine in circuit.streams():
            del self._by_machine[machine]
            if machine.state is DialogueState.DECIDING and isinstance(machine, CircuitResponder):
                machine.refuse(Status.CONNECTION_FAILED)
            else:
                machine.close()
            self._gate.pump(connection, machine)


def _leg(peer: Peer) -> Leg:
    return Leg(peer.peer_id, peer.connection, *peer.route)
