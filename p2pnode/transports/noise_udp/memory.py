"""What connections draw of the node's memory, and who gives way where it is used up.

The rules: a connection counts for its network and its peer with all that it holds; who holds much
while little is left gets no more credit and room than it needs to go on; where a scope is full, the
biggest holder of the fullest network in it goes, and dials of our own and protected peers go last.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from p2pnode.machine import ConnectionHandle
from p2pnode.resources.account import Account
from p2pnode.resources.refusal import Holder
from p2pnode.transports.delivery.held_bytes import CONNECTION_SIZE
from p2pnode.transports.noise_udp.connection import Connection
from p2pnode.transports.places import Places, holder

if TYPE_CHECKING:
    from p2pnode.resources.ledger import Scope

TIGHT_PART: Final = 4
"""Memory is tight when less than one byte in so many is left; chosen"""


class Memory:
    """The connections of an endpoint as members of the account's ledger of memory."""

    __slots__ = ("_account", "_ledger", "_places", "too_full")

    def __init__(self, account: Account, places: Places) -> None:
        """`places` know who is protected."""
        self._account = account
        self._places = places
        self._ledger = account.memory
        self.too_full: list[Scope[ConnectionHandle]] = []
        """Where it is not empty, `take_excess` may have somebody.  Looked at with every drain."""

    def open(self, handle: ConnectionHandle, connection: Connection) -> None:
        """Takes a connection that is new."""
        if connection.is_initiator:
            who = Holder(is_own=True)
        else:
            who = holder(connection.route, connection.peer_id)
        self._ledger.put(handle, who, 0)
        self.draw(handle, connection)

    def draw(self, handle: ConnectionHandle, connection: Connection) -> None:
        """Brings the ledger up to date with what a connection holds."""
        ledger, held = self._ledger, connection.streams.held
        held.drawn = held.total
        scope = ledger.change(handle, CONNECTION_SIZE + held.drawn)
        if scope is not None:
            self.too_full.append(scope)
        total = ledger.process.limit
        is_tight = ledger.used > total - total // TIGHT_PART
        connection.streams.hold_back(is_tight and held.drawn > total // len(ledger))

    def close(self, handle: ConnectionHandle) -> None:
        """Lets a connection go; nothing for one that is not here."""
        self._ledger.give_back(handle)

    def take_excess(self) -> Iterator[tuple[ConnectionHandle, str]]:
        """Yields who has to go and why; each has to be closed before the next is asked for."""
        scopes, self.too_full = [*self.too_full, self._ledger.process], []
        for scope in scopes:
            while scope.used > scope.limit:
                member = self._ledger.biggest_in(scope, self._places.is_protected)
                if member is None:
                    break
                refusal = self._ledger.refusal_of(scope)
                self._account.refusals.note(refusal)
                yield member, str(refusal)
                self._ledger.give_back(member)  # or a connection that does not end would stay first

    def check(self, handle: ConnectionHandle, connection: Connection) -> None:
        """Asserts that a connection holds what it accounts for."""
        if not connection.is_closed:
            held, accounted = connection.count_held(), connection.held_bytes
            assert held == accounted, f"connection {handle} holds {held}, not {accounted}"
