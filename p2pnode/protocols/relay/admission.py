"""Who gets a reservation or a circuit: the tables of a relay that need no packets.

    ReservationTable   one reservation a peer, on its newest connection; expires, or goes with it
    CircuitAdmission   how many circuits whom; streams and datagrams count together

Rules: the peer and its address come from the authenticated connection, never from a message; a
request over a relayed connection is refused, so that no relay is reached through a relay; each
refusal has the status that goes on the wire and the reason for the log.
"""

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from p2pnode.clock import Deadline, Instant, UnixTime
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import ConnectionHandle
from p2pnode.protocols.relay.accounting import MonthlyVolume
from p2pnode.protocols.relay.limits import IPV6_PREFIX, AccessList, RelayLimits
from p2pnode.protocols.relay.messages import Status
from p2pnode.rate_limit import SharedRateLimit
from p2pnode.wire.ip_ranges import owner_group

RATE_WINDOW = 120.0  # seconds that the request rates count over; rust-libp2p

KeyT = TypeVar("KeyT")
"""Names a connection of the node; the caller's numbers, never used twice."""


class Client(NamedTuple):
    """The peer that asks, as the connection has authenticated it."""

    peer: PeerId
    connection: ConnectionHandle
    ip: str
    """The remote address of the connection; of the relay, where it is relayed."""
    is_relayed: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """No, and why."""

    status: Status
    reason: str


@dataclass(frozen=True, slots=True)
class Granted:
    """A reservation, new or refreshed."""

    expires_at: Instant
    expire: int
    """The same as Unix time by our clock, for the message and the voucher."""


@dataclass(frozen=True, slots=True)
class ReservationEnded:
    """A reservation is gone without having been refreshed."""

    peer: PeerId
    reason: str


class _Reservation(NamedTuple):
    connection: ConnectionHandle
    group: str
    expires_at: Instant


class ReservationTable:
    """The peers that may be reached through us, and until when."""

    def __init__(
        self, limits: RelayLimits, access: AccessList, *, now: Instant, unix_now: UnixTime
    ) -> None:
        self._limits = limits
        self._access = access
        self._unix_offset = unix_now - now
        self._rates = _request_rates(limits)
        self._entries: dict[PeerId, _Reservation] = {}
        self._by_group: Counter[str] = Counter()
        self._is_draining = False
        self._next_expiry: Instant | None = None
        self._events: list[ReservationEnded] = []

    def __len__(self) -> int:
        return len(self._entries)

    def handle_clock_changed(self, unix_now: UnixTime, now: Instant) -> None:
        """The wall clock was set: what is told from now on is told by it; nothing ends sooner."""
        self._unix_offset = unix_now - now

    def reserve(self, client: Client, now: Instant) -> Granted | Refused:
        """Grants or refreshes a reservation of the client, or says why not."""
        self.handle_timeout(now)
        refused = self._refusal(client, now)
        if refused is not None:
            return refused
        old = self._entries.get(client.peer)
        if old is not None:
            self._remove(client.peer)
        expires_at = now + self._limits.reservation_ttl
        group = owner_group(client.ip, IPV6_PREFIX)
        self._entries[client.peer] = _Reservation(client.connection, group, expires_at)
        self._by_group[group] += 1
        if self._next_expiry is None:
            self._next_expiry = expires_at
        return Granted(expires_at, max(1, int(expires_at + self._unix_offset)))

    def connection_of(self, peer: PeerId, now: Instant) -> ConnectionHandle | None:
        """Returns the connection to reach the peer by, or None where it has no reservation."""
        entry = self._entries.get(peer)
        return entry.connection if entry is not None and now < entry.expires_at else None

    def expiries(self) -> dict[PeerId, Instant]:
        """Returns who has a reservation, and until when unless it is refreshed."""
        return {peer: entry.expires_at for peer, entry in self._entries.items()}

    def handle_disconnected(self, connection: ConnectionHandle) -> None:
        """A connection is gone, and with it the reservation that was made on it."""
        lost = [peer for peer, entry in self._entries.items() if entry.connection == connection]
        for peer in lost:
            self._remove(peer)
            self._events.append(ReservationEnded(peer, "the connection was lost"))

    def drain(self) -> None:
        """Grants and refreshes no more; what is there stays until it ends."""
        self._is_draining = True

    def handle_timeout(self, now: Instant) -> None:
        """Forgets what has expired."""
        if self._next_expiry is None or now < self._next_expiry:
            return
        for peer in [peer for peer, entry in self._entries.items() if entry.expires_at <= now]:
            self._remove(peer)
            self._events.append(ReservationEnded(peer, "it was not refreshed"))
        # A refresh leaves this too early, never too late.
        self._next_expiry = min(
            (entry.expires_at for entry in self._entries.values()), default=None
        )

    def poll_timeout(self) -> Deadline | None:
        """Returns when to look for expired reservations."""
        if self._next_expiry is None:
            return None
        return Deadline(self._next_expiry, "a reservation expires")

    def poll_events(self) -> list[ReservationEnded]:
        """Returns the reservations that ended since the last call."""
        events, self._events = self._events, []
        return events

    def _refusal(self, client: Client, now: Instant) -> Refused | None:
        if client.is_relayed:
            return Refused(Status.PERMISSION_DENIED, "the request came through a relay")
        if not self._access.is_allowed(client.peer, client.ip):
            return Refused(Status.PERMISSION_DENIED, "the peer is not on the access list")
        if self._is_draining:
            return Refused(Status.RESERVATION_REFUSED, "the relay is shutting down")
        group = owner_group(client.ip, IPV6_PREFIX)
        if not self._rates.take(client.peer, group, now):
            return Refused(Status.RESOURCE_LIMIT_EXCEEDED, "too many requests")
        old = self._entries.get(client.peer)
        if old is None and len(self._entries) >= self._limits.max_reservations:
            return Refused(Status.RESERVATION_REFUSED, "all reservations are taken")
        in_group = self._by_group[group] - (old is not None and old.group == group)
        if in_group >= self._limits.max_reservations_per_ip:
            return Refused(Status.RESERVATION_REFUSED, "too many reservations of one network")
        return None

    def _remove(self, peer: PeerId) -> None:
        group = self._entries.pop(peer).group
        _add(self._by_group, group, -1)


@dataclass(frozen=True, slots=True)
class Admitted:
    """A circuit may be opened; give this back with `release` when it has ended."""

    source: PeerId
    target: PeerId
    group: str
    target_connection: ConnectionHandle


class CircuitAdmission:
    """Counts circuits of both kinds, whoever asks."""

    def __init__(
        self,
        limits: RelayLimits,
        access: AccessList,
        reservations: ReservationTable,
        volume: MonthlyVolume,
    ) -> None:
        self._limits = limits
        self._volume = volume
        self._access = access
        self._reservations = reservations
        self._rates = _request_rates(limits)
        self._by_peer: Counter[PeerId] = Counter()
        self._by_pair: Counter[frozenset[PeerId]] = Counter()
        self._by_group: Counter[str] = Counter()
        self._total = 0
        self._is_draining = False

    def __len__(self) -> int:
        return self._total

    def admit(self, client: Client, target: PeerId, now: Instant) -> Admitted | Refused:
        """Counts a circuit from `client` to `target`, or says why there is none."""
        if client.is_relayed:
            return Refused(Status.PERMISSION_DENIED, "the request came through a relay")
        if target == client.peer:
            return Refused(Status.PERMISSION_DENIED, "a circuit to oneself")
        if not self._access.is_allowed(client.peer, client.ip):
            return Refused(Status.PERMISSION_DENIED, "the peer is not on the access list")
        group = owner_group(client.ip, IPV6_PREFIX)
        if not self._rates.take(client.peer, group, now):
            return Refused(Status.RESOURCE_LIMIT_EXCEEDED, "too many requests")
        connection = self._reservations.connection_of(target, now)
        if connection is None:
            return Refused(Status.NO_RESERVATION, "the target has no reservation")
        self._volume.roll(now)
        full = self._full(client.peer, target, group)
        if full is not None:
            return Refused(Status.RESOURCE_LIMIT_EXCEEDED, full)
        self._count(client.peer, target, group, 1)
        return Admitted(client.peer, target, group, connection)

    def release(self, admitted: Admitted) -> None:
        """A circuit has ended, or was never opened."""
        self._count(admitted.source, admitted.target, admitted.group, -1)

    def drain(self) -> None:
        """Admits no more."""
        self._is_draining = True

    def _full(self, source: PeerId, target: PeerId, group: str) -> str | None:
        limits = self._limits
        if self._is_draining:
            return "the relay is shutting down"
        if self._volume.is_nearly_spent:
            return "the relay's volume of this month is spent"
        if self._volume.is_nearly_spent_by(source, target):
            return "a peer's volume of this month is spent"
        if self._total >= limits.max_circuits:
            return "all circuits are taken"
        if max(self._by_peer[source], self._by_peer[target]) >= limits.max_circuits_per_peer:
            return "too many circuits of one peer"
        if self._by_pair[_pair(source, target)] >= limits.max_circuits_per_pair:
            return "too many circuits between these two peers"
        if self._by_group[group] >= limits.max_circuits_per_ip:
            return "too many circuits of one network"
        return None

    def _count(self, source: PeerId, target: PeerId, group: str, change: int) -> None:
        self._total += change
        _add(self._by_peer, source, change)
        _add(self._by_peer, target, change)
        _add(self._by_pair, _pair(source, target), change)
        _add(self._by_group, group, change)


def _pair(one: PeerId, other: PeerId) -> frozenset[PeerId]:
    return frozenset((one, other))


def _add(counter: Counter[KeyT], key: KeyT, change: int) -> None:
    counter[key] += change
    if not counter[key]:
        del counter[key]


def _request_rates(limits: RelayLimits) -> SharedRateLimit:
    return SharedRateLimit(
        RATE_WINDOW, per_peer=limits.requests_per_peer, per_network=limits.requests_per_ip
    )
