"""What a netcheck found, field by field, each with its reason."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from p2pnode.protocols.autonat import Reachability
from p2pnode.protocols.nat_behaviour import Dependence, PortAllocation
from p2pnode.wire.multiaddr import Multiaddr


@dataclass(frozen=True, slots=True)
class NetcheckReport:
    """Three-valued throughout: what could not be measured says why in `unknown`."""

    mapping: Dependence = Dependence.UNKNOWN
    filtering: Dependence = Dependence.UNKNOWN
    port_allocation: PortAllocation = PortAllocation.UNKNOWN
    hairpin: bool | None = None
    """Whether two sockets behind the NAT reach each other by their external addresses."""
    binding_lifetime: float | None = None
    """seconds that an idle mapping lives"""
    udp: bool = False
    """Whether anything at all came back over UDP."""
    external: tuple[Multiaddr, ...] = ()
    """Where peers saw the main socket of the check."""
    reachability: Reachability = Reachability.UNKNOWN
    unknown: Mapping[str, str] = field(default_factory=dict)
    """Field, and why it could not be measured."""
    why: Mapping[str, str] = field(default_factory=dict)
    """Field, and what it was measured from."""

    def fields(self) -> dict[str, Any]:
        """Returns the report as `p2pnode netcheck --json` prints it."""
        return {
            "mapping": self.mapping.value,
            "filtering": self.filtering.value,
            "port_allocation": self.port_allocation.value,
            "hairpin": self.hairpin,
            "binding_lifetime_s": self.binding_lifetime,
            "udp": self.udp,
            "external": [str(address) for address in self.external],
            "reachability": self.reachability.value,
            "unknown": dict(self.unknown),
        }
