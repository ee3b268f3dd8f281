"""The stop protocol: the relay tells the listener of a circuit (specs/relay.md, Stream circuits).

    StopRequester   ASKING --STATUS OK--> accepted: the stream is the circuit
                       `-- other status | malformed | end | reset | 30 s --> refused
    StopResponder   READING --CONNECT--> DECIDING --accept--> the stream is the circuit
                       |                    `------ refuse -> answered, the stream ends
                       `-- malformed | unexpected --> answered with the status, failed

Rule: the peer at the far end is whoever the relay says, until the handshake through the circuit
proves it.
"""

from dataclasses import dataclass

from p2pnode.clock import Deadline, Instant
from p2pnode.errors import DecodeError, LocalProtocolError
from p2pnode.identity.peer_id import PeerId
from p2pnode.protocols.dialogue import FramedDialogue
from p2pnode.protocols.relay.messages import (
    MAX_MESSAGE_SIZE,
    Limit,
    Status,
    StopConnect,
    StopStatus,
    decode_stop_untrusted,
    encode_stop,
    status_name,
)

STOP_TIMEOUT = 30.0  # seconds to accept or refuse a circuit; go-libp2p's connect timeout


@dataclass(frozen=True, slots=True)
class StopAccepted:
    """The listener takes the circuit; the stream is the circuit from here on."""


@dataclass(frozen=True, slots=True)
class StopRefused:
    """It does not."""

    status: int | None
    reason: str


class StopRequester(FramedDialogue):
    """The relay's side."""

    def __init__(self, source: PeerId, limit: Limit, now: Instant) -> None:
        super().__init__(MAX_MESSAGE_SIZE, Deadline(now + STOP_TIMEOUT, "the listener's answer"))
        self._outcome: StopAccepted | StopRefused | None = None
        told = None if limit.is_unlimited else limit
        self._send(encode_stop(StopConnect(source, told)))

    @property
    def outcome(self) -> StopAccepted | StopRefused | None:
        """What came of it, or None before that is known."""
        return self._outcome

    def _take_untrusted(self, frame: bytes, now: Instant) -> None:
        message = decode_stop_untrusted(frame)
        if not isinstance(message, StopStatus):
            raise DecodeError("the listener answered with a request")
        if message.status != Status.OK:
            self._outcome = StopRefused(message.status, status_name(message.status))
            self._finish()
            return
        self._outcome = StopAccepted()
        self._hand_over()

    def _on_failure(self, reason: str) -> None:
        self._outcome = StopRefused(None, reason)


class StopResponder(FramedDialogue):
    """The listener's side."""

    def __init__(self, now: Instant) -> None:
        super().__init__(
            MAX_MESSAGE_SIZE, Deadline(now + STOP_TIMEOUT, "the announcement of a circuit")
        )
        self._offer: StopConnect | None = None
        self.failure: str | None = None
        """Why there will be no offer, or no use in an answer."""

    @property
    def offer(self) -> StopConnect | None:
        """The peer that wants a circuit to us, once the relay has said so."""
        return self._offer

    @property
    def is_deciding(self) -> bool:
        """True while `accept` or `refuse` is expected."""
        return self._offer is not None and not self._is_done

    def accept(self) -> None:
        """Takes the circuit; the stream is the circuit, see `take_rest`.

        Raises LocalProtocolError where nothing was offered.
        """
        self._expect_offer()
        self._send(encode_stop(StopStatus(Status.OK)))
        self._hand_over()

    def refuse(self, status: Status) -> None:
        """Raises LocalProtocolError where nothing was offered."""
        assert status is not Status.OK
        self._expect_offer()
        self._refuse(status)

    def _take_untrusted(self, frame: bytes, now: Instant) -> None:
        message = decode_stop_untrusted(frame)
        if isinstance(message, StopStatus):
            self.failure = "the relay sent a status"
            self._refuse(Status.UNEXPECTED_MESSAGE)
            return
        self._offer = message
        self._hold()  # what follows belongs to the circuit
        self._deadline = Deadline(now + STOP_TIMEOUT, "the answer to a circuit")

    def _expect_offer(self) -> None:
        if not self.is_deciding:
            raise LocalProtocolError("there is no circuit to answer")

    def _refuse(self, status: Status) -> None:
        self._send(encode_stop(StopStatus(status)))
        self._finish()

    def _on_malformed(self, reason: str) -> None:
        self.failure = reason
        self._refuse(Status.MALFORMED_MESSAGE)

    def _on_failure(self, reason: str) -> None:
        self.failure = reason
