"""A stream circuit inside its relay: two streams, what one takes in the other gives out.

    dialogue --handed over--> waiting --join--> joined --both directions ended--> done
       `-- refused, failed -----`-----------------`-- reset, limit, `end` --> both ends reset

Rules: nothing is read for an end that takes nothing, so that a circuit never holds more than
MAX_BACKLOG and one read a direction; the end of one direction leaves the other one open; whatever
else ends one stream resets the other.  specs/relay.md, Stream circuits.
"""

from typing import Final, Protocol

from p2pnode.clock import Deadline, Instant
from p2pnode.machine import (
    ConnectionHandle,
    ResetStream,
    SendData,
    SendEof,
    StreamMachine,
    StreamOutput,
)
from p2pnode.protocols.relay import Limit
from p2pnode.wire.reset_code import StreamResetCode

MAX_BACKLOG: Final = 64 * 1024
"""bytes for one end that its stream has not taken, above which the other one is not read; chosen:
what a round trip of 50 ms carries at ten megabits"""
MAX_OVERRUN: Final = 64 * 1024
"""bytes that may come nevertheless: what was read already; chosen: more than one read"""


class SpliceableDialogue(StreamMachine, Protocol):
    """What a stream says before it becomes a circuit's."""

    @property
    def is_handed_over(self) -> bool: ...

    def take_rest(self) -> bytes: ...


class SplicedStream:
    """One stream: its dialogue first, and after `join` one end of a circuit."""

    __slots__ = (
        "_backlog",
        "_deadline",
        "_dialogue",
        "_eof_due",
        "_eof_sent",
        "_far",
        "_limit",
        "_output",
        "_received_eof",
        "_unsent",
        "connection",
        "end_reason",
        "given",
        "taken",
    )

    def __init__(self, connection: ConnectionHandle, dialogue: SpliceableDialogue) -> None:
        self.connection = connection
        """The one that the stream is of; here for those who pump it."""
        self.taken = 0
        """Bytes that came in for the other end."""
        self.given = 0
        """Bytes of the other end that went out."""
        self.end_reason: str | None = None
        """Why the circuit was broken off, or None where it was not."""
        self._dialogue = dialogue
        self._far: SplicedStream | None = None
        self._limit = Limit()
        self._deadline: Deadline | None = None
        self._backlog = bytearray()
        self._unsent = 0
        self._received_eof = False
        self._eof_due = False
        self._eof_sent = False
        self._output: list[StreamOutput] = []

    # commands

    def join(self, other: "SplicedStream", limit: Limit, now: Instant) -> None:
        """Makes a circuit of two streams whose dialogues have handed over; both want a pump."""
        for stream, far in ((self, other), (other, self)):
            assert stream._dialogue.is_handed_over
            stream._output += stream._dialogue.poll_output()
            stream._far = far
            stream._limit = limit
        if limit.duration:
            self.end_by(now + limit.duration)
        for stream, far in ((self, other), (other, self)):
            stream._pass_on(stream._dialogue.take_rest())
            far._eof_due = stream._received_eof

    def end_by(self, at: Instant) -> None:
        """Breaks the circuit off at that time, unless it ends earlier; nothing before `join`."""
        if self._far is None or (self._deadline is not None and self._deadline.at <= at):
            return
        self._deadline = self._far._deadline = Deadline(at, "a stream circuit ends")

    def end(self, reason: str, code: StreamResetCode) -> None:
        """Resets the stream, and the one that it is joined with; both want a pump."""
        for stream in (self, self._far):
            if stream is not None and not stream.is_done:
                stream._break(reason, [ResetStream(code)])

    # the machine

    def handle_data(self, data: bytes, now: Instant) -> None:
        if self.end_reason is not None:
            return
        if self._far is None:
            self._dialogue.handle_data(data, now)
            return
        self._pass_on(data)

    def handle_eof(self, now: Instant) -> None:
        if self.end_reason is not None:
            return
        self._received_eof = True
        if self._far is not None:
            self._far._eof_due = True
        elif not self._dialogue.is_handed_over:
            self._dialogue.handle_eof(now)

    def handle_reset(self, code: int, now: Instant) -> None:
        if self.end_reason is not None or (self._far is not None and self.is_done):
            return
        far = self._far
        if far is None:
            self._dialogue.handle_reset(code, now)
        self._break("one end has reset its stream", [])
        if far is not None:
            far.end("the other end has reset its stream", StreamResetCode.NONE)

    def handle_timeout(self, now: Instant) -> None:
        if self._far is None:
            if self.end_reason is None:
                self._dialogue.handle_timeout(now)
        elif self._deadline is not None and now >= self._deadline.at:
            self.end("its time is over", StreamResetCode.RESOURCE_LIMIT)

    def poll_output(self) -> list[StreamOutput]:
        output, self._output = self._output, []
        if self.end_reason is not None:
            return output
        if self._far is None:
            return output + self._dialogue.poll_output()
        if self._backlog:
            self.given += len(self._backlog)
            self._unsent += len(self._backlog)
            output.append(SendData(bytes(self._backlog)))
            self._backlog.clear()
        if self._eof_due and not self._eof_sent:
            self._eof_sent = True
            output.append(SendEof())
        return output

    def poll_timeout(self) -> Deadline | None:
        if self.is_done:
            return None
        return self._dialogue.poll_timeout() if self._far is None else self._deadline

    @property
    def is_done(self) -> bool:
        """True once nothing more comes or goes; of a joined stream, not while bytes wait for it."""
        if self.end_reason is not None:
            return True
        if self._far is None:
            return self._dialogue.is_done and not self._dialogue.is_handed_over
        return self._received_eof and self._eof_sent and not self._unsent

    # back-pressure

    @property
    def is_paused(self) -> bool:
        """True while the stream is not to be read."""
        if self._far is None:
            return self._dialogue.is_handed_over
        return self._far._waiting >= MAX_BACKLOG

    def handle_unsent(self, size: int) -> None:
        """Tells how much of what this machine has put out its stream has not taken yet."""
        self._unsent = size

    @property
    def has_output(self) -> bool:
        """Whether a pump would find something to move."""
        return bool(self._output or self._backlog or (self._eof_due and not self._eof_sent))

    # details

    @property
    def _waiting(self) -> int:
        return len(self._backlog) + self._unsent

    def _pass_on(self, data: bytes) -> None:
        far = self._far
        assert far is not None
        self.taken += len(data)
        if self._limit.data and self.taken > self._limit.data:
            self.end("its volume is spent", StreamResetCode.RESOURCE_LIMIT)
        elif far._waiting + len(data) > MAX_BACKLOG + MAX_OVERRUN:
            self.end("one end takes nothing", StreamResetCode.RESOURCE_LIMIT)
        else:
            far._backlog += data

    def _break(self, reason: str, output: list[StreamOutput]) -> None:
        self.end_reason = reason
        self._output = output
        self._backlog.clear()
        self._unsent = 0
