"""What the dialogues of this package have in common: framed messages, a deadline, one ending.

Rules: the stream is never read beyond the message that ends a dialogue, because what follows on it
may be somebody else's bytes; after its end a dialogue says nothing more.
"""

from p2pnode.clock import Deadline, Instant
from p2pnode.errors import DecodeError
from p2pnode.machine import ResetStream, SendData, SendEof, StreamOutput
from p2pnode.protocols.relay.messages import MAX_MESSAGE_SIZE
from p2pnode.wire.framing import FrameReader, encode_frame
from p2pnode.wire.reset_code import StreamResetCode

MAX_HELD = 4096  # bytes held while paused; chosen: as much as one message


class FramedDialogue:
    """The stream's side of a dialogue; a subclass decides what messages mean."""

    def __init__(self, deadline: Deadline | None) -> None:
        self._deadline = deadline
        self._reader = FrameReader(MAX_MESSAGE_SIZE)
        self._output: list[StreamOutput] = []
        self._done = False
        self._handed_over = False
        self._is_paused = False
        self._held = 0

    def handle_data(self, data: bytes, now: Instant) -> None:
        """Takes the stream's next bytes.  Untrusted; never raises.

        Bytes that come while the dialogue is paused are held for what follows on the stream, up
        to MAX_HELD; after a hand-over whoever took the stream gets them.
        """
        if self._handed_over:
            self._reader.feed(data)
            return
        if self._done:
            return
        if self._is_paused:
            self._held += len(data)
            if self._held > MAX_HELD:
                self._on_malformed("the peer sends before it is answered")
                return
        self._reader.feed(data)
        self._read_messages(now)

    def _read_messages(self, now: Instant) -> None:
        try:
            while (
                not self._done
                and not self._is_paused
                and (frame := self._reader.next_frame_untrusted()) is not None
            ):
                self._on_message(frame, now)
        except DecodeError as exc:
            self._on_malformed(str(exc))

    def handle_eof(self, now: Instant) -> None:
        """The peer finished its direction."""
        if not self._done:
            self._give_up("the peer ended the stream too early", StreamResetCode.NONE)

    def handle_reset(self, code: int, now: Instant) -> None:
        """The stream is gone."""
        self._output.clear()
        if not self._done:
            self._end()
            self._on_failure("the stream was reset")

    def handle_timeout(self, now: Instant) -> None:
        """Gives up at the deadline."""
        if not self._done and self._deadline is not None and now >= self._deadline.at:
            self._give_up(f"{self._deadline.why} timed out", StreamResetCode.NONE)

    def poll_output(self) -> list[StreamOutput]:
        """Returns what to do to the stream, in order."""
        output, self._output = self._output, []
        return output

    def poll_timeout(self) -> Deadline | None:
        """Returns the deadline while there is something to wait for."""
        return None if self._done else self._deadline

    @property
    def is_done(self) -> bool:
        """True once the dialogue wants no further input."""
        return self._done

    @property
    def is_handed_over(self) -> bool:
        """True once what follows on the stream is a circuit's."""
        return self._handed_over

    def take_rest(self) -> bytes:
        """Returns what has arrived behind the dialogue: the first bytes of a stream circuit."""
        return self._reader.take_rest()

    def _on_message(self, frame: bytes, now: Instant) -> None:
        """Takes one message.  May raise DecodeError."""
        raise NotImplementedError

    def _on_failure(self, reason: str) -> None:
        """Notes that the dialogue has failed."""
        raise NotImplementedError

    def _on_malformed(self, reason: str) -> None:
        self._give_up(reason, StreamResetCode.PROTOCOL_VIOLATION)

    def _send(self, message: bytes) -> None:
        self._output.append(SendData(encode_frame(message)))

    def _finish(self) -> None:
        """Ends the dialogue in good order, and our direction of the stream."""
        self._output.append(SendEof())
        self._end()

    def _hand_over(self) -> None:
        """Ends the dialogue; the stream goes on as a circuit's."""
        self._done = self._handed_over = True

    def _give_up(self, reason: str, code: StreamResetCode) -> None:
        self._output.append(ResetStream(code))
        self._end()
        self._on_failure(reason)

    def _end(self) -> None:
        self._done = True
        self._reader.take_rest()
