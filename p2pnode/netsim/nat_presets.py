"""NAT boxes by the names under which people meet them.

"Cone" and "symmetric" are aliases for readers of older texts; RFC 4787's terms are in each body.
Timers and rules are those of the systems named, so that results compare with theirs.
"""

from p2pnode.netsim.nat_behaviour import (
    Collision,
    Dependence,
    FilterScope,
    Hairpin,
    NatBehaviour,
    PortChoice,
    Refresh,
)

_INDEPENDENT = Dependence.ENDPOINT_INDEPENDENT
_ADDRESS = Dependence.ADDRESS_DEPENDENT
_ADDRESS_PORT = Dependence.ADDRESS_AND_PORT_DEPENDENT


def home() -> NatBehaviour:
    """Most home routers: port-preserving, port-restricted (patchbay's Home, Tailscale's easy)."""
    return NatBehaviour(unreplied_timeout=30.0, stream_timeout=300.0)


def full_cone() -> NatBehaviour:
    """Anybody may send to a mapped port (patchbay's FullCone)."""
    return NatBehaviour(
        filtering=_INDEPENDENT,
        hairpin=Hairpin.EXTERNAL_SOURCE,
        unreplied_timeout=300.0,
        stream_timeout=300.0,
    )


def address_restricted() -> NatBehaviour:
    """Anybody at an address that was contacted may answer (Tailscale's easyAF)."""
    return NatBehaviour(filtering=_ADDRESS, filter_timeout=300.0)


def corporate() -> NatBehaviour:
    """Symmetric with random ports (patchbay's Corporate, Tailscale's hard)."""
    return NatBehaviour(
        mapping=_ADDRESS_PORT,
        port_choice=PortChoice.RANDOM,
        unreplied_timeout=30.0,
        stream_timeout=120.0,
    )


def cloud() -> NatBehaviour:
    """The NAT gateways of the big clouds (patchbay's CloudNat)."""
    return NatBehaviour(
        mapping=_ADDRESS_PORT,
        port_choice=PortChoice.RANDOM,
        unreplied_timeout=30.0,
        stream_timeout=350.0,
    )


def symmetric_sequential(step: int = 1) -> NatBehaviour:
    """Symmetric, but the next port can be guessed (EasyTier's SymmetricEasyInc and Dec)."""
    return NatBehaviour(mapping=_ADDRESS_PORT, port_choice=PortChoice.SEQUENTIAL, port_step=step)


def cgnat() -> NatBehaviour:
    """A carrier's NAT as RFC 6888 wants it: port blocks, quota, ports held for 120 s."""
    return NatBehaviour(
        filtering=_INDEPENDENT,
        port_choice=PortChoice.BLOCK,
        hairpin=Hairpin.EXTERNAL_SOURCE,
        unreplied_timeout=120.0,
        stream_timeout=300.0,
        port_hold=120.0,
        max_mappings_per_host=1008,
    )


def mobile() -> NatBehaviour:
    """A carrier's NAT as 40 % of mobile networks have it: symmetric, in blocks, 65 s."""
    return NatBehaviour(
        mapping=_ADDRESS_PORT,
        port_choice=PortChoice.BLOCK,
        unreplied_timeout=30.0,
        stream_timeout=65.0,
        max_mappings_per_host=1008,
    )


def linux() -> NatBehaviour:
    """nftables masquerade: a mapping for each flow, the port kept while its tuple is free."""
    return NatBehaviour(
        mapping=_ADDRESS_PORT,
        filter_scope=FilterScope.MAPPING,
        collision=Collision.SHARE,
        unreplied_timeout=30.0,
        stream_timeout=120.0,
        max_mappings=65_536,
    )


def leaky_linux() -> NatBehaviour:
    """The same without an input drop: a stranger's early packet takes the tuple."""
    return NatBehaviour(
        mapping=_ADDRESS_PORT,
        filter_scope=FilterScope.MAPPING,
        collision=Collision.SHARE,
        unreplied_timeout=30.0,
        stream_timeout=120.0,
        leaky=True,
    )


def impatient() -> NatBehaviour:
    """Mappings that die after 20 s unless the inside host itself sends."""
    return NatBehaviour(unreplied_timeout=20.0, stream_timeout=20.0, refresh=Refresh.OUTBOUND)


def box(
    mapping: Dependence,
    filtering: Dependence,
    filter_scope: FilterScope = FilterScope.INTERNAL_ENDPOINT,
) -> NatBehaviour:
    """One of the nine kinds; ports are kept where the mapping is endpoint-independent, else random.

    With these the punchability table of specs/netsim.md holds exactly.
    """
    kept = mapping is _INDEPENDENT
    return NatBehaviour(
        mapping=mapping,
        filtering=filtering,
        filter_scope=filter_scope,
        port_choice=PortChoice.PRESERVING if kept else PortChoice.RANDOM,
    )


NINE_KINDS: tuple[tuple[Dependence, Dependence], ...] = tuple(
    (mapping, filtering) for mapping in Dependence for filtering in Dependence
)
"""Every (mapping, filtering), for grids."""
