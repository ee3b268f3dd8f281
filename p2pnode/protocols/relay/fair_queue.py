"""Queues of circuit packets, and whose turn it is: deficit round robin with a hold of 20 ms.

    idle --packet--> new --quantum used up--> old --turn, nothing queued--> idle
                      `-- a rate is used up --> waiting --its time--> old

Rules: each direction of a circuit is a flow with a queue of its own; a flow that has just become
busy goes before those that have been (RFC 8290), so that one who sends little is not delayed by
one who sends much; no packet leaves that is older than HOLD; a flow with an empty bucket costs the
others nothing.

This is the hot path of a relay.  So queues hold tuples, all bounds of one visit are worked out once
as a number of bytes, and packets of equal size leave together, as the kernel likes them (GSO).
"""

from collections import deque
from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import chain
from math import inf
from typing import Final, TypeAlias

from p2pnode.clock import Deadline, Instant
from p2pnode.machine import Buffer, SocketAddr, SocketId, Transmit

HOLD: Final = 0.020
"""seconds that a packet is held at most; chosen: above, the ends' congestion control misreads it"""
BURST_TIME: Final = 0.020
"""seconds of its rate that a bucket holds; chosen: what may be held may also be let through"""
MIN_BURST: Final = 65_536
"""bytes that a bucket holds at least: one batch of the kernel's (GSO)"""
QUANTUM_TIME: Final = 0.001
"""seconds of the total rate that a turn is worth; chosen: twenty busy circuits fit into HOLD"""
MIN_QUANTUM: Final = 1_500
"""bytes; a packet"""
MAX_QUANTUM: Final = 65_000
"""bytes; one batch"""
RESUME: Final = 0.001
"""seconds that a bucket fills before it is tried again: a timer for each packet costs more"""
MAX_HELD: Final = 32 * 1024 * 1024
"""bytes in all queues; the memory_limit of Linux's fq_codel"""
MAX_SEGMENTS: Final = 64
"""packets in one transmit; the kernel's UDP_MAX_SEGMENTS where it is smallest"""
MAX_BATCH_SIZE: Final = 65_000
"""bytes in one transmit: below what one IP packet may be long"""

IDLE: Final = 0
NEW: Final = 1
OLD: Final = 2
WAITING: Final = 3

Packets: TypeAlias = tuple[Instant, int, int, int, Buffer]
"""Arrival, ECN, segment size, size, and the packets themselves with their new id."""


class Bucket:
    """A token bucket.  Without a rate it never says no."""

    __slots__ = ("burst", "byte_time", "full_at")

    def __init__(self, rate: int) -> None:
        self.byte_time = 1 / rate if rate else 0.0
        """Seconds a byte."""
        self.burst = max(BURST_TIME, MIN_BURST * self.byte_time)
        """Seconds."""
        self.full_at: Instant = -inf

    def room(self, now: Instant) -> float:
        """Returns how many bytes may pass; the last packet of them may be larger than that."""
        if not self.byte_time:
            return inf
        return (self.burst - max(0.0, self.full_at - now)) / self.byte_time

    def charge(self, size: int, now: Instant) -> None:
        if self.byte_time:
            self.full_at = max(self.full_at, now) + size * self.byte_time

    def resumes_at(self) -> Instant:
        """Returns when an empty bucket is worth another look."""
        return self.full_at - self.burst + RESUME


class Flow:
    """One direction of a circuit: where its packets come from, wait, and go to."""

    __slots__ = (
        "buckets",
        "deficit",
        "forwarded_bytes",
        "forwarded_packets",
        "header",
        "local_ip",
        "max_queued",
        "place",
        "queue",
        "queued",
        "received_bytes",
        "received_packets",
        "remote",
        "socket",
        "source_remote",
        "source_socket",
        "used_at",
    )

    def __init__(self, header: bytes, buckets: tuple[Bucket, ...], max_queued: int) -> None:
        self.header = header
        """What the packets begin with on their way out."""
        self.buckets = buckets
        """The circuit's, the sender's and the receiver's."""
        self.max_queued = max_queued
        self.queue: deque[Packets] = deque()
        self.queued = 0
        self.deficit = 0.0
        self.used_at: Instant = -inf
        """When something went on last."""
        self.place = IDLE
        self.source_socket = self.socket = SocketId(0)
        self.source_remote = self.remote = SocketAddr("", 0)
        self.local_ip: str | None = None
        self.received_packets = self.received_bytes = 0
        self.forwarded_packets = self.forwarded_bytes = 0

    def drop_head(self, down_to: int) -> None:
        """Drops the oldest packets until at most `down_to` bytes wait."""
        while self.queued > down_to:
            self.queued -= self.queue.popleft()[3]


class FairQueue:
    """The queues of all circuits behind one bucket, the relay's total."""

    def __init__(self, total_rate: int, max_held: int = MAX_HELD) -> None:
        self.total = Bucket(total_rate)
        self.max_held = max_held
        """Bytes that may wait, of all flows."""
        self.held = 0
        """Bytes that wait, of all flows."""
        self._quantum = float(min(max(total_rate * QUANTUM_TIME, MIN_QUANTUM), MAX_QUANTUM))
        if not total_rate:
            self._quantum = float(MAX_QUANTUM)
        self._new: deque[Flow] = deque()
        self._old: deque[Flow] = deque()
        self._waiting: list[tuple[Instant, int, Flow]] = []
        self._counter = 0
        self._blocked_until: Instant | None = None

    def put(self, flow: Flow, packets: Packets) -> None:
        """Queues packets of a flow; drops them where its queue is full.

        Where all queues together are, the longest one loses the older half (RFC 8290 section 4.1).
        """
        size = packets[3]
        if flow.queued + size > flow.max_queued:
            return
        flow.queue.append(packets)
        flow.queued += size
        self.held += size
        if flow.place == IDLE:
            flow.place = NEW
            flow.deficit = self._quantum
            self._new.append(flow)
        if self.held > self.max_held:
            longest = max(self._busy(), key=lambda busy: busy.queued)
            self._drop_head(longest, longest.queued // 2)

    def clear(self, flow: Flow) -> None:
        """Drops what waits of a flow; its next visit forgets it."""
        self._drop_head(flow, 0)

    def take(self, now: Instant) -> list[Transmit]:
        """Returns what may leave now, and counts it."""
        waiting = self._waiting
        while waiting and waiting[0][0] <= now:
            flow = heappop(waiting)[2]
            flow.place = OLD
            self._old.append(flow)
        out: list[Transmit] = []
        self._blocked_until = None
        while ring := self._new or self._old:
            room = self.total.room(now)
            if room <= 0:
                self._blocked_until = self.total.resumes_at()
                break
            self._visit(ring, room, now, out)
        return out

    def poll_timeout(self) -> Deadline | None:
        """Returns when a bucket has filled for packets that wait."""
        if self._blocked_until is not None:
            return Deadline(self._blocked_until, "the relay's rate")
        if self._waiting:
            return Deadline(self._waiting[0][0], "a circuit's rate")
        return None

    def count_held(self) -> int:
        """Counts anew what `held` has to be."""
        return sum(packets[3] for flow in self._busy() for packets in flow.queue)

    def _busy(self) -> Iterator[Flow]:
        """Yields all flows that may have something queued."""
        return chain(self._new, self._old, (flow for _, _, flow in self._waiting))

    def _drop_head(self, flow: Flow, down_to: int) -> None:
        self.held -= flow.queued
        flow.drop_head(down_to)
        self.held += flow.queued

    def _visit(self, ring: deque[Flow], room: float, now: Instant, out: list[Transmit]) -> None:
        """The turn of the first flow of a ring."""
        flow = ring.popleft()
        if not flow.queue:
            if ring is self._new and self._old:  # or it would come back as new at once (RFC 8290)
                flow.place = OLD
                self._old.append(flow)
            else:
                flow.place = IDLE
            return
        is_shared = self._new or self._old
        if is_shared:
            if flow.deficit <= 0:
                flow.deficit += self._quantum
                flow.place = OLD
                self._old.append(flow)
                return
            room = min(room, flow.deficit)
        for bucket in flow.buckets:
            if bucket.byte_time:
                bucket_room = bucket.room(now)
                if bucket_room <= 0:
                    self._wait(flow, bucket.resumes_at(), now)
                    return
                room = min(room, bucket_room)
        self.held -= flow.queued
        size = _send(flow, room, now, out)
        self.held += flow.queued
        if size:
            flow.used_at = now
            # Alone there is nobody to share with: nothing is owed later.
            flow.deficit = flow.deficit - size if is_shared else 0.0
            self.total.charge(size, now)
            for bucket in flow.buckets:
                bucket.charge(size, now)
        # At the end of its own ring: the next visit decides between turn, rest and rate.
        if flow.queue or ring is self._new:
            flow.place = OLD
            self._old.append(flow)
        else:
            flow.place = IDLE

    def _wait(self, flow: Flow, until: Instant, now: Instant) -> None:
        self._counter += 1  # flows do not compare
        flow.place = WAITING
        heappush(self._waiting, (max(until, now + RESUME), self._counter, flow))


def _send(flow: Flow, room: float, now: Instant, out: list[Transmit]) -> int:
    """Moves packets of at most `room` bytes, and the rest of the last one, from a queue to `out`.

    Drops those that have waited too long.  Returns how many bytes leave.
    """
    queue = flow.queue
    oldest = now - HOLD - 1e-9
    parts: list[Buffer] = []
    batch_ecn = batch_segment = batch_size = count = sent = 0
    while queue and sent < room:
        arrived, ecn, segment, size, data = queue[0]
        if arrived < oldest:
            queue.popleft()
            flow.queued -= size
            continue
        if segment < size and size > room - sent:
            head = segment * max(1, -int((sent - room) // segment))
            if head < size:
                view = memoryview(data)
                queue[0] = (arrived, ecn, segment, size - head, view[head:])
                size, data = head, view[:head]
            else:
                queue.popleft()
        else:
            queue.popleft()
        flow.queued -= size
        packets = 1 if size <= segment else -(-size // segment)
        if parts and (
            ecn != batch_ecn
            or (segment != batch_segment if packets > 1 else size > batch_segment)
            or count + packets > MAX_SEGMENTS
            or batch_size + size > MAX_BATCH_SIZE
        ):
            out.append(_transmit(flow, batch_ecn, batch_segment, parts))
            parts = []
            batch_size = count = 0
        if not parts:
            batch_ecn, batch_segment = ecn, segment
        parts.append(data)
        batch_size += size
        count += packets
        sent += size
        flow.forwarded_packets += packets
        if size % batch_segment:  # a shorter packet is the last one of its batch
            out.append(_transmit(flow, batch_ecn, batch_segment, parts))
            parts = []
            batch_size = count = 0
    if parts:
        out.append(_transmit(flow, batch_ecn, batch_segment, parts))
    flow.forwarded_bytes += sent
    return sent


def _transmit(flow: Flow, ecn: int, segment: int, parts: list[Buffer]) -> Transmit:
    buffer = parts[0] if len(parts) == 1 else b"".join(parts)
    return Transmit(flow.socket, flow.local_ip, flow.remote, ecn, None, segment, buffer)
