"""The bytes of the TLS handshake at one encryption level (RFC 9000 sections 7.5 and 19.6).

Both directions have no end and no flow control: what is kept of them is bounded here.
"""

from typing import Final

from p2pnode.errors import TransportError
from p2pnode.transports.delivery.packet_builder import PacketBuilder
from p2pnode.transports.delivery.ranges import RangeSet
from p2pnode.transports.delivery.varint import varint_size
from p2pnode.transports.quic_v1.frame import CRYPTO, crypto_header
from p2pnode.transports.quic_v1.quic_error_code import QuicErrorCode

MAX_CRYPTO_AHEAD: Final = 32 * 1024
"""bytes beyond those in order that a peer may send; chosen: twice the longest TLS message that is
taken, and above the 4,096 of RFC 9000 section 7.5"""
MAX_CRYPTO_GAPS: Final = 32
"""holes in them; chosen: a handshake has a dozen packets"""
MIN_CRYPTO_ROOM: Final = 24
"""bytes; below this a CRYPTO frame is more header than data"""


class CryptoStream:
    """Owner of its frames' records: (start, stop, 0) of the bytes in a frame."""

    __slots__ = ("_acked", "_came", "_lost", "_next", "_received", "_sending", "_taken")

    def __init__(self) -> None:
        self._sending = bytearray()
        self._next = 0
        self._lost = RangeSet()
        self._acked = RangeSet()
        self._received = bytearray()
        """From `_taken` on, with holes."""
        self._came = RangeSet()
        self._taken = 0

    # from the peer

    def handle(self, offset: int, data: bytes) -> bytes:
        """Takes a frame; returns the bytes that are in order now, if any.  Raises TransportError.

        What came first is kept, should a peer say two things at one place.
        """
        taken, stop = self._taken, offset + len(data)
        if stop > taken + MAX_CRYPTO_AHEAD:
            raise TransportError(
                QuicErrorCode.CRYPTO_BUFFER_EXCEEDED, "more TLS data than is kept", CRYPTO
            )
        if stop <= taken:
            return b""
        if len(self._received) < stop - taken:
            self._received.extend(bytes(stop - taken - len(self._received)))
        for start, end in self._came.gaps(max(offset, taken), stop):
            self._received[start - taken : end - taken] = data[start - offset : end - offset]
            self._came.add(start, end)
        if len(self._came) > MAX_CRYPTO_GAPS:
            raise TransportError(
                QuicErrorCode.CRYPTO_BUFFER_EXCEEDED, "TLS data with too many holes", CRYPTO
            )
        if not self._came or self._came[0][0] > taken:
            return b""
        end = self._came[0][1]
        self._came.drop_first()
        found = bytes(self._received[: end - taken])
        del self._received[: end - taken]
        self._taken = end
        return found

    # to the peer

    @property
    def has_pending(self) -> bool:
        return bool(self._lost) or self._next < len(self._sending)

    def write(self, data: bytes) -> None:
        """Adds bytes of our own, which are sent until they are acknowledged."""
        self._sending += data

    def write_frames(self, builder: PacketBuilder) -> None:
        """Adds what fits: what was lost first."""
        while self.has_pending and builder.room >= MIN_CRYPTO_ROOM:
            if self._lost:
                start, stop = self._lost[0]
            else:
                start, stop = self._next, len(self._sending)
            room = builder.room - 1 - varint_size(start) - varint_size(stop - start)
            stop = min(stop, start + room)
            frame = crypto_header(start, stop - start) + bytes(self._sending[start:stop])
            builder.add(frame, (self, start, stop, 0))
            self._lost.remove(start, stop)
            self._next = max(self._next, stop)

    def on_acked(self, a: int, b: int, c: int) -> None:
        self._acked.add(a, b)
        self._lost.remove(a, b)

    def on_lost(self, a: int, b: int, c: int) -> None:
        for start, stop in self._acked.gaps(a, b):
            self._lost.add(start, stop)
