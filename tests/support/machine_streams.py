"""A stream between two StreamMachines in memory, pumped by the rules of `StreamPump`."""

from dataclasses import dataclass, field

from p2pnode.clock import Deadline, Instant
from p2pnode.machine import ResetStream, SendData, SendEof, StreamMachine, StreamOutput
from p2pnode.protocols.dialogue import FramedDialogue

READ_SIZE = 16 * 1024
MAX_UNSENT = 64 * 1024
WINDOW = 32 * 1024
"""bytes that one side has sent and the other one not read"""


@dataclass(eq=False)
class StreamEnd:
    """One side's machine and what its transport holds for it."""

    machine: StreamMachine
    inbox: bytearray = field(default_factory=bytearray)
    unsent: bytearray = field(default_factory=bytearray)
    eof_arrived: bool = False
    reset_arrived: int | None = None
    is_over: bool = False
    most_unsent: int = 0
    _wants_eof: bool = False
    _eof_given: bool = False
    _moved: bool = False

    def pump(self, far: "StreamEnd", now: Instant) -> bool:
        """Moves what can be moved; returns whether anything was."""
        self._moved = False
        if self.is_over:
            return False
        self._send(far)
        while not self.is_over and self._may_read and self._receive(now):
            self._send(far)
        if self.machine.is_done and not self.unsent and not self._wants_eof and not self.is_over:
            self.is_over = self._moved = True
        return self._moved

    @property
    def _may_read(self) -> bool:
        is_paused = getattr(self.machine, "is_paused", None)
        return len(self.unsent) < MAX_UNSENT if is_paused is None else not is_paused

    def _receive(self, now: Instant) -> bool:
        if self.inbox:
            data = bytes(self.inbox[:READ_SIZE])
            del self.inbox[:READ_SIZE]
            self.machine.handle_data(data, now)
        elif self.reset_arrived is not None:
            self.machine.handle_reset(self.reset_arrived, now)
            self.unsent.clear()
            self.is_over = True
        elif self.eof_arrived and not self._eof_given:
            self._eof_given = True
            self.machine.handle_eof(now)
        else:
            return False
        self._moved = True
        return True

    def _send(self, far: "StreamEnd") -> None:
        for output in self.machine.poll_output():
            self._moved = True
            match output:
                case SendData(data):
                    self.unsent += data
                case SendEof():
                    self._wants_eof = True
                case ResetStream(code):
                    self.unsent.clear()
                    self.is_over = True
                    far.inbox.clear()
                    far.reset_arrived = code
                    return
        self.most_unsent = max(self.most_unsent, len(self.unsent))
        taken = len(self.unsent) if far.is_over else min(len(self.unsent), WINDOW - len(far.inbox))
        if taken > 0:
            self._moved = True
            far.inbox += self.unsent[:taken]
            del self.unsent[:taken]
        handle_unsent = getattr(self.machine, "handle_unsent", None)
        if handle_unsent is not None:
            handle_unsent(len(self.unsent))
        if self._wants_eof and not self.unsent:
            self._wants_eof = False
            far.eof_arrived = True


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
