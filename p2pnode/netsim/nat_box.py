"""A NAT box as a part of the network: translates between its inside and its outside port.

Families of which it has no public address pass untranslated, as IPv6 does through a home router;
put a firewall in front to filter them.  It forwards before it translates, so that a packet whose
hop limit ends here opens no mapping.  ICMP does not exist, so nothing else closes one.
"""

from p2pnode.clock import Instant
from p2pnode.machine import SocketAddr
from p2pnode.netsim.nat_behaviour import Hairpin, NatBehaviour
from p2pnode.netsim.nat_table import NatTable
from p2pnode.netsim.packet import Packet
from p2pnode.netsim.part import Port
from p2pnode.netsim.trace import Drop, Trace
from p2pnode.netsim.world import World


class NatBox:
    """One box; stack them for double NAT."""

    def __init__(
        self, world: World, name: str, public_ips: tuple[str, ...], behaviour: NatBehaviour
    ) -> None:
        self.name = name
        self.trace: Trace = world.trace
        self.inside = Port(self)
        self.outside = Port(self)
        self._rng = world.rng(f"{name}/nat")
        self._set(public_ips, behaviour)
        world.add(self)

    @property
    def public_ips(self) -> tuple[str, ...]:
        return self._public_ips

    def reboot(self) -> None:
        """Forgets every mapping, filter and port forward."""
        self._set(self._public_ips, self._behaviour)

    def change_public_ips(self, public_ips: tuple[str, ...]) -> None:
        """Takes other public addresses and forgets everything; routes are not its business."""
        self._set(public_ips, self._behaviour)

    def change_behaviour(self, behaviour: NatBehaviour) -> None:
        """Becomes another box and forgets everything."""
        self._set(self._public_ips, behaviour)

    def add_forward(self, external: SocketAddr, internal: SocketAddr) -> None:
        """Opens a port to everybody until the next reboot, as UPnP or PCP would."""
        self.table.add_forward(external, internal)

    def remove_forward(self, external: SocketAddr) -> None:
        """Takes a port forward back.  Raises KeyError where there is none."""
        self.table.remove_forward(external)

    def handle_packet(self, packet: Packet, port: Port, now: Instant) -> None:
        if packet.ttl <= 1:
            self.trace.dropped(now, self.name, packet, Drop.TTL_EXPIRED)
        elif port is self.inside:
            self._handle_outbound(packet, now)
        else:
            self._handle_inbound(packet, now)

    def _handle_outbound(self, packet: Packet, now: Instant) -> None:
        number, src, dst, ecn, ttl, payload = packet
        if not self.translates(dst.ip):
            self.outside.send(Packet(number, src, dst, ecn, ttl - 1, payload), now)
            return
        to_itself = dst.ip in self._public_ips
        if to_itself and self._behaviour.hairpin is Hairpin.NONE:
            self.trace.dropped(now, self.name, packet, Drop.NO_HAIRPIN)
            return
        external = self.table.outbound(src, dst, now)
        if isinstance(external, Drop):
            self.trace.dropped(now, self.name, packet, external)
            return
        if to_itself:
            self._hairpin(packet, external, now)
            return
        translated = Packet(number, external, dst, ecn, ttl - 1, payload)
        self.trace.translated(now, self.name, translated)
        self.outside.send(translated, now)

    def _handle_inbound(self, packet: Packet, now: Instant) -> None:
        number, src, dst, ecn, ttl, payload = packet
        if not self.translates(dst.ip):
            self.inside.send(Packet(number, src, dst, ecn, ttl - 1, payload), now)
            return
        if dst.ip not in self._public_ips:
            self.trace.dropped(now, self.name, packet, Drop.NOT_OURS)
            return
        internal = self.table.inbound(src, dst, now)
        if isinstance(internal, Drop):
            self.trace.dropped(now, self.name, packet, internal)
            return
        translated = Packet(number, src, internal, ecn, ttl - 1, payload)
        self.trace.translated(now, self.name, translated)
        self.inside.send(translated, now)

    def _hairpin(self, packet: Packet, external: SocketAddr, now: Instant) -> None:
        number, src, dst, ecn, ttl, payload = packet
        internal = self.table.inbound(external, dst, now)
        if isinstance(internal, Drop):
            self.trace.dropped(now, self.name, packet, internal)
            return
        seen = external if self._behaviour.hairpin is Hairpin.EXTERNAL_SOURCE else src
        translated = Packet(number, seen, internal, ecn, ttl - 1, payload)
        self.trace.translated(now, self.name, translated)
        self.inside.send(translated, now)

    def translates(self, ip: str) -> bool:
        """True where it translates packets to that address, which is of a family it has."""
        return self._has_ipv6 if ":" in ip else self._has_ipv4

    def _set(self, public_ips: tuple[str, ...], behaviour: NatBehaviour) -> None:
        self._public_ips = public_ips
        self._behaviour = behaviour
        self._has_ipv4 = any(":" not in ip for ip in public_ips)
        self._has_ipv6 = any(":" in ip for ip in public_ips)
        self.table = NatTable(public_ips, behaviour, self._rng)
