"""Opening a datagram circuit, and the word of its end (specs/relay.md, Datagram circuits).

    CircuitRequester   the client to its relay, and the relay to the listener
    CircuitResponder   the relay to its client, and the listener to the relay

The states are the table below.  The stream stays open as long as the circuit does: its end, in
either direction and however it comes, is the circuit's end.

Rule: `events` says each thing once, and CircuitEnded last.
"""

import enum
from dataclasses import dataclass
from typing import TypeAlias

from p2pnode.clock import Deadline, Instant
from p2pnode.errors import DecodeError, LocalProtocolError
from p2pnode.identity.peer_id import PeerId
from p2pnode.protocols.dialogue import FramedDialogue
from p2pnode.protocols.relay.circuit_messages import (
    NO_LIMIT,
    CircuitClosing,
    CircuitConnect,
    CircuitStatus,
    DatagramLimit,
    decode_circuit_untrusted,
    encode_circuit,
)
from p2pnode.protocols.relay.messages import MAX_MESSAGE_SIZE, Status, status_name
from p2pnode.wire.reset_code import StreamResetCode

CIRCUIT_CONNECT_TIMEOUT = 30.0  # seconds from CONNECT to STATUS; go-libp2p's connect timeout
CIRCUIT_READ_TIMEOUT = 10.0  # seconds for the CONNECT to arrive; chosen: one small message
MAX_NOTICES = 8  # CLOSING messages on one stream; chosen: each may shorten the grace


class DialogueState(enum.Enum):
    READING = "reading"
    DECIDING = "deciding"
    ASKING = "asking"
    OPEN = "open"
    CLOSING = "closing"
    ENDED = "ended"


class CircuitStep(enum.Enum):
    CONNECT = "connect"
    ACCEPT = "accept"
    ACCEPTED = "accepted"
    NOTICE = "notice"
    END = "end"


TRANSITIONS: dict[tuple[DialogueState, CircuitStep], DialogueState] = {
    (DialogueState.READING, CircuitStep.CONNECT): DialogueState.DECIDING,
    (DialogueState.READING, CircuitStep.END): DialogueState.ENDED,
    (DialogueState.DECIDING, CircuitStep.ACCEPT): DialogueState.OPEN,
    (DialogueState.DECIDING, CircuitStep.END): DialogueState.ENDED,
    (DialogueState.ASKING, CircuitStep.ACCEPTED): DialogueState.OPEN,
    (DialogueState.ASKING, CircuitStep.END): DialogueState.ENDED,
    (DialogueState.OPEN, CircuitStep.NOTICE): DialogueState.CLOSING,
    (DialogueState.OPEN, CircuitStep.END): DialogueState.ENDED,
    (DialogueState.CLOSING, CircuitStep.NOTICE): DialogueState.CLOSING,
    (DialogueState.CLOSING, CircuitStep.END): DialogueState.ENDED,
}


@dataclass(frozen=True, slots=True)
class CircuitOffered:
    """Somebody wants a circuit; `accept` or `refuse` it."""

    peer: PeerId
    limit: DatagramLimit


@dataclass(frozen=True, slots=True)
class CircuitReady:
    """The circuit carries packets now."""

    send_id: bytes
    receive_id: bytes
    limit: DatagramLimit


@dataclass(frozen=True, slots=True)
class CircuitEnding:
    """The other side says that the circuit will end in `grace` seconds: find another one."""

    status: int
    grace: float


@dataclass(frozen=True, slots=True)
class CircuitEnded:
    """The circuit is no more, or never was."""

    status: int | None
    """What the other side refused with, if it did."""
    reason: str


CircuitEvent: TypeAlias = CircuitOffered | CircuitReady | CircuitEnding | CircuitEnded


class _CircuitDialogue(FramedDialogue):
    def __init__(self, state: DialogueState, deadline: Deadline) -> None:
        super().__init__(MAX_MESSAGE_SIZE, deadline)
        self._state = state
        self._notices = 0
        self._events: list[CircuitEvent] = []

    @property
    def state(self) -> DialogueState:
        return self._state

    def poll_events(self) -> list[CircuitEvent]:
        """Returns the facts since the last call, oldest first."""
        events, self._events = self._events, []
        return events

    def announce_end(self, status: Status, grace: float) -> None:
        """Tells the other side that an open circuit will end.

        Raises LocalProtocolError where it is not open.
        """
        self._step(CircuitStep.NOTICE)
        self._send(encode_circuit(CircuitClosing(status, grace)))

    def close(self) -> None:
        """Ends the circuit in good order; nothing where it has ended."""
        if not self._is_done:
            self._step(CircuitStep.END)
            self._events.append(CircuitEnded(None, "closed on this side"))
            self._finish()

    def _on_eof(self, now: Instant) -> None:
        if self._state in (DialogueState.OPEN, DialogueState.CLOSING):
            self._step(CircuitStep.END)
            self._events.append(CircuitEnded(None, "the other side closed the circuit"))
            self._finish()
            return
        super()._on_eof(now)

    def _open(self, step: CircuitStep, ready: CircuitReady) -> None:
        self._step(step)
        self._deadline = None
        self._events.append(ready)

    def _on_notice(self, message: CircuitClosing) -> None:
        self._notices += 1
        if self._notices > MAX_NOTICES:
            raise DecodeError("the end of a circuit is announced again and again")
        self._step_untrusted(CircuitStep.NOTICE)
        self._events.append(CircuitEnding(message.status, message.grace))

    def _on_failure(self, reason: str) -> None:
        self._step(CircuitStep.END)
        self._events.append(CircuitEnded(None, reason))

    def _step(self, step: CircuitStep) -> None:
        target = TRANSITIONS.get((self._state, step))
        if target is None:
            raise LocalProtocolError(f"a circuit that is {self._state.value} takes no {step.value}")
        self._state = target

    def _step_untrusted(self, step: CircuitStep) -> None:
        if (self._state, step) not in TRANSITIONS:
            raise DecodeError(f"a circuit that is {self._state.value} takes no {step.value}")
        self._step(step)


class CircuitRequester(_CircuitDialogue):
    """Asks for a circuit.  `receive_id` is the id that we want to receive by."""

    def __init__(
        self,
        peer: PeerId,
        receive_id: bytes,
        now: Instant,
        *,
        limit: DatagramLimit = NO_LIMIT,
    ) -> None:
        super().__init__(
            DialogueState.ASKING,
            Deadline(now + CIRCUIT_CONNECT_TIMEOUT, "the answer to a circuit"),
        )
        self._receive_id = receive_id
        self._send(encode_circuit(CircuitConnect(peer, receive_id, limit)))

    def _take_untrusted(self, frame: bytes, now: Instant) -> None:
        match decode_circuit_untrusted(frame):
            case CircuitConnect():
                raise DecodeError("a circuit's request was answered with a request")
            case CircuitClosing() as message:
                self._on_notice(message)
            case CircuitStatus(status, circuit_id, limit):
                if self._state is not DialogueState.ASKING:
                    raise DecodeError("a second answer to one request")
                if status != Status.OK:
                    self._step(CircuitStep.END)
                    self._events.append(CircuitEnded(status, status_name(status)))
                    self._finish()
                elif not circuit_id:
                    raise DecodeError("a circuit without an id")
                else:
                    ready = CircuitReady(circuit_id, self._receive_id, limit)
                    self._open(CircuitStep.ACCEPTED, ready)


class CircuitResponder(_CircuitDialogue):
    """Is asked for a circuit."""

    def __init__(self, now: Instant) -> None:
        super().__init__(
            DialogueState.READING, Deadline(now + CIRCUIT_READ_TIMEOUT, "a circuit's request")
        )
        self._send_id = b""
        self._offered_limit = NO_LIMIT

    @property
    def send_id(self) -> bytes:
        """The id that the other side wants to receive by; empty before it has asked."""
        return self._send_id

    def accept(
        self, receive_id: bytes, limit: DatagramLimit | None = None, *, now: Instant
    ) -> None:
        """Opens the circuit.  A relay passes the limit, a listener has been told it.

        Raises LocalProtocolError where nothing is asked.
        """
        self._open(
            CircuitStep.ACCEPT,
            CircuitReady(self._send_id, receive_id, limit or self._offered_limit),
        )
        self._send(encode_circuit(CircuitStatus(Status.OK, receive_id, limit or NO_LIMIT)))
        self._go_on(now)

    def refuse(self, status: Status) -> None:
        """Raises LocalProtocolError where nothing is asked."""
        assert status is not Status.OK
        if self._state is not DialogueState.DECIDING:
            raise LocalProtocolError("there is no circuit to refuse")
        self._refuse(status, "refused on this side")

    def _take_untrusted(self, frame: bytes, now: Instant) -> None:
        match decode_circuit_untrusted(frame):
            case CircuitConnect(peer, circuit_id, limit):
                self._step_untrusted(CircuitStep.CONNECT)
                self._send_id = circuit_id
                self._offered_limit = limit
                self._hold()
                self._deadline = Deadline(
                    now + CIRCUIT_CONNECT_TIMEOUT, "the decision on a circuit"
                )
                self._events.append(CircuitOffered(peer, limit))
            case CircuitStatus():
                raise DecodeError("an answer where there was no request")
            case CircuitClosing() as message:
                self._on_notice(message)

    def _on_malformed(self, reason: str) -> None:
        if self._state in (DialogueState.READING, DialogueState.DECIDING):
            self._refuse(Status.MALFORMED_MESSAGE, reason)
        else:
            self._give_up(reason, StreamResetCode.PROTOCOL_VIOLATION)

    def _refuse(self, status: Status, reason: str) -> None:
        self._step(CircuitStep.END)
        self._events.append(CircuitEnded(None, reason))
        self._send(encode_circuit(CircuitStatus(status)))
        self._finish()
