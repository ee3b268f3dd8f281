"""What all transports of a node share: handles, places, accounts, and the list of connections."""

from collections.abc import Iterator
from itertools import count
from typing import Final

from p2pnode.links import FIRST_OWN_LINK, LINK_ID_STEP, LinkId
from p2pnode.machine import ConnectionHandle
from p2pnode.resources.account import Account
from p2pnode.resources.limits import ResourceLimits
from p2pnode.transports.faults import Faults
from p2pnode.transports.muxed_connection import MuxedConnection
from p2pnode.transports.places import Places

FIRST_HANDLE: Final = ConnectionHandle(1)


class Commons:
    """Of one identity: whoever dials back under another one has its own."""

    __slots__ = (
        "_next_handle",
        "account",
        "connections",
        "faults",
        "leaving",
        "link_ids",
        "places",
    )

    def __init__(
        self,
        account: Account | None = None,
        *,
        faults: Faults | None = None,
        first_handle: ConnectionHandle = FIRST_HANDLE,
        link_ids: Iterator[int] | None = None,
    ) -> None:
        """Handles count from `first_handle` on, so that those of several need not collide.

        Several whose links one driver serves share its `link_ids`.
        `faults` takes what goes wrong in transports; without it, that is raised.
        """
        self.account = account or Account(ResourceLimits())
        self.places = Places(self.account.connections)
        self.faults = faults or Faults()
        self.connections = dict[ConnectionHandle, MuxedConnection]()
        """Each transport enters its own, and takes them out when it forgets them."""
        self.leaving: list[tuple[ConnectionHandle, str]] = []
        """Who has to make way for others of another transport, and why: connections, or what
        somebody has begun and has a place."""
        self.link_ids = link_ids or count(FIRST_OWN_LINK, LINK_ID_STEP)
        self._next_handle = first_handle

    def take_handle(self) -> ConnectionHandle:
        """Returns a handle that nobody has had."""
        handle = self._next_handle
        self._next_handle = ConnectionHandle(handle + 1)
        return handle

    def take_link(self) -> LinkId:
        """Returns the id of a link that is commanded now: the next drain has to have it."""
        return LinkId(next(self.link_ids))

    def has_streams(self, handle: ConnectionHandle) -> bool:
        """Whether a connection is of use to its peer: one that is to become one is not yet."""
        connection = self.connections.get(handle)
        return connection is not None and len(connection.streams) > 0
