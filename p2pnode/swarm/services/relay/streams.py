"""Hop streams in the swarm: reservations, and libp2p's stream circuits.

    RESERVE -> granted or refused, the stream ends
    CONNECT -> admitted -> the target is asked on a stop stream -> accepted -> both are spliced

Rule: a circuit is counted from its admission until nothing of it is left, stuck bytes included.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from p2pnode.clock import Instant
from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.peer_multiaddr import split_peer_id, with_peer_id
from p2pnode.machine import ConnectionHandle
from p2pnode.protocols.relay import (
    STOP_PROTOCOL_ID,
    Admitted,
    ConnectRequest,
    HopResponder,
    Ledger,
    PeerUsage,
    Refused,
    Reservation,
    Status,
    StopAccepted,
    StopRequester,
    Traffic,
    add_shares,
    seal_voucher,
)
from p2pnode.protocols.relay.circuit_table import USED_WITHIN
from p2pnode.swarm.peer import Peer
from p2pnode.swarm.services.relay.gate import RelayGate
from p2pnode.swarm.services.relay.splice import SplicedStream
from p2pnode.wire.multiaddr import Multiaddr, is_relayed
from p2pnode.wire.reset_code import StreamResetCode


@dataclass(slots=True)
class _SplicedCircuit:
    admitted: Admitted
    hop: SplicedStream
    stop: SplicedStream
    responder: HopResponder
    requester: StopRequester
    is_open: bool = False
    billed: int = 0
    """Bytes of both directions that the month's volume knows of."""
    used_at: Instant = -inf
    """When something went on last, either way."""

    @property
    def is_over(self) -> bool:
        return self.hop.is_done and self.stop.is_done

    def far(self, stream: SplicedStream) -> SplicedStream:
        return self.stop if stream is self.hop else self.hop

    def shares(self) -> tuple[tuple[PeerId, PeerUsage], tuple[PeerId, PeerUsage]]:
        """Returns what the circuit carried, as each of its ends sees it; packets there are none."""
        forward = Traffic(0, self.hop.taken, 0, self.stop.given)
        backward = Traffic(0, self.stop.taken, 0, self.hop.given)
        return (
            (self.admitted.source, PeerUsage(forward, backward)),
            (self.admitted.target, PeerUsage(backward, forward)),
        )


class HopStreams:
    """Everybody who asks on libp2p's hop protocol, and the circuits that came of it."""

    def __init__(
        self,
        gate: RelayGate,
        identity: PrivateKey,
        own_addresses: Callable[[Peer], tuple[Multiaddr, ...]],
    ) -> None:
        self._gate = gate
        self._identity = identity
        self._own_id = PeerId.from_public_key(identity.public_key)
        self._own_addresses = own_addresses
        self._asking: dict[SplicedStream, HopResponder] = {}
        self._circuits: dict[SplicedStream, _SplicedCircuit] = {}
        """By both streams."""
        self._by_number: dict[int, _SplicedCircuit] = {}
        """By what they are admitted as."""
        self._stalled: dict[SplicedStream, None] = {}
        """Not to be read when they were pumped last."""
        self._ledger = Ledger()

    def accept(self, connection: ConnectionHandle, now: Instant) -> SplicedStream:
        responder = HopResponder(now)
        stream = SplicedStream(connection, responder)
        self._asking[stream] = responder
        return stream

    def on_progress(self, stream: SplicedStream, now: Instant) -> None:
        responder = self._asking.get(stream)
        if responder is not None:
            if responder.is_deciding:
                del self._asking[stream]
                self._decide(stream, responder, now)
            elif stream.is_done:
                del self._asking[stream]
            return
        circuit = self._circuits.get(stream)
        if circuit is None:
            return
        if circuit.is_open:
            self._move(circuit, stream, now)
        elif stream is circuit.stop and circuit.requester.outcome is not None:
            self._answer(circuit, now)
        elif stream.is_done:
            self._fail(circuit)

    def on_stream_failed(self, stream: SplicedStream, now: Instant) -> None:
        """A stream is of no use any more, or never was; its machine may not know."""
        self._asking.pop(stream, None)
        circuit = self._circuits.get(stream)
        if circuit is not None:
            self._end(circuit, "a stream of the circuit was lost", now)

    def on_unusable(self, connection: ConnectionHandle, now: Instant) -> None:
        """A connection is gone, or leads through a relay now: no circuit goes over it."""
        for circuit in self._all():
            if connection in (circuit.hop.connection, circuit.stop.connection):
                self._end(circuit, "the connection of one end was lost", now)

    def is_used(self, number: int, now: Instant) -> bool:
        """Whether an admitted circuit has carried something lately."""
        circuit = self._by_number.get(number)
        return circuit is not None and now - circuit.used_at <= USED_WITHIN

    def give_way(self, number: int, now: Instant) -> None:
        """A circuit ends for another one's sake; nothing where it is none of these."""
        circuit = self._by_number.get(number)
        if circuit is not None:
            self._end(circuit, "its place is needed for others", now)

    def end_by(self, at: Instant, now: Instant) -> None:
        """Lets all circuits end at that time; one that waits for its target ends at once."""
        for circuit in self._all():
            if circuit.is_open and at > now:
                circuit.hop.end_by(at)
            else:
                self._end(circuit, "the relay lets all circuits end", now)

    # accounts

    def peers(self) -> list[PeerId]:
        """Returns the ends of all open circuits, each as often as it is one."""
        found = [circuit.admitted for circuit in self._all() if circuit.is_open]
        return [peer for admitted in found for peer in (admitted.source, admitted.target)]

    def usage(self) -> dict[PeerId, PeerUsage]:
        """Returns what each peer had relayed on streams, now and before."""
        usage = self._ledger.usage()
        for circuit in self._all():
            add_shares(usage, circuit.shares())
        return usage

    # details

    def _all(self) -> list[_SplicedCircuit]:
        return [circuit for stream, circuit in self._circuits.items() if stream is circuit.hop]

    def _decide(self, stream: SplicedStream, responder: HopResponder, now: Instant) -> None:
        if isinstance(responder.request, ConnectRequest):
            self._ask(stream, responder, responder.request.peer, now)
        else:
            self._reserve(stream, responder, now)

    def _reserve(self, stream: SplicedStream, responder: HopResponder, now: Instant) -> None:
        self._gate.pump(stream.connection, stream)
        answer = self._gate.reserve(stream.connection, now)
        if isinstance(answer, Refused):
            responder.refuse(answer.status)
            return
        granted, peer = answer
        voucher = seal_voucher(self._identity, peer.peer_id, granted.expire).encode()
        reservation = Reservation(granted.expire, self._addresses_for(peer), voucher)
        responder.grant(reservation, self._gate.limits.stream_limit)

    def _addresses_for(self, peer: Peer) -> tuple[Multiaddr, ...]:
        """Returns our own addresses, each with our id at its end, none of a circuit."""
        told: dict[Multiaddr, None] = {}
        for address in self._own_addresses(peer):
            if not is_relayed(address) and split_peer_id(address)[1] in (None, self._own_id):
                told[with_peer_id(address, self._own_id)] = None
        return tuple(told)

    def _ask(
        self, hop: SplicedStream, responder: HopResponder, target: PeerId, now: Instant
    ) -> None:
        answer = self._gate.admit(hop.connection, target, now)
        if isinstance(answer, Refused):
            responder.refuse(answer.status)
            self._gate.pump(hop.connection, hop)
            return
        admitted, source_peer, target_peer = answer
        requester = StopRequester(source_peer.peer_id, self._gate.limits.stream_limit, now)
        stop = SplicedStream(target_peer.connection, requester)
        circuit = _SplicedCircuit(admitted, hop, stop, responder, requester)
        self._circuits[hop] = self._circuits[stop] = circuit
        self._by_number[admitted.number] = circuit
        self._gate.open(stop.connection, STOP_PROTOCOL_ID, stop)

    def _answer(self, circuit: _SplicedCircuit, now: Instant) -> None:
        """The target has accepted or not."""
        accepted = isinstance(circuit.requester.outcome, StopAccepted)
        if not (accepted and circuit.responder.is_deciding):
            self._fail(circuit)
            return
        limit = self._gate.limits.stream_limit
        circuit.responder.connect(limit)
        circuit.hop.join(circuit.stop, limit, now)
        circuit.is_open = True
        self._gate.answered(Status.OK)
        self._gate.pump(circuit.hop.connection, circuit.hop)
        self._gate.pump(circuit.stop.connection, circuit.stop)

    def _end(self, circuit: _SplicedCircuit, reason: str, now: Instant) -> None:
        if not circuit.is_open:
            self._fail(circuit)
            return
        circuit.hop.end(reason, StreamResetCode.NONE)
        self._move(circuit, circuit.hop, now)

    def _fail(self, circuit: _SplicedCircuit) -> None:
        """There is no circuit after all."""
        self._forget(circuit)
        self._gate.answered(Status.CONNECTION_FAILED)
        if circuit.responder.is_deciding:
            circuit.responder.refuse(Status.CONNECTION_FAILED)
        circuit.stop.end("the circuit is not wanted any more", StreamResetCode.NONE)
        self._gate.pump(circuit.hop.connection, circuit.hop)
        self._gate.pump(circuit.stop.connection, circuit.stop)

    def _move(self, circuit: _SplicedCircuit, stream: SplicedStream, now: Instant) -> None:
        """One end was fed or drained: bills it, and lets the other end move."""
        carried = circuit.hop.given + circuit.stop.given
        volume, ends = self._gate.volume, (circuit.admitted.source, circuit.admitted.target)
        if carried > circuit.billed:
            circuit.used_at = now
        volume.add(carried - circuit.billed, now)
        volume.bill(ends, carried - circuit.billed)
        circuit.billed = carried
        if volume.is_spent_by(*ends):
            circuit.hop.end("a peer's volume of this month is spent", StreamResetCode.NONE)
        far = circuit.far(stream)
        if stream.is_paused:
            self._stalled[stream] = None
        is_wanted = far in self._stalled and not far.is_paused
        if far.has_output or is_wanted:
            self._stalled.pop(far, None)
            self._gate.pump(far.connection, far)
        if stream.has_output:
            self._gate.pump(stream.connection, stream)
        if circuit.is_over:
            self._forget(circuit)
            for peer, share in circuit.shares():
                self._ledger.add(peer, share)

    def _forget(self, circuit: _SplicedCircuit) -> None:
        for stream in (circuit.hop, circuit.stop):
            del self._circuits[stream]
            self._stalled.pop(stream, None)
        del self._by_number[circuit.admitted.number]
        self._gate.release(circuit.admitted, was_open=circuit.is_open)
