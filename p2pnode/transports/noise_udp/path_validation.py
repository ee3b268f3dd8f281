"""Proving that a route works: challenges, answers and the 3x limit (RFC 9000 sections 8, 9).

    PROBING --small challenge answered--> ADDRESS_PROVEN --1,200-byte one answered--> VALIDATED
       |                                        |
       `------------ no answer to any probe ----'-----------------------------------> FAILED

The rule: an address that has not proved that it wants our packets gets at most three times what
came from it, and without that at most MAX_PROBES packets of PROBE_SIZE.
"""

import enum
from typing import Final, NamedTuple

from p2pnode.clock import Deadline, Instant
from p2pnode.entropy import Entropy
from p2pnode.transports.datagrams.frame import CHALLENGE_SIZE, PathChallenge
from p2pnode.transports.punch import Punch, PunchProbe
from p2pnode.transports.route import Route

MAX_PROBES: Final = 12
"""challenges to one address; three seconds of trying, and the budget of unproven addresses"""
PROBE_OFFSETS: Final = (0.0, 0.2, 0.5, *(float(n) for n in range(1, MAX_PROBES - 2)))
"""seconds after the start: early ones open NATs, later ones outlive a loss"""
PROBES: Final = tuple(PunchProbe(offset) for offset in PROBE_OFFSETS)
GIVES_UP_AFTER: Final = PROBE_OFFSETS[-1] + 1.0
"""seconds from the start to the failure of a route that answers nothing"""
AMPLIFICATION_LIMIT: Final = 3
"""RFC 9000 section 8.1"""
FULL_SIZE: Final = 1200
"""bytes that a path has to carry (RFC 9000 section 14)"""
PROBE_SIZE: Final = 100
"""bytes; what an unproven address gets at most in one packet without having sent anything"""


class RouteState(enum.Enum):
    PROBING = enum.auto()
    ADDRESS_PROVEN = enum.auto()
    VALIDATED = enum.auto()
    FAILED = enum.auto()


class RouteInput(enum.Enum):
    SMALL_ANSWERED = enum.auto()
    FULL_ANSWERED = enum.auto()
    GIVEN_UP = enum.auto()


TRANSITIONS: Final = {
    (RouteState.PROBING, RouteInput.SMALL_ANSWERED): RouteState.ADDRESS_PROVEN,
    (RouteState.PROBING, RouteInput.FULL_ANSWERED): RouteState.VALIDATED,
    (RouteState.PROBING, RouteInput.GIVEN_UP): RouteState.FAILED,
    (RouteState.ADDRESS_PROVEN, RouteInput.FULL_ANSWERED): RouteState.VALIDATED,
    (RouteState.ADDRESS_PROVEN, RouteInput.GIVEN_UP): RouteState.FAILED,
}
"""What is not here changes nothing: late answers of small challenges, for instance."""


class Challenge(NamedTuple):
    """A PATH_CHALLENGE that is due."""

    frame: PathChallenge
    size: int
    """Bytes to pad its datagram to; 0 for as few as it takes."""
    ttl: int | None


class RouteValidation:
    """One route of one path, until it is validated or has failed."""

    __slots__ = (
        "_challenges",
        "_entropy",
        "_fails_at",
        "_is_heard",
        "_next_at",
        "_probes",
        "_schedule",
        "_started_at",
        "received",
        "route",
        "rtt",
        "sent",
        "state",
    )

    def __init__(
        self,
        route: Route,
        entropy: Entropy,
        now: Instant,
        *,
        address_proven: bool,
        punch: Punch | None = None,
    ) -> None:
        self.route = route
        self.state = RouteState.ADDRESS_PROVEN if address_proven else RouteState.PROBING
        self.received = 0
        """bytes that came over this route"""
        self.sent = 0
        """bytes that went to it before its address was proven"""
        self.rtt = 0.0
        self._entropy = entropy
        self._is_heard = False
        self._challenges: dict[bytes, tuple[Instant, int]] = {}
        self._next_at: Instant | None = None
        self._fails_at: Instant = now
        self._schedule: tuple[PunchProbe, ...] = ()
        self._started_at: Instant = now
        self._probes = 0
        if punch is None:
            self._begin(now)
        else:
            self._start(punch.start_at, punch.probes, punch.gives_up_at)

    @property
    def budget(self) -> int:
        """Bytes that may go to this route now, apart from small probes."""
        if self.state is RouteState.PROBING:
            return max(0, AMPLIFICATION_LIMIT * self.received - self.sent)
        return FULL_SIZE

    def poll_timeout(self) -> Deadline | None:
        return None if self._next_at is None else Deadline(self._next_at, "path probe")

    def handle_timeout(self, now: Instant) -> None:
        """Fails the route where the last probe has stayed without an answer."""
        if now >= self._fails_at and self._next_at is not None:
            self._next_at = None
            self._advance(RouteInput.GIVEN_UP)

    def on_heard(self, size: int, now: Instant) -> None:
        """Something authentic came over the route.  The way in is open: knock at once."""
        self.received += size
        if not self._is_heard:
            self._is_heard = True
            if self._next_at is not None and self._probes < len(self._schedule):
                self._next_at = now

    def poll_challenge(self, now: Instant) -> Challenge | None:
        """Returns a challenge that is due."""
        if self._next_at is None or now < self._next_at or self._probes >= len(self._schedule):
            return None
        data = self._entropy(CHALLENGE_SIZE)
        size = FULL_SIZE if self.budget >= FULL_SIZE else 0
        ttl = None if self._is_heard else self._schedule[self._probes].ttl
        self._challenges[data] = now, size
        self._probes += 1
        if self._probes < len(self._schedule):
            self._next_at = max(now, self._started_at + self._schedule[self._probes].offset)
        else:
            self._next_at = self._fails_at
        return Challenge(PathChallenge(data), size, ttl)

    def on_response(self, data: bytes, now: Instant) -> bool:
        """Takes a PATH_RESPONSE; returns whether it answered a challenge of this route."""
        challenge = self._challenges.pop(data, None)
        if challenge is None:
            return False
        sent_at, size = challenge
        self.rtt = now - sent_at
        if size >= FULL_SIZE:
            self._advance(RouteInput.FULL_ANSWERED)
            self._next_at = None
        elif self._advance(RouteInput.SMALL_ANSWERED):
            self._begin(now)
        return True

    def _begin(self, now: Instant) -> None:
        self._start(now, PROBES, now + GIVES_UP_AFTER)

    def _start(self, at: Instant, schedule: tuple[PunchProbe, ...], fails_at: Instant) -> None:
        self._started_at = at
        self._schedule = schedule[:MAX_PROBES]
        self._next_at = at + self._schedule[0].offset
        self._fails_at = fails_at
        self._probes = 0

    def _advance(self, event: RouteInput) -> bool:
        """Returns whether the event means anything in this state."""
        state = TRANSITIONS.get((self.state, event))
        if state is None:
            return False
        self.state = state
        return True
