"""Sends the packets of the handshake, several to a datagram (RFC 9000 sections 12.2 and 14.1).

The rule: a datagram with an Initial that wants an answer, and every Initial of a client, is 1,200
bytes long, so that the path is known to carry that.
"""

from collections.abc import Callable
from typing import Final

from p2pnode.clock import Instant
from p2pnode.transports.datagrams.datagram_batch import DatagramBatch
from p2pnode.transports.datagrams.frame import Ping
from p2pnode.transports.delivery.loss_recovery import SentPacket
from p2pnode.transports.delivery.packet_builder import PacketBuilder
from p2pnode.transports.quic_v1.connection_id import RemoteIds
from p2pnode.transports.quic_v1.epoch import Epoch
from p2pnode.transports.quic_v1.frame import encode_ack
from p2pnode.transports.quic_v1.handshaking import Handshaking
from p2pnode.transports.quic_v1.packet import (
    MIN_INITIAL_SIZE,
    TAG_SIZE,
    PacketType,
    long_header,
    long_header_size,
)
from p2pnode.transports.quic_v1.packet_space import PacketSpace
from p2pnode.transports.quic_v1.path import Path
from p2pnode.transports.quic_v1.protection import seal_packet
from p2pnode.transports.quic_v1.short_packet import NUMBER_BYTES

MAX_EARLY_ACK: Final = 600
"""bytes; what an ACK with all its ranges needs at the most"""
MIN_EARLY_ROOM: Final = 64
"""bytes of frames below which another packet is not begun; chosen"""
_PING: Final = Ping().encode()
_KINDS: Final = {Epoch.INITIAL: PacketType.INITIAL, Epoch.HANDSHAKE: PacketType.HANDSHAKE}

Write = Callable[[PacketSpace, PacketBuilder], None]
"""Adds the frames of a space's packet."""


class EarlySender:
    """Initial and Handshake packets of one connection."""

    def __init__(
        self, handshaking: Handshaking, path: Path, source: bytes, remote_ids: RemoteIds
    ) -> None:
        self._handshaking = handshaking
        self._path = path
        self._source = source
        self._remote_ids = remote_ids

    def send(self, batch: DatagramBatch, now: Instant) -> None:
        """Adds everything that may be sent at `now`."""
        while self._send_datagram(
            batch, now, lambda space, builder: self._fill(space, builder, now)
        ):
            pass

    def send_close(self, frame: bytes, batch: DatagramBatch, now: Instant) -> None:
        """Adds a datagram with one CONNECTION_CLOSE in each encryption level that has keys."""

        def write(space: PacketSpace, builder: PacketBuilder) -> None:
            builder.chunks.append(frame)
            builder.room -= len(frame)

        self._send_datagram(batch, now, write)

    def _fill(self, space: PacketSpace, builder: PacketBuilder, now: Instant) -> None:
        acks, crypto = space.acks, space.crypto
        has_data = crypto.has_pending and (
            space.probes_due > 0 or space.recovery.window_room() >= MIN_INITIAL_SIZE
        )
        wants_ack = acks.wants_ack(now) or (acks.has_unacked and (has_data or space.probes_due > 0))
        if wants_ack and builder.room >= MAX_EARLY_ACK:
            ack = acks.build(0, now)
            frame = encode_ack(ack)
            builder.chunks.append(frame)
            builder.room -= len(frame)
        if has_data:
            crypto.write_frames(builder)
        if space.probes_due > 0 and not builder.is_ack_eliciting:
            builder.add(_PING)

    def _send_datagram(self, batch: DatagramBatch, now: Instant, write: Write) -> bool:
        path = self._path
        size = min(MIN_INITIAL_SIZE, path.budget)
        built: list[tuple[PacketSpace, PacketBuilder]] = []
        used = 0
        for space in self._handshaking.spaces.values():
            if space.write is None:
                continue
            room = size - used - self._overhead(space)
            if room < MIN_EARLY_ROOM:
                continue
            builder = PacketBuilder(room)
            write(space, builder)
            if builder.chunks:
                built.append((space, builder))
                used = size - builder.room
        if not built:
            return False
        first, builder = built[0]
        is_padded = first.epoch is Epoch.INITIAL and (
            self._handshaking.is_client or builder.is_ack_eliciting
        )
        if is_padded and used < size:
            built[-1][1].chunks.append(bytes(size - used))
        parts = [part for space, filled in built for part in self._seal(space, filled, now)]
        total = sum(map(len, parts))
        batch.add(path.route, 0, total, *parts)
        path.sent += total
        path.last_sent = now
        if self._handshaking.is_client and built[-1][0].epoch is Epoch.HANDSHAKE:
            initial = self._handshaking.initial
            if not initial.is_discarded:
                initial.discard()  # RFC 9001 section 4.9.1
        return True

    def _seal(
        self, space: PacketSpace, builder: PacketBuilder, now: Instant
    ) -> tuple[bytes, bytes]:
        assert space.write is not None
        assert space.write_mask is not None
        number = space.take_number()
        payload = b"".join(builder.chunks)
        header = long_header(
            _KINDS[space.epoch],
            self._remote_ids.current,
            self._source,
            number,
            NUMBER_BYTES,
            len(payload),
            self._handshaking.token if space.epoch is Epoch.INITIAL else b"",
        )
        sealed = seal_packet(space.write, space.write_mask, header, number, payload)
        size = len(header) + len(sealed[1])
        if builder.is_ack_eliciting:
            space.probes_due = max(0, space.probes_due - 1)
        space.recovery.on_packet_sent(
            SentPacket(number, now, size, builder.is_ack_eliciting, builder.records), now
        )
        return sealed

    def _overhead(self, space: PacketSpace) -> int:
        token = self._handshaking.token if space.epoch is Epoch.INITIAL else b""
        kind = _KINDS[space.epoch]
        destination = self._remote_ids.current
        return long_header_size(kind, destination, self._source, NUMBER_BYTES, token) + TAG_SIZE
