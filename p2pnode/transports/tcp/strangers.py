"""Who has come by a link and is not proved yet: bounded by network and in all (specs/tcp.md).

Where all room is taken, the newest of the network that has most of it goes, so that many links of
few networks keep nobody else out.
"""

from p2pnode.machine import ConnectionHandle
from p2pnode.resources.account import Account
from p2pnode.resources.refusal import Refusal
from p2pnode.transports.places import holder
from p2pnode.transports.route import Route


class Strangers:
    """Links of a transport in the account of half-open handshakes, which all transports share."""

    __slots__ = ("_ledger", "_ours")

    def __init__(self, account: Account) -> None:
        self._ledger = account.half_open
        self._ours: dict[ConnectionHandle, None] = {}

    def __len__(self) -> int:
        return len(self._ours)

    def room(self, route: Route) -> Refusal | None:
        """Returns why there is none for one more who came over a route."""
        ledger, who = self._ledger, holder(route)
        refusal = ledger.share_refusal(who)
        if refusal is None:
            refusal = ledger.room_refusal(who)
            if refusal is not None and self.instead_of(route) is not None:
                return None
        if refusal is not None:
            ledger.refusals.note(refusal)
        return refusal

    def instead_of(self, route: Route) -> ConnectionHandle | None:
        """Returns who has to go for one more who came over a route; None where there is room."""
        ledger, who = self._ledger, holder(route)
        if ledger.room_refusal(who) is None or ledger.of_network(who.networks[-1]) >= ledger.most:
            return None
        for member in ledger.of_fullest():  # of all transports
            if isinstance(member, int) and member in self._ours:
                return ConnectionHandle(member)
        return None

    def add(self, handle: ConnectionHandle, route: Route) -> None:
        """Somebody has come, for whom there is room."""
        self._ours[handle] = None
        self._ledger.put(handle, holder(route))

    def remove(self, handle: ConnectionHandle) -> None:
        """It is proved, or gone; nothing for one that is not here."""
        if handle in self._ours:
            del self._ours[handle]
            self._ledger.give_back(handle)
