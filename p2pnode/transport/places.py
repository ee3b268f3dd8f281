"""Places for connections: whom there is room for, and who makes room where there is none left.

The rules: dials of our own find a reserve that nobody else can take; a network has its share; where
all is taken, the fullest network gives way to any other one, and of it the newest connection that
is good for nothing.
"""

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from p2pnode.machine import ConnectionHandle
from p2pnode.resources.crowd import Crowd
from p2pnode.resources.networks import Network, Networks, is_local, networks_of
from p2pnode.transport.route import Route

RESERVED_PART: Final = 8
"""One place in so many is for dials of our own and for protected peers; chosen"""
MAX_PER_PREFIX: Final = 256
"""connections that one IPv4 address or IPv6 /64 begins; chosen: a large NAT's share"""
MAX_PER_56: Final = 512
"""connections that one IPv6 /56 begins; chosen: twice a link's"""
MAX_PER_48: Final = 1024
"""connections that one IPv6 /48 begins; chosen: a quarter of the default places"""
LOCAL_FACTOR: Final = 8
"""How many times a stranger's share a network has that is this machine's own; chosen"""


class Room(NamedTuple):
    """There is a place; `instead_of` has to leave it first."""

    instead_of: ConnectionHandle | None = None


class NoRoom(NamedTuple):
    """There is none."""

    scope: str
    """What is full, for people: the node, or a network."""


Verdict: TypeAlias = Room | NoRoom
IsUseful: TypeAlias = Callable[[ConnectionHandle], bool]
"""Whether a connection has streams open."""


class Places:
    """The connections of an endpoint, counted."""

    __slots__ = ("_crowd", "_limit", "_outbound", "_protected")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._crowd = Crowd[ConnectionHandle]()
        self._outbound: dict[ConnectionHandle, None] = {}
        self._protected: dict[ConnectionHandle, None] = {}

    @property
    def taken(self) -> int:
        """Connections and dials."""
        return len(self._crowd) + len(self._outbound)

    @property
    def can_dial(self) -> bool:
        return self.taken < self._limit

    def add_outbound(self, handle: ConnectionHandle) -> None:
        """A dial of our own, and what comes of it."""
        self._outbound[handle] = None

    def add_inbound(self, handle: ConnectionHandle, route: Route) -> None:
        self._crowd.add(handle, origin(route))

    def remove(self, handle: ConnectionHandle) -> None:
        """Does nothing for one that has no place."""
        self._crowd.remove(handle)
        self._outbound.pop(handle, None)
        self._protected.pop(handle, None)

    def protect(self, handle: ConnectionHandle, *, is_protected: bool) -> None:
        """Says whether a connection keeps its place whoever comes."""
        if not is_protected:
            self._protected.pop(handle, None)
        elif handle in self._crowd:
            self._protected[handle] = None

    def verdict(self, route: Route, is_useful: IsUseful) -> Verdict:
        """Returns whether a peer that has come over `route` gets a place, and whose."""
        networks = origin(route)
        for network in networks:
            if self._crowd.count(network) >= share(network, route):
                return NoRoom(f"the share of {network}")
        if len(self._crowd) < self._limit - self._limit // RESERVED_PART and self.can_dial:
            return Room()
        if self._crowd.count(networks[-1]) >= self._crowd.most:
            return NoRoom("this node")
        victim = self._victim(is_useful)
        return NoRoom("this node") if victim is None else Room(victim)

    def _victim(self, is_useful: IsUseful) -> ConnectionHandle | None:
        second: ConnectionHandle | None = None
        for handle in self._crowd.of_fullest():
            if handle in self._protected:
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


def share(network: Network, route: Route) -> int:
    """Returns how many connections a network may have begun."""
    share = {56: MAX_PER_56, 48: MAX_PER_48}.get(network.bits, MAX_PER_PREFIX)
    return share * LOCAL_FACTOR if is_local(route.remote.ip) else share
