"""Who gets a reservation or a circuit: the tables of a relay that need no packets.

    ReservationTable   one reservation a peer, on its newest connection; expires, or goes with it
    CircuitAdmission   how many circuits whom; streams and datagrams count together

Rules: the peer and its address come from the authenticated connection, never from a message; a
request over a relayed connection is refused, so that no relay is reached through a relay; each
refusal has the status that goes on the wire and the reason for the log; where all places are taken,
the fullest network gives way to one that would still have fewer, and of it the newest that is good
for nothing.
"""

from collections import Counter
from collections.abc import Callable, Container, Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from p2pnode.clock import Deadline, Instant, UnixTime
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import ConnectionHandle
from p2pnode.protocols.relay.accounting import MonthlyVolume
from p2pnode.protocols.relay.limits import AccessList, RelayLimits
from p2pnode.protocols.relay.messages import Status
from p2pnode.rate_limit import SharedRateLimit
from p2pnode.resources.ledger import Ledger
from p2pnode.resources.networks import Network, is_local, networks_of
from p2pnode.resources.refusal import Holder, Refusal, Refusals, Resource, ScopeKind

RATE_WINDOW = 120.0  # seconds that the request rates count over; rust-libp2p

_GIVES_WAY = "its place is needed for others"

KeyT = TypeVar("KeyT")
MemberT = TypeVar("MemberT", bound=Hashable)


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
    connection: ConnectionHandle
    gives_way: bool = False
    """Its place is needed for others: the peer has to be told."""


class _Reservation(NamedTuple):
    connection: ConnectionHandle
    holder: Holder
    expires_at: Instant


class ReservationTable:
    """The peers that may be reached through us, and until when."""

    def __init__(
        self,
        limits: RelayLimits,
        access: AccessList,
        *,
        now: Instant,
        unix_now: UnixTime,
        ledger: Ledger[PeerId] | None = None,
        protected: Container[Hashable] = (),
    ) -> None:
        """`ledger` counts reservations by peer; without one, the table has its own.

        Of `protected` peers strangers take no places.
        """
        # An empty ledger is false.
        self._ledger = reservation_ledger(limits, Refusals()) if ledger is None else ledger
        self._limits = limits
        self._access = access
        self._unix_offset = unix_now - now
        self._rates = _request_rates(limits)
        self._protected = protected
        self._entries: dict[PeerId, _Reservation] = {}
        self._is_draining = False
        self._next_expiry: Instant | None = None
        self._events: list[ReservationEnded] = []

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, peer: PeerId) -> bool:
        return peer in self._entries

    def handle_clock_changed(self, unix_now: UnixTime, now: Instant) -> None:
        """The wall clock was set: what is told from now on is told by it; nothing ends sooner."""
        self._unix_offset = unix_now - now

    def reserve(
        self, client: Client, now: Instant, is_used: Callable[[PeerId], bool] = lambda _: False
    ) -> Granted | Refused:
        """Grants or refreshes a reservation of the client, or says why not.

        `is_used` tells whether there are circuits to a peer: it is the last to give way.
        """
        self.handle_timeout(now)
        refused = self._refusal(client, now)
        if refused is not None:
            return refused
        old = self._entries.get(client.peer)
        who, kept = _holder(client), Holder(is_protected=True)
        expires_at = now + self._limits.reservation_ttl
        granted = Granted(expires_at, max(1, int(expires_at + self._unix_offset)))
        if old is not None and old.holder in (who, kept):  # it keeps its place by age
            self._entries[client.peer] = _Reservation(client.connection, old.holder, expires_at)
            return granted
        if old is not None:
            self._remove(client.peer)
        protected = self._protected.__contains__
        if protected(client.peer) and not _has_room(self._ledger, who):
            who = kept
        victims, refusal = _room_for(self._ledger, who, is_used, protected)
        if refusal is not None:
            self._ledger.refusals.note(refusal)
            if old is not None:
                self._put(client.peer, old)
            return Refused(Status.RESERVATION_REFUSED, str(refusal))
        for victim in victims:
            given_up = self._entries[victim].connection
            self._remove(victim)
            self._events.append(ReservationEnded(victim, _GIVES_WAY, given_up, gives_way=True))
        self._put(client.peer, _Reservation(client.connection, who, expires_at))
        return granted

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
            self._events.append(ReservationEnded(peer, "the connection was lost", connection))

    def drain(self) -> None:
        """Grants and refreshes no more; what is there stays until it ends."""
        self._is_draining = True

    def handle_timeout(self, now: Instant) -> None:
        """Forgets what has expired."""
        if self._next_expiry is None or now < self._next_expiry:
            return
        for peer in [peer for peer, entry in self._entries.items() if entry.expires_at <= now]:
            connection = self._entries[peer].connection
            self._remove(peer)
            self._events.append(ReservationEnded(peer, "it was not refreshed", connection))
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
        if not self._rates.take(client.peer, _household(client), now):
            return Refused(Status.RESOURCE_LIMIT_EXCEEDED, "too many requests")
        return None

    def _put(self, peer: PeerId, entry: _Reservation) -> None:
        self._entries[peer] = entry
        self._ledger.put(peer, entry.holder)
        if self._next_expiry is None or entry.expires_at < self._next_expiry:
            self._next_expiry = entry.expires_at

    def _remove(self, peer: PeerId) -> None:
        del self._entries[peer]
        self._ledger.give_back(peer)


@dataclass(frozen=True, slots=True)
class Admitted:
    """A circuit may be opened; give this back with `release` when it has ended."""

    number: int
    source: PeerId
    target: PeerId
    target_connection: ConnectionHandle
    instead_of: tuple[int, ...] = ()
    """The number of a circuit that has to end for it, if any."""


class CircuitAdmission:
    """Counts circuits of both kinds, whoever asks."""

    def __init__(
        self,
        limits: RelayLimits,
        access: AccessList,
        reservations: ReservationTable,
        volume: MonthlyVolume,
        ledger: Ledger[int] | None = None,
        protected: Container[Hashable] = (),
    ) -> None:
        """`ledger` counts circuits by their numbers; without one, this has its own.

        Of `protected` peers strangers take no places.
        """
        self._protected = protected
        self._ledger = circuit_ledger(limits, Refusals()) if ledger is None else ledger
        self._next_number = 0
        self._limits = limits
        self._volume = volume
        self._access = access
        self._reservations = reservations
        self._rates = _request_rates(limits)
        self._by_pair: Counter[frozenset[PeerId]] = Counter()
        self._is_draining = False

    def __len__(self) -> int:
        return len(self._ledger)

    def has_circuits(self, peer: PeerId) -> bool:
        """Whether a peer is an end of a circuit."""
        return self._ledger.of_peer(peer) > 0

    def admit(
        self,
        client: Client,
        target: PeerId,
        now: Instant,
        is_used: Callable[[int], bool] = lambda _: False,
    ) -> Admitted | Refused:
        """Counts a circuit from `client` to `target`, or says why there is none.

        `is_used` tells whether a circuit carries something: it is the last to give way.
        """
        if client.is_relayed:
            return Refused(Status.PERMISSION_DENIED, "the request came through a relay")
        if target == client.peer:
            return Refused(Status.PERMISSION_DENIED, "a circuit to oneself")
        if not self._access.is_allowed(client.peer, client.ip):
            return Refused(Status.PERMISSION_DENIED, "the peer is not on the access list")
        if not self._rates.take(client.peer, _household(client), now):
            return Refused(Status.RESOURCE_LIMIT_EXCEEDED, "too many requests")
        connection = self._reservations.connection_of(target, now)
        if connection is None:
            return Refused(Status.NO_RESERVATION, "the target has no reservation")
        self._volume.roll(now)
        full = self._full(client.peer, target)
        if full is not None:
            return Refused(Status.RESOURCE_LIMIT_EXCEEDED, full)
        who = _holder(client)._replace(peers=(client.peer, target))
        if client.peer in self._protected and not _has_room(self._ledger, who):
            who = Holder(peers=who.peers, is_protected=True)
        victims, refusal = _room_for(self._ledger, who, is_used, self._is_protected)
        if refusal is not None and refusal.scope is ScopeKind.PEER and refusal.name == str(target):
            victims = self._at_target(who, target, is_used)
            refusal = None if victims else refusal
        if refusal is not None:
            self._ledger.refusals.note(refusal)
            return Refused(Status.RESOURCE_LIMIT_EXCEEDED, str(refusal))
        self._next_number += 1
        self._ledger.put(self._next_number, who)
        _add(self._by_pair, _pair(client.peer, target), 1)
        return Admitted(self._next_number, client.peer, target, connection, victims)

    def release(self, admitted: Admitted) -> None:
        """A circuit has ended, or was never opened."""
        self._ledger.give_back(admitted.number)
        _add(self._by_pair, _pair(admitted.source, admitted.target), -1)

    def drain(self) -> None:
        """Admits no more."""
        self._is_draining = True

    def _is_protected(self, number: int) -> bool:
        """Whether a peer has asked for a circuit whose circuits give way to nobody."""
        return self._ledger.peers_of(number)[0] in self._protected

    def _at_target(
        self, who: Holder, target: PeerId, is_used: Callable[[int], bool]
    ) -> tuple[int, ...]:
        """Returns whose circuit to a target gives way where the target can have no more, or none.

        Else a few peers of one network would keep everybody from it.
        """
        by_network = self._ledger.by_network_of(target)
        fullest = max(by_network.values(), key=len, default=list[int]())
        network = who.networks[-1] if who.networks else None
        if len(by_network.get(network, ())) + 1 >= len(fullest):
            return ()
        return _of_least_use(fullest[::-1], is_used, self._is_protected)

    def _full(self, source: PeerId, target: PeerId) -> str | None:
        if self._is_draining:
            return "the relay is shutting down"
        if self._volume.is_nearly_spent:
            return "the relay's volume of this month is spent"
        if self._volume.is_nearly_spent_by(source, target):
            return "a peer's volume of this month is spent"
        if self._by_pair[_pair(source, target)] >= self._limits.max_circuits_per_pair:
            return "too many circuits between these two peers"
        return None


def reservation_ledger(limits: RelayLimits, refusals: Refusals) -> Ledger[PeerId]:
    return Ledger(Resource.RESERVATIONS, limits.reservation_shares, refusals)


def circuit_ledger(limits: RelayLimits, refusals: Refusals) -> Ledger[int]:
    return Ledger(Resource.CIRCUITS, limits.circuit_shares, refusals)


def _has_room(ledger: Ledger[MemberT], who: Holder) -> bool:
    return ledger.share_refusal(who) is None and ledger.room_refusal(who) is None


def _room_for(
    ledger: Ledger[MemberT],
    who: Holder,
    is_used: Callable[[MemberT], bool],
    is_protected: Callable[[MemberT], bool],
) -> tuple[tuple[MemberT, ...], Refusal | None]:
    """Returns who has to give way, one or none, or why there is no room.

    A network gets no place by which it would have as many as the fullest: two would take turns.
    To who is protected strangers give way that have come before it was.
    """
    refusal = ledger.share_refusal(who)
    if refusal is not None:
        return (), refusal
    refusal = ledger.room_refusal(who)
    if refusal is None:
        return (), None
    if who.is_protected:
        kept, others = ledger.protected, ledger.inbound
        may_displace = kept.used < kept.limit and others.used > others.limit
    else:
        may_displace = ledger.of_network(who.networks[-1]) + 1 < ledger.most
    if not may_displace:
        return (), refusal
    victims = _of_least_use(list(ledger.of_fullest()), is_used, is_protected)
    return victims, None if victims else refusal


def _of_least_use(
    members: Sequence[MemberT],
    is_used: Callable[[MemberT], bool],
    is_protected: Callable[[MemberT], bool],
) -> tuple[MemberT, ...]:
    """Returns the first that is not used, else the first, of those that are not protected."""
    members = [member for member in members if not is_protected(member)]
    return tuple([member for member in members if not is_used(member)][:1] or members[:1])


def _holder(client: Client) -> Holder:
    return Holder(networks_of(client.ip), is_local=is_local(client.ip))


def _household(client: Client) -> Network:
    """Returns the network that requests are counted by: an IPv4 address, or an IPv6 /56."""
    networks = networks_of(client.ip)
    return networks[min(1, len(networks) - 1)]


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
