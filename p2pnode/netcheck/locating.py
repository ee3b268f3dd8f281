"""Where a peer's other port sees one of our sockets: a knock there, and a question about it.

    KNOCKING --ASK_DELAY--> ASKING --seen--> over, `result`
        ^                     |
        `---not seen, tries---`--no tries left, no answer--> over, `reason`

Rule: the question goes over the connection with the peer: its other port need answer nobody.
"""

from typing import Final

from p2pnode.clock import Deadline, Instant
from p2pnode.machine import ConnectionHandle, SocketAddr, SocketId
from p2pnode.netcheck.knocking import NatAsk
from p2pnode.netcheck.measuring_sockets import MeasuringSockets
from p2pnode.protocols.nat_behaviour import LocateRequest, NatAnswer, NatStatus, encode_knock

TRIES: Final = 4
"""knocks until the peer is taken for silent; chosen: one datagram in a hundred is lost"""
ASK_DELAY: Final = 0.1
"""seconds from a knock to the question; chosen: both take the same way, one may be overtaken"""


class Locating:
    """`result` holds once `is_over`; None where it cannot be told."""

    def __init__(
        self,
        connection: ConnectionHandle,
        socket: SocketId,
        remote: SocketAddr,
        nonce: bytes,
        measuring_sockets: MeasuringSockets,
        now: Instant,
    ) -> None:
        """`remote` is the other port of the peer of `connection`."""
        self.socket = socket
        self.remote = remote
        self._connection = connection
        self._nonce = nonce
        self._measuring_sockets = measuring_sockets
        self._tries = 0
        self._ask_at: Instant | None = None
        self.result: SocketAddr | None = None
        self.is_over = False
        self.reason = ""
        self._knock(now)

    def poll_asks(self, now: Instant) -> list[NatAsk]:
        """Returns what to ask of the peer now."""
        if self.is_over or self._ask_at is None or now < self._ask_at:
            return []
        self._ask_at = None
        return [NatAsk(self._connection, LocateRequest(self._nonce))]

    def on_answer(self, nonce: bytes, answer: NatAnswer | None, reason: str, now: Instant) -> None:
        """The peer says what it has seen; None where it did not answer."""
        if nonce != self._nonce or self.is_over:
            return
        if answer is not None and answer.status is NatStatus.OK and answer.seen_at is not None:
            self.result, self.is_over = answer.seen_at, True
        elif answer is not None and answer.status is NatStatus.NOT_SEEN and self._tries < TRIES:
            self._knock(now)
        else:
            self.is_over = True
            self.reason = reason or "nothing arrives at the peer's other port"

    def handle_timeout(self, now: Instant) -> None:
        """Nothing here ends by itself: a question has an end of its own."""

    def poll_timeout(self) -> Deadline | None:
        if self.is_over or self._ask_at is None:
            return None
        return Deadline(self._ask_at, "where a knock came from is asked for")

    def _knock(self, now: Instant) -> None:
        self._tries += 1
        self._ask_at = now + ASK_DELAY
        self._measuring_sockets.send(self.socket, self.remote, encode_knock(self._nonce))
