"""What AutoNAT's dialogues share: length-prefixed messages, one deadline, one end.

Rules: `_take` sees whole messages only; after the end nothing is read or sent any more, and the
end comes once.  A subclass says in `_on_end` what an end without a result means.
"""

from p2pnode.clock import Deadline, Instant, earliest
from p2pnode.errors import DecodeError
from p2pnode.machine import ResetStream, SendData, SendEof, StreamOutput
from p2pnode.wire.framing import FrameReader, encode_frame
from p2pnode.wire.reset_code import StreamResetCode


class FramedDialogue:
    """A StreamMachine; the part of it that knows no messages."""

    def __init__(self, max_message_size: int, deadline: Deadline) -> None:
        self._reader = FrameReader(max_message_size)
        self._deadline = deadline
        self._timer: Deadline | None = None
        """A nearer deadline inside of the dialogue; `_on_timer` hears of it."""
        self._output: list[StreamOutput] = []
        self._is_done = False

    def handle_data(self, data: bytes, now: Instant) -> None:
        """Takes the stream's next bytes.  Untrusted; never raises."""
        if self._is_done:
            return
        self._reader.feed(data)
        try:
            while not self._is_done and (frame := self._reader.next_frame_untrusted()) is not None:
                self._take_untrusted(frame, now)
        except DecodeError as exc:
            self._abort(str(exc), now, StreamResetCode.PROTOCOL_VIOLATION)

    def handle_eof(self, now: Instant) -> None:
        """The peer has said everything."""
        if not self._is_done:
            self._on_eof(now)

    def handle_reset(self, code: int, now: Instant) -> None:
        """The stream is gone: the peer reset it, or the connection was lost."""
        self._output.clear()
        if not self._is_done:
            self._on_reset(now)
            self._output.clear()

    def handle_timeout(self, now: Instant) -> None:
        """Does what is due."""
        if not self._is_done and now >= self._deadline.at:
            self._on_deadline(now)
        if not self._is_done and self._timer is not None and now >= self._timer.at:
            self._timer = None
            self._on_timer(now)

    def poll_output(self) -> list[StreamOutput]:
        """Returns what to do to the stream, in order."""
        output, self._output = self._output, []
        return output

    def poll_timeout(self) -> Deadline | None:
        """Returns when something is due, or None after the end."""
        return None if self._is_done else earliest(self._deadline, self._timer)

    @property
    def is_done(self) -> bool:
        """True once the dialogue has its outcome and wants no further input."""
        return self._is_done

    def _take_untrusted(self, frame: bytes, now: Instant) -> None:
        """Takes one message.  May raise DecodeError, which aborts the dialogue."""
        raise NotImplementedError

    def _on_end(self, reason: str, now: Instant) -> None:
        """The dialogue is over without the outcome that was hoped for."""

    def _on_eof(self, now: Instant) -> None:
        self._abort("the peer ended the stream too early", now)

    def _on_reset(self, now: Instant) -> None:
        self._abort("the stream was reset", now)

    def _on_deadline(self, now: Instant) -> None:
        self._abort(f"{self._deadline.why} passed", now)

    def _on_timer(self, now: Instant) -> None:
        """The nearer deadline has passed."""

    def _send(self, message: bytes) -> None:
        self._output.append(SendData(encode_frame(message)))

    def _send_eof(self) -> None:
        self._output.append(SendEof())

    def _finish(self) -> None:
        """Ends the dialogue in good order; what was queued still goes out."""
        self._is_done = True
        self._timer = None
        self._reader.take_rest()

    def _abort(
        self, reason: str, now: Instant, code: StreamResetCode = StreamResetCode.NONE
    ) -> None:
        self._finish()
        self._output.append(ResetStream(code))
        self._on_end(reason, now)
