"""Fills packets with what the streams have to send (specs/streams.md, Sending order).

The rule: control frames first, then what was lost, then new bytes.  Among streams the turn goes
round after each frame.
"""

from typing import Final, TypeAlias

from p2pnode.clock import Instant
from p2pnode.transports.delivery.flow_control import LITTLE_DATA, SendCredit
from p2pnode.transports.delivery.frame import FrameType, stream_header
from p2pnode.transports.delivery.held_bytes import HeldBytes
from p2pnode.transports.delivery.packet_builder import FrameRecord, PacketBuilder
from p2pnode.transports.delivery.send_stream import SendQueues, SendStream
from p2pnode.transports.delivery.stream_control import StreamControl
from p2pnode.transports.delivery.varint import varint_size

QUANTUM: Final = 16 * 1024
"""bytes of one stream in a packet that others want too; chosen: matters in loopback's packets of
65 kB only, smaller packets are a quantum of their own"""
MIN_STREAM_ROOM: Final = 32
"""bytes; below this a STREAM frame is more header than data"""

BulkChunk: TypeAlias = tuple[bytes, bytes | memoryview, FrameRecord]
"""The header of a STREAM frame, its data, its record."""


class StreamWriter:
    """Takes turns among the streams that enter themselves into `queues`."""

    __slots__ = ("_control", "_credit", "_fresh", "_pending", "_repair", "queues")

    def __init__(self, credit: SendCredit, control: StreamControl, held: HeldBytes) -> None:
        self.queues = SendQueues(held)
        self._fresh = self.queues.fresh
        self._repair = self.queues.repair
        self._credit = credit
        self._control = control
        self._pending = control.pending

    @property
    def has_pending(self) -> bool:
        """Whether there is something that may be sent."""
        return bool(self._pending) or self._next_stream() is not None

    def write_frames(self, builder: PacketBuilder, now: Instant, rtt: float) -> None:
        """Fills the packet as far as there is something to send.

        The last frame has no length field where it fills the packet: `room` is then 0, and nothing
        may follow.
        """
        if self._pending:
            self._control.write(builder, now, rtt)
        while builder.room >= MIN_STREAM_ROOM and (stream := self._next_stream()) is not None:
            self._write_stream(builder, stream)

    def bulk_chunk(self, room: int) -> BulkChunk | None:
        """Returns one STREAM frame of new bytes that is exactly `room` long, or None.

        The hot path of a bulk transfer.  The frame has no length field: others may stand before it
        in the packet, none behind it.  None means that there is something else to consider (control
        frames, lost bytes, an end of stream, less than a packet of data, no credit): `write_frames`
        fills this packet then, if `has_pending`.  `room` is at least MIN_STREAM_ROOM.
        """
        if self._pending or self._repair:
            return None
        fresh = self._fresh
        if not fresh:
            return None
        stream = next(iter(fresh.values()))
        start = stream.next_offset
        # an integer may be longer than it needs to be: saves asking how long it would be
        if start < 0x4000_0000:
            head = stream.prefix + (start | 0x8000_0000).to_bytes(4, "big")
        else:
            head = stream.prefix + (start | 0xC000_0000_0000_0000).to_bytes(8, "big")
        size = room - len(head)
        stop = start + size
        credit = self._credit
        used = credit.used + size
        if stop > stream.fresh_stop or stop == stream.final_size or used > credit.bulk_limit:
            return None
        data = stream.take_fresh(size)
        credit.used = used
        if len(fresh) > 1:
            _end_turn(fresh, stream)
        if used == credit.bulk_limit or stop == stream.max_data:
            self.note_blocked(stream)
        return head, data, (stream, start, stop, 0)

    def note_blocked(self, stream: SendStream) -> None:
        """Queues the BLOCKED frames that have become true, each once for a limit."""
        credit = self._credit
        if self._fresh and credit.used >= credit.bulk_limit and credit.blocked_at != credit.limit:
            credit.blocked_at = credit.limit
            self._control.add(FrameType.DATA_BLOCKED)
        if stream.is_blocked and stream.blocked_at != stream.max_data:
            stream.blocked_at = stream.max_data
            self._control.add(FrameType.STREAM_DATA_BLOCKED, stream.stream_id)

    def _next_stream(self) -> SendStream | None:
        """Returns whose turn it is, of those that there is credit for."""
        for stream in self._repair.values():
            return stream
        credit = self._credit
        for stream in self._fresh.values():
            if credit.used < credit.bulk_limit or (_is_little(stream) and credit.available > 0):
                return stream
        return None

    def _reserve_for(self, stream: SendStream) -> int:
        """Returns how many new bytes the stream may send where nothing but the reserve is left."""
        return min(self._credit.available, LITTLE_DATA) if _is_little(stream) else 0

    def _write_stream(self, builder: PacketBuilder, stream: SendStream) -> None:
        """Writes one frame; there is room for its header and some bytes."""
        credit = self._credit
        allowed = credit.bulk_limit - credit.used
        if allowed <= 0:
            allowed = self._reserve_for(stream)
        offset, size = stream.peek(allowed)
        if len(self._fresh) + len(self._repair) > 1:
            size = min(size, QUANTUM)
        offset_size = varint_size(offset) if offset else 0
        room = builder.room - 1 - varint_size(stream.stream_id) - offset_size
        is_last = size >= room
        size = room if is_last else min(size, room - varint_size(size))
        before = stream.sent_size
        taken = stream.take(size, allowed)
        assert taken is not None, "a stream was queued that has nothing to send"
        offset, data, fin = taken
        credit.used += stream.sent_size - before
        header = stream_header(stream.stream_id, offset, fin, None if is_last else len(data))
        builder.chunks += (header, data)
        builder.records.append((stream, offset, offset + len(data), int(fin)))
        builder.room -= len(header) + len(data)
        builder.is_ack_eliciting = True
        for queue in (self._repair, self._fresh):
            if len(queue) > 1:
                _end_turn(queue, stream)
        if stream.next_offset >= stream.max_data or credit.used >= credit.bulk_limit:
            self.note_blocked(stream)


def _is_little(stream: SendStream) -> bool:
    """Whether it may use the connection's reserve: it has sent or has to send only a little."""
    start = stream.next_offset
    return start < LITTLE_DATA or stream.fresh_stop - start <= LITTLE_DATA


def _end_turn(queue: dict[int, SendStream], stream: SendStream) -> None:
    """Moves the stream to the end of the queue if it is still in it."""
    if queue.pop(stream.stream_id, None) is not None:
        queue[stream.stream_id] = stream
