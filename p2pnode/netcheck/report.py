"""What a netcheck found, field by field, each with its reason."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from p2pnode.netcheck.measure import Findings
from p2pnode.protocols.autonat import Reachability
from p2pnode.protocols.nat_behaviour import Dependence, PortAllocation
from p2pnode.protocols.nat_behaviour.judge import Judgement
from p2pnode.protocols.nat_behaviour.udp_silence import Silence, silence_text
from p2pnode.wire.multiaddr import Multiaddr

_FIELDS = (
    *("mapping", "filtering", "port_allocation", "hairpin", "binding_lifetime_s"),
    *("external", "reachability"),
)
_UNKNOWN = (
    Dependence.UNKNOWN,
    Dependence.ENDPOINT_DEPENDENT,
    PortAllocation.UNKNOWN,
    Reachability.UNKNOWN,
    None,
)
"""What a field holds that could not be measured, or not to the end."""


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
    tcp: bool | None = None
    """Whether TCP gets through where nothing does over UDP; None where that was not tried."""
    external: tuple[Multiaddr, ...] = ()
    """Where peers saw the main socket of the check."""
    reachability: Reachability = Reachability.UNKNOWN
    silence: Silence | None = None
    """Where nothing was heard over UDP: of how many hosts."""
    unknown: Mapping[str, str] = field(default_factory=dict[str, str])
    """Field, and why it could not be measured."""
    why: Mapping[str, str] = field(default_factory=dict[str, str])
    """Field, and what it was measured from."""

    def with_tcp(self, over_tcp: int) -> "NetcheckReport":
        """Returns the report of a check that has heard nothing over UDP.

        `over_tcp` of those that were tried are reached over TCP.
        """
        assert self.silence is not None
        silent = make_silent_report(self.silence._replace(over_tcp=over_tcp))
        return replace(silent, tcp=over_tcp > 0)

    def fields(self) -> dict[str, Any]:
        """Returns the report as `p2pnode netcheck --json` prints it."""
        return {
            "mapping": self.mapping.value,
            "filtering": self.filtering.value,
            "port_allocation": self.port_allocation.value,
            "hairpin": self.hairpin,
            "binding_lifetime_s": self.binding_lifetime,
            "udp": self.udp,
            "tcp": self.tcp,
            "external": [str(address) for address in self.external],
            "reachability": self.reachability.value,
            "unknown": dict(self.unknown),
        }


def make_report(
    found: Findings,
    *,
    reachability: Judgement[Reachability],
    lifetime: Judgement[float | None],
    external: Sequence[Multiaddr],
) -> NetcheckReport:
    """Returns what was found, with the reason for each field."""
    judged: dict[str, Judgement[Any]] = {
        "mapping": found.mapping,
        "filtering": found.filtering,
        "port_allocation": found.allocation,
        "hairpin": found.hairpin,
        "binding_lifetime_s": lifetime,
        "reachability": reachability,
    }
    unknown = {name: each.why for name, each in judged.items() if each.kind in _UNKNOWN}
    return NetcheckReport(
        mapping=Dependence.UNKNOWN if "mapping" in unknown else found.mapping.kind,
        filtering=found.filtering.kind,
        port_allocation=found.allocation.kind,
        hairpin=found.hairpin.kind,
        binding_lifetime=lifetime.kind,
        udp=True,
        external=tuple(external),
        reachability=reachability.kind,
        unknown=unknown,
        why={name: each.why for name, each in judged.items() if name not in unknown},
    )


def make_silent_report(silence: Silence) -> NetcheckReport:
    """Returns that nothing was heard over UDP."""
    return replace(make_empty_report(silence_text(silence), has_heard=False), silence=silence)


def make_empty_report(why: str, *, has_heard: bool) -> NetcheckReport:
    """Returns that nothing could be measured, and why."""
    fields = _FIELDS if has_heard else (*_FIELDS, "udp")
    return NetcheckReport(udp=has_heard, unknown=dict.fromkeys(fields, why))
