"""Opens the packets of one connection: the receiving half of the hot path.

The rule: until a packet is authenticated it changes nothing but the count of forgeries.
"""

from typing import TYPE_CHECKING, Final, Protocol

from cryptography.exceptions import InvalidTag

from p2pnode.clock import Instant
from p2pnode.errors import DecodeError, TransportError
from p2pnode.machine import Received
from p2pnode.transports.datagrams.frame import NOT_ACK_ELICITING_TYPES
from p2pnode.transports.delivery.frame import (
    STREAM_TYPES,
    Ack,
    FrameType,
    decode_stream_untrusted,
)
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.quic_v1.connection_id import LocalIds
from p2pnode.transports.quic_v1.epoch import Epoch
from p2pnode.transports.quic_v1.frame import (
    PROBING_TYPES,
    Frame,
    check_frame_type,
    decode_ack_untrusted,
    decode_frame_untrusted,
)
from p2pnode.transports.quic_v1.packet import (
    FIXED,
    KEY_PHASE,
    LONG,
    LONG_RESERVED,
    SHORT_RESERVED,
    Packet,
    decode_packet_number,
)
from p2pnode.transports.quic_v1.packet_space import PacketSpace
from p2pnode.transports.quic_v1.parameters import DEFAULT_ACK_DELAY_EXPONENT
from p2pnode.transports.quic_v1.protection import open_packet, unmask_header
from p2pnode.transports.quic_v1.short_packet import MIN_SHORT_SIZE, unmask_short
from p2pnode.transports.route import Route, route_of
from p2pnode.transports.work import CONTROL_FRAME_WORK, FRAME_WORK, PACKET_WORK, Work

if TYPE_CHECKING:
    from p2pnode.transports.delivery.stream_set import StreamSet
    from p2pnode.transports.quic_v1.key_phases import KeyPhases

_ACKS: Final = (FrameType.ACK, FrameType.ACK_ECN)


class Arrival:
    """By what a packet came."""

    __slots__ = ("destination", "is_newest", "route", "size")

    def __init__(self, route: Route, destination: int, size: int, is_newest: bool) -> None:
        self.route = route
        self.destination = destination
        """Our id that it came to."""
        self.size = size
        """bytes of the datagram"""
        self.is_newest = is_newest
        """Whether its number is above all before."""


class Handler(Protocol):
    """What takes frames that are not STREAM, and learns by which route packets come."""

    def handle_frame(self, frame: Frame, epoch: Epoch, arrival: Arrival, now: Instant) -> None: ...

    def handle_ack(self, ack: Ack, space: PacketSpace, now: Instant) -> None: ...

    def on_elsewhere(self, arrival: Arrival, now: Instant) -> None:
        """A packet came by another route than the one in use, and was more than a probe."""
        ...

    def enter_next_phase(self, now: Instant, read_from: int) -> None: ...


class PacketReceiver:
    """Decrypts, discards duplicates, decodes, and hands every frame to the part it is for."""

    def __init__(
        self, local_ids: LocalIds, handler: Handler, work: Work, *, is_client: bool
    ) -> None:
        self._local_ids = local_ids
        self._handler = handler
        self._is_client = is_client
        self.work = work
        self.packets_received = 0
        """Authentic ones."""
        self.keys: KeyPhases | None = None
        self.space: PacketSpace | None = None
        self.streams: StreamSet | None = None
        """These three are 1-RTT's: None until the handshake is complete."""
        self.ack_delay_exponent = DEFAULT_ACK_DELAY_EXPONENT
        """The peer's, of 1-RTT packets."""

    def let_go(self) -> None:
        """Nothing is received any more: it lets go of the handler, which holds it as well."""
        del self._handler

    # Initial and Handshake

    def take_early(
        self,
        datagram: bytes,
        packet: Packet,
        space: PacketSpace,
        route: Route,
        now: Instant,
    ) -> bool:
        """Takes a packet of the handshake; returns whether it was authentic.

        Raises TransportError where it was, and breaks the protocol.
        """
        if space.read is None or space.read_mask is None:
            return False
        unmasked = unmask_header(space.read_mask, datagram, packet.start, packet.number_at)
        first, low, size = unmasked
        number = decode_packet_number(low, size, space.acks.largest + 1)
        if space.acks.is_duplicate(number):
            return False
        try:
            payload = open_packet(
                space.read, datagram, packet.start, packet.number_at, packet.end, unmasked, number
            )
        except InvalidTag:
            return False
        if first & LONG_RESERVED:
            raise TransportError(ErrorCode.PROTOCOL_VIOLATION, "reserved bits are not 0")
        self.packets_received += 1
        destination = int.from_bytes(packet.destination, "big")
        arrival = Arrival(route, destination, len(datagram), number > space.acks.largest)
        is_eliciting, _ = self._handle_frames(payload, space, arrival, now)
        if not space.is_discarded:
            space.acks.on_packet(number, is_eliciting, 0, now)
        return True

    # 1-RTT

    def receive(self, received: Received, start: int, route: Route, now: Instant) -> int:
        """Takes 1-RTT datagrams of a read from `start` on, as long as they are this connection's.

        `route` is the one in use.  Stops early where the connection's turn is over, see
        `Work.limit`.  Returns the position behind the last one taken: at least one is.  Raises
        TransportError where an authenticated packet breaks the protocol.
        """
        buffer = received.buffer
        view = memoryview(buffer)
        total, step, ecn = len(buffer), received.segment_size, received.ecn
        came_by = route_of(received)
        is_here = came_by.remote == route.remote and came_by.socket == route.socket
        keys, space, sequence_of = self.keys, self.space, self._local_ids.sequence_of
        assert keys is not None
        assert space is not None
        mask, acks, work = keys.read_mask, space.acks, self.work
        position = start
        while position < total:
            end = min(position - position % step + step, total)
            if end - position < MIN_SHORT_SIZE or buffer[position] & (LONG | FIXED) != FIXED:
                break
            destination = int.from_bytes(buffer[position + 1 : position + 9], "big")
            if destination not in sequence_of:
                break
            first, low, size, head = unmask_short(mask, buffer, position)
            number = decode_packet_number(low, size, acks.largest + 1)
            if not acks.is_duplicate(number):
                payload = self._open(first, number, view[position + len(head) : end], head, now)
                if payload is not None:
                    if first & SHORT_RESERVED:
                        raise TransportError(ErrorCode.PROTOCOL_VIOLATION, "reserved bits not 0")
                    self._take(
                        payload, number, space,
                        Arrival(
                            route if is_here else came_by,
                            destination, end - position, number > acks.largest,
                        ),
                        is_here, ecn, now,
                    )  # fmt: skip
                elif keys.is_exhausted:
                    raise TransportError(ErrorCode.AEAD_LIMIT_REACHED, "too many forged packets")
            position = end
            work.spent += PACKET_WORK
            if work.spent >= work.limit:
                break
        return max(position, min(start - start % step + step, total))

    def _open(
        self, first: int, number: int, text: memoryview, header: bytes, now: Instant
    ) -> bytes | None:
        """Returns the packet's payload, or None where no key opens it."""
        keys = self.keys
        assert keys is not None
        key = keys.read_key((first & KEY_PHASE) >> 2, number)
        if key is None:
            return None
        try:
            payload = key.open((key.iv ^ number).to_bytes(12, "big"), text, header)
        except InvalidTag:
            keys.forgeries += 1
            return None
        if key is keys.next_read:
            self._handler.enter_next_phase(now, number)
        elif number < keys.read_from and key is keys.read:
            keys.on_read(number)
        return payload

    def _take(
        self,
        payload: bytes,
        number: int,
        space: PacketSpace,
        arrival: Arrival,
        is_here: bool,
        ecn: int,
        now: Instant,
    ) -> None:
        is_eliciting, is_probing = self._handle_frames(payload, space, arrival, now)
        space.acks.on_packet(number, is_eliciting, ecn, now)
        self.packets_received += 1
        if not is_here and not is_probing and arrival.is_newest:
            self._handler.on_elsewhere(arrival, now)

    def _handle_frames(
        self, payload: bytes, space: PacketSpace, arrival: Arrival, now: Instant
    ) -> tuple[bool, bool]:
        """Returns whether the packet is ack-eliciting, and whether it is only a probe."""
        try:
            return self._read_frames(payload, space, arrival, now)
        except DecodeError as error:
            raise TransportError(ErrorCode.FRAME_ENCODING_ERROR, str(error)) from None

    def _read_frames(
        self, payload: bytes, space: PacketSpace, arrival: Arrival, now: Instant
    ) -> tuple[bool, bool]:
        position, end = 0, len(payload)
        if not end:
            raise TransportError(ErrorCode.PROTOCOL_VIOLATION, "packet without frames")
        is_eliciting, is_probing = False, True
        work = overhead = 0
        epoch, streams = space.epoch, self.streams
        is_application = epoch is Epoch.APPLICATION
        while position < end:
            kind = payload[position]
            if kind in STREAM_TYPES and is_application:
                assert streams is not None
                stream_id, offset, data, fin, position = decode_stream_untrusted(payload, position)
                streams.handle_stream(stream_id, offset, data, fin)
                is_eliciting, is_probing = True, False
                work += FRAME_WORK
            elif kind == FrameType.PADDING:
                position = end - len(payload[position:].lstrip(b"\0"))
            elif kind in _ACKS:
                exponent = self.ack_delay_exponent if is_application else DEFAULT_ACK_DELAY_EXPONENT
                ack, position = decode_ack_untrusted(payload, position, exponent)
                self._handler.handle_ack(ack, space, now)
                is_probing = False
                work += CONTROL_FRAME_WORK
            else:
                check_frame_type(kind, epoch, is_client=self._is_client)
                frame, position = decode_frame_untrusted(payload, position)
                is_eliciting = is_eliciting or kind not in NOT_ACK_ELICITING_TYPES
                is_probing = is_probing and kind in PROBING_TYPES
                self._handler.handle_frame(frame, epoch, arrival, now)
                work += CONTROL_FRAME_WORK
                overhead += CONTROL_FRAME_WORK
        self.work.spent += work
        if streams is not None:
            overhead += streams.overhead
            if overhead or not work:
                streams.overhead = 0
                self.work.overhead += overhead if overhead < 0 else overhead + PACKET_WORK
        return is_eliciting, is_probing
