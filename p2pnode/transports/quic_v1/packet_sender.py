"""Fills, seals and batches the 1-RTT packets of one connection: the sending half of the hot path.

What goes into a packet, in this order: an acknowledgement, connection frames, streams.  A packet
with nothing but an acknowledgement needs neither window nor pacing (RFC 9002 section 7).  Where one
stream has all there is to send, `_send_bulk` repeats the cheapest possible packet.
"""

from typing import Final

from p2pnode.clock import Deadline, Instant
from p2pnode.transports.datagrams.control_frames import ControlFrames
from p2pnode.transports.datagrams.datagram_batch import MAX_SEGMENTS, DatagramBatch
from p2pnode.transports.datagrams.frame import Ping
from p2pnode.transports.delivery.ack_tracker import AckTracker
from p2pnode.transports.delivery.loss_recovery import SentPacket
from p2pnode.transports.delivery.packet_builder import PacketBuilder
from p2pnode.transports.delivery.stream_set import StreamSet
from p2pnode.transports.quic_v1.connection_id import RemoteIds
from p2pnode.transports.quic_v1.frame import encode_ack
from p2pnode.transports.quic_v1.key_phases import KeyPhases
from p2pnode.transports.quic_v1.packet import KEY_PHASE
from p2pnode.transports.quic_v1.packet_space import PacketSpace
from p2pnode.transports.quic_v1.path import Path
from p2pnode.transports.quic_v1.path_check import PathCheck, PathResponses
from p2pnode.transports.quic_v1.short_packet import (
    SHORT,
    header_layout,
    seal_short,
    short_overhead,
)
from p2pnode.transports.route import Route

MTU_PROBE_AFTER: Final = 10
"""packets sent on a path before its MTU is searched; chosen: a request and its answer need none"""
MAX_ACK_SIZE: Final = 600
"""bytes; what an ACK with all its ranges needs at the most"""
_PING: Final = Ping().encode()


class PacketSender:
    """Owns the order of sending; the parts own what is sent."""

    def __init__(
        self,
        *,
        keys: KeyPhases,
        path: Path,
        space: PacketSpace,
        streams: StreamSet,
        control: ControlFrames,
        remote_ids: RemoteIds,
        responses: PathResponses,
    ) -> None:
        self._keys = keys
        self._path = path
        self._space = space
        self._streams = streams
        self._control = control
        self._remote_ids = remote_ids
        self._responses = responses
        self._ack_record = _AckRecord(space.acks)
        self._pace_until: Instant | None = None
        self.check: PathCheck | None = None
        """Of an address that the peer may have moved to."""
        self.phase_start = 0
        """First packet number that was sealed in the current key phase."""

    def deadlines(self) -> tuple[Deadline | None, ...]:
        """Returns what is waited for before there is something to send."""
        pacing = None if self._pace_until is None else Deadline(self._pace_until, "pacing")
        check = None if self.check is None else self.check.poll_timeout()
        return self._space.acks.poll_timeout(), pacing, check

    def send(self, batch: DatagramBatch, now: Instant) -> bool:
        """Adds what may be sent at `now`; returns whether there may be more."""
        self._pace_until = None
        if self._responses.pending or self.check is not None:
            self._send_probes(batch, now)
        path, space = self._path, self._space
        size = self._mtu_probe_size(now)
        if size is not None:
            self._send_mtu_probe(size, batch, now)
        if not (space.probes_due or self._has_data() or space.acks.wants_ack(now)):
            space.recovery.is_app_limited = True
            return False
        overhead = self._overhead
        limit = MAX_SEGMENTS
        while limit > 0:
            mtu = path.mtu.current
            builder = PacketBuilder(mtu - overhead)
            acked = self._write_ack(builder, now)
            allowance = self._allowance(mtu, now)
            if allowance > 0 or space.probes_due > 0:
                self._write_frames(builder, now)
                space.recovery.is_app_limited = builder.room > 0
            if not builder.chunks:
                return False
            if acked and not builder.is_ack_eliciting and space.recovery.wants_ping:
                builder.add(_PING)
            self._send_built(builder, batch, now)
            limit -= 1
            if not (space.probes_due or self._has_data()):
                return False
            if builder.is_ack_eliciting and builder.room == 0 and allowance >= 2 * mtu:
                limit -= self._send_bulk(batch, now, min(limit, allowance // mtu - 1))
        return True

    def send_frame_alone(self, frame: bytes, batch: DatagramBatch, now: Instant) -> None:
        """Sends one frame at once, outside of all control: a close.

        What came and was not acknowledged is, with it: the peer has no other way to know any more.
        """
        frames = [frame]
        acks = self._space.acks
        if acks.has_unacked and self._path.mtu.current - self._overhead >= MAX_ACK_SIZE + len(
            frame
        ):
            frames.insert(0, encode_ack(acks.build(0, now)))
        self._add(self._path.route, frames, batch)

    @property
    def _overhead(self) -> int:
        """bytes of a packet that are no frames"""
        return short_overhead(len(self._remote_ids.current))

    def _write_ack(self, builder: PacketBuilder, now: Instant) -> bool:
        acks = self._space.acks
        if not (acks.wants_ack(now) or (acks.has_unacked and self._has_data())):
            return False
        ack = acks.build(0, now)
        frame = encode_ack(ack)
        builder.chunks.append(frame)
        builder.room -= len(frame)
        builder.records.append((self._ack_record, ack.largest, 0, 0))
        return True

    def _write_frames(self, builder: PacketBuilder, now: Instant) -> None:
        if self._control.has_pending:
            self._control.write_frames(builder)
        if self._streams.has_pending:
            self._streams.write_frames(builder, now, self._path.rtt.smoothed)
        if self._space.probes_due > 0 and not builder.is_ack_eliciting:
            builder.add(_PING)

    def _allowance(self, mtu: int, now: Instant) -> int:
        """Returns how many bytes congestion window and pacer let go now; sets the pacing timer."""
        path = self._path
        room = self._space.recovery.window_room()
        if room < mtu:
            return 0
        controller = path.controller
        budget = path.pacer.budget(
            controller.window, path.rtt.smoothed, mtu, now, controller.in_slow_start
        )
        if budget <= 0:
            if self._has_data():
                self._pace_until = path.pacer.next_send_time(
                    controller.window, path.rtt.smoothed, mtu, now, controller.in_slow_start
                )
            return 0
        return min(room, budget)

    def _has_data(self) -> bool:
        return self._streams.has_pending or self._control.has_pending

    def _send_built(self, builder: PacketBuilder, batch: DatagramBatch, now: Instant) -> None:
        path, space = self._path, self._space
        number, size = self._add(path.route, builder.chunks, batch)
        if builder.is_ack_eliciting:
            space.probes_due = max(0, space.probes_due - 1)
            path.pacer.on_sent(size, now)
        packet = SentPacket(number, now, size, builder.is_ack_eliciting, builder.records)
        space.recovery.on_packet_sent(packet, now)
        path.last_sent = now

    def _send_bulk(self, batch: DatagramBatch, now: Instant, limit: int) -> int:
        """Sends up to `limit` full packets of the one stream that has data; returns how many."""
        path, space = self._path, self._space
        if limit <= 0 or space.acks.wants_ack(now):
            return 0
        keys, recovery, bulk_chunk = self._keys, space.recovery, self._streams.bulk_chunk
        key, mask, first = keys.write, keys.write_mask, SHORT | (keys.phase & 1) * KEY_PHASE
        destination = self._remote_ids.current
        layout = header_layout(len(destination))
        route, ecn, mtu = path.route, path.ecn.codepoint_to_send, path.mtu.current
        room = mtu - self._overhead
        number = space.next_number
        sent = 0
        while sent < limit:
            if recovery.should_skip(number):
                recovery.mark_skipped(number)
                number += 1
            chunk = bulk_chunk(room)
            if chunk is None:
                break
            head, data, record = chunk
            header, sealed = seal_short(key, mask, layout, first, destination, number, head + data)
            batch.add(route, ecn, mtu, header, sealed)
            recovery.on_packet_sent(SentPacket(number, now, mtu, True, (record,)), now)
            number += 1
            sent += 1
        space.next_number = number
        if sent:
            path.last_sent = now
            path.pacer.on_sent(sent * mtu, now)
            keys.packets += sent
        return sent

    def _send_probes(self, batch: DatagramBatch, now: Instant) -> None:
        """Sends challenges and answers, each on the route that it is about."""
        for route, frame, size in self._responses.take():
            self._send_probe(route, frame, size, batch, now)
        check = self.check
        if check is not None:
            challenge = check.poll_challenge(now)
            if challenge is not None:
                frame, size = challenge
                check.sent += self._send_probe(check.route, frame, size, batch, now)

    def _send_probe(
        self, route: Route, frame: bytes, pad: int, batch: DatagramBatch, now: Instant
    ) -> int:
        padding = max(0, pad - self._overhead - len(frame))
        number, size = self._add(route, [frame, bytes(padding)], batch)
        # Not in flight: a probe has a timer of its own, and its loss says nothing of the path.
        self._space.recovery.on_packet_sent(SentPacket(number, now, size, False, ()), now)
        return size

    def _mtu_probe_size(self, now: Instant) -> int | None:
        if self._space.next_number < MTU_PROBE_AFTER:
            return None
        return self._path.mtu.probe_size(now)

    def _send_mtu_probe(self, size: int, batch: DatagramBatch, now: Instant) -> None:
        padding = bytes(size - self._overhead - len(_PING))
        number, size = self._add(self._path.route, [_PING, padding], batch)
        self._path.mtu.on_probe_sent(size, now)
        # One at a time and outside the window: larger than it, a probe would hold everything up.
        packet = SentPacket(number, now, size, False, (), True)
        self._space.recovery.on_packet_sent(packet, now)

    def _add(self, route: Route, chunks: list[bytes], batch: DatagramBatch) -> tuple[int, int]:
        """Seals one packet into the batch; returns its number and the datagram's size."""
        keys = self._keys
        number = self._space.take_number()
        first = SHORT | (keys.phase & 1) * KEY_PHASE
        destination = self._remote_ids.current
        layout = header_layout(len(destination))
        payload = b"".join(chunks)
        parts = seal_short(keys.write, keys.write_mask, layout, first, destination, number, payload)
        size = layout.size + len(parts[1])
        batch.add(route, self._path.ecn.codepoint_to_send, size, *parts)
        keys.packets += 1
        return number, size


class _AckRecord:
    """Learns that the peer has an ACK of ours, so that it need not be repeated."""

    __slots__ = ("_acks",)

    def __init__(self, acks: AckTracker) -> None:
        self._acks = acks

    def on_acked(self, a: int, b: int, c: int) -> None:
        self._acks.on_ack_acked(a)

    def on_lost(self, a: int, b: int, c: int) -> None:
        """The next ACK says it all again."""
