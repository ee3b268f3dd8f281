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
from p2pnode.machine import ResetStream, SendData, SendEof, StreamOutput
from p2pnode.protocols.kad.messages import (
    MAX_MESSAGE_SIZE,
    MAX_REQUEST_SIZE,
    CloserPeer,
    decode_answer_untrusted,
    decode_request_untrusted,
    encode_answer,
    encode_request,
)
from p2pnode.wire.framing import FrameReader, encode_frame
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


class FindNodeRequester:
    """Asks for one key."""

    def __init__(self, key: bytes, now: Instant) -> None:
        self._deadline = Deadline(now + ANSWER_TIMEOUT, "a Kademlia answer is late")
        self._reader = FrameReader(MAX_MESSAGE_SIZE)
        self._output: list[StreamOutput] = [SendData(encode_frame(encode_request(key))), SendEof()]
        self.outcome: Found | FindNodeFailed | None = None
        """What came of it, or None before that is known."""

    def handle_data(self, data: bytes, now: Instant) -> None:
        """Takes the stream's next bytes; nothing behind the answer is looked at.  Untrusted."""
        if self.outcome is not None:
            return
        self._reader.feed(data)
        try:
            frame = self._reader.next_frame_untrusted()
            if frame is not None:
                self.outcome = Found(decode_answer_untrusted(frame))
                self._reader.take_rest()
        except DecodeError as exc:
            self._give_up(str(exc), StreamResetCode.PROTOCOL_VIOLATION)

    def handle_eof(self, now: Instant) -> None:
        """The peer finished its direction."""
        if self.outcome is None:
            self._give_up("the peer ended the stream too early", StreamResetCode.NONE)

    def handle_reset(self, code: int, now: Instant) -> None:
        """The stream is gone."""
        self._output.clear()
        if self.outcome is None:
            self.outcome = FindNodeFailed("the stream was reset")
            self._reader.take_rest()

    def handle_timeout(self, now: Instant) -> None:
        """Gives up at the deadline."""
        if self.outcome is None and now >= self._deadline.at:
            self._give_up("the peer did not answer in time", StreamResetCode.NONE)

    def poll_output(self) -> list[StreamOutput]:
        """Returns what to do to the stream, in order."""
        output, self._output = self._output, []
        return output

    def poll_timeout(self) -> Deadline | None:
        """Returns the deadline while there is no outcome."""
        return self._deadline if self.outcome is None else None

    @property
    def is_done(self) -> bool:
        """True once there is an outcome."""
        return self.outcome is not None

    def _give_up(self, reason: str, code: StreamResetCode) -> None:
        self.outcome = FindNodeFailed(reason)
        self._reader.take_rest()
        self._output.append(ResetStream(code))


class FindNodeResponder:
    """Takes requests until the peer ends its direction; what to answer is its owner's to say."""

    def __init__(self, now: Instant) -> None:
        self._last_request = now
        self._reader = FrameReader(MAX_REQUEST_SIZE)
        self._requests: deque[bytes] = deque()
        self._taken = 0
        """Requests read; those that wait for `answer` included."""
        self._unanswered = 0
        self._at_eof = False
        self._is_over = False
        self._output: list[StreamOutput] = []

    def handle_data(self, data: bytes, now: Instant) -> None:
        """Takes requests.  Untrusted; never raises."""
        if self._is_over or self._is_full:
            return
        self._reader.feed(data)
        try:
            while not self._is_full:
                frame = self._reader.next_frame_untrusted()
                if frame is None:
                    return
                self._requests.append(decode_request_untrusted(frame))
                self._taken += 1
                self._unanswered += 1
                self._last_request = now
        except DecodeError:
            self._give_up(StreamResetCode.PROTOCOL_VIOLATION)
        else:
            self._reader.take_rest()

    def poll_requests(self) -> list[bytes]:
        """Returns the keys that are asked for since the last call; each wants an `answer`."""
        requests = list(self._requests)
        self._requests.clear()
        return requests

    def answer(self, peers: Sequence[CloserPeer]) -> None:
        """Answers the oldest request.  Raises LocalProtocolError where there is none."""
        if self._is_over:
            return  # the stream went while the answer was looked up
        if not self._unanswered:
            raise LocalProtocolError("there is no request to answer")
        self._unanswered -= 1
        self._output.append(SendData(encode_frame(encode_answer(peers))))
        self._finish_if_answered()

    def refuse(self, code: StreamResetCode) -> None:
        """Gives the stream up instead of answering; requests that wait get no answer."""
        if not self._is_over:
            self._give_up(code)

    def handle_eof(self, now: Instant) -> None:
        """The peer asks no more."""
        if self._is_over:
            return
        if not self._is_full and not self._reader.is_empty:
            self._give_up(StreamResetCode.PROTOCOL_VIOLATION)
            return
        self._at_eof = True
        self._finish_if_answered()

    def handle_reset(self, code: int, now: Instant) -> None:
        """The stream is gone."""
        self._output.clear()
        self._end()

    def handle_timeout(self, now: Instant) -> None:
        """Gives the stream up when no request came for long."""
        deadline = self.poll_timeout()
        if deadline is not None and now >= deadline.at:
            self._give_up(StreamResetCode.GARBAGE_COLLECTED)

    def poll_output(self) -> list[StreamOutput]:
        """Returns what to do to the stream, in order."""
        output, self._output = self._output, []
        return output

    def poll_timeout(self) -> Deadline | None:
        """Returns when silence ends the stream."""
        if self._is_over:
            return None
        return Deadline(self._last_request + RESPONDER_IDLE_TIMEOUT, "Kademlia responder idle")

    @property
    def is_done(self) -> bool:
        """True once nothing more is read and every answer has been taken for sending."""
        return self._is_over and not self._output

    @property
    def _is_full(self) -> bool:
        return self._taken >= MAX_REQUESTS_PER_STREAM

    def _finish_if_answered(self) -> None:
        if not self._unanswered and (self._at_eof or self._is_full):
            self._output.append(SendEof())
            self._end()

    def _give_up(self, code: StreamResetCode) -> None:
        self._output.append(ResetStream(code))
        self._end()

    def _end(self) -> None:
        self._is_over = True
        self._requests.clear()
        self._unanswered = 0
        self._reader.take_rest()
