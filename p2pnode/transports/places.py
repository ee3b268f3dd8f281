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

    who: Holder
    instead_of: ConnectionHandle | None = None


class NoRoom(NamedTuple):
    """There is none."""

    refusal: Refusal
    but_for_protected: bool = False
    """There may be one when it is known who has come."""


Verdict: TypeAlias = Room | NoRoom
IsUseful: TypeAlias = Callable[[ConnectionHandle], bool]
"""What is asked of a connection before it has to go: whether it has streams open, or is protected.
"""


class Places:
    """The connections of a node, by whichever transport, drawn from its ledger of them."""

    __slots__ = ("_ledger", "awaits_protected", "is_protected", "is_protected_peer")

    def __init__(self, ledger: Ledger[ConnectionHandle]) -> None:
        self._ledger = ledger
        self.is_protected: IsUseful = lambda _: False
        """Whether a connection that somebody else has begun keeps its place whoever comes."""
        self.is_protected_peer: Callable[[PeerId], bool] = lambda _: False
        """Whether a peer finds a place in the reserve."""
        self.awaits_protected: Callable[[], bool] = lambda: False
        """Whether there is such a peer at all."""

    @property
    def taken(self) -> int:
        """Connections and dials."""
        return self._ledger.used

    def add_outbound(self, handle: ConnectionHandle) -> Refusal | None:
        """A dial of our own, and what comes of it, unless there is no room for one."""
        return self._ledger.take(handle, _OWN)

    def add_inbound(self, handle: ConnectionHandle, room: Room) -> None:
        """Somebody has come, and `verdict` has found room; who gives way has gone."""
        self._ledger.put(handle, room.who)

    def remove(self, handle: ConnectionHandle) -> None:
        """Does nothing for one that has no place."""
        self._ledger.give_back(handle)

    def verdict(self, route: Route, is_useful: IsUseful, peer_id: PeerId | None = None) -> Verdict:
        """Returns whether somebody who comes over `route` gets a place, and whose.

        Without a `peer_id` it is not known yet who it is.
        """
        ledger = self._ledger
        who = holder(route) if peer_id is None else holder(route, peer_id)
        refusal = ledger.share_refusal(who)
        is_share = refusal is not None
        if refusal is None:
            refusal = ledger.room_refusal(who)
            if refusal is None:
                return Room(who)
        may_be_protected = (
            self.awaits_protected() if peer_id is None else self.is_protected_peer(peer_id)
        )
        if may_be_protected:
            kept = Holder(peers=who.peers, is_protected=True)
            may_be_protected = not (ledger.share_refusal(kept) or ledger.room_refusal(kept))
            if may_be_protected and peer_id is not None:
                return Room(kept)
        if not is_share and ledger.of_network(who.networks[-1]) < ledger.most:
            victim = self._victim(is_useful)
            if victim is not None:
                return Room(who, victim)
        return NoRoom(refusal, may_be_protected)

    def note(self, refusal: Refusal) -> None:
        """Somebody is refused for it."""
        self._ledger.refusals.note(refusal)

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
