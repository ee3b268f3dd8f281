"""What the dialogues on streams have in common: framed messages, deadlines, one ending.

Rules: a stream is never read beyond the message that ends a dialogue, because what follows on it
may be somebody else's bytes; the end comes once, and after it nothing more is read or said.
"""

import enum

from p2pnode.clock import Deadline, Instant, earliest
from p2pnode.errors import DecodeError
from p2pnode.machine import ResetStream, SendData, SendEof, StreamOutput
from p2pnode.wire.framing import FrameReader, encode_frame
from p2pnode.wire.reset_code import StreamResetCode


class _Input(enum.Enum):
    """What becomes of the bytes that arrive."""

    READ = enum.auto()
    HELD = enum.auto()
    IGNORED = enum.auto()
    HANDED_OVER = enum.auto()


class FramedDialogue:
    """A StreamMachine without its messages; what they mean a subclass says.

    It overrides `_take_untrusted`, and of the other hooks those that it needs.
    Each way to the end is one call: `_end` or `_finish` in good order, `_hand_over`, `_give_up`.
    """

    def __init__(self, max_message_size: int, deadline: Deadline | None) -> None:
        """`deadline` is for the whole dialogue; its `why` is what is waited for, as a noun."""
        self._max_message_size = max_message_size
        self._reader = FrameReader(max_message_size)
        self._input = _Input.READ
        self._output: list[StreamOutput] = []
        self._deadline = deadline
        self._timer: Deadline | None = None
        """A nearer moment inside of the dialogue; `_on_timer` hears of it."""
        self._is_done = False

    def handle_data(self, data: bytes, now: Instant) -> None:
        """Takes the stream's next bytes, cut anywhere.  Untrusted; never raises."""
        if self._input is not _Input.IGNORED:
            self._reader.feed(data)
            self._read_messages(now)

    def handle_eof(self, now: Instant) -> None:
        """The peer finished its direction."""
        if not self._is_done and self._input is not _Input.IGNORED:
            try:
                self._on_eof(now)
            except DecodeError as exc:
                self._on_malformed(str(exc))

    def handle_reset(self, code: int, now: Instant) -> None:
        """The stream is gone: the peer reset it, or the connection was lost."""
        if not self._is_done:
            self._on_reset(now)
        self._output.clear()

    def handle_timeout(self, now: Instant) -> None:
        """Does what is due."""
        if not self._is_done and self._deadline is not None and now >= self._deadline.at:
            self._on_deadline(self._deadline)
        if not self._is_done and self._timer is not None and now >= self._timer.at:
            self._timer = None
            self._on_timer(now)

    def poll_output(self) -> list[StreamOutput]:
        """Returns what to do to the stream, in order."""
        output, self._output = self._output, []
        return output

    def poll_timeout(self) -> Deadline | None:
        """Returns when something is due, or None where nothing is waited for."""
        return None if self._is_done else earliest(self._deadline, self._timer)

    @property
    def is_done(self) -> bool:
        """True once the dialogue has its outcome and wants no further input."""
        return self._is_done

    @property
    def is_handed_over(self) -> bool:
        """True once the stream belongs to somebody else, see `take_rest`."""
        return self._input is _Input.HANDED_OVER

    def take_rest(self) -> bytes:
        """Returns what has arrived behind the dialogue: the first bytes of what follows it."""
        return self._reader.take_rest()

    # hooks

    def _take_untrusted(self, frame: bytes, now: Instant) -> None:
        """Takes one message.  May raise DecodeError, see `_on_malformed`."""
        raise NotImplementedError

    def _on_failure(self, reason: str) -> None:
        """The dialogue is over without the outcome that was hoped for."""

    def _on_malformed(self, reason: str) -> None:
        self._give_up(reason, StreamResetCode.PROTOCOL_VIOLATION)

    def _on_eof(self, now: Instant) -> None:
        """The peer ends its direction under way.  May raise DecodeError, as for a message."""
        self._give_up("the peer ended the stream too early")

    def _on_reset(self, now: Instant) -> None:
        """The stream is gone under way; what is said here goes nowhere."""
        self._give_up("the stream was reset")

    def _on_deadline(self, deadline: Deadline) -> None:
        self._give_up(f"{deadline.why} timed out")

    def _on_timer(self, now: Instant) -> None:
        """The nearer moment has come; `_timer` is free for the next one."""

    # for subclasses to call

    def _send(self, message: bytes) -> None:
        self._output.append(SendData(encode_frame(message)))

    def _send_eof(self) -> None:
        self._output.append(SendEof())

    def _hold(self) -> None:
        """Reads no further message for now; holds as many bytes as one has, above is malformed."""
        self._input = _Input.HELD

    def _go_on(self, now: Instant) -> None:
        """Reads what was held, and what comes."""
        self._input = _Input.READ
        self._read_messages(now)

    def _ignore_input(self) -> None:
        """Looks at nothing that the peer still sends, and lets it end its direction."""
        self._input = _Input.IGNORED
        self._reader.take_rest()

    def _end(self) -> None:
        """Ends the dialogue in good order; what was said still goes out."""
        self._is_done = True
        self._timer = None
        self._ignore_input()

    def _finish(self) -> None:
        """Ends the dialogue in good order, and our direction of the stream."""
        self._send_eof()
        self._end()

    def _hand_over(self) -> None:
        """Ends the dialogue; what follows on the stream is somebody else's."""
        self._is_done = True
        self._timer = None
        self._input = _Input.HANDED_OVER

    def _give_up(self, reason: str, code: StreamResetCode = StreamResetCode.NONE) -> None:
        self._end()
        self._output.append(ResetStream(code))
        self._on_failure(reason)

    def _read_messages(self, now: Instant) -> None:
        try:
            while (
                self._input is _Input.READ
                and (frame := self._reader.next_frame_untrusted()) is not None
            ):
                self._take_untrusted(frame, now)
        except DecodeError as exc:
            self._on_malformed(str(exc))
        if self._input is _Input.HELD and self._reader.buffered > self._max_message_size:
            self._on_malformed("the peer sends before it is answered")
