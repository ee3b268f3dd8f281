"""A few knocks by one peer at one of our ports, and whether any of them came in.

    ASKING --all confirmed or refused--> LISTENING --LISTEN_TIME--> False, or None where none left
       `-----------`--one arrives--> True

Rule: silence counts only where the peer says that it has knocked more than once, for one datagram
in a hundred is lost anyway.
"""

from typing import Final, NamedTuple

from p2pnode.clock import Deadline, Instant
from p2pnode.machine import ConnectionHandle, SocketId
from p2pnode.protocols.nat_behaviour import (
    KnockRequest,
    LocateRequest,
    NatAnswer,
    NatStatus,
    encode_knock,
)

KNOCKS: Final = 3
"""by one peer at one port; chosen: a datagram in a hundred is lost, three hardly ever are"""
KNOCK_INTERVAL: Final = 0.15
"""seconds between two; chosen: a burst of loss is shorter"""
MIN_CONFIRMED: Final = 2
"""knocks that must have left for silence to count; chosen: two are lost once in 10,000 times"""
LISTEN_TIME: Final = 0.8
"""seconds after the last is known to have left; chosen: far above what paths differ by"""


class NatAsk(NamedTuple):
    """What to ask a peer now."""

    connection: ConnectionHandle
    request: KnockRequest | LocateRequest


class Knocking:
    """`result` is True, False, or None while it is open or where it cannot be told."""

    def __init__(
        self,
        connection: ConnectionHandle,
        socket: SocketId,
        port: int,
        nonces: list[bytes],
        now: Instant,
    ) -> None:
        """At `port` of our external address peers see `socket`; the nonces are fresh."""
        self._connection = connection
        self._socket = socket
        self._port = port
        self._awaited = {encode_knock(nonce) for nonce in nonces}
        self._unsent = list(nonces)
        self._unanswered: set[bytes] = set()
        self._confirmed = 0
        self._next_at = now
        self._ends_at: Instant | None = None
        self.result: bool | None = None
        self.is_over = False
        self.reason = ""
        """Why there is no result."""

    def poll_asks(self, now: Instant) -> list[NatAsk]:
        """Returns what to ask of the peer now."""
        asks: list[NatAsk] = []
        while self._unsent and now >= self._next_at and not self.is_over:
            nonce = self._unsent.pop(0)
            self._unanswered.add(nonce)
            asks.append(NatAsk(self._connection, KnockRequest(self._port, nonce)))
            self._next_at = now + KNOCK_INTERVAL
        return asks

    def on_answer(self, nonce: bytes, answer: NatAnswer | None, reason: str, now: Instant) -> None:
        """The peer says what it did; None where it did not answer."""
        if nonce not in self._unanswered:
            return
        self._unanswered.remove(nonce)
        if answer is not None and answer.status is NatStatus.OK:
            self._confirmed += 1
        elif not self.reason:
            self.reason = reason or "the peer does not knock"
        if not self._unanswered and not self._unsent:
            self._ends_at = now + (LISTEN_TIME if self._confirmed else 0.0)

    def on_knock(self, socket: SocketId, payload: bytes) -> bool:
        """Takes a datagram; returns whether it is one of these knocks."""
        if socket != self._socket or payload not in self._awaited:
            return False
        self.result, self.is_over = True, True
        return True

    def handle_timeout(self, now: Instant) -> None:
        """Ends the wait."""
        if self.is_over or self._ends_at is None or now < self._ends_at:
            return
        self.is_over = True
        if self._confirmed >= MIN_CONFIRMED:
            self.result = False
        elif not self.reason:
            self.reason = "too few knocks left the peer"

    def poll_timeout(self) -> Deadline | None:
        if self.is_over:
            return None
        if self._unsent:
            return Deadline(self._next_at, "the next knock is asked for")
        return None if self._ends_at is None else Deadline(self._ends_at, "a knock is awaited")
