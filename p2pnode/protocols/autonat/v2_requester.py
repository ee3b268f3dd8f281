"""AutoNAT v2's requester: one dial-request stream, and its end of the dial-back stream.

    ASKING --DialDataRequest--> (sends the data) --.
      |<-------------------------------------------'
      |--DialResponse, nonce seen or no dial-------------------> outcome
      `--DialResponse OK, nonce not seen--> EXPECTING --5 s----> Inconclusive
                                               `--nonce--------> Reached

Rules (specs/autonat.md, Version 2): what this node saw itself beats what the server says of it; a
dial-back counts only on the transport that was to be tested; and who accepted a dial-back closes
its stream and never resets it, or the answer is lost on the way.
"""

from p2pnode.clock import Deadline, Instant
from p2pnode.errors import DecodeError
from p2pnode.protocols.autonat.messages_v2 import (
    MAX_DIAL_BACK_SIZE,
    MAX_MESSAGE_SIZE_V2,
    DialDataRequest,
    DialDataResponse,
    DialRequest,
    DialResponse,
    DialStatus,
    ResponseStatus,
    decode_dial_back_untrusted,
    decode_message_v2_untrusted,
    encode_dial_back_response,
    encode_message_v2,
)
from p2pnode.protocols.autonat.outcomes import (
    Doubt,
    Inconclusive,
    NotReached,
    ProbeOutcome,
    Prober,
    Reached,
)
from p2pnode.protocols.dialogue import FramedDialogue
from p2pnode.wire.multiaddr import Code, Multiaddr, components
from p2pnode.wire.reset_code import StreamResetCode

PROBE_TIMEOUT_V2 = 30.0  # seconds; go-libp2p
DIAL_BACK_WAIT = 5.0  # seconds for a nonce that the server says it has delivered; go-libp2p
DIAL_BACK_STREAM_TIMEOUT = 5.0  # seconds; go-libp2p
MAX_ADDRS_PER_REQUEST = 10  # go-libp2p
MAX_DIAL_DATA_ACCEPTED = 100_000  # bytes; go-libp2p gives no more
DIAL_DATA_CHUNK = 4000  # bytes; go-libp2p, the spec's bound is 4096


class V2Requester(FramedDialogue):
    """Asks a server to dial one of these addresses, the first that it is willing to."""

    def __init__(self, addrs: tuple[Multiaddr, ...], nonce: int, now: Instant) -> None:
        """`nonce` is fresh, unpredictable and of 64 bits."""
        assert 0 < len(addrs) <= MAX_ADDRS_PER_REQUEST
        super().__init__(MAX_MESSAGE_SIZE_V2, Deadline(now + PROBE_TIMEOUT_V2, "an AutoNAT probe"))
        self._addrs = addrs
        self._nonce = nonce
        self._response: DialResponse | None = None
        self._data_index: int | None = None
        self._seen_by: Prober | None = None
        self._seen_transport: tuple[int, ...] = ()
        self.outcome: ProbeOutcome | None = None
        """What came of it, or None before that is known."""
        self._send(encode_message_v2(DialRequest(addrs, nonce)))

    def on_dial_back(
        self, nonce: int, *, local: Multiaddr, was_contacted: bool, now: Instant
    ) -> bool:
        """Somebody delivered `nonce` on a connection that ends at our address `local`.

        `was_contacted`: this node had sent packets to that host's IP before.  Returns whether it
        is this request's nonce; the owner then accepts the dial-back, else refuses it.  Only the
        first one counts.
        """
        if self._is_done or nonce != self._nonce or self._seen_by is not None:
            return False
        self._seen_by = Prober.ACQUAINTANCE if was_contacted else Prober.STRANGER
        self._seen_transport = _transport(local)
        if self._response is not None:
            self._conclude(self._response, now)
        return True

    def _take_untrusted(self, frame: bytes, now: Instant) -> None:
        message = decode_message_v2_untrusted(frame)
        match message:
            case DialDataRequest(index, size) if self._response is None:
                self._send_dial_data_untrusted(index, size)
            case DialResponse() if self._response is None:
                self._response = message
                self._conclude(message, now)
            case _:
                raise DecodeError("a message that has no place here")

    def _send_dial_data_untrusted(self, index: int, size: int) -> None:
        if self._data_index is not None:
            raise DecodeError("dial data was asked for twice")
        if index >= len(self._addrs):
            raise DecodeError("dial data was asked for an address that was not in the request")
        if size > MAX_DIAL_DATA_ACCEPTED:
            raise DecodeError(f"{size} bytes of dial data are too much to ask")
        self._data_index = index
        for start in range(0, size, DIAL_DATA_CHUNK):
            chunk = bytes(min(DIAL_DATA_CHUNK, size - start))
            self._send(encode_message_v2(DialDataResponse(chunk)))

    def _conclude(self, response: DialResponse, now: Instant) -> None:
        if response.status != ResponseStatus.OK:
            doubt = _doubt_of(response.status)
            self._settle(Inconclusive(doubt, f"{doubt.value} (status {response.status})"))
            return
        if response.addr_index >= len(self._addrs):
            self._settle(
                Inconclusive(Doubt.CONTRADICTORY, "the server dialled what nobody asked for")
            )
            return
        address = self._addrs[response.addr_index]
        if self._data_index not in (None, response.addr_index):
            self._settle(Inconclusive(Doubt.CONTRADICTORY, "dial data was for another address"))
        elif self._seen_by is not None:
            self._settle(self._seen(address, self._seen_by))
        elif response.dial_status == DialStatus.E_DIAL_ERROR:
            reason = "the server's dial failed"
            self._settle(NotReached(address, Prober.ACQUAINTANCE, reason))
        elif response.dial_status in (DialStatus.OK, DialStatus.E_DIAL_BACK_ERROR):
            self._timer = Deadline(now + DIAL_BACK_WAIT, "an AutoNAT dial-back")
        else:
            self._settle(Inconclusive(Doubt.FAILED, f"dial status {response.dial_status}"))

    def _seen(self, address: Multiaddr, prober: Prober) -> ProbeOutcome:
        if self._seen_transport != _transport(address):
            return Inconclusive(Doubt.CONTRADICTORY, "the dial-back came by another transport")
        return Reached(address, prober)

    def _on_timer(self, now: Instant) -> None:
        self._settle(
            Inconclusive(Doubt.CONTRADICTORY, "the server says it connected; nothing came")
        )

    def _on_eof(self, now: Instant) -> None:
        if self._response is None:
            super()._on_eof(now)

    def _on_reset(self, now: Instant) -> None:
        if self._response is None:
            super()._on_reset(now)
        else:
            self._on_timer(now)

    def _settle(self, outcome: ProbeOutcome) -> None:
        self.outcome = outcome
        self._finish()

    def _on_failure(self, reason: str) -> None:
        self.outcome = Inconclusive(Doubt.FAILED, reason)


class DialBackReceiver(FramedDialogue):
    """Takes one dial-back.  The owner finds whose nonce it is, and accepts or refuses it."""

    def __init__(self, now: Instant) -> None:
        deadline = Deadline(now + DIAL_BACK_STREAM_TIMEOUT, "an AutoNAT dial-back")
        super().__init__(MAX_DIAL_BACK_SIZE, deadline)
        self.nonce: int | None = None
        """What the dialler delivered; the owner's answer is due."""

    def accept(self) -> None:
        """The nonce is one that this node gave out."""
        assert self.nonce is not None
        if not self._is_done:
            self._send(encode_dial_back_response())
            self._finish()  # never a reset: on QUIC it would overtake the answer

    def refuse(self) -> None:
        """Nobody here waits for that nonce."""
        if not self._is_done:
            self._give_up("an unknown nonce", StreamResetCode.PROTOCOL_VIOLATION)

    def _take_untrusted(self, frame: bytes, now: Instant) -> None:
        if self.nonce is None:
            self.nonce = decode_dial_back_untrusted(frame)

    def _on_eof(self, now: Instant) -> None:
        if self.nonce is None:
            super()._on_eof(now)


def _doubt_of(status: int) -> Doubt:
    match status:
        case ResponseStatus.E_DIAL_REFUSED:
            return Doubt.REFUSED
        case ResponseStatus.E_REQUEST_REJECTED:
            return Doubt.RATE_LIMITED
        case _:
            return Doubt.FAILED


def _transport(address: Multiaddr) -> tuple[int, ...]:
    """Returns the address's protocols without its values and without a peer id."""
    codes = tuple(part.code for part in components(address))
    return codes[:-1] if codes and codes[-1] == Code.P2P else codes
