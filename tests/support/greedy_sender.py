"""A peer that uses every byte of credit at once and keeps none back: it may."""

from p2pnode.transports.delivery.frame import MaxData, MaxStreamData, ResetStream
from p2pnode.transports.delivery.stream_set import StreamSet
from tests.support.stream_link import Limits, frames, packet

CHUNK = 16 * 1024
"""bytes in one STREAM frame"""


class GreedySender:
    """Writes by hand to a StreamSet, within the limits that it was told and no further."""

    def __init__(self, receiver: StreamSet, limits: Limits, now: float = 0.0) -> None:
        self.receiver = receiver
        self.now = now
        self.max_data = limits.initial_max_data
        self.sent = 0
        self._initial = limits.initial_max_stream_data
        self._max: dict[int, int] = {}
        self._offsets: dict[int, int] = {}

    def send(self, stream_id: int, size: int) -> int:
        """Sends at most `size` bytes on a stream of ours; returns how many there was credit for."""
        start = self._offsets.get(stream_id, 0)
        stop = start + size
        while (at := self._offsets.get(stream_id, 0)) < stop:
            self.listen()
            limit = self._max.get(stream_id, self._initial)
            count = min(CHUNK, stop - at, limit - at, self.max_data - self.sent)
            if count <= 0:
                break
            self.receiver.handle_stream(stream_id, at, bytes(count), False)
            self._offsets[stream_id] = at + count
            self.sent += count
        return self._offsets.get(stream_id, 0) - start

    def listen(self, rtt: float = 0.1) -> None:
        """Takes what the receiver has to say."""
        while (said := packet(self.receiver, now=self.now, rtt=rtt)) is not None:
            for frame in frames(said.payload):
                match frame:
                    case MaxData():
                        assert frame.maximum > self.max_data, "a frame that says nothing"
                        self.max_data = frame.maximum
                    case MaxStreamData():
                        self._max[frame.stream_id] = frame.maximum
                    case _:
                        pass
            said.acked()

    def end(self, stream_id: int) -> None:
        """Gives up both directions of a stream."""
        size = self._offsets.get(stream_id, 0)
        self.receiver.handle_reset_stream(ResetStream(stream_id, 0, size))
        self.listen()
