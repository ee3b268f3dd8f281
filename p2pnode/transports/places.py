"""Places for connections: whom there is room for, and who makes room where there is none left.

The rules: dials of our own find a reserve that nobody else can take; a network has its share; where
all is taken, the fullest network gives way to any other one, and of it the newest connection that
is good for nothing.
"""

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import ConnectionHandle
from p2pnode.resources.ledger import Ledger
from p2pnode.resources.networks import Network, Networks, is_local, networks_of
from p2pnode.resources.refusal import Holder, Refusal
from p2pnode.transports.route import Route

_OWN: Final = Holder(is_own=True)


class Room(NamedTuple):
    """There is a place; `instead_of` has to leave it first."""

    instead_of: ConnectionHandle | None = None


class NoRoom(NamedTuple):
    """There is none."""

    refusal: Refusal


Verdict: TypeAlias = Room | NoRoom
IsUseful: TypeAlias = Callable[[ConnectionHandle], bool]
"""What is asked of a connection before it has to go: whether it has streams open, or is protected.
"""


class Places:
    """The connections of an endpoint, drawn from its ledger of connections."""

    __slots__ = ("_ledger", "is_protected")

    def __init__(self, ledger: Ledger[ConnectionHandle]) -> None:
        self._ledger = ledger
        self.is_protected: IsUseful = lambda _: False
        """Whether a connection that somebody else has begun keeps its place whoever comes."""

    @property
    def taken(self) -> int:
        """Connections and dials."""
        return self._ledger.used

    def add_outbound(self, handle: ConnectionHandle) -> Refusal | None:
        """A dial of our own, and what comes of it, unless there is no room for one."""
        return self._ledger.take(handle, _OWN)

    def add_inbound(self, handle: ConnectionHandle, route: Route, peer_id: PeerId) -> None:
        """Somebody has come; `verdict` has found a place."""
        self._ledger.put(handle, holder(route, peer_id))

    def remove(self, handle: ConnectionHandle) -> None:
        """Does nothing for one that has no place."""
        self._ledger.give_back(handle)

    def verdict(self, route: Route, is_useful: IsUseful) -> Verdict:
        """Returns whether a peer that has come over `route` gets a place, and whose."""
        ledger, who = self._ledger, holder(route)
        refusal = ledger.share_refusal(who)
        if refusal is None:
            refusal = ledger.room_refusal(who)
            if refusal is None:
                return Room()
            if ledger.of_network(who.networks[-1]) < ledger.most:
                victim = self._victim(is_useful)
                if victim is not None:
                    return Room(victim)
        ledger.refusals.note(refusal)
        return NoRoom(refusal)

    def peer_refusal(self, peer_id: PeerId) -> Refusal | None:
        """Returns whether a peer that has got a place has too many already."""
        refusal = self._ledger.share_refusal(Holder(peers=(peer_id,)))
        if refusal is not None:
            self._ledger.refusals.note(refusal)
        return refusal

    def _victim(self, is_useful: IsUseful) -> ConnectionHandle | None:
        second: ConnectionHandle | None = None
        for handle in self._ledger.of_fullest():
            if self.is_protected(handle):
                continue
            if not is_useful(handle):
                return handle
            second = handle if second is None else second
        return second


def origin(route: Route) -> Networks:
    """Returns what a route counts for: over a circuit, all that its relay brings."""
    if route.is_relayed:
        return (Network(0, networks_of(route.remote.ip)[0].prefix, route.remote.is_ipv6),)
    return networks_of(route.remote.ip)


def holder(route: Route, *peers: PeerId) -> Holder:
    """Returns for whom is held what somebody needs who comes over a route."""
    return Holder(origin(route), peers, is_local=is_local(route.remote.ip))
