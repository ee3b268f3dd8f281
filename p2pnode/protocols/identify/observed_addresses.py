"""What peers say our addresses are: evidence kept, counted and explained (specs/identify.md).

A fold: observations go in, `report` says what they amount to.  Rules: all peers that one owner's
address block could hold count as one observer; what a peer cannot know is left out, with the
reason; "unknown" is an answer.  An address is confirmed by CONFIRMATIONS_NEEDED such groups;
whether strangers' packets arrive there is another question, which AutoNAT answers.

The local socket belongs to the evidence: each socket has a mapping of its own at a NAT, and only
what was sent from the listening socket says anything about the listening socket.
"""

import enum
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from p2pnode.bounded import Bounded
from p2pnode.clock import Deadline, Instant
from p2pnode.errors import AddressError
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import SocketId, UdpAddr
from p2pnode.wire.ip_ranges import IpScope, ip_scope, is_nat64, owner_group

CONFIRMATIONS_NEEDED = 4  # groups of observers; go-libp2p
OBSERVATION_LIFETIME = 30 * 60.0  # seconds since it was last seen or refreshed; go-libp2p
MAX_ADDRESSES_PER_SOCKET = 3  # reported; go-libp2p
MAX_OBSERVATIONS_PER_SOCKET = 256  # the oldest goes; chosen: more connections tell nothing new
MAX_OBSERVATIONS_PER_GROUP = 4  # the oldest goes; chosen: one owner must not crowd out the others
MAX_SOCKETS = 64  # the one with the oldest news goes; chosen: listening sockets and punch sprays
OBSERVERS_FOR_DEPENDENT = 3  # chosen: of two that disagree, one may lie or be out of date


class Observation(NamedTuple):
    """One peer's statement."""

    observer: PeerId
    observer_addr: UdpAddr | None
    """Where the observer is, or None where a relay lies between."""
    socket: SocketId
    """Our socket that the connection uses."""
    observed: UdpAddr
    """Our address as the observer sees it."""


class Disposition(enum.Enum):
    """What became of an observation; the value says it to people."""

    COUNTED = "it counts"
    RELAYED = "a relay lies between, so the peer saw the relay"
    LOOPBACK = "loopback addresses say nothing about the outside"
    PRIVATE = "an address inside of a private network is not an external one"
    OBSERVER_PRIVATE = "a peer in a private network does not see our external address"
    NAT64 = "a NAT64 translator lies between"
    FAMILY_MISMATCH = "the peer reported an address of the other IP version"
    UNROUTABLE = "nobody can have that address"


class MappingKind(enum.Enum):
    """RFC 4787's mapping behaviour, as far as the evidence goes."""

    UNKNOWN = "unknown"
    ENDPOINT_INDEPENDENT = "endpoint-independent"
    ENDPOINT_DEPENDENT = "endpoint-dependent"


@dataclass(frozen=True, slots=True)
class ObservedAddress:
    """One external address candidate of one socket."""

    address: UdpAddr
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
    evidence: tuple[tuple[PeerId, UdpAddr], ...]
    """Who says what, oldest first."""


@dataclass(slots=True)
class _Statement:
    group: str
    observed: UdpAddr
    first_seen: Instant
    last_seen: Instant


class ObservedAddressBook:
    """The fold.  Pure: `now` is an argument everywhere."""

    def __init__(self) -> None:
        # An entry that is renewed moves to the end, so that the oldest are the first.
        self._sockets = Bounded[SocketId, Bounded[PeerId, _Statement]](MAX_SOCKETS)

    def update(self, observation: Observation, now: Instant) -> Disposition:
        """Takes a statement; it replaces the same observer's earlier one for that socket."""
        self._expire(now)
        disposition = judge(observation)
        if disposition is not Disposition.COUNTED:
            return disposition
        assert observation.observer_addr is not None  # or it would be RELAYED
        entries = self._sockets.get(observation.socket)
        if entries is None:
            entries = Bounded[PeerId, _Statement](MAX_OBSERVATIONS_PER_SOCKET)
        self._sockets[observation.socket] = entries
        group = owner_group(observation.observer_addr.ip)
        observed = observation.observed._replace(scope_id=0)
        earlier = entries.pop(observation.observer, None)
        unchanged = earlier is not None and earlier.observed == observed
        first_seen = earlier.first_seen if earlier is not None and unchanged else now
        entries[observation.observer] = _Statement(group, observed, first_seen, now)
        of_group = [observer for observer, entry in entries.items() if entry.group == group]
        for observer in of_group[:-MAX_OBSERVATIONS_PER_GROUP]:
            del entries[observer]
        return disposition

    def refresh(self, observer: PeerId, now: Instant) -> None:
        """Keeps an observer's statements alive: its connection still works as it did."""
        self._expire(now)
        for entries in self._sockets.values():
            entry = entries.pop(observer, None)
            if entry is not None:
                entry.last_seen = now
                entries[observer] = entry

    def remove(self, observer: PeerId) -> None:
        """Forgets what an observer said: it is connected no longer."""
        for entries in self._sockets.values():
            entries.pop(observer, None)
        self._drop_empty()

    def remove_socket(self, socket: SocketId) -> None:
        """Forgets everything about a socket that was closed, or whose network changed."""
        self._sockets.pop(socket, None)

    def report(self, socket: SocketId, now: Instant) -> SocketReport:
        """Returns what the evidence for a socket amounts to."""
        self._expire(now)
        entries = dict(self._sockets.get(socket) or {})
        mapping, why = _judge_mapping(entries.values())
        evidence = tuple((observer, entry.observed) for observer, entry in entries.items())
        return SocketReport(socket, _addresses(entries.values()), mapping, why, evidence)

    def snapshot(self, now: Instant) -> tuple[SocketReport, ...]:
        """Returns the reports of all sockets with evidence, by socket."""
        self._expire(now)
        return tuple(self.report(socket, now) for socket in sorted(self._sockets))

    def poll_timeout(self) -> Deadline | None:
        """Returns when the oldest evidence expires, and a new report may differ."""
        oldest = [next(iter(entries.values())).last_seen for entries in self._sockets.values()]
        if not oldest:
            return None
        return Deadline(min(oldest) + OBSERVATION_LIFETIME, "observed address expires")

    def _expire(self, now: Instant) -> None:
        for entries in self._sockets.values():
            while entries:
                oldest, entry = next(iter(entries.items()))
                if now < entry.last_seen + OBSERVATION_LIFETIME:
                    break
                del entries[oldest]
        self._drop_empty()

    def _drop_empty(self) -> None:
        for socket in [socket for socket, entries in self._sockets.items() if not entries]:
            del self._sockets[socket]


def judge(observation: Observation) -> Disposition:
    """Returns whether a statement can say anything about an external address of ours."""
    observer_addr, observed = observation.observer_addr, observation.observed
    if observer_addr is None:
        return Disposition.RELAYED
    try:
        observer_scope, observed_scope = ip_scope(observer_addr.ip), ip_scope(observed.ip)
        translated = is_nat64(observer_addr.ip) or is_nat64(observed.ip)
    except AddressError:
        return Disposition.UNROUTABLE
    if observer_addr.is_ipv6 != observed.is_ipv6:
        return Disposition.FAMILY_MISMATCH
    if IpScope.LOOPBACK in (observer_scope, observed_scope):
        return Disposition.LOOPBACK
    if translated:
        return Disposition.NAT64
    if observed_scope is IpScope.PRIVATE:
        return Disposition.PRIVATE
    if observed_scope is IpScope.UNROUTABLE or not 0 < observed.port <= 0xFFFF:
        return Disposition.UNROUTABLE
    if observer_scope is not IpScope.PUBLIC:
        return Disposition.OBSERVER_PRIVATE
    return Disposition.COUNTED


def _groups_by_address(entries: Iterable[_Statement]) -> Counter[UdpAddr]:
    """Returns how many groups of observers see each address."""
    pairs = dict.fromkeys((entry.observed, entry.group) for entry in entries)
    return Counter(observed for observed, _ in pairs)


def _addresses(entries: Iterable[_Statement]) -> tuple[ObservedAddress, ...]:
    entries = list(entries)
    candidates: list[ObservedAddress] = []
    for address, observers in _groups_by_address(entries).items():
        seen = [entry for entry in entries if entry.observed == address]
        candidates.append(
            ObservedAddress(
                address,
                observers,
                first_seen=min(entry.first_seen for entry in seen),
                last_seen=max(entry.last_seen for entry in seen),
            )
        )
    # Equal counts: the older one first, so that the list does not flap.
    candidates.sort(key=lambda c: (-c.observers, c.first_seen, c.address))
    return tuple(candidates[:MAX_ADDRESSES_PER_SOCKET])


def _judge_mapping(entries: Iterable[_Statement]) -> tuple[MappingKind, str]:
    """Tells the mapping from what observers in different places see at the same time.

    Agreement of two groups is hard to fake: a liar would have to know the truth.  Disagreement of
    two is not, so it takes a third observer.  And while a NAT that was restarted is being noticed,
    half of the observers may agree on the old address and half on the new one: where addresses
    are few, nothing is said.
    """
    entries = list(entries)
    groups = len(dict.fromkeys(entry.group for entry in entries))
    by_address = _groups_by_address(entries)
    if groups == 0:
        return MappingKind.UNKNOWN, "no peer has said yet where it sees this socket"
    if groups == 1:
        return MappingKind.UNKNOWN, "all observers are in one place; it takes two"
    address, agreeing = by_address.most_common(1)[0]
    if agreeing >= 2 and 2 * agreeing > groups:
        return (
            MappingKind.ENDPOINT_INDEPENDENT,
            f"{agreeing} of {groups} observers in different places see {address}",
        )
    if len(entries) >= OBSERVERS_FOR_DEPENDENT and 2 * len(by_address) > groups:
        return (
            MappingKind.ENDPOINT_DEPENDENT,
            f"{len(entries)} observers in {groups} places see {len(by_address)} different"
            f" addresses, and no address is seen from most places",
        )
    return (
        MappingKind.UNKNOWN,
        f"{len(entries)} observers in {groups} places disagree, which may be a lie or a change",
    )
