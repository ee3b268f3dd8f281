"""AutoNAT v2's server: one dial-request stream, and its end of the dial-back stream.

    READING --refused------------------------------------------> answered
       |--same IP--> DIALLING --on_dialled | 15 s--------------> answered
       `--other IP--> COLLECTING --enough data--> PAUSING --'
                          `--too slow | tiny pieces | 10 s--> reset

Rules (specs/autonat.md, Version 2): one address is dialled, the first that is dialable; another IP
than the requester's is dialled only after it has sent more than a dial costs the target, and not at
once, so that many requests cannot be aimed at one moment.
"""

import enum
from dataclasses import dataclass
from random import Random
from typing import Final

from p2pnode.clock import Deadline, Instant
from p2pnode.errors import DecodeError
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import StreamOutput
from p2pnode.protocols.autonat.budget import Budget
from p2pnode.protocols.autonat.dialable import Asker, DialAbility, Dialable, choose_v2, split_ip
from p2pnode.protocols.autonat.messages_v2 import (
    MAX_DIAL_BACK_SIZE,
    MAX_MESSAGE_SIZE_V2,
    DialDataRequest,
    DialDataResponse,
    DialRequest,
    DialResponse,
    DialStatus,
    ResponseStatus,
    decode_message_v2_untrusted,
    encode_dial_back,
    encode_message_v2,
)
from p2pnode.protocols.autonat.served_dialogue import ServedDialogue
from p2pnode.protocols.dialogue import FramedDialogue
from p2pnode.wire.multiaddr import Multiaddr
from p2pnode.wire.reset_code import StreamResetCode

STREAM_TIMEOUT_V2 = 30.0  # seconds in all; chosen: the sum of the parts (go-libp2p: 15 s)
DIAL_TIMEOUT_V2 = 10.0  # seconds; go-libp2p
MIN_DIAL_DATA = 30_000  # bytes; autonat-v2.md, more than a handshake costs the target
MAX_DIAL_DATA = 100_000  # bytes; autonat-v2.md
MIN_DIAL_DATA_CHUNK = 100  # bytes a message but the last; go-libp2p
DIAL_DATA_TIMEOUT = 10.0  # seconds; libp2p specs issue 640
DIAL_DATA_GRACE = 2.0  # seconds before the rate counts; chosen: slow start over a long path
MIN_DIAL_DATA_RATE = 4000  # bytes/s after that; chosen: 32 kbit/s, the slowest uplink to serve
MAX_DIAL_PAUSE = 3.0  # seconds; go-libp2p
DIAL_BACK_ANSWER_TIMEOUT = 5.0  # seconds; go-libp2p


@dataclass(frozen=True, slots=True)
class DialBackOrder:
    """What a v2 server's owner is to do.

    Connect there from a port that is not a listening one, deliver the nonce with a
    `DialBackSender`, and say what came of it.
    """

    peer_id: PeerId
    address: Multiaddr
    nonce: int
    deadline: Instant
    """When the connection must stand."""


class V2ServerState(enum.Enum):
    READING = enum.auto()
    COLLECTING = enum.auto()
    PAUSING = enum.auto()
    DIALLING = enum.auto()


TRANSITIONS: Final = {
    V2ServerState.READING: (V2ServerState.COLLECTING, V2ServerState.DIALLING),
    V2ServerState.COLLECTING: (V2ServerState.PAUSING,),
    V2ServerState.PAUSING: (V2ServerState.DIALLING,),
    V2ServerState.DIALLING: (),
}


class V2Server(ServedDialogue):
    """Answers one request.  `wants_dial` is its order; `on_dialled` is the owner's answer."""

    def __init__(
        self, asker: Asker, ability: DialAbility, budget: Budget, rng: Random, now: Instant
    ) -> None:
        super().__init__(
            MAX_MESSAGE_SIZE_V2, Deadline(now + STREAM_TIMEOUT_V2, "an AutoNAT request")
        )
        self._asker = asker
        self._ability = ability
        self._rng = rng
        self._admit(budget, asker, now)
        self._state = V2ServerState.READING
        self._nonce = 0
        self._target: Dialable | None = None
        self._missing = 0
        self._collected = 0
        self._since: Instant = now
        self.wants_dial: DialBackOrder | None = None
        """Set while the owner is to dial."""
        self.answer: DialResponse | None = None
        """What was answered, once it was."""

    @property
    def target(self) -> Dialable | None:
        """The address that was chosen, once one was."""
        return self._target

    def on_dialled(self, status: DialStatus, now: Instant) -> None:
        """The owner has dialled, and this is what came of it."""
        if self._state is not V2ServerState.DIALLING or self._is_done:
            return
        assert self._target is not None
        self._answer(DialResponse(ResponseStatus.OK, self._target.index, status))

    def _take_untrusted(self, frame: bytes, now: Instant) -> None:
        message = decode_message_v2_untrusted(frame)
        match message:
            case DialRequest() if self._state is V2ServerState.READING:
                self._judge(message, now)
            case DialDataResponse(data) if self._state is V2ServerState.COLLECTING:
                self._collect_untrusted(len(data), now)
            case DialDataResponse(data) if self._collected:
                self._collected += len(data)  # what was on its way when there was enough
                if self._collected > 2 * MAX_DIAL_DATA:
                    raise DecodeError("dial data without end")
            case _:
                raise DecodeError("a message that has no place here")

    def _enter(self, state: V2ServerState) -> None:
        assert state in TRANSITIONS[self._state]
        self._state = state

    def _judge(self, request: DialRequest, now: Instant) -> None:
        if self._permit is None:
            self._answer(DialResponse(ResponseStatus.E_REQUEST_REJECTED))
            return
        target = choose_v2(request.addrs, self._asker, self._ability)
        if target is None:
            self._answer(DialResponse(ResponseStatus.E_DIAL_REFUSED))
            return
        split = split_ip(target.address)
        assert split is not None  # dialable addresses begin with one
        if self._permit.refuse_target(split[0], now) is not None or (
            target.needs_dial_data and self._permit.refuse_dial_data(now) is not None
        ):
            self._answer(DialResponse(ResponseStatus.E_REQUEST_REJECTED))
            return
        self._target, self._nonce = target, request.nonce
        if not target.needs_dial_data:
            self._dial(now)
            return
        self._enter(V2ServerState.COLLECTING)
        self._missing = self._rng.randrange(MIN_DIAL_DATA, MAX_DIAL_DATA)
        self._since = now
        self._send(encode_message_v2(DialDataRequest(target.index, self._missing)))
        self._expect_data()

    def _collect_untrusted(self, size: int, now: Instant) -> None:
        self._missing -= size
        self._collected += size
        if self._missing > 0:
            if size < MIN_DIAL_DATA_CHUNK:
                raise DecodeError("dial data in tiny pieces")
            self._expect_data()
            return
        self._enter(V2ServerState.PAUSING)
        pause = self._rng.uniform(0.0, MAX_DIAL_PAUSE)
        self._timer = Deadline(now + pause, "AutoNAT pause before the dial")

    def _expect_data(self) -> None:
        """Sets the moment at which the requester falls behind the least rate."""
        behind = self._since + DIAL_DATA_GRACE + self._collected / MIN_DIAL_DATA_RATE
        at = min(behind, self._since + DIAL_DATA_TIMEOUT)
        self._timer = Deadline(at, "the dial data")

    def _dial(self, now: Instant) -> None:
        assert self._target is not None
        self._enter(V2ServerState.DIALLING)
        given_up = now + DIAL_TIMEOUT_V2 + DIAL_BACK_ANSWER_TIMEOUT
        self._timer = Deadline(given_up, "an AutoNAT dial")
        self.wants_dial = DialBackOrder(
            self._asker.peer_id, self._target.address, self._nonce, now + DIAL_TIMEOUT_V2
        )

    def _on_timer(self, now: Instant) -> None:
        match self._state:
            case V2ServerState.COLLECTING:
                self._give_up("dial data comes too slowly", StreamResetCode.RESOURCE_LIMIT)
            case V2ServerState.PAUSING:
                self._dial(now)
            case V2ServerState.DIALLING:
                self.on_dialled(DialStatus.E_DIAL_ERROR, now)
            case V2ServerState.READING:
                pass

    def _on_eof(self, now: Instant) -> None:
        if self._state in (V2ServerState.READING, V2ServerState.COLLECTING):
            super()._on_eof(now)

    def _answer(self, response: DialResponse) -> None:
        self.answer = response
        self._send(encode_message_v2(response))
        self._close()

    def _withdraw(self) -> None:
        self.wants_dial = None


class DialBackSender(FramedDialogue):
    """Delivers a nonce on a dial-back stream.

    Lenient once the nonce has gone out: go-libp2p ends the stream with a reset, which may overtake
    its answer, so an end of any kind after that counts as delivered.
    """

    def __init__(self, nonce: int, now: Instant) -> None:
        deadline = Deadline(now + DIAL_BACK_ANSWER_TIMEOUT, "the answer to a dial-back")
        super().__init__(MAX_DIAL_BACK_SIZE, deadline)
        self._is_sent = False
        self.status: DialStatus | None = None
        """For the server's `on_dialled`, or None before that is known."""
        self._send(encode_dial_back(nonce))
        self._send_eof()

    def poll_output(self) -> list[StreamOutput]:
        """Returns what to do to the stream, in order."""
        self._is_sent = True
        return super().poll_output()

    def _take_untrusted(self, frame: bytes, now: Instant) -> None:
        self._settle(DialStatus.OK)

    def _on_eof(self, now: Instant) -> None:
        self._settle(DialStatus.OK)

    def _on_reset(self, now: Instant) -> None:
        self._settle(DialStatus.OK if self._is_sent else DialStatus.E_DIAL_BACK_ERROR)

    def _settle(self, status: DialStatus) -> None:
        self.status = status
        self._end()

    def _on_failure(self, reason: str) -> None:
        self.status = DialStatus.E_DIAL_BACK_ERROR
