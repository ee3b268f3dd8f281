"""AutoNAT v1, each side one machine for one stream (specs/autonat.md, Version 1).

    V1Requester   ASKING --DIAL_RESPONSE----------------------------> outcome
                     `------end | reset | malformed | 30 s----------> Inconclusive
    V1Server      READING --DIAL--> DIALLING --on_dialled--> HIDING --> answered
                     |                 `--15 s-----------------^
                     `--refused--> answered

Rule: a failed dial is answered at the full dial timeout, never earlier, so that the answer's time
tells nothing about the dialled network.
"""

import enum
from dataclasses import dataclass
from typing import Final

from p2pnode.clock import Deadline, Instant
from p2pnode.identity.peer_id import PeerId
from p2pnode.protocols.autonat.budget import Budget
from p2pnode.protocols.autonat.dialable import Asker, DialAbility, choose_v1
from p2pnode.protocols.autonat.messages_v1 import (
    MAX_MESSAGE_SIZE_V1,
    DialResponseV1,
    DialV1,
    StatusV1,
    decode_message_v1_untrusted,
    encode_message_v1,
)
from p2pnode.protocols.autonat.outcomes import (
    Doubt,
    Inconclusive,
    NotReached,
    ProbeOutcome,
    Prober,
    Reached,
)
from p2pnode.protocols.autonat.served_dialogue import ServedDialogue
from p2pnode.protocols.dialogue import FramedDialogue
from p2pnode.wire.multiaddr import Multiaddr

REQUEST_TIMEOUT_V1 = 30.0  # seconds; go-libp2p
STREAM_TIMEOUT_V1 = 60.0  # seconds; go-libp2p
DIAL_TIMEOUT_V1 = 15.0  # seconds; go-libp2p, also how long a failure is withheld


@dataclass(frozen=True, slots=True)
class DialOrder:
    """What a v1 server's owner is to do: dial these, from a port and identity of their own."""

    peer_id: PeerId
    addrs: tuple[Multiaddr, ...]
    deadline: Instant


class V1Requester(FramedDialogue):
    """Asks a server to dial this node at its addresses."""

    def __init__(self, peer_id: PeerId, addrs: tuple[Multiaddr, ...], now: Instant) -> None:
        assert addrs
        super().__init__(
            MAX_MESSAGE_SIZE_V1, Deadline(now + REQUEST_TIMEOUT_V1, "an AutoNAT request")
        )
        self._addrs = addrs
        self.outcome: ProbeOutcome | None = None
        """What came of it, or None before that is known."""
        self.status: int | None = None
        """What the server answered, if it did."""
        self._send(encode_message_v1(DialV1(peer_id, addrs)))
        self._send_eof()

    def _take_untrusted(self, frame: bytes, now: Instant) -> None:
        message = decode_message_v1_untrusted(frame)
        if not isinstance(message, DialResponseV1):
            self._give_up("the server asked instead of answering")
            return
        self._end()
        self.status = message.status
        self.outcome = self._judge(message)

    def _judge(self, answer: DialResponseV1) -> ProbeOutcome:
        match answer.status:
            case StatusV1.OK:
                # Some servers name no address; then it is one of those that were asked for.
                return Reached(answer.addr or self._addrs[0], Prober.ACQUAINTANCE)
            case StatusV1.E_DIAL_ERROR:
                return NotReached(self._addrs[0], Prober.ACQUAINTANCE, "the server's dial failed")
            case StatusV1.E_DIAL_REFUSED:
                return Inconclusive(Doubt.REFUSED, "the server refused to dial")
            case status:
                return Inconclusive(Doubt.FAILED, f"the server answered with status {status}")

    def _on_failure(self, reason: str) -> None:
        self.outcome = Inconclusive(Doubt.FAILED, reason)


class V1ServerState(enum.Enum):
    READING = enum.auto()
    DIALLING = enum.auto()
    HIDING = enum.auto()


TRANSITIONS: Final = {
    V1ServerState.READING: (V1ServerState.DIALLING,),
    V1ServerState.DIALLING: (V1ServerState.HIDING,),
    V1ServerState.HIDING: (),
}


class V1Server(ServedDialogue):
    """Answers one request.  `wants_dial` is its order; `on_dialled` is the owner's answer."""

    def __init__(self, asker: Asker, ability: DialAbility, budget: Budget, now: Instant) -> None:
        super().__init__(
            MAX_MESSAGE_SIZE_V1, Deadline(now + STREAM_TIMEOUT_V1, "an AutoNAT request")
        )
        self._asker = asker
        self._ability = ability
        self._budget = budget
        self._state = V1ServerState.READING
        self.wants_dial: DialOrder | None = None
        """Set while the owner is to dial."""
        self.answer: DialResponseV1 | None = None
        """What was answered, once it was."""

    def on_dialled(self, address: Multiaddr | None, now: Instant) -> None:
        """The owner has dialled: `address` answered with the asker's identity, or None did."""
        if self._state is not V1ServerState.DIALLING or self._is_done:
            return
        self.wants_dial = None
        if address is not None:
            self._answer(DialResponseV1(StatusV1.OK, addr=address))
        else:
            self._enter(V1ServerState.HIDING)  # the timer set with the order ends it

    def _take_untrusted(self, frame: bytes, now: Instant) -> None:
        message = decode_message_v1_untrusted(frame)
        if self._state is not V1ServerState.READING:
            return
        if not isinstance(message, DialV1) or message.peer_id != self._asker.peer_id:
            self._answer(DialResponseV1(StatusV1.E_BAD_REQUEST, "dial whom?"))
            return
        addrs = choose_v1(message.addrs, self._asker, self._ability)
        if not addrs:
            self._refuse("none of the addresses can be dialled from here")
            return
        permit = self._budget.admit(self._asker, now)
        if isinstance(permit, str):
            self._refuse(permit)
            return
        self._permit = permit
        assert self._asker.observed is not None  # or there would be no addresses
        if (reason := permit.refuse_target(self._asker.observed.ip, now)) is not None:
            self._refuse(reason)
            return
        self._enter(V1ServerState.DIALLING)
        self._timer = Deadline(now + DIAL_TIMEOUT_V1, "an AutoNAT dial")
        self.wants_dial = DialOrder(self._asker.peer_id, addrs, self._timer.at)

    def _enter(self, state: V1ServerState) -> None:
        assert state in TRANSITIONS[self._state]
        self._state = state

    def _on_timer(self, now: Instant) -> None:
        self._answer(DialResponseV1(StatusV1.E_DIAL_ERROR, "dial failed"))

    def _on_eof(self, now: Instant) -> None:
        if self._state is V1ServerState.READING:
            super()._on_eof(now)

    def _refuse(self, why: str) -> None:
        self._answer(DialResponseV1(StatusV1.E_DIAL_REFUSED, why))

    def _answer(self, response: DialResponseV1) -> None:
        self.answer = response
        self._send(encode_message_v1(response))
        self._close()

    def _withdraw(self) -> None:
        self.wants_dial = None
