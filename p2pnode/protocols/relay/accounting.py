"""How much was relayed for each peer, and how much of the month's volume is left (specs/relay.md).

Rules: what came in is counted apart from what was forwarded, because whoever can forge packets
can make the first grow, and nobody is billed for it; sizes are UDP payloads, circuit header
included; a wall clock that jumps forgives no volume.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from p2pnode.bounded import Bounded
from p2pnode.clock import Instant, UnixTime
from p2pnode.identity.peer_id import PeerId

MAX_LEDGER_PEERS = 4096  # peers without circuits remembered; chosen: older ones become `others`
MAX_BILLED_PEERS = (
    4096  # whose share of the month is remembered; chosen: who is forgotten begins anew
)
MAX_MONTHS = 12  # whose volumes are remembered; chosen: a year, for people who look
_LAST_UNIX = 253_370_764_799.0  # 9998-12-31; a later date is none to Python's calendar
VOLUME_NOTICE = 0.9  # part of the month's volume after which the end is announced; chosen


class Traffic(NamedTuple):
    """Packets and bytes of one direction."""

    received_packets: int = 0
    received_bytes: int = 0
    """Came in; not authenticated, so perhaps not the peer's doing."""
    forwarded_packets: int = 0
    forwarded_bytes: int = 0
    """Went out again."""

    def plus(self, other: "Traffic") -> "Traffic":
        return Traffic(*(ours + theirs for ours, theirs in zip(self, other, strict=True)))


NO_TRAFFIC = Traffic()


@dataclass(frozen=True, slots=True)
class PeerUsage:
    """What a peer had relayed."""

    sent: Traffic = NO_TRAFFIC
    """From the peer to others."""
    received: Traffic = NO_TRAFFIC
    """From others to the peer."""

    def plus(self, other: "PeerUsage") -> "PeerUsage":
        return PeerUsage(self.sent.plus(other.sent), self.received.plus(other.received))


def add_shares(usage: dict[PeerId, PeerUsage], shares: Iterable[tuple[PeerId, PeerUsage]]) -> None:
    """Adds what peers had relayed to the sums that are there."""
    for peer, share in shares:
        usage[peer] = usage.get(peer, PeerUsage()).plus(share)


class Ledger:
    """The sums of circuits that have ended, by peer."""

    def __init__(self) -> None:
        self._by_peer = Bounded[PeerId, PeerUsage](MAX_LEDGER_PEERS)
        self.others = PeerUsage()
        """Of peers too long gone to be kept apart."""

    def add(self, peer: PeerId, usage: PeerUsage) -> None:
        """Adds what a circuit carried for one of its ends."""
        forgotten = self._by_peer.put(peer, self._by_peer.get(peer, PeerUsage()).plus(usage))
        if forgotten is not None:
            self.others = self.others.plus(forgotten[1])

    def usage(self) -> dict[PeerId, PeerUsage]:
        """Returns a copy, the peer that was added to last at its end."""
        return dict(self._by_peer)


class MonthlyVolume:
    """Bytes forwarded in this calendar month (UTC), in all and by peer, against caps.

    Those of a peer count from the start of the relay: they are not kept over a restart.
    """

    def __init__(
        self,
        cap: int,
        *,
        peer_cap: int = 0,
        now: Instant,
        unix_now: UnixTime,
        used: Mapping[str, int] | None = None,
    ) -> None:
        """`used` are the bytes of months, as 2026-11, before this start."""
        self._cap = cap
        self._peer_cap = peer_cap
        self._of_peer = Bounded[PeerId, int](MAX_BILLED_PEERS)
        self._unix_offset = unix_now - now
        self._month, self._month_ends = self._month_at(now)
        self._others = Bounded[str, int](MAX_MONTHS - 1)
        """Bytes of the months that are not counted in."""
        self._others.update(used or {})
        self.used = self._others.pop(self._month, 0)
        """Bytes in this month."""
        self._counted = 0
        """Of them since the start, or since the clock was set."""

    @property
    def month(self) -> str:
        """The month that is counted in, as 2026-11."""
        return self._month

    @property
    def months(self) -> dict[str, int]:
        """Bytes by month, to be kept over a restart."""
        return {**self._others, self._month: self.used}

    def add(self, size: int, now: Instant) -> None:
        """Counts forwarded bytes."""
        self.roll(now)
        self.used += size
        self._counted += size

    def roll(self, now: Instant) -> bool:
        """Begins a new month where it is time; returns whether it was."""
        if now < self._month_ends:
            return False
        self._turn_to(*self._month_at(now))
        self._of_peer.clear()
        return True

    def handle_clock_changed(self, unix_now: UnixTime, now: Instant) -> None:
        """The wall clock was set.

        Into the very next month it steps where the machine slept over the turn: that is a new
        month.  Any other step shows that the clock was wrong, and what was counted under the wrong
        name counts under the right one: too much rather than too little.
        """
        self._unix_offset = unix_now - now
        month, self._month_ends = self._month_at(now)
        if month == self._month:
            return
        if month == _month_after(self._month):
            self._turn_to(month, self._month_ends)
            self._of_peer.clear()
            return
        counted = self._counted
        self.used -= counted
        self._turn_to(month, self._month_ends)
        self.used += counted
        self._counted = counted

    def _turn_to(self, month: str, ends_at: Instant) -> None:
        if self.used:
            self._others[self._month] = self.used
        self._month, self._month_ends = month, ends_at
        self.used = self._others.pop(month, 0)
        self._counted = 0

    def bill(self, peers: Iterable[PeerId], size: int) -> None:
        """Counts forwarded bytes, which `add` was told of, for the ends of their circuit."""
        if not self._peer_cap or not size:
            return
        for peer in peers:
            self._of_peer[peer] = self._of_peer.get(peer, 0) + size

    def is_spent_by(self, *peers: PeerId) -> bool:
        """True where one of the peers has had its share of the month."""
        return self._is_used_by(peers, self._peer_cap)

    def is_nearly_spent_by(self, *peers: PeerId) -> bool:
        """True where one of the peers has had nearly its share of the month."""
        return self._is_used_by(peers, VOLUME_NOTICE * self._peer_cap)

    def _is_used_by(self, peers: Iterable[PeerId], size: float) -> bool:
        return bool(self._peer_cap) and any(self._of_peer.get(peer, 0) >= size for peer in peers)

    @property
    def is_spent(self) -> bool:
        return bool(self._cap) and self.used >= self._cap

    @property
    def is_nearly_spent(self) -> bool:
        return bool(self._cap) and self.used >= VOLUME_NOTICE * self._cap

    def _month_at(self, now: Instant) -> tuple[str, Instant]:
        month = _month_of(now + self._unix_offset)
        return month, _start_of(_month_after(month)) - self._unix_offset


def _month_of(unix: float) -> str:
    date = datetime.fromtimestamp(min(max(unix, 0.0), _LAST_UNIX), UTC)
    return date.strftime("%Y-%m")


def _month_after(month: str) -> str:
    year, number = map(int, month.split("-"))
    return f"{year + number // 12:04}-{number % 12 + 1:02}"


def _start_of(month: str) -> float:
    year, number = map(int, month.split("-"))
    return datetime(year, number, 1, tzinfo=UTC).timestamp()
