"""A stateful firewall that does not translate: what went out lets answers in.

It stands between an inside and an outside port, costs no hop, and uses RFC 4787's filtering terms
as RFC 6092 does for IPv6.  `udp_block` is for networks that do not let UDP out.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TypeAlias

from p2pnode.clock import Instant
from p2pnode.machine import SocketAddr
from p2pnode.netsim.nat_behaviour import Dependence
from p2pnode.netsim.packet import Packet
from p2pnode.netsim.part import Port
from p2pnode.netsim.trace import Drop, Trace
from p2pnode.netsim.world import World

MAX_FLOWS = 65_536
"""Flows remembered.  Source: a usual nf_conntrack_max."""

FlowKey: TypeAlias = tuple[SocketAddr, Hashable]
"""An inside endpoint, and what of the remote the filter looks at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirewallBehaviour:
    """Times in seconds.  The defaults are a home router's IPv6 side."""

    filtering: Dependence | None = Dependence.ADDRESS_AND_PORT_DEPENDENT
    """Who may send to an inside endpoint that has sent; None lets everybody in at any time."""
    unreplied_timeout: float = 120.0
    """Of a flow that was not answered yet (RFC 6092 REC-14 asks for 120 at least)."""
    stream_timeout: float = 300.0
    inbound_refreshes: bool = True
    ip_version: int | None = None
    """4 or 6 to filter this family only; None for both."""


class _Flow:
    __slots__ = ("expires_at", "is_replied")

    def __init__(self) -> None:
        self.expires_at: Instant = 0.0
        self.is_replied = False


class Firewall:
    """Filters by flow; the inside is trusted."""

    def __init__(self, world: World, name: str, behaviour: FirewallBehaviour) -> None:
        self.name = name
        self.trace: Trace = world.trace
        self.inside = Port(self)
        self.outside = Port(self)
        self._behaviour = behaviour
        self._flows: dict[FlowKey, _Flow] = {}
        world.add(self)

    def reboot(self) -> None:
        """Forgets every flow."""
        self._flows.clear()

    def filters(self, ip: str) -> bool:
        """True where packets to that address, or from one of its family, pass by a flow only."""
        behaviour, version = self._behaviour, 6 if ":" in ip else 4
        return behaviour.filtering is not None and behaviour.ip_version in (None, version)

    def handle_packet(self, packet: Packet, port: Port, now: Instant) -> None:
        filtering = self._behaviour.filtering
        is_outbound = port is self.inside
        out = self.outside if is_outbound else self.inside
        if filtering is None or not self.filters(packet.dst.ip):
            out.send(packet, now)
            return
        refusal = (
            self._outbound(packet, filtering, now)
            if is_outbound
            else self._inbound(packet, filtering, now)
        )
        if refusal is None:
            out.send(packet, now)
        else:
            self.trace.dropped(now, self.name, packet, refusal)

    def _outbound(self, packet: Packet, filtering: Dependence, now: Instant) -> Drop | None:
        key = (packet.src, filtering.scope(packet.dst))
        flow = self._flows.get(key)
        if flow is None or flow.expires_at <= now:
            if flow is None and len(self._flows) >= MAX_FLOWS:
                self._flows = {k: f for k, f in self._flows.items() if f.expires_at > now}
                if len(self._flows) >= MAX_FLOWS:
                    return Drop.TABLE_FULL
            flow = self._flows[key] = _Flow()
        flow.expires_at = now + self._lifetime(flow)
        return None

    def _inbound(self, packet: Packet, filtering: Dependence, now: Instant) -> Drop | None:
        flow = self._flows.get((packet.dst, filtering.scope(packet.src)))
        if flow is None or flow.expires_at <= now:
            return Drop.FILTERED
        flow.is_replied = True
        if self._behaviour.inbound_refreshes:
            flow.expires_at = now + self._lifetime(flow)
        return None

    def _lifetime(self, flow: _Flow) -> float:
        if flow.is_replied:
            return self._behaviour.stream_timeout
        return self._behaviour.unreplied_timeout
