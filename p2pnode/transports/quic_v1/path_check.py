"""Proving that an address is the peer's: challenges and answers (RFC 9000 sections 8.2 and 9).

The rule: an address that has not proved that it wants our packets gets at most three times what
came from it.
"""

from typing import Final

from p2pnode.clock import Deadline, Instant
from p2pnode.entropy import Entropy
from p2pnode.transports.datagrams.frame import CHALLENGE_SIZE, PathChallenge, PathResponse
from p2pnode.transports.quic_v1.packet import MIN_INITIAL_SIZE
from p2pnode.transports.quic_v1.path import AMPLIFICATION_LIMIT
from p2pnode.transports.route import Route

CHECK_OFFSETS: Final = (0.0, 0.3, 1.0)
"""seconds after a move at which the new address is asked; chosen: the last outlives two losses"""
CHECK_FAILS_AFTER: Final = 3.0
"""seconds until an address that does not answer is given up; chosen: three initial PTOs"""
MAX_RESPONSES: Final = 4
"""PATH_RESPONSEs that wait to be sent; chosen: nobody has more addresses that we know of"""


class PathCheck:
    """One address that the peer's newest packet came from, until it answers or time is up."""

    __slots__ = ("_asked", "_began_at", "_data", "_entropy", "received", "route", "sent")

    def __init__(self, route: Route, entropy: Entropy, now: Instant) -> None:
        self.route = route
        self.received = 0
        self.sent = 0
        self._entropy = entropy
        self._began_at = now
        self._asked = 0
        self._data: list[bytes] = []

    def poll_challenge(self, now: Instant) -> tuple[bytes, int] | None:
        """Returns a challenge that is due, and the size of its datagram."""
        if self._asked == len(CHECK_OFFSETS) or now < self._began_at + CHECK_OFFSETS[self._asked]:
            return None
        self._asked += 1
        data = self._entropy(CHALLENGE_SIZE)
        self._data.append(data)
        budget = AMPLIFICATION_LIMIT * self.received - self.sent
        return PathChallenge(data).encode(), MIN_INITIAL_SIZE if budget >= MIN_INITIAL_SIZE else 0

    def is_answer(self, data: bytes) -> bool:
        return data in self._data

    def has_failed(self, now: Instant) -> bool:
        return now >= self._began_at + CHECK_FAILS_AFTER

    def poll_timeout(self) -> Deadline:
        if self._asked < len(CHECK_OFFSETS):
            return Deadline(self._began_at + CHECK_OFFSETS[self._asked], "path check")
        return Deadline(self._began_at + CHECK_FAILS_AFTER, "path check")


class PathResponses:
    """Challenges of the peer's that are to be answered where they came from."""

    __slots__ = ("pending",)

    def __init__(self) -> None:
        self.pending: list[tuple[Route, bytes, int]] = []

    def add(self, route: Route, data: bytes, received: int, *, is_proven: bool) -> None:
        """`received` is the size of the datagram, which an answer elsewhere may be thrice."""
        is_full = is_proven or AMPLIFICATION_LIMIT * received >= MIN_INITIAL_SIZE
        if len(self.pending) < MAX_RESPONSES:
            size = MIN_INITIAL_SIZE if is_full else 0
            self.pending.append((route, PathResponse(data).encode(), size))

    def take(self) -> list[tuple[Route, bytes, int]]:
        """Returns (route, frame, datagram's size) of each."""
        pending, self.pending = self.pending, []
        return pending
