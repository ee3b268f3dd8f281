"""Opens the data packets of one connection: the receiving half of the hot path.

The rule: until a packet is authenticated it changes nothing but the count of forgeries.
"""

from typing import Final, Protocol

from cryptography.exceptions import InvalidTag

from p2pnode.clock import Instant
from p2pnode.errors import DecodeError, TransportError
from p2pnode.machine import Received
from p2pnode.transports.datagrams.frame import NOT_ACK_ELICITING_TYPES
from p2pnode.transports.delivery.frame import STREAM_TYPES, FrameType, decode_stream_untrusted
from p2pnode.transports.delivery.stream_set import StreamSet
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.noise_udp.connection_id import LocalIds
from p2pnode.transports.noise_udp.frame import PROBING_TYPES, Frame, decode_frame_untrusted
from p2pnode.transports.noise_udp.key_schedule import KeySchedule
from p2pnode.transports.noise_udp.packet import (
    DATA,
    DATA_HEADER,
    DATA_HEADER_SIZE,
    DATA_OVERHEAD,
    KEY_PHASE,
    decode_packet_number,
)
from p2pnode.transports.noise_udp.path import Path
from p2pnode.transports.noise_udp.path_set import PathSet
from p2pnode.transports.noise_udp.qlog import Qlog
from p2pnode.transports.route import Route, route_of
from p2pnode.transports.work import CONTROL_FRAME_WORK, FRAME_WORK, PACKET_WORK, Work

PREVIOUS_KEY_PTOS: Final = 3
"""probe timeouts that packets of the last key phase may be late (RFC 9001 section 6.5)"""


CARRYING_TYPES: Final = frozenset({FrameType.ACK, FrameType.ACK_ECN, FrameType.DATAGRAM})
"""No overhead, beside STREAM: ACKs answer our own packets"""


class FrameHandler(Protocol):
    """What takes the frames that are not STREAM."""

    def handle_frame(self, frame: Frame, path: Path, route: Route, now: Instant) -> None: ...


class PacketReceiver:
    """Decrypts, discards duplicates, decodes, and hands every frame to the part it is for."""

    def __init__(
        self,
        *,
        keys: KeySchedule,
        paths: PathSet,
        streams: StreamSet,
        local_ids: LocalIds,
        max_ack_delay: float,
        handler: FrameHandler,
        qlog: Qlog | None,
        now: Instant,
    ) -> None:
        self._qlog = qlog
        self._keys = keys
        self._paths = paths
        self._streams = streams
        self._local_ids = local_ids
        self._max_ack_delay = max_ack_delay
        self._handler = handler
        self.work = Work(now)
        """What the peer's packets cost; others add what follows from them."""
        self.packets_received = 0
        self._data_path: Path | None = None
        """The path that the peer's data came by last."""

    def let_go(self) -> None:
        """Nothing is received any more: it lets go of the handler, which holds it as well."""
        del self._handler

    def receive(self, received: Received, start: int, now: Instant) -> int:
        """Takes the datagrams of a read from `start` on, as long as they are this connection's.

        Stops early where the connection's turn is over, see `Work.limit`.
        Returns the position behind the last one taken: at least one is.  Raises TransportError
        where an authenticated packet breaks the protocol.
        """
        buffer = received.buffer
        view = memoryview(buffer)
        total, step, ecn = len(buffer), received.segment_size, received.ecn
        route = route_of(received)
        unpack, keys, path_of = DATA_HEADER.unpack_from, self._keys, self._local_ids.path_of
        position, known, path_id = start, -1, 0
        path: Path | None = None
        work = self.work
        while position < total:
            end = min(position - position % step + step, total)
            if end - position < DATA_OVERHEAD or buffer[position] & ~KEY_PHASE != DATA:
                break
            flags, destination, low = unpack(buffer, position)
            if destination != known:
                place = path_of.get(destination)
                if place is None:
                    break
                known, path_id = destination, place[0]
                path = self._paths.paths.get(path_id)
            expected = 0 if path is None else path.acks.largest + 1
            number = decode_packet_number(low, expected)
            if path is None or not path.acks.is_duplicate(number):
                payload = self._open(
                    flags, path_id << 64 | number, view[position + DATA_HEADER_SIZE : end],
                    view[position : position + DATA_HEADER_SIZE], now,
                )  # fmt: skip
                if payload is not None:
                    if path is None:
                        path = self._paths.get_or_create(path_id, now)
                    if path is not None:  # else as if it were lost: it overtook its ids
                        self._take(payload, number, path, route, end - position, ecn, now)
                elif keys.is_exhausted:
                    raise TransportError(ErrorCode.AEAD_LIMIT_REACHED, "too many forged packets")
            position = end
            work.spent += PACKET_WORK
            if work.spent >= work.limit:
                break
        return max(position, min(start - start % step + step, total))

    def _open(
        self, flags: int, nonce: int, text: memoryview, header: memoryview, now: Instant
    ) -> bytes | None:
        """Returns the packet's payload, or None where no key opens it."""
        keys = self._keys
        if flags & KEY_PHASE == keys.phase & KEY_PHASE:
            try:
                return keys.read.open((keys.read.iv ^ nonce).to_bytes(12, "big"), text, header)
            except InvalidTag:
                keys.forgeries += 1
                return None
        previous = keys.previous_read
        if previous is not None:
            try:
                return previous.open((previous.iv ^ nonce).to_bytes(12, "big"), text, header)
            except InvalidTag:
                keys.forgeries += 1
                return None
        following = keys.next_read_key()
        try:
            payload = following.open((following.iv ^ nonce).to_bytes(12, "big"), text, header)
        except InvalidTag:
            keys.forgeries += 1
            return None
        self.enter_next_phase(now)
        return payload

    def enter_next_phase(self, now: Instant) -> None:
        """Updates the keys of all paths together."""
        pto = self._paths.active.pto(self._max_ack_delay)
        self._keys.advance(now, PREVIOUS_KEY_PTOS * pto)
        for path in self._paths.paths.values():
            path.phase_start = path.next_packet_number

    def _take(
        self,
        payload: bytes,
        number: int,
        path: Path,
        route: Route,
        size: int,
        ecn: int,
        now: Instant,
    ) -> None:
        is_newest = number > path.acks.largest
        if self._qlog is not None:
            self._qlog.packet_received(now, path.path_id, number, size, payload)
        try:
            is_eliciting, is_probing = self._handle_frames(payload, path, route, now)
        except DecodeError as error:
            raise TransportError(ErrorCode.FRAME_ENCODING_ERROR, str(error)) from None
        path.acks.on_packet(number, is_eliciting, ecn, now)
        self.packets_received += 1
        if path is not self._data_path and is_eliciting and not is_probing:
            self._on_data_moved(path)
        current = path.route
        if (
            current is not None
            and current.remote == route.remote
            and current.socket == route.socket
            and current.local_ip == route.local_ip
            and not is_probing
        ):
            if is_newest:
                path.on_data_from(current)
            return
        self._paths.on_packet(
            path, route, size, is_newest=is_newest, is_probing=is_probing, now=now
        )

    def _on_data_moved(self, path: Path) -> None:
        """The peer's data comes another way: the last ACKs of the old one may have been lost.

        They are said again on the new one, or the peer sends all of the last round trip again.
        """
        left, self._data_path = self._data_path, path
        if left is not None and left.acks.largest >= 0 and left not in path.owed_acks:
            path.owed_acks.append(left)

    def _handle_frames(
        self, payload: bytes, path: Path, route: Route, now: Instant
    ) -> tuple[bool, bool]:
        """Returns whether the packet is ack-eliciting, and whether it is only a probe."""
        position, end = 0, len(payload)
        if not end:
            raise TransportError(ErrorCode.PROTOCOL_VIOLATION, "packet without frames")
        is_eliciting, is_probing = False, True
        work = overhead = 0
        while position < end:
            kind = payload[position]
            if kind in STREAM_TYPES:
                stream_id, offset, data, fin, position = decode_stream_untrusted(payload, position)
                self._streams.handle_stream(stream_id, offset, data, fin)
                is_eliciting, is_probing = True, False
                work += FRAME_WORK
            elif kind == FrameType.PADDING:
                position = end - len(payload[position:].lstrip(b"\0"))
            else:
                frame, position = decode_frame_untrusted(payload, position)
                is_eliciting = is_eliciting or kind not in NOT_ACK_ELICITING_TYPES
                is_probing = is_probing and kind in PROBING_TYPES
                self._handler.handle_frame(frame, path, route, now)
                work += CONTROL_FRAME_WORK
                if kind not in CARRYING_TYPES:
                    overhead += CONTROL_FRAME_WORK
        self.work.spent += work
        overhead += self._streams.overhead
        if overhead or not work:
            self._streams.overhead = 0
            self.work.overhead += overhead if overhead < 0 else overhead + PACKET_WORK
        return is_eliciting, is_probing
