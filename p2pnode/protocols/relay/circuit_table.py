"""Datagram circuits: packets in, packets out with another circuit id (specs/relay.md).

    packet   0x90 | circuit id 8 | a packet of the two ends, which the relay cannot read

    pending --activate--> open --close, limit, drain--> gone
       `--- close, 30 s without an answer ------------> gone

Rules: an id counts only together with the address that the hop connection has validated, which no
circuit packet can move; nothing goes to an end that has not asked for the circuit or accepted it;
what does not belong to an open circuit is dropped without an answer.

Step by hand: `handle_received` and `poll_transmits` take and give batches.  Whether a circuit may
be opened is decided before (`admission`); the word of its end goes over the circuit's streams.
"""

from collections.abc import Sequence
from typing import Final

from p2pnode.clock import Deadline, Instant, earliest
from p2pnode.entropy import Entropy
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import ConnectionHandle, Received, SocketAddr, SocketId, Transmit
from p2pnode.protocols.relay.accounting import (
    Ledger,
    MonthlyVolume,
    PeerUsage,
    Traffic,
    add_shares,
)
from p2pnode.protocols.relay.circuit import (
    Circuit,
    CircuitClosed,
    CircuitEndsSoon,
    CircuitKey,
    CircuitOffer,
    CircuitTableEvent,
    Leg,
    PeerBuckets,
    VolumeNearlySpent,
)
from p2pnode.protocols.relay.circuit_messages import CIRCUIT_ID_SIZE
from p2pnode.protocols.relay.fair_queue import HOLD, MAX_HELD, MIN_BURST, Bucket, FairQueue, Flow
from p2pnode.protocols.relay.limits import RelayLimits
from p2pnode.protocols.relay.messages import Status
from p2pnode.resources.account import Account, Beside
from p2pnode.resources.limits import ResourceLimits

CIRCUIT_TYPE: Final = 0x90
"""The first byte of a circuit packet; specs/transport.md, Demultiplexing"""
HEADER_SIZE: Final = 1 + CIRCUIT_ID_SIZE
"""bytes"""
END_NOTICE: Final = 10.0
"""seconds between the word of a circuit's end and the end; chosen: time for another relay"""
DATA_NOTICE: Final = 0.8
"""part of a circuit's data after which its end is announced; chosen"""
CHECK_INTERVAL: Final = 0.1
"""seconds between looks at volumes: so much may a circuit's data be overdrawn"""
IDLE_TIMEOUT: Final = 120.0
"""seconds without a packet after which a circuit ends; chosen: four keep-alives of its ends"""
USED_WITHIN: Final = 60.0
"""seconds from the last that a circuit carried in which it gives way after those that carry
nothing; chosen: two keep-alives of its ends"""
UNLIMITED_QUEUE_RATE: Final = 16 * 1024 * 1024
"""bytes a second that the queue of a circuit without a rate is made for; chosen"""
QUEUES_PART: Final = 8
"""one byte in so many of the memory that others may fill is for the queues at most; chosen"""
QUEUES_STEP: Final = 256 * 1024
"""bytes by which the queues have changed before the account is told; chosen: four batches"""
_TYPE_BYTE = bytes([CIRCUIT_TYPE])


class CircuitTable:
    """All datagram circuits of a relay."""

    def __init__(
        self,
        limits: RelayLimits,
        entropy: Entropy,
        volume: MonthlyVolume,
        account: Account | None = None,
    ) -> None:
        """`account` counts what waits in the queues; without one, nobody does."""
        self._limits = limits
        self._entropy = entropy
        self._volume = volume
        memory = Account(ResourceLimits()).memory if account is None else account.memory
        self._memory = memory
        self._queue = FairQueue(
            limits.total_rate, min(MAX_HELD, memory.process.limit // QUEUES_PART)
        )
        self._drawn = 0
        """Bytes in the queues that the account knows of."""
        self._flows: dict[bytes, Flow] = {}
        self._circuits: dict[CircuitKey, Circuit] = {}
        self._buckets: dict[PeerId, PeerBuckets] = {}
        self._ledger = Ledger()
        self._next_key = 0
        self._ids: dict[bytes, None] = {}
        self._next_deadline: Instant | None = None
        self._check_at: Instant | None = None
        self._is_capped = bool(
            limits.circuit_data or limits.monthly_bytes or limits.peer_monthly_bytes
        )
        self._announced_month = ""
        self._events: list[CircuitTableEvent] = []
        self.strays = 0
        """Packets of no open circuit, or from elsewhere than its ends."""

    def __len__(self) -> int:
        return len(self._circuits)

    # Circuits

    def offer(self, source: Leg, target: Leg, source_receives: bytes, now: Instant) -> CircuitOffer:
        """Returns a new circuit that waits for the target's answer.

        `source_receives` is the id that the source named in its request.
        """
        key = CircuitKey(self._next_key)
        self._next_key += 1
        offer = CircuitOffer(key, self._fresh_id(), self._fresh_id(), self._limits.datagram_limit)
        start, end = self._buckets_of(source.peer), self._buckets_of(target.peer)
        rate = self._limits.circuit_rate
        flows = (
            self._new_flow(b"", Bucket(rate), start.sent, end.received),
            self._new_flow(_TYPE_BYTE + source_receives, Bucket(rate), end.sent, start.received),
        )
        circuit = Circuit(offer, source, target, flows, now)
        self._circuits[key] = circuit
        self._schedule(circuit)
        return offer

    def activate(self, key: CircuitKey, target_receives: bytes, now: Instant) -> bool:
        """The target has accepted, and named its id: packets flow.

        Returns False where the circuit has ended meanwhile, or was open already.
        """
        circuit = self._circuits.get(key)
        if circuit is None or circuit.is_open:
            return False
        circuit.is_open = True
        circuit.forward.header = _TYPE_BYTE + target_receives
        self._flows[circuit.source_id] = circuit.forward
        self._flows[circuit.target_id] = circuit.backward
        circuit.closes_at = None
        if circuit.limit.duration:
            circuit.closes_at = now + circuit.limit.duration
            circuit.notice_at = max(now, circuit.closes_at - END_NOTICE)
        circuit.idle_at = now + IDLE_TIMEOUT
        self._schedule(circuit)
        return True

    def is_used(self, key: CircuitKey, now: Instant) -> bool:
        """Whether a circuit has carried something lately."""
        circuit = self._circuits.get(key)
        return circuit is not None and now - circuit.used_at <= USED_WITHIN

    def close(self, key: CircuitKey, reason: str) -> None:
        """Ends a circuit; what waits in its queues is dropped.  Nothing where it is gone."""
        circuit = self._circuits.pop(key, None)
        if circuit is None:
            return
        for circuit_id, flow in (
            (circuit.source_id, circuit.forward),
            (circuit.target_id, circuit.backward),
        ):
            self._flows.pop(circuit_id, None)
            del self._ids[circuit_id]
            self._queue.clear(flow)
        if not self._circuits:
            self._draw()
        self._bill(circuit)
        for peer, usage in circuit.shares():
            self._ledger.add(peer, usage)
            buckets = self._buckets[peer]
            buckets.circuits -= 1
            if not buckets.circuits:
                del self._buckets[peer]
        self._events.append(CircuitClosed(key, reason))

    def handle_moved(
        self,
        connection: ConnectionHandle,
        socket: SocketId,
        local_ip: str | None,
        remote: SocketAddr,
    ) -> None:
        """A hop connection has validated another path: its circuits follow."""
        for circuit in self._circuits.values():
            if circuit.source.connection == connection:
                circuit.source = circuit.source._replace(
                    socket=socket, local_ip=local_ip, remote=remote
                )
            if circuit.target.connection == connection:
                circuit.target = circuit.target._replace(
                    socket=socket, local_ip=local_ip, remote=remote
                )
            circuit.follow()

    def handle_disconnected(self, connection: ConnectionHandle) -> None:
        """A hop connection is gone, and its circuits with it."""
        for circuit in list(self._circuits.values()):
            if connection in (circuit.source.connection, circuit.target.connection):
                self.close(circuit.key, "the connection of one end was lost")

    def drain(self, grace: float, now: Instant) -> None:
        """Announces the end of all circuits, and brings it after `grace` seconds.

        A circuit that waits for the listener ends at once.
        """
        for circuit in list(self._circuits.values()):
            self._end_soon(circuit, Status.CONNECTION_FAILED, grace, now)

    # Packets

    def handle_received(self, batch: Sequence[Received], now: Instant) -> None:
        """Takes circuit packets; others among them are left alone.  Untrusted; never raises."""
        flows = self._flows
        put = self._queue.put
        for received in batch:
            socket, _, remote, ecn, segment, buffer = received
            size = len(buffer)
            if size > segment:
                self._take_segments(received, now)
                continue
            if size <= HEADER_SIZE or buffer[0] != CIRCUIT_TYPE:
                continue
            flow = flows.get(bytes(buffer[1:HEADER_SIZE]))
            if flow is None or flow.source_remote != remote or flow.source_socket != socket:
                self.strays += 1
                continue
            flow.received_packets += 1
            flow.received_bytes += size
            put(flow, (now, ecn, size, size, flow.header + buffer[HEADER_SIZE:]))

    def poll_transmits(self, now: Instant) -> list[Transmit]:
        """Returns what may leave now, in order, and counts it as forwarded."""
        if self._volume.is_spent:
            return []
        transmits = self._queue.take(now)
        change = self._queue.held - self._drawn
        if change > QUEUES_STEP or change < -QUEUES_STEP:
            self._draw()
        if transmits:
            self._volume.add(sum([len(transmit[-1]) for transmit in transmits]), now)
            self.count_volumes_soon(now)
        return transmits

    def _draw(self) -> None:
        """Brings the account up to date with what waits in the queues."""
        self._drawn = self._queue.held
        self._memory.set_beside(Beside.CIRCUITS, self._drawn)

    def count_volumes_soon(self, now: Instant) -> None:
        """Something was counted against the month's volume, here or elsewhere."""
        if self._is_capped and self._check_at is None:
            self._check_at = now + CHECK_INTERVAL

    def handle_timeout(self, now: Instant) -> None:
        """Announces and brings the end of circuits whose time or volume is over."""
        if self._check_at is not None and now >= self._check_at:
            self._check_at = None
            self._check_volumes(now)
        if self._next_deadline is None or now < self._next_deadline:
            return
        self._next_deadline = None
        for circuit in list(self._circuits.values()):
            if circuit.closes_at is not None and now >= circuit.closes_at:
                self.close(circuit.key, "its time is over")
                continue
            if circuit.notice_at is not None and now >= circuit.notice_at:
                grace = 0.0 if circuit.closes_at is None else circuit.closes_at - now
                self._announce(circuit, Status.RESOURCE_LIMIT_EXCEEDED, grace)
            if circuit.idle_at is not None and now >= circuit.idle_at:
                circuit.idle_at = circuit.used_at + IDLE_TIMEOUT
                if circuit.idle_at <= now:
                    self.close(circuit.key, "it carries nothing")
                    continue
            self._schedule(circuit)

    def poll_timeout(self) -> Deadline | None:
        """Returns when packets may leave, or a circuit ends."""
        ends, check = self._next_deadline, self._check_at
        return earliest(
            self._queue.poll_timeout() if not self._volume.is_spent else None,
            None if ends is None else Deadline(ends, "a circuit ends"),
            None if check is None else Deadline(check, "volumes are counted"),
        )

    def poll_events(self) -> list[CircuitTableEvent]:
        """Returns the facts since the last call, oldest first."""
        events, self._events = self._events, []
        return events

    # Accounts

    @property
    def held_bytes(self) -> int:
        """What waits in the queues of all circuits."""
        return self._queue.held

    def traffic(self) -> dict[CircuitKey, tuple[Traffic, Traffic]]:
        """Returns what each circuit carried from its source to its target, and back."""
        return {key: circuit.traffic() for key, circuit in self._circuits.items()}

    def usage(self) -> dict[PeerId, PeerUsage]:
        """Returns what each peer had relayed, over circuits that are open and that have ended."""
        usage = self._ledger.usage()
        for circuit in self._circuits.values():
            add_shares(usage, circuit.shares())
        return usage

    def _take_segments(self, received: Received, now: Instant) -> None:
        """Takes a read that the kernel joined (GRO): usually packets of one circuit."""
        socket, local_ip, remote, ecn, segment, buffer = received
        size = len(buffer)
        if segment <= HEADER_SIZE:
            return
        data = bytearray(buffer)
        if 0 < size % segment <= HEADER_SIZE:  # a last packet without anything inside
            size -= size % segment
            del data[size:]
        header = data[:HEADER_SIZE]
        count = -(-size // segment)
        if any(data[i::segment] != header[i : i + 1] * count for i in range(HEADER_SIZE)):
            singles = [
                Received(socket, local_ip, remote, ecn, segment, data[start : start + segment])
                for start in range(0, size, segment)
            ]
            self.handle_received(singles, now)
            return
        if header[0] != CIRCUIT_TYPE:
            return
        flow = self._flows.get(bytes(header[1:]))
        if flow is None or flow.source_remote != remote or flow.source_socket != socket:
            self.strays += count
            return
        flow.received_packets += count
        flow.received_bytes += size
        new_header = flow.header
        for i in range(1, HEADER_SIZE):
            data[i::segment] = new_header[i : i + 1] * count
        self._queue.put(flow, (now, ecn, segment, size, data))

    def _check_volumes(self, now: Instant) -> None:
        volume = self._volume
        volume.roll(now)
        if volume.is_spent:
            for key in list(self._circuits):
                self.close(key, "the relay's volume of this month is spent")
        if volume.is_nearly_spent and self._announced_month != volume.month:
            self._announced_month = volume.month
            self._events.append(VolumeNearlySpent())
            for circuit in list(self._circuits.values()):
                self._end_soon(circuit, Status.RESOURCE_LIMIT_EXCEEDED, END_NOTICE, now)
        for circuit in self._circuits.values():
            self._bill(circuit)
        for circuit in list(self._circuits.values()):
            ends = circuit.source.peer, circuit.target.peer
            if volume.is_spent_by(*ends):
                self.close(circuit.key, "a peer's volume of this month is spent")
                continue
            if volume.is_nearly_spent_by(*ends) and not circuit.is_announced:
                self._end_soon(circuit, Status.RESOURCE_LIMIT_EXCEEDED, END_NOTICE, now)
                continue
            cap = circuit.limit.data
            used = max(circuit.forward.forwarded_bytes, circuit.backward.forwarded_bytes)
            if cap and used >= cap:
                self.close(circuit.key, "its volume is spent")
            elif cap and used >= DATA_NOTICE * cap and not circuit.is_announced:
                self._announce(circuit, Status.RESOURCE_LIMIT_EXCEEDED, END_NOTICE)

    def _bill(self, circuit: Circuit) -> None:
        carried = circuit.carried
        self._volume.bill((circuit.source.peer, circuit.target.peer), carried - circuit.billed)
        circuit.billed = carried

    def _end_soon(self, circuit: Circuit, status: Status, grace: float, now: Instant) -> None:
        if not circuit.is_open:
            self.close(circuit.key, "the relay lets all circuits end")
            return
        ends = now + grace
        if circuit.closes_at is None or ends < circuit.closes_at:
            circuit.closes_at = ends
        self._announce(circuit, status, circuit.closes_at - now)
        self._schedule(circuit)

    def _announce(self, circuit: Circuit, status: Status, grace: float) -> None:
        circuit.notice_at = None
        circuit.is_announced = True
        self._events.append(CircuitEndsSoon(circuit.key, status, max(0.0, grace)))

    def _schedule(self, circuit: Circuit) -> None:
        for at in (circuit.notice_at, circuit.closes_at, circuit.idle_at):
            if at is not None and (self._next_deadline is None or at < self._next_deadline):
                self._next_deadline = at

    def _buckets_of(self, peer: PeerId) -> PeerBuckets:
        buckets = self._buckets.get(peer)
        if buckets is None:
            buckets = self._buckets[peer] = PeerBuckets(self._limits.peer_rate)
        buckets.circuits += 1
        return buckets

    def _new_flow(self, header: bytes, *buckets: Bucket) -> Flow:
        rate = self._limits.datagram_limit.rate or UNLIMITED_QUEUE_RATE
        return Flow(header, buckets, 2 * MIN_BURST + int(HOLD * rate))

    def _fresh_id(self) -> bytes:
        while (circuit_id := self._entropy(CIRCUIT_ID_SIZE)) in self._ids:
            pass
        self._ids[circuit_id] = None
        return circuit_id
