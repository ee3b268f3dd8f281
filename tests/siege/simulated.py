"""A siege in a simulated network: all addresses of a network of the attackers', in virtual time."""

from collections.abc import Sequence
from typing import Final

from p2pnode.clock import Instant
from p2pnode.machine import SocketAddr
from p2pnode.netsim.packet import DEFAULT_TTL, Packet
from p2pnode.netsim.part import Port, connect
from p2pnode.netsim.topology import Realm
from p2pnode.testbed.sim_node import PORT, SimNode
from tests.siege.siege import Siege

NETWORKS: Final = ("13.0.0.0/8", "2a13::/16")
"""The attackers'; routable, and of nobody else in these worlds."""
TICK: Final = 0.01
"""seconds between two looks at what the rates allow"""


class Attackers:
    """Attacks a node from so many addresses, from now on until `stop`."""

    def __init__(
        self,
        net: Realm,
        victim: SimNode,
        rows: Sequence[str],
        *,
        sources: int = 1,
        scale: float = 1.0,
        only: Sequence[str] = (),
        is_ipv6: bool = False,
    ) -> None:
        """Over IPv6 each address is of a /64 and a /48 of its own."""
        self.name = "attackers"
        self.trace = net.world.trace
        self.is_attacking = True
        self._world = net.world
        ips = [a for a in victim.host.interfaces[0].addresses if (":" in a) == is_ipv6]
        self._victim = SocketAddr(ips[0], PORT)
        pattern = "2a13:{}::1" if is_ipv6 else "13.{}.0.1"
        self._addresses = [SocketAddr(pattern.format(n), 5000) for n in range(sources)]
        entropy = self._world.entropy(self.name)
        self.siege = Siege(rows, sources=sources, entropy=entropy, scale=scale, only=only)
        self._world.add(self)
        self._port = Port(self)
        connect(net.router.port(*NETWORKS), self._port)
        self._tick()

    def stop(self) -> None:
        """They fall silent, without a word to anybody."""
        self.is_attacking = False

    def _tick(self) -> None:
        if self.is_attacking:
            self.siege.poll(self._world.now, self._send)
            self._world.after(TICK, self._tick)

    def _send(self, source: int, datagram: bytes) -> None:
        src = self._addresses[source]
        packet = Packet(next(self._world.packet_ids), src, self._victim, 0, DEFAULT_TTL, datagram)
        self._port.send(packet, self._world.now)

    def handle_packet(self, packet: Packet, port: Port, now: Instant) -> None:
        if self.is_attacking:
            self.siege.handle(packet.payload, now)
