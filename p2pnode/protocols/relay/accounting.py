"""What was relayed for whom, and how much of the month's volume is left (specs/relay.md).

Rules: what came in is counted apart from what was forwarded, because whoever can forge packets
can make the first grow, and nobody is billed for it; sizes are UDP payloads, circuit header
included.
"""

from collections.abc import Iterable
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
        month: str = "",
        used: int = 0,
    ) -> None:
        self._cap = cap
        self._peer_cap = peer_cap
        self._of_peer = Bounded[PeerId, int](MAX_BILLED_PEERS)
        self._unix_offset = unix_now - now
        self._month, self._month_ends = self._month_at(now)
        self.used = used if month == self._month else 0

    @property
    def month(self) -> str:
        """The month that `used` counts in, as 2026-11: both are to be kept over a restart."""
        return self._month

    def add(self, size: int, now: Instant) -> None:
        """Counts forwarded bytes."""
        self.roll(now)
        self.used += size

    def roll(self, now: Instant) -> bool:
        """Begins a new month where it is time; returns whether it was."""
        if now < self._month_ends:
            return False
        self._month, self._month_ends = self._month_at(now)
        self.used = 0
        self._of_peer.clear()
        return True

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
        date = datetime.fromtimestamp(now + self._unix_offset, UTC)
        year, month = date.year + date.month // 12, date.month % 12 + 1
        ends = datetime(year, month, 1, tzinfo=UTC).timestamp()
        return date.strftime("%Y-%m"), ends - self._unix_offset
