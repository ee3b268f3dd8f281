"""Fills, seals and batches the packets of one connection: the sending half of the hot path.

What goes into a packet, in this order: acknowledgements, connection frames, DATAGRAMs, streams.
A packet with nothing but acknowledgements needs neither window nor pacing (RFC 9002 section 7).
Where one stream has all there is to send, `_send_bulk` repeats the cheapest possible packet.
"""

from collections import deque
from typing import Final

from p2pnode.clock import Deadline, Instant
from p2pnode.transports.datagrams.control_frames import ControlFrames
from p2pnode.transports.datagrams.datagram_batch import MAX_SEGMENTS, DatagramBatch
from p2pnode.transports.datagrams.frame import PathResponse, Ping
from p2pnode.transports.delivery.held_bytes import FRAME_SIZE
from p2pnode.transports.delivery.loss_recovery import SentPacket
from p2pnode.transports.delivery.packet_builder import PacketBuilder
from p2pnode.transports.delivery.stream_set import StreamSet
from p2pnode.transports.noise_udp.connection_id import RemoteIds
from p2pnode.transports.noise_udp.frame import Datagram, encode_ack
from p2pnode.transports.noise_udp.key_schedule import KeySchedule
from p2pnode.transports.noise_udp.packet import (
    DATA,
    DATA_HEADER,
    DATA_HEADER_SIZE,
    DATA_OVERHEAD,
    KEY_PHASE,
)
from p2pnode.transports.noise_udp.path import Path
from p2pnode.transports.noise_udp.path_set import PathSet
from p2pnode.transports.noise_udp.path_validation import FULL_SIZE
from p2pnode.transports.noise_udp.qlog import Qlog
from p2pnode.transports.route import Route

MAX_DATAGRAM_QUEUE: Final = 256
"""DATAGRAM frames that wait to be sent; chosen: 10 ms at 40 MB/s; older ones are stale anyway"""
MTU_PROBE_AFTER: Final = 10
"""packets sent on a path before its MTU is searched; chosen: a request and its answer need none"""
MAX_ACK_SIZE: Final = 600
"""bytes; what an ACK with all its ranges needs at the most"""
_PING: Final = Ping().encode()
_PADDING: Final = bytes(1)


class PacketSender:
    """Owns the order of sending; the parts own what is sent."""

    def __init__(
        self,
        *,
        keys: KeySchedule,
        paths: PathSet,
        streams: StreamSet,
        control: ControlFrames,
        remote_ids: RemoteIds,
        final_packet: bytes,
        qlog: Qlog | None,
    ) -> None:
        self._qlog = qlog
        self._keys = keys
        self._paths = paths
        self._streams = streams
        self._control = control
        self._remote_ids = remote_ids
        self._final_packet = final_packet
        self._is_final_packet_due = bool(final_packet)
        self._pace_until: Instant | None = None
        self._datagrams: deque[bytes] = deque()
        self._held = streams.held

    def add_datagram(self, data: bytes) -> bool:
        """Queues data for a DATAGRAM frame; returns False where the queue is full."""
        if len(self._datagrams) >= MAX_DATAGRAM_QUEUE:
            return False
        self._datagrams.append(data)
        self._held.beside += FRAME_SIZE + len(data)
        return True

    def drop_datagrams(self) -> None:
        """Forgets what waits: the connection has ended."""
        self._held.beside -= self.count_held()
        self._datagrams.clear()

    def count_held(self) -> int:
        """Counts the DATAGRAMs that wait, as `held` was told."""
        return sum(FRAME_SIZE + len(data) for data in self._datagrams)

    def confirm_handshake(self) -> None:
        """The peer has message 3: it need not be repeated."""
        self._final_packet = b""
        self._is_final_packet_due = False

    def repeat_final_packet(self) -> None:
        """A probe timeout before the handshake is confirmed: message 3 may be what was lost."""
        self._is_final_packet_due = bool(self._final_packet)

    def ping(self, path: Path) -> None:
        """Makes the next packet of a path ask for an acknowledgement."""
        path.probes_due = max(path.probes_due, 1)

    def poll_timeout(self) -> Deadline | None:
        return None if self._pace_until is None else Deadline(self._pace_until, "pacing")

    def send(self, batch: DatagramBatch, now: Instant) -> bool:
        """Adds what may be sent at `now`, on every path; returns whether there may be more."""
        self._pace_until = None
        paths = self._paths
        for path in paths.paths.values():
            if path.validations or path.responses:
                self._send_probes(path, batch, now)
        active = paths.active
        if len(paths.paths) > 1:
            for path in paths.paths.values():
                if path is not active and path.route is not None:
                    self._send_standby(path, path.route, batch, now)
        if active.route is not None:
            return self._send_active(active, active.route, batch, now)
        return False

    def send_frame_alone(self, frame: bytes, batch: DatagramBatch, now: Instant) -> None:
        """Sends one frame at once, outside of all control: a close.

        What came and was not acknowledged is, with it: the peer has no other way to know any more.
        """
        path = self._paths.active
        if path.route is not None:
            frames = [frame]
            room = path.mtu.current - DATA_OVERHEAD - len(self._final_packet) - len(frame)
            if path.acks.has_unacked and room >= MAX_ACK_SIZE:
                frames.insert(0, encode_ack(path.acks.build(path.path_id, now)))
            self._add(path, path.route, frames, batch, now, self._final_packet)

    def _send_active(self, path: Path, route: Route, batch: DatagramBatch, now: Instant) -> bool:
        size = self._mtu_probe_size(path, now)
        if size is not None:
            self._send_mtu_probe(path, route, size, batch, now)
        if not (path.probes_due or self._has_data() or self._is_ack_due(path, now)):
            path.recovery.is_app_limited = True
            return False
        limit = MAX_SEGMENTS
        while limit > 0:
            final_packet = self._final_packet if self._is_final_packet_due else b""
            mtu = path.mtu.current
            builder = PacketBuilder(mtu - DATA_OVERHEAD - len(final_packet))
            acked = self._write_acks(path, builder, now)
            allowance = self._allowance(path, mtu, now)
            if allowance > 0 or path.probes_due > 0:
                self._write_frames(path, builder, now)
                path.recovery.is_app_limited = builder.room > 0
            if not builder.chunks:
                return False
            if acked and not builder.is_ack_eliciting and path.recovery.wants_ping:
                builder.add(_PING)
            self._send_built(path, route, builder, batch, now, final_packet)
            limit -= 1
            if not (path.probes_due or self._has_data()):
                return False
            if builder.is_ack_eliciting and builder.room == 0 and allowance >= 2 * mtu:
                limit -= self._send_bulk(path, route, batch, now, min(limit, allowance // mtu - 1))
        return True

    def _send_standby(self, path: Path, route: Route, batch: DatagramBatch, now: Instant) -> None:
        """A path that carries no data still acknowledges, and answers and sends probes."""
        builder = PacketBuilder(path.mtu.current - DATA_OVERHEAD)
        if path.acks.wants_ack(now):
            builder.chunks.append(encode_ack(path.acks.build(path.path_id, now)))
            builder.room -= len(builder.chunks[-1])
        self._write_owed_acks(path, builder, now)
        if path.probes_due > 0:
            builder.add(_PING)
        if builder.chunks:
            self._send_built(path, route, builder, batch, now, b"")

    def _write_acks(self, path: Path, builder: PacketBuilder, now: Instant) -> bool:
        """Acknowledges what came on this path, and on paths over which nothing can go back."""
        written = self._write_owed_acks(path, builder, now)
        for other in self._paths.paths.values():
            due = other.acks.wants_ack(now)
            if other is path:
                due = due or (other.acks.has_unacked and self._has_data())
            elif other.route is not None or builder.room < MAX_ACK_SIZE:
                due = False
            if due:
                ack = other.acks.build(other.path_id, now)
                frame = encode_ack(ack)
                builder.chunks.append(frame)
                builder.room -= len(frame)
                builder.records.append((AckRecord(other), ack.largest, 0, 0))
                written = True
        return written

    def _write_owed_acks(self, path: Path, builder: PacketBuilder, now: Instant) -> bool:
        """Says once more what came by paths that the peer's data has left."""
        written = False
        while path.owed_acks and builder.room >= MAX_ACK_SIZE:
            left = path.owed_acks.pop()
            frame = encode_ack(left.acks.build(left.path_id, now))
            builder.chunks.append(frame)
            builder.room -= len(frame)
            written = True
        return written

    def _write_frames(self, path: Path, builder: PacketBuilder, now: Instant) -> None:
        if self._control.has_pending:
            self._control.write_frames(builder)
        while self._datagrams and builder.room:
            frame = Datagram(self._datagrams[0]).encode()
            if not builder.add(frame) and len(frame) <= path.mtu.current - DATA_OVERHEAD:
                break  # else the path MTU has shrunk since it was queued, and it is lost
            self._held.beside -= FRAME_SIZE + len(self._datagrams.popleft())
        if self._streams.has_pending:
            self._streams.write_frames(builder, now, path.rtt.smoothed)
        if path.probes_due > 0 and not builder.is_ack_eliciting:
            builder.add(_PING)

    def _allowance(self, path: Path, mtu: int, now: Instant) -> int:
        """Returns how many bytes congestion window and pacer let go now; sets the pacing timer."""
        room = path.recovery.window_room()
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

    def _is_ack_due(self, path: Path, now: Instant) -> bool:
        """Whether `_write_acks` would write one, though there is nothing else to send."""
        if path.owed_acks or path.acks.wants_ack(now):
            return True
        paths = self._paths.paths
        return len(paths) > 1 and any(
            other.route is None and other.acks.wants_ack(now) for other in paths.values()
        )

    def _has_data(self) -> bool:
        return self._streams.has_pending or self._control.has_pending or bool(self._datagrams)

    def _send_built(
        self,
        path: Path,
        route: Route,
        builder: PacketBuilder,
        batch: DatagramBatch,
        now: Instant,
        final_packet: bytes,
    ) -> None:
        number, size = self._add(path, route, builder.chunks, batch, now, final_packet)
        if final_packet:
            self._is_final_packet_due = False
        if builder.is_ack_eliciting:
            path.probes_due = max(0, path.probes_due - 1)
            path.pacer.on_sent(size, now)
        packet = SentPacket(number, now, size, builder.is_ack_eliciting, builder.records)
        path.recovery.on_packet_sent(packet, now)
        path.last_sent = now

    def _send_bulk(
        self, path: Path, route: Route, batch: DatagramBatch, now: Instant, limit: int
    ) -> int:
        """Sends up to `limit` full packets of the one stream that has data; returns how many."""
        if limit <= 0 or path.acks.wants_ack(now):
            return 0
        keys, recovery, bulk_chunk = self._keys, path.recovery, self._streams.bulk_chunk
        seal, iv = keys.write.seal, keys.write.iv ^ path.nonce_base
        destination = self._remote_ids.current(path.path_id)
        if destination is None:
            return 0
        first_byte = DATA | (keys.phase & KEY_PHASE)
        ecn = path.ecn.codepoint_to_send
        mtu = path.mtu.current
        room = mtu - DATA_OVERHEAD
        number = path.next_packet_number
        sent = octets = 0
        while sent < limit:
            if recovery.should_skip(number):
                recovery.mark_skipped(number)
                number += 1
            chunk = bulk_chunk(room)
            if chunk is None:
                break
            head, data, record = chunk
            payload = head + data
            header = DATA_HEADER.pack(first_byte, destination, number & 0xFFFF_FFFF)
            if self._qlog is not None:
                self._qlog.packet_sent(now, path.path_id, number, room + DATA_OVERHEAD, payload)
            sealed = seal((iv ^ number).to_bytes(12, "big"), payload, header)
            size = len(sealed) + DATA_HEADER_SIZE
            batch.add(route, ecn, size, header, sealed)
            recovery.on_packet_sent(SentPacket(number, now, size, True, (record,)), now)
            number += 1
            sent += 1
            octets += size
            if size < mtu:
                break
        path.next_packet_number = number
        if sent:
            path.last_sent = now
            path.pacer.on_sent(octets, now)
            keys.on_sealed(sent, octets)
        return sent

    def _send_probes(self, path: Path, batch: DatagramBatch, now: Instant) -> None:
        """Sends challenges and answers, each on the route that it is about."""
        responses, path.responses = path.responses, []
        for route, data in responses:
            validation = path.validations.get(route.key)
            is_current = path.route is not None and path.route.key == route.key
            # An address that nothing is known of may be a victim's: the answer is no longer than
            # the challenge that it answers.
            budget = 0 if validation is None else validation.budget
            pad = FULL_SIZE if is_current or budget >= FULL_SIZE else 0
            size = self._send_probe(path, route, PathResponse(data).encode(), pad, batch, now)
            if validation is not None:
                validation.sent += size
        for validation in path.validations.values():
            challenge = validation.poll_challenge(now)
            if challenge is not None:
                frame, pad, ttl = challenge
                batch.ttl = ttl
                size = self._send_probe(path, validation.route, frame.encode(), pad, batch, now)
                batch.ttl = None
                validation.sent += size

    def _send_probe(
        self, path: Path, route: Route, frame: bytes, pad: int, batch: DatagramBatch, now: Instant
    ) -> int:
        padding = max(0, pad - DATA_OVERHEAD - len(frame))
        number, size = self._add(path, route, [frame, _PADDING * padding], batch, now)
        # Not in flight: a probe has a timer of its own, and its loss says nothing of the path.
        path.recovery.on_packet_sent(SentPacket(number, now, size, False, ()), now)
        if path.route is not None and path.route.key == route.key:
            path.last_sent = now
        return size

    def _mtu_probe_size(self, path: Path, now: Instant) -> int | None:
        if self._final_packet or path.next_packet_number < MTU_PROBE_AFTER:
            return None
        return path.mtu.probe_size(now)

    def _send_mtu_probe(
        self, path: Path, route: Route, size: int, batch: DatagramBatch, now: Instant
    ) -> None:
        padding = _PADDING * (size - DATA_OVERHEAD - len(_PING))
        number, size = self._add(path, route, [_PING, padding], batch, now)
        path.mtu.on_probe_sent(size, now)
        # One at a time and outside the window: larger than it, a probe would hold everything up.
        path.recovery.on_packet_sent(SentPacket(number, now, size, False, (), True), now)

    def _add(
        self,
        path: Path,
        route: Route,
        chunks: list[bytes],
        batch: DatagramBatch,
        now: Instant,
        final_packet: bytes = b"",
    ) -> tuple[int, int]:
        """Seals one packet into the batch; returns its number and the datagram's size."""
        keys = self._keys
        number = path.next_packet_number
        if path.recovery.should_skip(number):
            path.recovery.mark_skipped(number)
            number += 1
        path.next_packet_number = number + 1
        destination = self._remote_ids.current(path.path_id)
        assert destination is not None, "a path without connection id was opened"
        header = DATA_HEADER.pack(
            DATA | (keys.phase & KEY_PHASE), destination, number & 0xFFFF_FFFF
        )
        nonce = (keys.write.iv ^ path.nonce_base ^ number).to_bytes(12, "big")
        payload = b"".join(chunks)
        sealed = keys.write.seal(nonce, payload, header)
        size = len(final_packet) + len(header) + len(sealed)
        if self._qlog is not None:
            self._qlog.packet_sent(now, path.path_id, number, size, payload)
        if final_packet:
            batch.add(route, path.ecn.codepoint_to_send, size, final_packet, header, sealed)
        else:
            batch.add(route, path.ecn.codepoint_to_send, size, header, sealed)
        keys.on_sealed(1, size)
        return number, size


class AckRecord:
    """Learns that the peer has an ACK of ours, so that it need not be repeated."""

    __slots__ = ("_path",)

    def __init__(self, path: Path) -> None:
        self._path = path

    def on_acked(self, a: int, b: int, c: int) -> None:
        self._path.acks.on_ack_acked(a)

    def on_lost(self, a: int, b: int, c: int) -> None:
        """The next ACK says it all again."""
