"""Both sides of one question about NATs, each one machine for one stream (specs/nat_behaviour.md).

    NatRequester   ASKING --answer--> DONE, Answered
                   ASKING --malformed | eof | reset | 5 s--> DONE, NatRequestFailed
    NatResponder   READING --request--> ASKED, in `request`; `answer` or `refuse` --> DONE
                   READING, ASKED --malformed | eof too early | reset | 10 s--> DONE

Rule: one request a stream, and one answer.
"""

from dataclasses import dataclass

from p2pnode.clock import Deadline, Instant
from p2pnode.errors import DecodeError
from p2pnode.machine import ResetStream, SendData, SendEof, StreamOutput
from p2pnode.protocols.nat_behaviour.messages import (
    MAX_ANSWER_SIZE,
    MAX_REQUEST_SIZE,
    NatAnswer,
    NatRequest,
    decode_answer_untrusted,
    decode_request_untrusted,
    encode_answer,
    encode_request,
)
from p2pnode.wire.framing import FrameReader, encode_frame
from p2pnode.wire.reset_code import StreamResetCode

ANSWER_TIMEOUT = 5.0  # seconds; chosen: a netcheck that waits longer is over
RESPONDER_TIMEOUT = 10.0  # seconds; rust-libp2p's for an idle stream


@dataclass(frozen=True, slots=True)
class Answered:
    """The peer's answer."""

    answer: NatAnswer


@dataclass(frozen=True, slots=True)
class NatRequestFailed:
    """No usable answer."""

    reason: str


class _Reader:
    """Waits for one message until a deadline."""

    def __init__(self, max_size: int, deadline: Deadline) -> None:
        self._reader = FrameReader(max_size)
        self._deadline = deadline
        self._output: list[StreamOutput] = []
        self._is_done = False

    def handle_data(self, data: bytes, now: Instant) -> None:
        """Takes the stream's next bytes; nothing behind the message is looked at.  Untrusted."""
        if self._is_done or not self._is_reading:
            return
        self._reader.feed(data)
        try:
            frame = self._reader.next_frame_untrusted()
            if frame is not None:
                self._take_untrusted(frame)
                self._reader.take_rest()
        except DecodeError as exc:
            self._give_up(str(exc), StreamResetCode.PROTOCOL_VIOLATION)

    def handle_eof(self, now: Instant) -> None:
        """The peer finished its direction."""
        if not self._is_done and self._is_reading:
            self._give_up("the peer ended the stream too early", StreamResetCode.NONE)

    def handle_reset(self, code: int, now: Instant) -> None:
        """The stream is gone."""
        if not self._is_done:
            self._give_up("the stream was reset", StreamResetCode.NONE)
        self._output.clear()

    def handle_timeout(self, now: Instant) -> None:
        """Gives up at the deadline."""
        if not self._is_done and now >= self._deadline.at:
            self._give_up(f"{self._deadline.why}", StreamResetCode.NONE)

    def poll_output(self) -> list[StreamOutput]:
        """Returns what to do to the stream, in order."""
        output, self._output = self._output, []
        return output

    def poll_timeout(self) -> Deadline | None:
        """Returns the deadline until the end."""
        return None if self._is_done else self._deadline

    @property
    def is_done(self) -> bool:
        """True once the dialogue is over."""
        return self._is_done

    @property
    def _is_reading(self) -> bool:
        return True

    def _take_untrusted(self, frame: bytes) -> None:
        """Takes the message.  May raise DecodeError, which ends the dialogue."""
        raise NotImplementedError

    def _on_end(self, reason: str) -> None:
        """The dialogue ends without what was hoped for."""

    def _give_up(self, reason: str, code: StreamResetCode) -> None:
        self._is_done = True
        self._output.append(ResetStream(code))
        self._reader.take_rest()
        self._on_end(reason)


class NatRequester(_Reader):
    """Asks one question."""

    def __init__(self, request: NatRequest, now: Instant) -> None:
        super().__init__(
            MAX_ANSWER_SIZE, Deadline(now + ANSWER_TIMEOUT, "the answer about a NAT is late")
        )
        self.request = request
        self.outcome: Answered | NatRequestFailed | None = None
        """What came of it, or None before that is known."""
        self._output += [SendData(encode_frame(encode_request(request))), SendEof()]

    def _take_untrusted(self, frame: bytes) -> None:
        self.outcome = Answered(decode_answer_untrusted(frame))
        self._is_done = True

    def _on_end(self, reason: str) -> None:
        self.outcome = NatRequestFailed(reason)


class NatResponder(_Reader):
    """Takes one question, and says what its owner answers."""

    def __init__(self, now: Instant) -> None:
        super().__init__(
            MAX_REQUEST_SIZE, Deadline(now + RESPONDER_TIMEOUT, "the NAT request is late")
        )
        self.request: NatRequest | None = None
        """To be answered, once."""

    def answer(self, answer: NatAnswer) -> None:
        """Answers the request; does nothing where the stream is gone."""
        if not self._is_done:
            self._is_done = True
            self._output += [SendData(encode_frame(encode_answer(answer))), SendEof()]

    def refuse(self, code: StreamResetCode) -> None:
        """Answers nothing."""
        if not self._is_done:
            self._give_up("refused", code)

    @property
    def _is_reading(self) -> bool:
        return self.request is None

    def _take_untrusted(self, frame: bytes) -> None:
        self.request = decode_request_untrusted(frame)
