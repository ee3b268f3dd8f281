"""A bulk transfer over a `Pair`, checked byte for byte."""

from random import Random

from p2pnode.transports.noise_udp.connection import Connection
from tests.support.pair import Pair, Side

WRITE_SIZE = 64 * 1024


class Transfer:
    """Sends `size` random bytes over one stream; `step` moves it on and says when all arrived."""

    def __init__(self, pair: Pair, size: int, *, sender: Side | None = None) -> None:
        self._pair = pair
        self.sender = sender or pair.client
        self.receiver = pair.server if self.sender is pair.client else pair.client
        self.data = Random(f"transfer/{size}").randbytes(size)
        self.received = bytearray()
        self._sent = 0
        stream_id = self.sender.connection.streams.open()
        assert stream_id is not None
        self.stream_id = stream_id

    def step(self) -> bool:
        """For `Pair.drive`: True once everything has arrived, the end included."""
        self._write(self.sender.connection)
        connection = self.receiver.endpoint.command(self.receiver.handle)
        if connection is None or not connection.streams.is_known(self.stream_id):
            return self.is_complete
        while data := connection.streams.read(self.stream_id, WRITE_SIZE):
            self.received += data
        return self.is_complete and connection.streams.at_eof(self.stream_id)

    @property
    def is_complete(self) -> bool:
        return len(self.received) == len(self.data)

    def run(self, seconds: float = 120.0) -> None:
        """Drives to the end and compares."""
        assert self._pair.drive(self.step, seconds), f"{len(self.received)} of {len(self.data)}"
        assert self.received == self.data

    def _write(self, connection: Connection) -> None:
        while self._sent < len(self.data):
            block = self.data[self._sent : self._sent + WRITE_SIZE]
            taken = connection.streams.write(self.stream_id, block)
            self._sent += taken
            if self._sent == len(self.data):
                connection.streams.finish(self.stream_id)
            if taken < len(block):
                return
