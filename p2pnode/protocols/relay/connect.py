"""The client asks a relay for a stream circuit to a peer (specs/relay.md, Stream circuits).

    ASKING --STATUS OK--> CircuitOpened: the stream is the circuit from its next byte on
       `----- another status | malformed | end | reset | 60 s --> CircuitRefused

Rule: the stream is a new one: a relay closes the stream that a reservation was made on.
"""

from dataclasses import dataclass

from p2pnode.clock import Deadline, Instant
from p2pnode.errors import DecodeError
from p2pnode.identity.peer_id import PeerId
from p2pnode.protocols.dialogue import FramedDialogue
from p2pnode.protocols.relay.messages import (
    MAX_MESSAGE_SIZE,
    ConnectRequest,
    HopStatus,
    Limit,
    Status,
    decode_hop_untrusted,
    encode_hop,
    status_name,
)

CONNECT_TIMEOUT = 60.0  # seconds; go-libp2p


@dataclass(frozen=True, slots=True)
class CircuitOpened:
    """The stream now leads to the peer; we speak first, as initiator.  See `take_rest`."""

    limit: Limit


@dataclass(frozen=True, slots=True)
class CircuitRefused:
    """There is no circuit."""

    status: int | None
    """What the relay answered, or None where it gave no usable answer."""
    reason: str


class StreamConnector(FramedDialogue):
    """Asks for a circuit on a stream of its own."""

    def __init__(self, peer: PeerId, now: Instant) -> None:
        super().__init__(
            MAX_MESSAGE_SIZE, Deadline(now + CONNECT_TIMEOUT, "connecting through the relay")
        )
        self._outcome: CircuitOpened | CircuitRefused | None = None
        self._send(encode_hop(ConnectRequest(peer)))

    @property
    def outcome(self) -> CircuitOpened | CircuitRefused | None:
        """What came of it, or None before that is known."""
        return self._outcome

    def _take_untrusted(self, frame: bytes, now: Instant) -> None:
        message = decode_hop_untrusted(frame)
        if not isinstance(message, HopStatus):
            raise DecodeError("the relay answered with a request")
        if message.status != Status.OK:
            self._outcome = CircuitRefused(message.status, status_name(message.status))
            self._finish()
            return
        self._outcome = CircuitOpened(message.limit or Limit())
        self._hand_over()

    def _on_failure(self, reason: str) -> None:
        self._outcome = CircuitRefused(None, reason)
