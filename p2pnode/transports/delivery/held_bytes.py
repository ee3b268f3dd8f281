"""What a connection holds for its peer, in bytes of memory: received, out of order, to be sent.

The rule: whoever keeps something adds its size and takes it off again, so that the sum is never
counted.  What is received and unread is the connection's receive window's to know: bytes received
and not consumed.  So only the holes among them are taken off here, and data in order, which is
nearly all, changes nothing but the window.

Small things count with what their objects cost in CPython, where a peer may send a byte and have
us make an object.  Chunks of at least 256 bytes do not: with them it is less than a quarter.
"""

from typing import Final

from p2pnode.transports.delivery.flow_control import ReceiveWindow

STREAM_SIZE: Final = 1_024
"""bytes of a stream without data, both halves and its places in tables; measured, CPython 3.11"""
RUN_SIZE: Final = 256
"""bytes of a run of out-of-order data beside the data: its place in three lists, two integers, its
list and a chunk; measured, CPython 3.11"""
CONNECTION_SIZE: Final = 32 * 1024
"""bytes of a connection without streams; measured, CPython 3.11"""
FRAME_SIZE: Final = 128
"""bytes of a queued frame beside its content: an object and its place in a table; measured"""


class HeldBytes:
    """Shared by the parts of one connection."""

    __slots__ = ("above", "beside", "drawn", "runs", "to_send", "window")

    def __init__(self, window: ReceiveWindow) -> None:
        """`window` is the connection's."""
        self.window = window
        self.beside = 0
        """Bytes held beside what `window` and `to_send` count, less the holes in the window."""
        self.to_send = 0
        """Bytes that were written to streams and that the peer has not acknowledged."""
        self.above = 0
        """Bytes of `beside` that those keep who use the streams."""
        self.drawn = 0
        """How much of `total` the node's account knows of."""
        self.runs = 0
        """Runs of out-of-order data of all streams: each has a hole in front of it."""

    def keep_above(self, count: int) -> None:
        """Who uses the streams keeps so many bytes more for the same peer, or less."""
        self.above += count
        self.beside += count

    @property
    def total(self) -> int:
        window = self.window
        return window.received - window.consumed + self.to_send + self.beside
