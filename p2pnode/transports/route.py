"""Where packets of a path go out and come in: never only an address."""

from typing import Final, NamedTuple, TypeAlias

from p2pnode.machine import Received, SocketAddr, SocketId, Transmit

ANY_PORT: Final = SocketId(1 << 30)
"""In place of a socket: a link that leaves from whichever port is free."""

RouteKey: TypeAlias = tuple[SocketId, SocketAddr]


class Route(NamedTuple):
    """A local socket, its address where known, and the remote address.

    Of a link the socket is the listener that it came to, or whose port it leaves from.
    A circuit through a relay is a route as well: it has a socket id of its own, below zero, that
    stands for (relay connection, circuit id), and `remote` is the relay's address.
    """

    socket: SocketId
    local_ip: str | None
    remote: SocketAddr

    @property
    def is_relayed(self) -> bool:
        return self.socket < 0

    @property
    def key(self) -> RouteKey:
        """What makes two routes the same: a local address that is not known yet does not."""
        return self.socket, self.remote


def route_of(received: Received) -> Route:
    """Returns the route that an answer takes."""
    return Route(received.socket, received.local_ip, received.remote)


def transmit_of(route: Route, packet: bytes) -> Transmit:
    """Returns what sends one packet over a route."""
    return Transmit(route.socket, route.local_ip, route.remote, 0, None, len(packet), packet)
