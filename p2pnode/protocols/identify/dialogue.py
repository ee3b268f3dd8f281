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
from p2pnode.machine import SendData
from p2pnode.protocols.dialogue import FramedDialogue
from p2pnode.protocols.identify.info import IdentifyInfo, info_of_message_untrusted
from p2pnode.protocols.identify.messages import (
    MAX_MESSAGE_SIZE,
    MAX_MESSAGES,
    IdentifyMessage,
    decode_identify_message_untrusted,
    encode_identify_frames,
)

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


class _Reader(FramedDialogue):
    """Reads messages to the end of the stream, then merges them."""

    def __init__(self, peer_id: PeerId, now: Instant) -> None:
        super().__init__(MAX_MESSAGE_SIZE, Deadline(now + READ_TIMEOUT, "identify"))
        self._peer_id = peer_id
        self._frames: list[bytes] = []
        self._outcome: IdentifyOutcome | None = None
        self._send_eof()  # the reading side has nothing to say

    def _take_untrusted(self, frame: bytes, now: Instant) -> None:
        self._frames.append(frame)
        if len(self._frames) > MAX_MESSAGES:
            raise DecodeError(f"more than {MAX_MESSAGES} identify messages")

    def _on_eof(self, now: Instant) -> None:
        if not self._frames or not self._reader.is_empty:
            super()._on_eof(now)
            return
        message = decode_identify_message_untrusted(self._frames)
        self._outcome = self._success(message, info_of_message_untrusted(message, self._peer_id))
        self._frames.clear()
        self._end()

    def _success(self, message: IdentifyMessage, info: IdentifyInfo) -> IdentifyOutcome:
        raise NotImplementedError

    def _on_failure(self, reason: str) -> None:
        self._outcome = IdentifyFailed(reason)
        self._frames.clear()


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


class IdentifyResponder(FramedDialogue):
    """Says everything at once and is done.  What the peer sends is not read."""

    def __init__(self, message: IdentifyMessage) -> None:
        super().__init__(MAX_MESSAGE_SIZE, None)  # how long sending may take is the owner's to say
        self._output.append(SendData(encode_identify_frames(message)))
        self._finish()


class PushSender(IdentifyResponder):
    """The same words to a peer that did not ask: the stream was opened by the speaker."""
