"""Routing by longest prefix, with a hop limit that runs out.

A router that costs no hops is a switch: it joins the hosts of one LAN.  One that costs several
stands for a stretch of the Internet, so that a low-TTL opener can die in the middle of it.
"""

import ipaddress
from typing import TypeAlias

from p2pnode.clock import Instant
from p2pnode.netsim.packet import Packet
from p2pnode.netsim.part import Port
from p2pnode.netsim.trace import Drop, Trace
from p2pnode.netsim.world import World

MAX_CACHED_ROUTES = 10_000
"""Addresses whose route is remembered.  Chosen: more than any study has hosts."""

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


class Router:
    """Any number of ports, each with the prefixes that lie behind it."""

    def __init__(self, world: World, name: str, *, hops: int = 1) -> None:
        self.name = name
        self.trace: Trace = world.trace
        self._hops = hops
        self._routes: list[tuple[Network, Port]] = []
        self._cache: dict[str, Port | None] = {}
        world.add(self)

    def port(self, *prefixes: str) -> Port:
        """Returns a new port, behind which these prefixes lie; "0.0.0.0/0" is all of IPv4."""
        port = Port(self)
        for prefix in prefixes:
            self.add_route(prefix, port)
        return port

    def add_route(self, prefix: str, port: Port) -> None:
        """Sends packets for the prefix out by the port; of equal prefixes the newest wins."""
        self._routes.insert(0, (ipaddress.ip_network(prefix), port))
        # The sort is stable, so that the newest stays first.
        self._routes.sort(key=lambda route: -route[0].prefixlen)
        self._cache.clear()

    def remove_route(self, prefix: str) -> None:
        """Forgets every route for exactly this prefix."""
        network = ipaddress.ip_network(prefix)
        self._routes = [route for route in self._routes if route[0] != network]
        self._cache.clear()

    def handle_packet(self, packet: Packet, port: Port, now: Instant) -> None:
        out = self.find(packet.dst.ip)
        if out is None or out is port:
            self.trace.dropped(now, self.name, packet, Drop.NO_ROUTE)
            return
        if self._hops:
            number, src, dst, ecn, ttl, payload = packet
            if ttl <= self._hops:
                self.trace.dropped(now, self.name, packet, Drop.TTL_EXPIRED)
                return
            packet = Packet(number, src, dst, ecn, ttl - self._hops, payload)
        out.send(packet, now)

    def find(self, ip: str) -> Port | None:
        """Returns the port behind which the address lies, or None."""
        try:
            return self._cache[ip]
        except KeyError:
            return self._find(ip)

    def _find(self, ip: str) -> Port | None:
        address = ipaddress.ip_address(ip)
        found = None
        # A link-local address never leaves its link; a switch is part of the link.
        if not (address.is_link_local and self._hops):
            for network, port in self._routes:
                if address in network:
                    found = port
                    break
        if len(self._cache) >= MAX_CACHED_ROUTES:
            self._cache.clear()
        self._cache[ip] = found
        return found
