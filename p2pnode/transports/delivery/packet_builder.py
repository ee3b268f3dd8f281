"""What one packet will carry, while it is being filled."""

from typing import Protocol, TypeAlias


class FrameOwner(Protocol):
    """The part that sent a frame and learns what became of it.

    The three integers are the owner's own note about the frame, for instance (start, end, fin) of
    a stream's bytes.  A packet declared lost may still be acknowledged later; then both are called,
    in that order.
    """

    def on_acked(self, a: int, b: int, c: int) -> None: ...

    def on_lost(self, a: int, b: int, c: int) -> None: ...


FrameRecord: TypeAlias = tuple[FrameOwner, int, int, int]


class PacketBuilder:
    """Frames and the records of those that must be delivered, within `room` bytes of payload."""

    __slots__ = ("chunks", "is_ack_eliciting", "records", "room")

    def __init__(self, room: int) -> None:
        self.chunks: list[bytes] = []
        self.records: list[FrameRecord] = []
        self.room = room
        self.is_ack_eliciting = False

    def add(self, frame: bytes, record: FrameRecord | None = None) -> bool:
        """Appends an ack-eliciting frame, or returns False where it does not fit."""
        if len(frame) > self.room:
            return False
        self.chunks.append(frame)
        self.room -= len(frame)
        self.is_ack_eliciting = True
        if record is not None:
            self.records.append(record)
        return True
