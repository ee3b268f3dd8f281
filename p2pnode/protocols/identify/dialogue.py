"""identify and identify/push, each side one machine for one stream (specs/identify.md).

    IdentifyRequester, PushReceiver
        READING --EOF, valid----------------------------------> Identified, Pushed
           `----too long | malformed | wrong key | reset | 10 s--> IdentifyFailed
    IdentifyResponder, PushSender
        --> sends everything and finishes; nothing is read

Rule: `outcome` is set exactly once, and the first one stays.
"""

from dataclasses import dataclass
from typing import TypeAlias

from p2pnode.clock import Deadline, Instant
from p2pnode.errors import DecodeError
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import ResetStream, SendData, SendEof, StreamOutput
from p2pnode.protocols.identify.info import IdentifyInfo, info_of_message_untrusted
from p2pnode.protocols.identify.messages import (
    MAX_MESSAGE_SIZE,
    MAX_MESSAGES,
    IdentifyMessage,
    decode_identify_message_untrusted,
    encode_identify_frames,
)
from p2pnode.wire.framing import FrameReader
from p2pnode.wire.reset_code import StreamResetCode

READ_TIMEOUT = 10.0  # seconds; chosen: go-libp2p's 5 s doubled for relayed paths


@dataclass(frozen=True, slots=True)
class Identified:
    """The peer's answer."""

    info: IdentifyInfo


@dataclass(frozen=True, slots=True)
class Pushed:
    """A peer's news of itself, to be applied with `apply_push`; the public key is checked."""

    message: IdentifyMessage


@dataclass(frozen=True, slots=True)
class IdentifyFailed:
    """No usable answer."""

    reason: str


IdentifyOutcome: TypeAlias = Identified | Pushed | IdentifyFailed


class _Reader:
    """Reads messages to the end of the stream, then merges them."""

    def __init__(self, peer_id: PeerId, now: Instant) -> None:
        self._peer_id = peer_id
        self._deadline = Deadline(now + READ_TIMEOUT, "identify read timeout")
        self._reader = FrameReader(MAX_MESSAGE_SIZE)
        self._frames: list[bytes] = []
        self._output: list[StreamOutput] = [SendEof()]  # the reading side has nothing to say
        self._outcome: IdentifyOutcome | None = None

    def handle_data(self, data: bytes, now: Instant) -> None:
        """Takes the stream's next bytes.  Untrusted; never raises."""
        if self._outcome is not None:
            return
        self._reader.feed(data)
        try:
            while (frame := self._reader.next_frame_untrusted()) is not None:
                self._frames.append(frame)
                if len(self._frames) > MAX_MESSAGES:
                    raise DecodeError(f"more than {MAX_MESSAGES} identify messages")
        except DecodeError as exc:
            self._give_up(str(exc), StreamResetCode.PROTOCOL_VIOLATION)

    def handle_eof(self, now: Instant) -> None:
        """The peer has said everything."""
        if self._outcome is not None:
            return
        if not self._frames or not self._reader.is_empty:
            self._give_up("the peer ended the stream too early", StreamResetCode.NONE)
            return
        try:
            message = decode_identify_message_untrusted(self._frames)
            info = info_of_message_untrusted(message, self._peer_id)
        except DecodeError as exc:
            self._give_up(str(exc), StreamResetCode.PROTOCOL_VIOLATION)
            return
        self._outcome = self._success(message, info)
        self._frames.clear()

    def handle_reset(self, code: int, now: Instant) -> None:
        """The stream is gone."""
        self._output.clear()
        if self._outcome is None:
            self._outcome = IdentifyFailed("the stream was reset")
            self._forget()

    def handle_timeout(self, now: Instant) -> None:
        """Gives up at the deadline."""
        if self._outcome is None and now >= self._deadline.at:
            self._give_up("identify timed out", StreamResetCode.NONE)

    def poll_output(self) -> list[StreamOutput]:
        """Returns what to do to the stream, in order."""
        output, self._output = self._output, []
        return output

    def poll_timeout(self) -> Deadline | None:
        """Returns the deadline while there is no outcome."""
        return self._deadline if self._outcome is None else None

    @property
    def is_done(self) -> bool:
        """True once there is an outcome."""
        return self._outcome is not None

    def _success(self, message: IdentifyMessage, info: IdentifyInfo) -> IdentifyOutcome:
        raise NotImplementedError

    def _give_up(self, reason: str, code: StreamResetCode) -> None:
        self._outcome = IdentifyFailed(reason)
        self._output.append(ResetStream(code))
        self._forget()

    def _forget(self) -> None:
        self._frames.clear()
        self._reader.take_rest()


class IdentifyRequester(_Reader):
    """Asks a peer, whose id the handshake proved, what it says of itself."""

    @property
    def outcome(self) -> Identified | IdentifyFailed | None:
        """What came of it, or None before that is known."""
        assert not isinstance(self._outcome, Pushed)
        return self._outcome

    def _success(self, message: IdentifyMessage, info: IdentifyInfo) -> Identified:
        return Identified(info)


class PushReceiver(_Reader):
    """Takes a peer's news of itself, in full or in part."""

    @property
    def outcome(self) -> Pushed | IdentifyFailed | None:
        """What came of it, or None before that is known."""
        assert not isinstance(self._outcome, Identified)
        return self._outcome

    def _success(self, message: IdentifyMessage, info: IdentifyInfo) -> Pushed:
        return Pushed(message)


class IdentifyResponder:
    """Says everything at once and finishes.  What the peer sends is not read."""

    def __init__(self, message: IdentifyMessage) -> None:
        self._output: list[StreamOutput] = [SendData(encode_identify_frames(message)), SendEof()]

    def handle_data(self, data: bytes, now: Instant) -> None:
        """Ignores it: the requester has nothing to say."""

    def handle_eof(self, now: Instant) -> None:
        """Ignores it: a requester may end its direction before it reads."""

    def handle_reset(self, code: int, now: Instant) -> None:
        """The stream is gone."""
        self._output.clear()

    def handle_timeout(self, now: Instant) -> None:
        """Nothing here waits."""

    def poll_output(self) -> list[StreamOutput]:
        """Returns what to do to the stream, in order."""
        output, self._output = self._output, []
        return output

    def poll_timeout(self) -> Deadline | None:
        """Returns None: how long sending may take is the stream's owner's business."""
        return None

    @property
    def is_done(self) -> bool:
        """True once everything was taken for sending."""
        return not self._output


class PushSender(IdentifyResponder):
    """The same words to a peer that did not ask: the stream was opened by the speaker."""
