"""How often this node serves dial-backs: per peer, per prefix, per target and in all.

One list of what was granted in the last window answers every question, and it cannot grow beyond
the global limit.  Rules: what was granted counts whether or not a dial came of it; a refusal costs
nothing and is not remembered; addresses of one owner's prefix (an IPv4 address, an IPv6 /56) are
one.
"""

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from p2pnode.clock import Instant
from p2pnode.identity.peer_id import PeerId
from p2pnode.protocols.autonat.dialable import Asker
from p2pnode.wire.ip_ranges import owner_group

RATE_WINDOW = 60.0  # seconds; go-libp2p counts per minute


@dataclass(frozen=True, slots=True)
class RateLimits:
    """Numbers per RATE_WINDOW, but for `concurrent_per_peer`."""

    in_all: int
    per_peer: int
    per_prefix: int
    """Requesters in one owner's prefix: fresh identities cost nothing, addresses do."""
    per_target: int
    """Dials at addresses in one owner's prefix, whoever asks: what a victim may be sent."""
    with_dial_data: int
    concurrent_per_peer: int


V1_LIMITS = RateLimits(30, 3, 12, 12, 0, 2)  # go-libp2p: 30, 3; resource manager: 2 streams
V2_LIMITS = RateLimits(60, 12, 24, 12, 12, 2)  # go-libp2p: 60, 12, 12 with data, 2 at once
DELEGATION_LIMITS = RateLimits(60, 12, 24, 12, 0, 2)  # chosen: as v2's, a probe is smaller
HELPER_LIMITS = RateLimits(120, 24, 48, 12, 0, 8)  # chosen: several askers behind one server


class _Grant(NamedTuple):
    at: Instant
    peer: PeerId
    prefix: str


class Permit:
    """The right to one dialogue.  Released once, at its end."""

    __slots__ = ("_asker", "_budget", "_is_released")

    def __init__(self, budget: "Budget", asker: Asker) -> None:
        self._budget = budget
        self._asker = asker
        self._is_released = False

    def refuse_target(self, ip: str, now: Instant) -> str | None:
        """Returns why `ip` is not to be bothered now, or None and counts the dial."""
        return self._budget.refuse_target(ip, now)

    def refuse_dial_data(self, now: Instant) -> str | None:
        """Returns why no dial with dial data is to be had now, or None and counts it."""
        return self._budget.refuse_dial_data(now)

    def release(self) -> None:
        """The dialogue is over; more calls do nothing."""
        if not self._is_released:
            self._is_released = True
            self._budget.release(self._asker.peer_id)


class Budget:
    """The rate limits of one protocol's server side."""

    def __init__(self, limits: RateLimits) -> None:
        self._limits = limits
        self._granted: deque[_Grant] = deque()
        self._targets: deque[tuple[Instant, str]] = deque()
        self._dial_data: deque[Instant] = deque()
        self._running: dict[PeerId, int] = {}

    def admit(self, asker: Asker, now: Instant) -> Permit | str:
        """Returns a permit, or why there is none (a sentence for logs and answers)."""
        self._forget(now)
        if asker.observed is None:
            return "requests over a relay are not served"
        limits, prefix = self._limits, owner_group(asker.observed.ip)
        if self._running.get(asker.peer_id, 0) >= limits.concurrent_per_peer:
            return "too many requests of this peer at once"
        if len(self._granted) >= limits.in_all:
            return "too many requests in the last minute"
        if sum(grant.peer == asker.peer_id for grant in self._granted) >= limits.per_peer:
            return "too many requests of this peer in the last minute"
        if sum(grant.prefix == prefix for grant in self._granted) >= limits.per_prefix:
            return "too many requests from this network in the last minute"
        self._granted.append(_Grant(now, asker.peer_id, prefix))
        self._running[asker.peer_id] = self._running.get(asker.peer_id, 0) + 1
        return Permit(self, asker)

    def refuse_target(self, ip: str, now: Instant) -> str | None:
        """As `Permit.refuse_target`."""
        self._forget(now)
        target = owner_group(ip)
        if sum(known == target for _, known in self._targets) >= self._limits.per_target:
            return "too many dials at this network in the last minute"
        self._targets.append((now, target))
        return None

    def refuse_dial_data(self, now: Instant) -> str | None:
        """As `Permit.refuse_dial_data`."""
        self._forget(now)
        if len(self._dial_data) >= self._limits.with_dial_data:
            return "too many requests for other addresses in the last minute"
        self._dial_data.append(now)
        return None

    def release(self, peer: PeerId) -> None:
        """One dialogue of the peer is over."""
        left = self._running.get(peer, 0) - 1
        if left > 0:
            self._running[peer] = left
        else:
            self._running.pop(peer, None)

    def _forget(self, now: Instant) -> None:
        since = now - RATE_WINDOW
        while self._granted and self._granted[0].at <= since:
            self._granted.popleft()
        while self._targets and self._targets[0][0] <= since:
            self._targets.popleft()
        while self._dial_data and self._dial_data[0] <= since:
            self._dial_data.popleft()
