"""Our own addresses: what we listen on, and what others have confirmed.

A socket bound to a wildcard stands for every address of this machine's interfaces.
"""

from collections.abc import Iterable, Mapping

from p2pnode.errors import DialError
from p2pnode.identity.transport_addr import transport_multiaddr
from p2pnode.machine import SocketAddr, SocketId
from p2pnode.transports.route import ANY_PORT
from p2pnode.wire.ip_ranges import IpScope, ip_scope
from p2pnode.wire.multiaddr import Multiaddr
from p2pnode.wire.transport_name import Carrier, TransportName

WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - recognised here, not bound


class OwnAddresses:
    """Sockets and interfaces; chooses the socket that a destination is dialled from."""

    def __init__(self, transports: tuple[TransportName, ...]) -> None:
        """`transports` are what this node speaks.

        Those over UDP share all its sockets, and those over TCP all its listeners.
        """
        self._over_udp = tuple(each for each in transports if each.carrier == "udp")
        self._over_tcp = tuple(each for each in transports if each.carrier == "tcp")
        self._sockets: dict[SocketId, SocketAddr] = {}
        self._listeners: dict[SocketId, SocketAddr] = {}
        self._listening: dict[SocketId, None] = {}
        self._interfaces: tuple[str, ...] = ()
        self._own: dict[Carrier, tuple[SocketAddr, ...]] = {"udp": (), "tcp": ()}
        """Where it listens, wildcards spelt out."""
        self._listen_addresses: tuple[Multiaddr, ...] = ()
        self._near_addresses: tuple[Multiaddr, ...] = ()

    def add_socket(self, socket: SocketId, local: SocketAddr, *, is_listening: bool) -> None:
        assert socket not in self._listeners, "a route's socket is either"
        self._sockets[socket] = local
        if is_listening:
            self._listening[socket] = None
        self._expand()

    def add_listener(self, listener: SocketId, local: SocketAddr) -> None:
        assert listener not in self._sockets, "a route's socket is either"
        self._listeners[listener] = local
        self._expand()

    def set_interfaces(self, addresses: tuple[str, ...]) -> bool:
        """Takes the machine's addresses; returns whether they have changed."""
        changed = addresses != self._interfaces
        self._interfaces = addresses
        self._expand()
        return changed

    def listening(self) -> dict[SocketId, SocketAddr]:
        """Returns the sockets that others may reach us at, with what they are bound to."""
        return {socket: self._sockets[socket] for socket in self._listening}

    def listen_addresses(self) -> tuple[Multiaddr, ...]:
        """Returns where peers on the same network reach us, loopback last."""
        return self._listen_addresses

    def near_addresses(self) -> tuple[Multiaddr, ...]:
        """Returns those of them that are not public."""
        return self._near_addresses

    @property
    def is_listening(self) -> bool:
        """False for a node that only dials."""
        return bool(self._listening or self._listeners)

    def listeners(self) -> tuple[SocketId, ...]:
        """Returns those for links."""
        return tuple(self._listeners)

    def multiaddrs(self, addr: SocketAddr, socket: SocketId | None = None) -> tuple[Multiaddr, ...]:
        """Returns what it means that a socket of ours is seen at `addr`: for each transport one.

        Of a listener for links where `socket` is one.  A NAT, and whoever sees a socket from
        outside, cannot tell its transports apart.  Without a zone.
        """
        at = addr._replace(scope_id=0)
        names = self._over_tcp if socket in self._listeners else self._over_udp
        return tuple(transport_multiaddr(at, each) for each in names)

    def socket_addresses(self) -> tuple[SocketAddr, ...]:
        """Returns the same for all sockets, also for those that only dial, where none listens."""
        return self._expanded((self.listening() or self._sockets).values())

    def sockets(self) -> tuple[SocketId, ...]:
        """Returns the listening sockets; where none listens, all."""
        return tuple(self._listening or self._sockets)

    def socket_for(self, remote: SocketAddr) -> SocketId | None:
        """Returns the socket that reaches `remote`, a listening one if possible.

        Dialling from the listening socket is what lets one NAT mapping serve all peers.
        """
        return self._reaching(remote, self._sockets)

    def leaving_for(self, remote: SocketAddr, transport: TransportName) -> SocketId:
        """Returns what `remote` is dialled from by a transport: as `socket_for` does over UDP.

        Over TCP that is the listener whose port a link leaves from, or ANY_PORT without one.
        Raises DialError where it cannot be dialled from here.
        """
        if not remote.port:
            raise DialError("nobody listens on port 0")
        if remote._replace(scope_id=0) in self._own[transport.carrier]:
            raise DialError("that is an address of this node itself")
        if transport.carrier == "tcp":
            listener = self._reaching(remote, self._listeners)
            return ANY_PORT if listener is None else listener
        socket = self.socket_for(remote)
        if socket is not None:
            return socket
        if all(local.is_ipv6 != remote.is_ipv6 for local in self._sockets.values()):
            raise DialError(f"this node has no socket for {'IPv6' if remote.is_ipv6 else 'IPv4'}")
        raise DialError("the addresses that this node's sockets are bound to do not lead there")

    def _reaching(
        self, remote: SocketAddr, sockets: Mapping[SocketId, SocketAddr]
    ) -> SocketId | None:
        to_loopback = ip_scope(remote.ip) is IpScope.LOOPBACK
        best: tuple[int, SocketId] | None = None
        for socket, local in sockets.items():
            if local.is_ipv6 != remote.is_ipv6:
                continue
            if local.ip not in WILDCARDS:
                if (ip_scope(local.ip) is IpScope.LOOPBACK) != to_loopback:
                    continue
                rank = 0
            else:
                rank = 1
            rank += 2 * (socket not in self._listening and socket not in self._listeners)
            if best is None or (rank, socket) < best:
                best = rank, socket
        return None if best is None else best[1]

    def _expand(self) -> None:
        over_udp = self._expanded(self.listening().values())
        over_tcp = self._expanded(self._listeners.values())
        self._own = {"udp": over_udp, "tcp": over_tcp}
        at = [(addr, self._over_udp) for addr in over_udp]
        at += [(addr, self._over_tcp) for addr in over_tcp]
        self._listen_addresses = _multiaddrs(at)
        near = [(addr, each) for addr, each in at if ip_scope(addr.ip) is not IpScope.PUBLIC]
        self._near_addresses = _multiaddrs(near)

    def _expanded(self, bound: Iterable[SocketAddr]) -> tuple[SocketAddr, ...]:
        found: dict[SocketAddr, None] = {}
        for local in bound:
            if local.ip in WILDCARDS:
                for ip in self._interfaces:
                    if (":" in ip) == local.is_ipv6:
                        found[SocketAddr(ip, local.port)] = None
            else:
                found[local._replace(scope_id=0)] = None
        return tuple(sorted(found, key=lambda a: ip_scope(a.ip) is IpScope.LOOPBACK))


def _multiaddrs(
    at: Iterable[tuple[SocketAddr, tuple[TransportName, ...]]],
) -> tuple[Multiaddr, ...]:
    return tuple(transport_multiaddr(addr, each) for addr, names in at for each in names)
