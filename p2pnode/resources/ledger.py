"""What is held of one resource: by everybody, by whom others are, by a network, by a peer.

    put, take --> a member with an amount --grow, shrink, change--> give_back

The rules: what would fill a scope beyond its limit is refused, and the refusal names the scope; the
fullest network is looked for among the largest ones, so that nobody hides in many small; no call
but `biggest_in` grows with what is held.
"""

from collections.abc import Callable, Hashable, Iterator
from heapq import heapify, heappop, heappush, heapreplace
from typing import Final, Generic, TypeVar

from p2pnode.resources.limits import OWN_PART, RESERVED_PART, Shares
from p2pnode.resources.networks import Network
from p2pnode.resources.refusal import Holder, Refusal, Refusals, Resource, ScopeKind

MemberT = TypeVar("MemberT", bound=Hashable)

_STALE: Final = 64
"""entries of the ranking beyond two a network after which it is made anew"""


class Scope(Generic[MemberT]):
    """What is counted together."""

    __slots__ = ("entries", "kind", "limit", "members", "name", "ranked", "used")

    def __init__(self, kind: ScopeKind, name: Hashable, limit: int) -> None:
        self.kind = kind
        self.name = name
        self.limit = limit
        self.used = 0
        self.entries = 0
        """Members that count here."""
        self.ranked = 0
        """What the ranking has of it, never less than `used`; of the largest networks."""
        self.members: dict[MemberT, None] = {}
        """In the order in which they came; of the largest networks."""


class _Entry(Generic[MemberT]):
    __slots__ = ("amount", "largest", "scopes")

    def __init__(self, scopes: tuple[Scope[MemberT], ...], largest: Scope[MemberT] | None) -> None:
        self.scopes = scopes
        self.largest = largest
        """The largest network among them."""
        self.amount = 0


class Ledger(Generic[MemberT]):
    """One resource.  Amounts are slots or bytes; members are the caller's names for what holds."""

    def __init__(
        self, resource: Resource, shares: Shares, refusals: Refusals, *, has_reserve: bool = False
    ) -> None:
        """With a reserve, one in RESERVED_PART of all is for holders of our own and protected ones.

        Of it, one in OWN_PART is for holders of our own only.
        """
        self.resource = resource
        self.shares = shares
        self.process = Scope[MemberT](ScopeKind.PROCESS, "", shares.total)
        reserve = shares.total // RESERVED_PART if has_reserve else 0
        own = reserve // OWN_PART
        self.protected = Scope[MemberT](ScopeKind.DIRECTION, "", reserve - own)
        """The reserve, as far as holders that are not our own have it."""
        self.inbound = Scope[MemberT](ScopeKind.DIRECTION, "", shares.total - reserve)
        self.refusals = refusals
        """Told of each refusal of `take` and `grow`."""
        self._entries: dict[MemberT, _Entry[MemberT]] = {}
        self._networks: dict[Network, Scope[MemberT]] = {}
        self._peers: dict[Hashable, Scope[MemberT]] = {}
        self._ranking: list[tuple[int, int, Scope[MemberT]]] = []
        """A heap of (-ranked, number, network); its first entry is put right when asked for."""
        self._next_number = 0
        self._beside: dict[Hashable, int] = {}
        """What counts with the process and for nobody, by what it is."""

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, member: MemberT) -> bool:
        return member in self._entries

    @property
    def used(self) -> int:
        """What all hold together."""
        return self.process.used

    @property
    def left(self) -> int:
        """What is left for all, or less than nothing."""
        return self.process.limit - self.process.used

    @property
    def most(self) -> int:
        """What the fullest network holds."""
        fullest = self.fullest()
        return 0 if fullest is None else fullest.used

    def amount(self, member: MemberT) -> int:
        """Returns what a member holds; 0 for one that is not here."""
        entry = self._entries.get(member)
        return 0 if entry is None else entry.amount

    def of_network(self, network: Network) -> int:
        """Returns what a network of any size holds."""
        scope = self._networks.get(network)
        return 0 if scope is None else scope.used

    def of_peer(self, peer: Hashable) -> int:
        """Returns what a peer holds."""
        scope = self._peers.get(peer)
        return 0 if scope is None else scope.used

    def peers_of(self, member: MemberT) -> tuple[Hashable, ...]:
        """Returns the peers for whom a member counts.  KeyError for one that is not here."""
        scopes = self._entries[member].scopes
        return tuple(scope.name for scope in scopes if scope.kind is ScopeKind.PEER)

    def refusal_of(self, scope: Scope[MemberT]) -> Refusal:
        """Returns what names a full scope."""
        return Refusal(self.resource, scope.kind, str(scope.name), scope.limit)

    def reserve(self, count: int) -> None:
        """Keeps so many for protected holders, and no more than one in RESERVED_PART of all."""
        self.protected.limit = min(count, self.process.limit // RESERVED_PART)
        self.inbound.limit = self.process.limit - self.protected.limit

    # what is held

    def share_refusal(self, holder: Holder, amount: int = 1) -> Refusal | None:
        """Returns which share of a holder's own is full, be there room for others or not."""
        for network in holder.networks:
            limit = self.shares.of_network(network, is_local=holder.is_local)
            if self.of_network(network) + amount > limit:
                return Refusal(self.resource, ScopeKind.NETWORK, str(network), limit)
        for peer in holder.peers:
            if self.of_peer(peer) + amount > self.shares.peer:
                return Refusal(self.resource, ScopeKind.PEER, str(peer), self.shares.peer)
        return None

    def room_refusal(self, holder: Holder, amount: int = 1) -> Refusal | None:
        """Returns which scope that is everybody's is full."""
        for scope in self._shared(holder):
            if scope.used + amount > scope.limit:
                return self.refusal_of(scope)
        return None

    def take(self, member: MemberT, holder: Holder, amount: int = 1) -> Refusal | None:
        """Takes a member that is not here yet, unless one of its scopes is full."""
        refusal = self.share_refusal(holder, amount) or self.room_refusal(holder, amount)
        if refusal is None:
            self.put(member, holder, amount)
        else:
            self.refusals.note(refusal)
        return refusal

    def put(self, member: MemberT, holder: Holder, amount: int = 1) -> None:
        """Takes a member that is not here yet, beyond limits too: who asked has looked."""
        assert member not in self._entries
        networks = [self._network(network, holder) for network in holder.networks]
        scopes = [*networks, *(self._peer(peer) for peer in holder.peers)]
        scopes += self._shared(holder)
        # Without its parameter, which costs more than the entry: every connection comes here.
        entry: _Entry[MemberT] = _Entry(tuple(scopes), networks[-1] if networks else None)
        self._entries[member] = entry
        if entry.largest is not None:
            entry.largest.members[member] = None
        for scope in scopes:
            scope.entries += 1
        self.change(member, amount)

    def grow(self, member: MemberT) -> Refusal | None:
        """A member takes one more, unless one of its scopes is full.  KeyError for no member."""
        entry = self._entries[member]
        for scope in entry.scopes:
            if scope.used >= scope.limit:
                refusal = self.refusal_of(scope)
                self.refusals.note(refusal)
                return refusal
        entry.amount += 1
        for scope in entry.scopes:
            scope.used += 1
        if entry.largest is not None and entry.largest.used > entry.largest.ranked:
            self._rank(entry.largest)
        return None

    def shrink(self, member: MemberT) -> None:
        """A member gives one back; nothing for one that is not here."""
        entry = self._entries.get(member)
        if entry is not None:
            entry.amount -= 1
            for scope in entry.scopes:
                scope.used -= 1

    def change(self, member: MemberT, amount: int) -> Scope[MemberT] | None:
        """A member holds `amount` now, which is there already; returns a scope that is too full.

        Nothing, and None, for one that is not here.
        """
        entry = self._entries.get(member)
        if entry is None:
            return None
        more = amount - entry.amount
        entry.amount = amount
        too_full: Scope[MemberT] | None = None
        for scope in entry.scopes:
            scope.used += more
            if too_full is None and scope.used > scope.limit:
                too_full = scope
        if entry.largest is not None and entry.largest.used > entry.largest.ranked:
            self._rank(entry.largest)
        return too_full if more > 0 else None

    def set_beside(self, name: Hashable, amount: int) -> None:
        """So much is held of what no member is answerable for: only the process counts it."""
        self.process.used += amount - self._beside.get(name, 0)
        self._beside[name] = amount

    def give_back(self, member: MemberT) -> None:
        """A member is gone with all that it held; nothing for one that is not here."""
        if member not in self._entries:
            return
        self.change(member, 0)
        entry = self._entries.pop(member)
        if entry.largest is not None:
            del entry.largest.members[member]
        for scope in entry.scopes:
            scope.entries -= 1
            if not scope.entries:
                if scope.kind is ScopeKind.NETWORK:
                    del self._networks[scope.name]  # type: ignore[arg-type]
                elif scope.kind is ScopeKind.PEER:
                    del self._peers[scope.name]

    # who gives way

    def fullest(self) -> Scope[MemberT] | None:
        """Returns the network that holds most."""
        ranking = self._ranking
        while ranking:
            rank, _, scope = ranking[0]
            if -rank != scope.ranked or not scope.used:
                heappop(ranking)  # another entry stands for it, or none
                if -rank == scope.ranked:
                    scope.ranked = 0
            elif scope.used != scope.ranked:
                scope.ranked = scope.used
                heapreplace(ranking, (-scope.used, self._number(), scope))
            else:
                return scope
        return None

    def of_fullest(self) -> Iterator[MemberT]:
        """Yields the members of the fullest network, the newest first."""
        fullest = self.fullest()
        if fullest is not None:
            yield from reversed(list(fullest.members))

    def biggest_in(
        self, scope: Scope[MemberT], is_spared: Callable[[MemberT], bool] | None = None
    ) -> MemberT | None:
        """Returns who holds most of a scope; of one that is everybody's, in the fullest network.

        Who is spared, and holders of our own, come last: the latter once all others have no more
        than a RESERVED_PART.
        """
        scopes = [scope]
        if scope.kind not in {ScopeKind.NETWORK, ScopeKind.PEER}:
            fullest, others = self.fullest(), self.inbound.used
            if others < self.used and others * RESERVED_PART <= self.process.limit:
                is_spared = None
            elif fullest is not None:
                scopes.insert(0, fullest)
        held: dict[MemberT, int] = {}
        for each in scopes:
            held = {m: e.amount for m, e in self._entries.items() if each in e.scopes}
            for member in sorted(held, key=held.__getitem__, reverse=True):
                if is_spared is None or not is_spared(member):
                    return member
        return max(held, key=held.__getitem__, default=None)

    def by_network_of(self, peer: Hashable) -> dict[Hashable, list[MemberT]]:
        """Returns a peer's members by their largest networks, oldest first.  Looks at everybody."""
        found: dict[Hashable, list[MemberT]] = {}
        scope = self._peers.get(peer)
        for member, entry in self._entries.items():
            if scope in entry.scopes and entry.largest is not None:
                found.setdefault(entry.largest.name, []).append(member)
        return found

    def _shared(self, holder: Holder) -> tuple[Scope[MemberT], ...]:
        """Returns the scopes that are everybody's in which a holder counts."""
        if holder.is_own:
            return (self.process,)
        return self.process, self.protected if holder.is_protected else self.inbound

    def _network(self, network: Network, holder: Holder) -> Scope[MemberT]:
        scope = self._networks.get(network)
        if scope is None:
            limit = self.shares.of_network(network, is_local=holder.is_local)
            scope = self._networks[network] = Scope(ScopeKind.NETWORK, network, limit)
        return scope

    def _peer(self, peer: Hashable) -> Scope[MemberT]:
        scope = self._peers.get(peer)
        if scope is None:
            scope = self._peers[peer] = Scope(ScopeKind.PEER, peer, self.shares.peer)
        return scope

    def _rank(self, scope: Scope[MemberT]) -> None:
        """Ranks a network with room to grow, so that few steps of its growth come here."""
        scope.ranked = 2 * scope.used
        if len(self._ranking) > 2 * len(self._networks) + _STALE:
            kept = [(-s.ranked, self._number(), s) for s in self._networks.values() if s.ranked]
            self._ranking = [entry for entry in kept if entry[2] is not scope]
            heapify(self._ranking)
        heappush(self._ranking, (-scope.ranked, self._number(), scope))

    def _number(self) -> int:
        self._next_number += 1
        return self._next_number
