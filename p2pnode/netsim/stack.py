"""A host's interfaces and sockets: which way a datagram leaves, and whose it is when it arrives.

Several interfaces, each with several IPv4 and IPv6 addresses, come and go at run time.  IPv4 and
IPv6 sockets are separate (V6ONLY).  A host answers to its addresses on every interface (the weak
host model of RFC 1122 section 3.3.4.2, as Linux does).
"""

import ipaddress
from random import Random
from typing import NamedTuple

from p2pnode.machine import SocketAddr, SocketId
from p2pnode.netsim.link import ETHERNET_MTU
from p2pnode.netsim.part import Part, Port
from p2pnode.netsim.trace import Drop

EPHEMERAL_PORTS = (32_768, 60_999)
"""First and last port that port 0 stands for.  Source: Linux ip_local_port_range."""

MAX_SOCKETS = 4_096
"""Sockets of one host.  Chosen: the widest spraying opens 256."""

LOOPBACKS = ("127.0.0.1", "::1")
WILDCARD_IPV4 = str(ipaddress.IPv4Address(0))
WILDCARD_IPV6 = str(ipaddress.IPv6Address(0))


class Interface(Port):
    """One network interface; addresses are written as "10.0.0.2/24"."""

    __slots__ = ("_on_link", "addresses", "index", "is_up", "mtu")

    def __init__(self, part: Part, index: int, mtu: int) -> None:
        super().__init__(part)
        self.index = index
        """From 1 on; the scope id of link-local addresses."""
        self.mtu = mtu
        """Bytes, IP header included."""
        self.is_up = True
        self.addresses: tuple[str, ...] = ()
        """IP addresses without prefix lengths; the first of a family is the kernel's choice."""
        self._on_link: tuple[tuple[str, ipaddress.IPv4Network | ipaddress.IPv6Network], ...] = ()

    def add_address(self, address: str) -> None:
        """Adds an address; without a prefix length /24 or /64 is on the link."""
        if "/" not in address:
            address += "/64" if ":" in address else "/24"
        parsed = ipaddress.ip_interface(address)
        self._on_link += ((str(parsed.ip), parsed.network),)
        self.addresses += (str(parsed.ip),)

    def remove_address(self, ip: str) -> None:
        """Removes an address, given without its prefix length; unknown ones are ignored."""
        self._on_link = tuple(entry for entry in self._on_link if entry[0] != ip)
        self.addresses = tuple(own for own in self.addresses if own != ip)

    def source_for(self, ip: str) -> str | None:
        """Returns the address that shares the destination's prefix."""
        destination = ipaddress.ip_address(ip)
        for own, network in self._on_link:
            if destination in network:
                return own
        return None


class Route(NamedTuple):
    """How a datagram leaves: through which interface (None: back to this host), from where."""

    interface: Interface | None
    source: SocketAddr


class Stack:
    """Interfaces and sockets of one host."""

    def __init__(self, rng: Random) -> None:
        self.interfaces: list[Interface] = []
        self._rng = rng
        self._sockets: dict[SocketId, SocketAddr] = {}
        self._bound: dict[tuple[str, int], SocketId] = {}
        self._next_socket = 0

    def add_interface(self, part: Part, mtu: int = ETHERNET_MTU) -> Interface:
        interface = Interface(part, len(self.interfaces) + 1, mtu)
        self.interfaces.append(interface)
        return interface

    def addresses(self) -> tuple[str, ...]:
        """Returns the addresses of the interfaces that are up."""
        return tuple(ip for i in self.interfaces if i.is_up for ip in i.addresses)

    def bind(self, ip: str, port: int) -> SocketId | None:
        """Opens a socket ("0.0.0.0" and "::" are wildcards), or returns None where it is taken."""
        if port == 0:
            port = self._free_port(ip)
        if (ip, port) in self._bound or len(self._sockets) >= MAX_SOCKETS:
            return None
        socket = self.next_id()
        self._sockets[socket] = SocketAddr(ip, port)
        self._bound[ip, port] = socket
        return socket

    def next_id(self) -> SocketId:
        """Returns an id that no socket has had."""
        self._next_socket += 1
        return SocketId(self._next_socket)

    def close(self, socket: SocketId) -> None:
        """Closes a socket.  Raises KeyError where it is not open."""
        address = self._sockets.pop(socket)
        del self._bound[address.ip, address.port]

    def local_addr(self, socket: SocketId) -> SocketAddr:
        """Returns what the socket is bound to.  Raises KeyError where it is not open."""
        return self._sockets[socket]

    def owns(self, ip: str) -> bool:
        if ip in LOOPBACKS:
            return True
        return any(i.is_up and ip in i.addresses for i in self.interfaces)

    def socket_at(self, ip: str, port: int) -> SocketId | None:
        """Returns the socket that gets what was sent there; a specific one before a wildcard."""
        specific = self._bound.get((ip, port))
        if specific is not None:
            return specific
        return self._bound.get((WILDCARD_IPV6 if ":" in ip else WILDCARD_IPV4, port))

    def route(self, socket: SocketId, local_ip: str | None, remote: SocketAddr) -> Route | Drop:
        """Returns how a datagram to `remote` leaves, or why it cannot."""
        bound = self._sockets.get(socket)
        if bound is None or bound.is_ipv6 is not remote.is_ipv6:
            return Drop.BAD_SOCKET
        if bound.ip not in (WILDCARD_IPV4, WILDCARD_IPV6):
            local_ip = bound.ip
        return self.route_from(local_ip, bound.port, remote)

    def route_from(self, local_ip: str | None, port: int, remote: SocketAddr) -> Route | Drop:
        """Returns the same of what leaves from a port that no socket need have."""
        if local_ip is not None and not self.owns(local_ip):
            return Drop.BAD_SOURCE
        if self.owns(remote.ip):
            return Route(None, SocketAddr(local_ip or remote.ip, port))
        if local_ip in LOOPBACKS:
            return Drop.NO_ROUTE
        found = self._leave_from(local_ip, remote)
        if found is None:
            return Drop.NO_ROUTE
        return Route(found[0], SocketAddr(found[1], port))

    def _leave_from(self, local_ip: str | None, remote: SocketAddr) -> tuple[Interface, str] | None:
        candidates = [
            i
            for i in self.interfaces
            if i.is_up
            and (local_ip is None or local_ip in i.addresses)
            and (remote.scope_id == 0 or remote.scope_id == i.index)
        ]
        for interface in candidates:
            on_link = interface.source_for(remote.ip)
            if on_link is not None:
                return interface, local_ip or on_link
        for interface in candidates:  # the default route goes by the first interface that can
            for own in interface.addresses:
                if (":" in own) is remote.is_ipv6 and not own.startswith("fe80:"):
                    return interface, local_ip or own
        return None

    def _free_port(self, ip: str) -> int:
        while True:
            port = self._rng.randint(*EPHEMERAL_PORTS)
            if (ip, port) not in self._bound:
                return port
