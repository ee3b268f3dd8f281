"""Our own addresses: what we listen on, and what others have confirmed.

A socket bound to a wildcard stands for every address of this machine's interfaces.
"""

from collections.abc import Iterable

from p2pnode.machine import SocketAddr, SocketId
from p2pnode.wire.ip_ranges import IpScope, ip_scope

WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - recognised here, not bound


class OwnAddresses:
    """Sockets and interfaces; chooses the socket that a destination is dialled from."""

    def __init__(self) -> None:
        self._sockets: dict[SocketId, SocketAddr] = {}
        self._listening: dict[SocketId, None] = {}
        self._interfaces: tuple[str, ...] = ()

    def add_socket(self, socket: SocketId, local: SocketAddr, *, is_listening: bool) -> None:
        self._sockets[socket] = local
        if is_listening:
            self._listening[socket] = None

    def set_interfaces(self, addresses: tuple[str, ...]) -> bool:
        """Takes the machine's addresses; returns whether they have changed."""
        changed = addresses != self._interfaces
        self._interfaces = addresses
        return changed

    def listening(self) -> dict[SocketId, SocketAddr]:
        """Returns the sockets that others may reach us at, with what they are bound to."""
        return {socket: self._sockets[socket] for socket in self._listening}

    def listen_addresses(self) -> tuple[SocketAddr, ...]:
        """Returns where peers on the same network reach us, loopback last."""
        return self._expanded(self._listening)

    def socket_addresses(self) -> tuple[SocketAddr, ...]:
        """Returns the same for all sockets, also for those that only dial, where none listens."""
        return self._expanded(self._listening or self._sockets)

    def sockets(self) -> tuple[SocketId, ...]:
        """Returns the listening sockets; where none listens, all."""
        return tuple(self._listening or self._sockets)

    def socket_for(self, remote: SocketAddr) -> SocketId | None:
        """Returns the socket that reaches `remote`, a listening one if possible.

        Dialling from the listening socket is what lets one NAT mapping serve all peers.
        """
        to_loopback = ip_scope(remote.ip) is IpScope.LOOPBACK
        best: tuple[int, SocketId] | None = None
        for socket, local in self._sockets.items():
            if local.is_ipv6 != remote.is_ipv6:
                continue
            if local.ip not in WILDCARDS:
                if (ip_scope(local.ip) is IpScope.LOOPBACK) != to_loopback:
                    continue
                rank = 0
            else:
                rank = 1
            rank += 2 * (socket not in self._listening)
            if best is None or (rank, socket) < best:
                best = rank, socket
        return None if best is None else best[1]

    def _expanded(self, sockets: Iterable[SocketId]) -> tuple[SocketAddr, ...]:
        found: dict[SocketAddr, None] = {}
        for socket in sockets:
            local = self._sockets[socket]
            if local.ip in WILDCARDS:
                for ip in self._interfaces:
                    if (":" in ip) == local.is_ipv6:
                        found[SocketAddr(ip, local.port)] = None
            else:
                found[local._replace(scope_id=0)] = None
        return tuple(sorted(found, key=lambda a: ip_scope(a.ip) is IpScope.LOOPBACK))
