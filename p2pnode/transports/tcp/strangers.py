"""Who has come by a link and is not proved yet: bounded by network and in all (specs/tcp.md).

Where all room is taken, the newest of the network that has most of it goes, so that many links of
few networks keep nobody else out.
"""

from collections.abc import Callable, Hashable

from p2pnode.machine import ConnectionHandle
from p2pnode.resources.account import Account
from p2pnode.transports.places import holder
from p2pnode.transports.route import Route


class Strangers:
    """Links of a transport in the account of half-open handshakes, which all transports share."""

    __slots__ = ("_account", "_drop", "_ours")

    def __init__(self, account: Account, drop: Callable[[ConnectionHandle], object]) -> None:
        """`drop` ends a link for others' sake, and has it removed here."""
        self._account = account
        self._drop = drop
        self._ours: dict[ConnectionHandle, None] = {}
        account.let_half_open_end(self._end)

    def make_room(self, route: Route) -> bool:
        """Returns whether there is room for one more who came over a route, if need be made."""
        ledger, who = self._account.half_open, holder(route)
        refusal = ledger.share_refusal(who)
        if refusal is None:
            refusal = ledger.room_refusal(who)
            if refusal is not None and ledger.of_network(who.networks[-1]) < ledger.most:
                refusal = None if self._account.end_newest_half_open() else refusal
        if refusal is not None:
            ledger.refusals.note(refusal)
        return refusal is None

    def add(self, handle: ConnectionHandle, route: Route) -> None:
        """Somebody has come, for whom there is room."""
        self._ours[handle] = None
        self._account.half_open.put(handle, holder(route))

    def remove(self, handle: ConnectionHandle) -> None:
        """It is proved, or gone; nothing for one that is not here."""
        if handle in self._ours:
            del self._ours[handle]
            self._account.half_open.give_back(handle)

    def _end(self, member: Hashable) -> bool:
        handle = ConnectionHandle(member) if isinstance(member, int) else None
        if handle is None or handle not in self._ours:
            return False
        self._drop(handle)
        return True
