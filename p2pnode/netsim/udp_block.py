"""Networks that do not let UDP through: all of it, all but some ports, or all but first packets."""

from dataclasses import dataclass

from p2pnode.clock import Instant
from p2pnode.machine import SocketAddr
from p2pnode.netsim.packet import Packet
from p2pnode.netsim.part import Port
from p2pnode.netsim.trace import Drop, Trace
from p2pnode.netsim.world import World

MAX_FLOWS = 65_536
"""Flows whose packets are counted; later flows are blocked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockPolicy:
    """The defaults block everything."""

    allowed_ports: tuple[int, ...] = ()
    """Outside ports that are not blocked; (53,) is a guest network that resolves names only."""
    first_packets: int = 0
    """Packets of each flow, both directions counted, that pass before the rest is dropped."""


class UdpBlock:
    """Stands between an inside and an outside port and costs no hop."""

    def __init__(self, world: World, name: str, policy: BlockPolicy) -> None:
        self.name = name
        self.trace: Trace = world.trace
        self.inside = Port(self)
        self.outside = Port(self)
        self._policy = policy
        self._passed: dict[tuple[SocketAddr, SocketAddr], int] = {}
        world.add(self)

    def handle_packet(self, packet: Packet, port: Port, now: Instant) -> None:
        if port is self.inside:
            ours, theirs, out = packet.src, packet.dst, self.outside
        else:
            ours, theirs, out = packet.dst, packet.src, self.inside
        if theirs.port in self._policy.allowed_ports or self._is_early(ours, theirs):
            out.send(packet, now)
        else:
            self.trace.dropped(now, self.name, packet, Drop.BLOCKED)

    def _is_early(self, ours: SocketAddr, theirs: SocketAddr) -> bool:
        passed = self._passed.get((ours, theirs), 0)
        if passed >= self._policy.first_packets or (not passed and len(self._passed) >= MAX_FLOWS):
            return False
        self._passed[ours, theirs] = passed + 1
        return True
