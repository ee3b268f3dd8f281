"""Frames outside streams that must arrive: queued, and sent again when their packet is lost.

Rule: a frame too many raises nothing, because what provokes it may be a timer or a command of our
own; the connection looks for it and ends itself.
"""

from typing import Final

from p2pnode.transports.delivery.held_bytes import FRAME_SIZE, HeldBytes
from p2pnode.transports.delivery.packet_builder import PacketBuilder

MAX_OUTSTANDING: Final = 512
"""frames unacknowledged; chosen: a peer that provokes so many without acknowledging is hostile"""


class ControlFrames:
    """Owner of its frames' records; `a` of a record is the frame's number here."""

    __slots__ = ("_held", "_next", "_pending", "_sent", "is_overrun")

    def __init__(self, held: HeldBytes) -> None:
        """`held` is the connection's."""
        self._held = held
        self._next = 0
        self._pending: dict[int, bytes] = {}
        self._sent: dict[int, bytes] = {}
        self.is_overrun = False
        """More was provoked than is kept: the connection has to end."""

    @property
    def has_pending(self) -> bool:
        return bool(self._pending)

    @property
    def outstanding(self) -> int:
        """Frames that are not acknowledged yet, sent or not."""
        return len(self._pending) + len(self._sent)

    def push(self, frame: bytes) -> None:
        """Queues an encoded frame, or drops it where too many are outstanding: see `is_overrun`."""
        if self.outstanding >= MAX_OUTSTANDING:
            self.is_overrun = True
            return
        self._held.beside += FRAME_SIZE + len(frame)
        self._pending[self._next] = frame
        self._next += 1

    def write_frames(self, builder: PacketBuilder) -> None:
        while self._pending:
            number = next(iter(self._pending))
            if not builder.add(self._pending[number], (self, number, 0, 0)):
                return
            self._sent[number] = self._pending.pop(number)

    def count_held(self) -> int:
        """Counts anew what `held` was told."""
        frames = [*self._pending.values(), *self._sent.values()]
        return sum(FRAME_SIZE + len(frame) for frame in frames)

    def on_acked(self, a: int, b: int, c: int) -> None:
        frame = self._sent.pop(a, None) or self._pending.pop(a, None)
        if frame is not None:
            self._held.beside -= FRAME_SIZE + len(frame)

    def on_lost(self, a: int, b: int, c: int) -> None:
        frame = self._sent.pop(a, None)
        if frame is not None:
            self._pending[a] = frame
