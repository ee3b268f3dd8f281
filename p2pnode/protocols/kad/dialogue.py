"""Both sides of FIND_NODE, each one machine for one stream (specs/kad.md).

    FindNodeRequester   ASKING --answer--> DONE, Found
                        ASKING --malformed | eof | reset | 5 s--> DONE, FindNodeFailed
    FindNodeResponder   READING --request--> READING, in `poll_requests`; `answer` sends the answer
                        READING --eof | 16 requests, all answered--> DONE
                        READING --malformed | reset | 10 s of silence | `refuse`--> DONE

Rule: requests are answered in the order in which they came, each once; a machine holds no more of
them than one stream may carry.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from p2pnode.clock import Deadline, Instant
from p2pnode.errors import DecodeError, LocalProtocolError
from p2pnode.protocols.dialogue import FramedDialogue
from p2pnode.protocols.kad.messages import (
    MAX_MESSAGE_SIZE,
    MAX_REQUEST_SIZE,
    CloserPeer,
    decode_answer_untrusted,
    decode_request_untrusted,
    encode_answer,
    encode_request,
)
from p2pnode.wire.reset_code import StreamResetCode

ANSWER_TIMEOUT = 5.0  # seconds; chosen: as long as a lookup may take
RESPONDER_IDLE_TIMEOUT = 10.0  # seconds without a request; rust-libp2p's for a stream
MAX_REQUESTS_PER_STREAM = 16  # chosen: libp2p reuses streams; who wants more opens another


@dataclass(frozen=True, slots=True)
class Found:
    """What the peer knows near to the key; may be nothing."""

    peers: tuple[CloserPeer, ...]


@dataclass(frozen=True, slots=True)
class FindNodeFailed:
    """No usable answer."""

    reason: str


class FindNodeRequester(FramedDialogue):
    """Asks for one key."""

    def __init__(self, key: bytes, now: Instant) -> None:
        super().__init__(MAX_MESSAGE_SIZE, Deadline(now + ANSWER_TIMEOUT, "the Kademlia answer"))
        self.outcome: Found | FindNodeFailed | None = None
        """What came of it, or None before that is known."""
        self._send(encode_request(key))
        self._send_eof()

    def _take_untrusted(self, frame: bytes, now: Instant) -> None:
        self.outcome = Found(decode_answer_untrusted(frame))
        self._end()

    def _on_failure(self, reason: str) -> None:
        self.outcome = FindNodeFailed(reason)


class FindNodeResponder(FramedDialogue):
    """Takes requests until the peer ends its direction; what to answer is its owner's to say."""

    def __init__(self, now: Instant) -> None:
        super().__init__(MAX_REQUEST_SIZE, _idle_deadline(now))
        self._requests: deque[bytes] = deque()
        self._taken = 0
        """Requests read; those that wait for `answer` included."""
        self._unanswered = 0
        self._is_last_taken = False

    def poll_requests(self) -> list[bytes]:
        """Returns the keys that are asked for since the last call; each wants an `answer`."""
        requests = list(self._requests)
        self._requests.clear()
        return requests

    def answer(self, peers: Sequence[CloserPeer]) -> None:
        """Answers the oldest request.  Raises LocalProtocolError where there is none."""
        if self._is_done:
            return  # the stream went while the answer was looked up
        if not self._unanswered:
            raise LocalProtocolError("there is no request to answer")
        self._unanswered -= 1
        self._send(encode_answer(peers))
        self._finish_if_answered()

    def refuse(self, code: StreamResetCode) -> None:
        """Gives the stream up instead of answering; requests that wait get no answer."""
        if not self._is_done:
            self._give_up("refused", code)

    def _take_untrusted(self, frame: bytes, now: Instant) -> None:
        self._requests.append(decode_request_untrusted(frame))
        self._taken += 1
        self._unanswered += 1
        self._deadline = _idle_deadline(now)
        if self._taken == MAX_REQUESTS_PER_STREAM:
            self._is_last_taken = True
            self._ignore_input()

    def _on_eof(self, now: Instant) -> None:
        if not self._reader.is_empty:
            raise DecodeError("a request that is cut short")
        self._is_last_taken = True
        self._finish_if_answered()

    def _on_deadline(self, deadline: Deadline) -> None:
        self._give_up(deadline.why, StreamResetCode.GARBAGE_COLLECTED)

    def _on_failure(self, reason: str) -> None:
        self._requests.clear()
        self._unanswered = 0

    def _finish_if_answered(self) -> None:
        if self._is_last_taken and not self._unanswered:
            self._finish()


def _idle_deadline(now: Instant) -> Deadline:
    return Deadline(now + RESPONDER_IDLE_TIMEOUT, "Kademlia responder idle")
