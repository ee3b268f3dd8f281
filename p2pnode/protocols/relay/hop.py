"""The relay's side of the hop protocol: one request in, one answer out (specs/relay.md).

    READING --RESERVE, CONNECT--> DECIDING --grant / refuse--> answered, the stream ends
       |                             `------ connect --------> answered, the stream is the circuit
       `-- malformed | unexpected --> answered with the status, failed
       `-- end | reset | 60 s ------> failed

Rule: this machine decides nothing.  `request` is the question for the tables, and who asks is
whoever the connection was authenticated for.
"""

from p2pnode.clock import Deadline, Instant
from p2pnode.errors import LocalProtocolError
from p2pnode.protocols.dialogue import FramedDialogue
from p2pnode.protocols.relay.messages import (
    MAX_MESSAGE_SIZE,
    ConnectRequest,
    HopStatus,
    Limit,
    Reservation,
    ReserveRequest,
    Status,
    decode_hop_untrusted,
    encode_hop,
)

HOP_TIMEOUT = 60.0  # seconds for the request, and for the answer; go-libp2p


class HopResponder(FramedDialogue):
    """Serves one stream of the hop protocol."""

    def __init__(self, now: Instant) -> None:
        super().__init__(MAX_MESSAGE_SIZE, Deadline(now + HOP_TIMEOUT, "the hop request"))
        self._request: ReserveRequest | ConnectRequest | None = None
        self.failure: str | None = None
        """Why there will be no request, or no use in an answer."""

    @property
    def request(self) -> ReserveRequest | ConnectRequest | None:
        """What the peer asks for, once it has."""
        return self._request

    @property
    def is_deciding(self) -> bool:
        """True while one of `grant`, `connect` and `refuse` is expected."""
        return self._request is not None and not self._is_done

    def grant(self, reservation: Reservation, limit: Limit) -> None:
        """Answers RESERVE; the stream ends.  Raises LocalProtocolError at any other time."""
        self._expect(ReserveRequest)
        told = None if limit.is_unlimited else limit
        self._send(encode_hop(HopStatus(Status.OK, reservation, told)))
        self._finish()

    def connect(self, limit: Limit) -> None:
        """Answers CONNECT; the stream is the circuit from here on, see `take_rest`.

        Raises LocalProtocolError at any other time.
        """
        self._expect(ConnectRequest)
        told = None if limit.is_unlimited else limit
        self._send(encode_hop(HopStatus(Status.OK, None, told)))
        self._hand_over()

    def refuse(self, status: Status) -> None:
        """Answers either with a refusal.  Raises LocalProtocolError where nothing was asked."""
        assert status is not Status.OK
        if not self.is_deciding:
            raise LocalProtocolError("there is no request to refuse")
        self._refuse(status)

    def _take_untrusted(self, frame: bytes, now: Instant) -> None:
        message = decode_hop_untrusted(frame)
        if isinstance(message, HopStatus):
            self.failure = "the client sent a status"
            self._refuse(Status.UNEXPECTED_MESSAGE)
            return
        self._request = message
        self._hold()  # what follows belongs to the circuit
        self._deadline = Deadline(now + HOP_TIMEOUT, "the answer to a hop request")

    def _on_eof(self, now: Instant) -> None:
        # The client has asked, and may have nothing more to say: the answer is still due.
        if not self.is_deciding:
            super()._on_eof(now)

    def _expect(self, kind: type[ReserveRequest | ConnectRequest]) -> None:
        if not self.is_deciding or not isinstance(self._request, kind):
            raise LocalProtocolError("the answer does not belong to what was asked")

    def _refuse(self, status: Status) -> None:
        self._send(encode_hop(HopStatus(status)))
        self._finish()

    def _on_malformed(self, reason: str) -> None:
        self.failure = reason
        self._refuse(Status.MALFORMED_MESSAGE)

    def _on_failure(self, reason: str) -> None:
        self.failure = reason
