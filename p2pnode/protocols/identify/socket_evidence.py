"""What peers say of one socket, tallied as it comes, so that a report does not cost more where more
of them speak.

Rules: a statement that is renewed is the newest; of too many the oldest goes, of one owner's first.
"""

import enum
from collections import Counter
from dataclasses import dataclass
from heapq import nsmallest

from p2pnode.bounded import Bounded
from p2pnode.clock import Instant
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import SocketAddr, SocketId

CONFIRMATIONS_NEEDED = 4  # groups of observers; go-libp2p
OBSERVATION_LIFETIME = 30 * 60.0  # seconds since it was last seen or refreshed; go-libp2p
MAX_ADDRESSES_PER_SOCKET = 3  # reported; go-libp2p
MAX_OBSERVATIONS_PER_SOCKET = 256  # the oldest goes; chosen: more connections tell nothing new
MAX_OBSERVATIONS_PER_GROUP = 4  # the oldest goes; chosen: one owner must not crowd out the others
OBSERVERS_FOR_DEPENDENT = 3  # chosen: of two that disagree, one may lie or be out of date


class MappingKind(enum.Enum):
    """RFC 4787's mapping behaviour, as far as the evidence goes."""

    UNKNOWN = "unknown"
    ENDPOINT_INDEPENDENT = "endpoint-independent"
    ENDPOINT_DEPENDENT = "endpoint-dependent"


@dataclass(frozen=True, slots=True)
class ObservedAddress:
    """One external address candidate of one socket."""

    address: SocketAddr
    observers: int
    """Groups of observers that see it now."""
    first_seen: Instant
    last_seen: Instant

    @property
    def is_confirmed(self) -> bool:
        """True once enough independent observers agree."""
        return self.observers >= CONFIRMATIONS_NEEDED

    @property
    def progress(self) -> str:
        """Says how far the confirmation is, for people."""
        if self.is_confirmed:
            return f"confirmed by {self.observers} observers"
        return f"{self.observers} of {CONFIRMATIONS_NEEDED} observers so far"


@dataclass(frozen=True, slots=True)
class SocketReport:
    """What the evidence amounts to for one socket."""

    socket: SocketId
    addresses: tuple[ObservedAddress, ...]
    """The most often seen first, at most MAX_ADDRESSES_PER_SOCKET."""
    mapping: MappingKind
    why: str
    """The reason for `mapping`, in one sentence."""
    evidence: tuple[tuple[PeerId, SocketAddr], ...]
    """Who says what, oldest first."""


@dataclass(slots=True)
class _Statement:
    group: str
    observed: SocketAddr
    last_seen: Instant


class _Tally:
    """Who sees one address."""

    __slots__ = ("first_seen", "groups", "last_seen")

    def __init__(self, now: Instant) -> None:
        self.groups = Counter[str]()
        """group of observers -> how many of them"""
        self.first_seen = now
        """Since when somebody sees it, without a break."""
        self.last_seen = now


class SocketEvidence:
    """The statements on one socket.  Pure: `now` is an argument everywhere."""

    def __init__(self, socket: SocketId) -> None:
        self._socket = socket
        # A statement that is renewed moves to the end, so that the oldest are the first.
        self._statements = Bounded[PeerId, _Statement](MAX_OBSERVATIONS_PER_SOCKET)
        self._observed: dict[PeerId, SocketAddr] = {}
        """What each of them says, in the same order."""
        self._of_group: dict[str, dict[PeerId, None]] = {}
        """A group's observers, in the same order."""
        self._tallies: dict[SocketAddr, _Tally] = {}
        self._report: SocketReport | None = None
        """As long as nothing has changed."""

    def __len__(self) -> int:
        return len(self._statements)

    @property
    def expires_at(self) -> Instant:
        """When the first of them is forgotten, unless it is renewed.  There must be one."""
        return next(iter(self._statements.values())).last_seen + OBSERVATION_LIFETIME

    def put(self, observer: PeerId, group: str, observed: SocketAddr, now: Instant) -> None:
        """Takes a statement, in place of the same observer's earlier one."""
        tally = self._tallies.get(observed)
        if tally is None:
            tally = self._tallies[observed] = _Tally(now)
        tally.groups[group] += 1  # before the earlier one goes, which may say the same
        tally.last_seen = now
        self.remove(observer)
        of_group = self._of_group.setdefault(group, {})
        of_group[observer] = None
        self._observed[observer] = observed
        forgotten = self._statements.put(observer, _Statement(group, observed, now))
        if forgotten is not None:
            self._forget(*forgotten)
        if len(of_group) > MAX_OBSERVATIONS_PER_GROUP:
            self.remove(next(iter(of_group)))
        self._report = None

    def renew(self, observer: PeerId, now: Instant) -> None:
        """An observer's statement holds still.  Does nothing where it has made none."""
        statement = self._statements.get(observer)
        if statement is not None:
            self.put(observer, statement.group, statement.observed, now)

    def remove(self, observer: PeerId) -> None:
        """Forgets what an observer said.  Does nothing where it has said nothing."""
        statement = self._statements.pop(observer, None)
        if statement is not None:
            self._forget(observer, statement)

    def expire(self, now: Instant) -> None:
        """Forgets what was not renewed in time."""
        while self._statements and self.expires_at <= now:
            self.remove(next(iter(self._statements)))

    def report(self) -> SocketReport:
        """Returns what it all amounts to."""
        if self._report is None:
            addresses = self._addresses()
            mapping, why = self._judge_mapping(addresses)
            evidence = tuple(self._observed.items())
            self._report = SocketReport(self._socket, addresses, mapping, why, evidence)
        return self._report

    def _forget(self, observer: PeerId, statement: _Statement) -> None:
        """Takes a statement that is gone out of the tallies."""
        del self._observed[observer]
        of_group = self._of_group[statement.group]
        del of_group[observer]
        if not of_group:
            del self._of_group[statement.group]
        tally = self._tallies[statement.observed]
        tally.groups[statement.group] -= 1
        if not tally.groups[statement.group]:
            del tally.groups[statement.group]
        if not tally.groups:
            del self._tallies[statement.observed]
        self._report = None

    def _addresses(self) -> tuple[ObservedAddress, ...]:
        # Equal counts: the older one first, so that the list does not flap.
        first = nsmallest(
            MAX_ADDRESSES_PER_SOCKET,
            self._tallies.items(),
            key=lambda item: (-len(item[1].groups), item[1].first_seen, item[0]),
        )
        return tuple(
            ObservedAddress(address, len(tally.groups), tally.first_seen, tally.last_seen)
            for address, tally in first
        )

    def _judge_mapping(self, addresses: tuple[ObservedAddress, ...]) -> tuple[MappingKind, str]:
        """Tells the mapping from what observers in different places see at the same time.

        Agreement of two groups is hard to fake: a liar would have to know the truth.  Disagreement
        of two is not, so it takes a third observer.  And while a NAT that was restarted is being
        noticed, half of the observers may agree on the old address and half on the new one: where
        addresses are few, nothing is said.
        """
        groups = len(self._of_group)
        if groups == 0:
            return MappingKind.UNKNOWN, "no peer has said yet where it sees this socket"
        if groups == 1:
            return MappingKind.UNKNOWN, "all observers are in one place; it takes two"
        address, agreeing = addresses[0].address, addresses[0].observers
        if agreeing >= 2 and 2 * agreeing > groups:
            return (
                MappingKind.ENDPOINT_INDEPENDENT,
                f"{agreeing} of {groups} observers in different places see {address}",
            )
        if len(self) >= OBSERVERS_FOR_DEPENDENT and 2 * len(self._tallies) > groups:
            return (
                MappingKind.ENDPOINT_DEPENDENT,
                f"{len(self)} observers in {groups} places see {len(self._tallies)} different"
                f" addresses, and no address is seen from most places",
            )
        return (
            MappingKind.UNKNOWN,
            f"{len(self)} observers in {groups} places disagree, which may be a lie or a change",
        )
