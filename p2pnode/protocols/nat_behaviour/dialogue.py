"""Both sides of one question about NATs, each one machine for one stream (specs/nat_behaviour.md).

    NatRequester   ASKING --answer--> DONE, Answered
                   ASKING --malformed | eof | reset | 5 s--> DONE, NatRequestFailed
    NatResponder   READING --request--> ASKED, in `request`; `answer` or `refuse` --> DONE
                   READING, ASKED --malformed | eof too early | reset | 10 s--> DONE

Rule: one request a stream, and one answer.
"""

from dataclasses import dataclass

from p2pnode.clock import Deadline, Instant
from p2pnode.protocols.dialogue import FramedDialogue
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


class NatRequester(FramedDialogue):
    """Asks one question."""

    def __init__(self, request: NatRequest, now: Instant) -> None:
        super().__init__(MAX_ANSWER_SIZE, Deadline(now + ANSWER_TIMEOUT, "the answer about a NAT"))
        self.request = request
        self.outcome: Answered | NatRequestFailed | None = None
        """What came of it, or None before that is known."""
        self._send(encode_request(request))
        self._send_eof()

    def _take_untrusted(self, frame: bytes, now: Instant) -> None:
        self.outcome = Answered(decode_answer_untrusted(frame))
        self._end()

    def _on_failure(self, reason: str) -> None:
        self.outcome = NatRequestFailed(reason)


class NatResponder(FramedDialogue):
    """Takes one question, and says what its owner answers."""

    def __init__(self, now: Instant) -> None:
        super().__init__(
            MAX_REQUEST_SIZE, Deadline(now + RESPONDER_TIMEOUT, "a request about a NAT")
        )
        self.request: NatRequest | None = None
        """To be answered, once."""

    def answer(self, answer: NatAnswer) -> None:
        """Answers the request; does nothing where the stream is gone."""
        if not self._is_done:
            self._send(encode_answer(answer))
            self._finish()

    def refuse(self, code: StreamResetCode) -> None:
        """Answers nothing."""
        if not self._is_done:
            self._give_up("refused", code)

    def _take_untrusted(self, frame: bytes, now: Instant) -> None:
        self.request = decode_request_untrusted(frame)
        self._ignore_input()
