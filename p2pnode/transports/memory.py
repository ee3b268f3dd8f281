"""What connections draw of the node's memory, and who gives way where it is used up.

    a connection --open--> draws what it holds --close--> its unread data --settle--> nothing

The rules: a connection counts for its network and its peer with all that it holds; who holds much
while little is left gets no more credit and room than it needs to go on; where a scope is full, the
biggest holder of the fullest network in it goes, and dials of our own and protected peers go last;
what has come on streams may be read when their connection is over, and counts until then.
"""

import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Protocol

from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import ConnectionHandle
from p2pnode.resources.account import MEMORY_STEP, Account
from p2pnode.resources.refusal import Holder
from p2pnode.transports.delivery.held_bytes import CONNECTION_SIZE, HeldBytes
from p2pnode.transports.places import Places, holder
from p2pnode.transports.route import Route

if TYPE_CHECKING:
    from p2pnode.resources.ledger import Scope

TIGHT_PART: Final = 4
"""Memory is tight when less than one byte in so many is left; chosen"""


class HoldingStreams(Protocol):
    """The streams of a connection, as holders of memory."""

    @property
    def held(self) -> HeldBytes: ...

    @property
    def unread(self) -> int:
        """bytes that the application may read now"""
        ...

    def hold_back(self, is_held_back: bool) -> None:
        """Says whether the peer is given little credit, and our side little room to write."""
        ...

    def leave(self) -> None:
        """The connection is over: frees what will not be delivered any more."""
        ...

    def forsake(self) -> None:
        """Frees the memory of all streams, whoever still holds them."""
        ...


class HoldingConnection(Protocol):
    """A connection, as a holder of memory."""

    @property
    def is_initiator(self) -> bool: ...

    @property
    def route(self) -> Route: ...

    @property
    def peer_id(self) -> PeerId: ...

    @property
    def is_closed(self) -> bool: ...

    @property
    def streams(self) -> HoldingStreams: ...

    @property
    def held_bytes(self) -> int:
        """What it accounts for."""
        ...

    def count_held(self) -> int:
        """Counts that anew.  Looks at all streams."""
        ...


class Memory:
    """The connections of a transport as members of the account's ledger of memory."""

    __slots__ = ("_account", "_ledger", "_places", "left", "too_full")

    def __init__(self, account: Account, places: Places) -> None:
        """`places` know who is protected."""
        self._account = account
        self._places = places
        self._ledger = account.memory
        self.too_full: list[Scope[ConnectionHandle]] = []
        """Where it is not empty, `take_excess` may have somebody.  Looked at with every drain."""
        self.left: dict[ConnectionHandle, weakref.ref[HoldingStreams]] = {}
        """Streams with unread data whose connections are over.  Whoever holds one may let go of it
        without a word: then nothing is held."""

    def open(self, handle: ConnectionHandle, connection: HoldingConnection) -> None:
        """Takes a connection that is new."""
        if self.left:
            oldest = next(iter(self.left))
            self.left[oldest] = self.left.pop(oldest)  # in turns
            self.settle(oldest)
        if connection.is_initiator:
            who = Holder(is_own=True)
        else:
            who = holder(connection.route, connection.peer_id)
        self._ledger.put(handle, who, 0)
        self.draw(handle, connection)

    def draw(self, handle: ConnectionHandle, connection: HoldingConnection) -> None:
        """Brings the ledger up to date with what a connection holds."""
        ledger, held = self._ledger, connection.streams.held
        held.drawn = held.total
        scope = ledger.change(handle, CONNECTION_SIZE + held.drawn)
        if scope is not None:
            self.too_full.append(scope)
        total = ledger.process.limit
        is_tight = ledger.used > total - total // TIGHT_PART
        connection.streams.hold_back(is_tight and held.drawn > total // len(ledger))

    def close(self, handle: ConnectionHandle, connection: HoldingConnection) -> None:
        """Lets a connection go, but for what may still be read of it."""
        connection.streams.leave()
        self.left[handle] = weakref.ref(connection.streams)
        self.settle(handle)

    def settle(self, handle: ConnectionHandle) -> None:
        """Somebody has read or dropped data of a connection that is over, or may have.

        Nothing for any other one.
        """
        found = self.left.get(handle)
        if found is None:
            return
        streams = found()
        unread = 0 if streams is None else streams.unread
        if unread > MEMORY_STEP:
            self._ledger.change(handle, unread)
        else:
            del self.left[handle]
            self._ledger.give_back(handle)

    def forsake(self, handle: ConnectionHandle) -> None:
        """Frees what is left of a connection that is over; nothing for any other one."""
        found = self.left.pop(handle, None)
        if found is None:
            return
        if (streams := found()) is not None:
            streams.forsake()
        self._ledger.give_back(handle)

    def take_excess(self) -> Iterator[tuple[ConnectionHandle, str]]:
        """Yields who has to go and why; each has to be closed before the next is asked for.

        Unread data of connections that are over goes by itself.
        """
        for handle in list(self.left):
            self.settle(handle)
        scopes, self.too_full = [*self.too_full, self._ledger.process], []
        for scope in scopes:
            while scope.used > scope.limit:
                member = self._ledger.biggest_in(scope, self._places.is_protected)
                if member is None:
                    break
                refusal = self._ledger.refusal_of(scope)
                self._account.refusals.note(refusal)
                found = self.left.pop(member, None)
                if found is None:
                    yield member, str(refusal)
                elif (streams := found()) is not None:
                    streams.forsake()
                self._ledger.give_back(member)  # or a connection that does not end would stay first

    def check(self, handle: ConnectionHandle, connection: HoldingConnection) -> None:
        """Asserts that a connection holds what it accounts for."""
        if not connection.is_closed:
            held, accounted = connection.count_held(), connection.held_bytes
            assert held == accounted, f"connection {handle} holds {held}, not {accounted}"
