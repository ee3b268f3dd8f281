"""Both sides of DCUtR's dialogue, each one machine for one stream and one round (specs/dcutr.md).

The states are the tables below.  The initiator is the peer that *received* the relayed connection.

Rules: the outcome says when to punch, on this machine's clock: the initiator half a round trip
after it sent SYNC, the responder when SYNC arrives, so that both first packets cross; the round
trip is measured from CONNECT to CONNECT, on the path that SYNC will take.
"""

import enum
from dataclasses import dataclass
from typing import TypeAlias

from p2pnode.clock import Deadline, Instant
from p2pnode.errors import DecodeError
from p2pnode.protocols.dcutr.messages import (
    MAX_MESSAGE_SIZE,
    Connect,
    HolePunch,
    Sync,
    decode_hole_punch_untrusted,
    encode_hole_punch,
)
from p2pnode.protocols.dialogue import FramedDialogue
from p2pnode.wire.multiaddr import Multiaddr

DIALOGUE_TIMEOUT = 10.0  # seconds for the whole exchange; go-libp2p gives an attempt as much


class State(enum.Enum):
    CONNECT_SENT = "connect sent"
    AWAITING_CONNECT = "awaiting connect"
    AWAITING_SYNC = "awaiting sync"
    AGREED = "agreed"
    FAILED = "failed"


class DialogueStep(enum.Enum):
    CONNECT = "connect"
    SYNC = "sync"
    FAIL = "fail"


INITIATOR: dict[tuple[State, DialogueStep], State] = {
    (State.CONNECT_SENT, DialogueStep.CONNECT): State.AGREED,
    (State.CONNECT_SENT, DialogueStep.FAIL): State.FAILED,
}
RESPONDER: dict[tuple[State, DialogueStep], State] = {
    (State.AWAITING_CONNECT, DialogueStep.CONNECT): State.AWAITING_SYNC,
    (State.AWAITING_CONNECT, DialogueStep.FAIL): State.FAILED,
    (State.AWAITING_SYNC, DialogueStep.SYNC): State.AGREED,
    (State.AWAITING_SYNC, DialogueStep.FAIL): State.FAILED,
}


@dataclass(frozen=True, slots=True)
class PunchAgreed:
    """Both sides know each other's addresses and the moment."""

    addrs: tuple[Multiaddr, ...]
    """The peer's, unfiltered: see `plan.make_plan`."""
    start_at: Instant
    """When our first packet leaves."""
    rtt: float | None
    """Seconds through the relay; the initiator measures it."""


@dataclass(frozen=True, slots=True)
class PunchNotAgreed:
    """The dialogue failed; it says nothing about the network."""

    reason: str


DcutrOutcome: TypeAlias = PunchAgreed | PunchNotAgreed


class _DcutrDialogue(FramedDialogue):
    def __init__(
        self, state: State, table: dict[tuple[State, DialogueStep], State], now: Instant
    ) -> None:
        super().__init__(
            MAX_MESSAGE_SIZE, Deadline(now + DIALOGUE_TIMEOUT, "the hole punching dialogue")
        )
        self._state = state
        self._table = table
        self._outcome: DcutrOutcome | None = None

    @property
    def state(self) -> State:
        return self._state

    @property
    def outcome(self) -> DcutrOutcome | None:
        """What came of it, or None before that is known."""
        return self._outcome

    def _take_untrusted(self, frame: bytes, now: Instant) -> None:
        message = decode_hole_punch_untrusted(frame)
        step = DialogueStep.CONNECT if isinstance(message, Connect) else DialogueStep.SYNC
        if (self._state, step) not in self._table:
            raise DecodeError(f"a {step.name} while {self._state.value}")
        self._state = self._table[self._state, step]
        self._on_message(message, now)

    def _on_message(self, message: HolePunch, now: Instant) -> None:
        raise NotImplementedError

    def _agree(self, agreed: PunchAgreed) -> None:
        self._outcome = agreed
        self._finish()

    def _on_failure(self, reason: str) -> None:
        self._state = self._table[self._state, DialogueStep.FAIL]
        self._outcome = PunchNotAgreed(reason)


class DcutrInitiator(_DcutrDialogue):
    """Begins, on a stream whose protocol is negotiated: or the round trip would come out double."""

    def __init__(self, own_addrs: tuple[Multiaddr, ...], now: Instant) -> None:
        super().__init__(State.CONNECT_SENT, INITIATOR, now)
        self._sent_at = now
        self._send(encode_hole_punch(Connect(own_addrs)))

    def _on_message(self, message: HolePunch, now: Instant) -> None:
        assert isinstance(message, Connect)
        rtt = max(0.0, now - self._sent_at)
        self._send(encode_hole_punch(Sync()))
        self._agree(PunchAgreed(message.addrs, now + rtt / 2, rtt))


class DcutrResponder(_DcutrDialogue):
    """Answers, on a relayed connection that we dialled."""

    def __init__(self, own_addrs: tuple[Multiaddr, ...], now: Instant) -> None:
        super().__init__(State.AWAITING_CONNECT, RESPONDER, now)
        self._own_addrs = own_addrs
        self._peer_addrs: tuple[Multiaddr, ...] = ()

    def _on_message(self, message: HolePunch, now: Instant) -> None:
        match message:
            case Connect(addrs):
                self._peer_addrs = addrs
                self._send(encode_hole_punch(Connect(self._own_addrs)))
            case Sync():
                self._agree(PunchAgreed(self._peer_addrs, now, None))
