"""A stream in memory between two StreamMachines, each run by a `StreamPump` as in a swarm."""

from typing import TYPE_CHECKING, cast

from p2pnode.clock import Deadline, Instant
from p2pnode.errors import StreamReset
from p2pnode.machine import Buffer, ResetStream, SendData, SendEof, StreamMachine, StreamOutput
from p2pnode.protocols.dialogue import FramedDialogue
from p2pnode.swarm.stream_pump import StreamPump

if TYPE_CHECKING:
    from p2pnode.swarm.swarm_stream import SwarmStream

WINDOW = 32 * 1024
"""bytes that one side has sent and the other one not read"""


class MemoryStream:
    """What a pump needs of a SwarmStream; what it sends arrives at `far` at once."""

    may_write = True

    def __init__(self) -> None:
        self.far: MemoryStream | None = None
        self.inbox = bytearray()
        self.eof_arrived = False
        self.reset_arrived: int | None = None
        self.is_released = False
        self.has_moved = False
        """Whether anything has gone in or out since somebody set this to False."""
        self.most_offered = 0
        """Bytes that waited to be written, at most."""
        self.kept = 0
        """Bytes that its pump keeps, by its own account."""
        self._is_eof_read = False

    def keep(self, count: int) -> None:
        self.kept += count

    def read(self, max_bytes: int) -> bytes:
        if not self.inbox and self.reset_arrived is not None:
            raise StreamReset(self.reset_arrived)
        data = bytes(self.inbox[:max_bytes])
        del self.inbox[: len(data)]
        self.has_moved = self.has_moved or bool(data)
        return data

    @property
    def at_eof(self) -> bool:
        is_read = self.eof_arrived and not self.inbox and self.reset_arrived is None
        self.has_moved = self.has_moved or (is_read and not self._is_eof_read)
        self._is_eof_read = is_read
        return is_read

    def write(self, data: Buffer) -> int:
        assert self.far is not None
        far = self.far
        self.most_offered = max(self.most_offered, len(data))
        taken = len(data) if far.is_released else min(len(data), WINDOW - len(far.inbox))
        far.inbox += bytes(data[:taken])
        self.has_moved = self.has_moved or taken > 0
        return taken

    def finish(self) -> None:
        assert self.far is not None
        self.far.eof_arrived = self.has_moved = True

    def reset(self, code: int) -> None:
        assert self.far is not None
        if self.reset_arrived is None:
            self.far.inbox.clear()
            self.far.reset_arrived = code

    def release(self) -> None:
        self.is_released = self.has_moved = True


class StreamEnd:
    """One side's machine, and its end of the stream."""

    def __init__(self, machine: StreamMachine) -> None:
        self.machine = machine
        self.stream = MemoryStream()
        self._pump = StreamPump(cast("SwarmStream", self.stream), machine)
        self._is_gone = False

    @property
    def is_over(self) -> bool:
        return self._is_gone or self._pump.is_over

    def give_up(self) -> None:
        """Whoever was here is gone without a word: nobody reads or answers."""
        self._is_gone = self.stream.is_released = True

    def pump(self, far: "StreamEnd", now: Instant) -> bool:
        """Moves what can be moved; returns whether anything was."""
        if self._is_gone or self.stream.is_released:
            return False
        self.stream.far, self.stream.has_moved = far.stream, False
        self._pump.pump(now)
        return self.stream.has_moved


class Talker:
    """A dialogue, and behind it an application that talks on the circuit."""

    def __init__(self, dialogue: FramedDialogue) -> None:
        self.dialogue = dialogue
        self.received = bytearray()
        self.has_eof = False
        self.reset_code: int | None = None
        self.takes = True
        """Whether the application reads."""
        self._output: list[StreamOutput] = []

    def say(self, data: bytes) -> None:
        self._output.append(SendData(data))

    def finish(self) -> None:
        self._output.append(SendEof())

    def reset(self) -> None:
        self._output.append(ResetStream(0))

    def handle_data(self, data: bytes, now: Instant) -> None:
        if self.dialogue.is_handed_over:
            self.received += data
            return
        self.dialogue.handle_data(data, now)
        if self.dialogue.is_handed_over:
            self.received += self.dialogue.take_rest()

    def handle_eof(self, now: Instant) -> None:
        if self.dialogue.is_handed_over:
            self.has_eof = True
        else:
            self.dialogue.handle_eof(now)

    def handle_reset(self, code: int, now: Instant) -> None:
        self.reset_code = code
        if not self.dialogue.is_handed_over:
            self.dialogue.handle_reset(code, now)

    def handle_timeout(self, now: Instant) -> None:
        self.dialogue.handle_timeout(now)

    def poll_output(self) -> list[StreamOutput]:
        output = self.dialogue.poll_output()
        if self.dialogue.is_handed_over:
            output, self._output = output + self._output, []
        return output

    def poll_timeout(self) -> Deadline | None:
        return self.dialogue.poll_timeout()

    @property
    def is_done(self) -> bool:
        return self.dialogue.is_done and not self.dialogue.is_handed_over

    @property
    def is_paused(self) -> bool:
        return not self.takes

    def handle_unsent(self, size: int) -> None:
        pass
