"""Runs a built-in protocol's machine on a stream: moves bytes between the two, decides nothing."""

from typing import Final

from p2pnode.clock import Deadline, Instant
from p2pnode.errors import P2PNodeError, StreamReset, StreamStopped
from p2pnode.machine import PacedMachine, ResetStream, SendData, SendEof, StreamMachine
from p2pnode.swarm.swarm_stream import SwarmStream
from p2pnode.wire.reset_code import StreamResetCode

READ_SIZE: Final = 16 * 1024
"""bytes taken at once; chosen: above the largest message of a built-in protocol"""
MAX_UNSENT: Final = 64 * 1024
"""bytes that a machine may have said and the peer not taken; reading waits meanwhile"""


class StreamPump:
    """One machine on one stream."""

    __slots__ = (
        "_eof_given",
        "_is_over",
        "_kept",
        "_paced",
        "_unsent",
        "_wants_eof",
        "machine",
        "stream",
    )

    def __init__(self, stream: SwarmStream, machine: StreamMachine) -> None:
        self.stream = stream
        self.machine = machine
        self._paced = machine if isinstance(machine, PacedMachine) else None
        self._unsent = bytearray()
        self._kept = 0
        """How much of it is accounted for."""
        self._wants_eof = False
        self._eof_given = False
        self._is_over = False

    @property
    def is_over(self) -> bool:
        """True once the machine has its outcome and everything that it said has been taken."""
        return self._is_over or (self.machine.is_done and not self._unsent and not self._wants_eof)

    def pump(self, now: Instant) -> None:
        """Moves what can be moved."""
        self._send(now)
        while not self._is_over and self._may_read and self._receive(now):
            self._send(now)
        self._end_if_over()

    def flush(self, now: Instant) -> None:
        """Moves what the machine has to say since its owner looked at it; reads nothing."""
        if not self._is_over:
            self._send(now)
            self._end_if_over()

    def break_off(self, now: Instant) -> None:
        """Ends a stream that is lost, also one that is neither to be read nor written now."""
        if not self._is_over:
            self._break(StreamResetCode.NONE, now)

    def handle_timeout(self, now: Instant) -> None:
        self.machine.handle_timeout(now)
        self.pump(now)

    def poll_timeout(self) -> Deadline | None:
        return None if self._is_over else self.machine.poll_timeout()

    def _end_if_over(self) -> None:
        if self.is_over and not self._is_over:
            self._is_over = True
            self.stream.release()

    @property
    def _may_read(self) -> bool:
        if self._paced is not None:
            return not self._paced.is_paused
        return len(self._unsent) < MAX_UNSENT

    def _receive(self, now: Instant) -> bool:
        try:
            data = self.stream.read(READ_SIZE)
        except StreamReset as error:
            self._break(error.code, now)
            return False
        except P2PNodeError:
            self._break(StreamResetCode.NONE, now)
            return False
        if data:
            self.machine.handle_data(data, now)
            return True
        if self.stream.at_eof and not self._eof_given:
            self._eof_given = True
            self.machine.handle_eof(now)
            return True
        return False

    def _send(self, now: Instant) -> None:
        for output in self.machine.poll_output():
            match output:
                case SendData(data):
                    self._unsent += data
                case SendEof():
                    self._wants_eof = True
                case ResetStream(code):
                    self._give_up(code)
                    return
        try:
            if self._unsent:
                taken = self.stream.write(self._unsent)
                del self._unsent[:taken]
            if len(self._unsent) != self._kept:
                self._account()
            if self._paced is not None:
                self._paced.handle_unsent(len(self._unsent))
            if self._wants_eof and not self._unsent and self.stream.may_write:
                self._wants_eof = False
                self.stream.finish()
        except StreamStopped as error:
            self._break(error.code, now)
        except P2PNodeError:
            self._break(StreamResetCode.NONE, now)

    def _account(self) -> None:
        self.stream.keep(len(self._unsent) - self._kept)
        self._kept = len(self._unsent)

    def _break(self, code: int, now: Instant) -> None:
        self.machine.handle_reset(code, now)
        self._give_up(StreamResetCode.NONE)

    def _give_up(self, code: int) -> None:
        self._is_over = True
        self._unsent.clear()
        self._account()
        self.stream.reset(code)
        self.stream.release()
